"""A task and its price, put into words and into JSON. Pure; owns the wording, reads nothing."""

from __future__ import annotations

from typing import Any

from agents.cli.explain import duration
from agents.cli.session import facts, table
from agents.cli.terms import Price
from agents.notation import ether, money
from bfl_events.codec import to_json
from bfl_events.schema import Address
from bfl_events.state import Member, TaskState


def price_lines(priced: Price) -> list[str]:
    """For people."""
    lines = [
        ("reward", money(priced.reward)),
        ("  a round", money(priced.per_round)),
        ("collateral", f"{money(priced.collateral)} a worker"),
        ("longest run", duration(priced.nominal_s).removeprefix("in ")),
    ]
    if priced.bounds is not None:
        lines += [
            ("default collateral", money(priced.bounds.default)),
            ("conservative bound", money(priced.bounds.conservative)),
            ("average bound", money(priced.bounds.average)),
            ("one cheat gains", f"{money(priced.bounds.attacker_gain)} a round at the default, at best"),
            ("a cartel gains", f"{money(priced.bounds.cartel_gain)} a seat and round at the default, at best"),
        ]
    return [*facts(lines), *(f"! {warning}" for warning in priced.warnings)]


def role_in(task: TaskState, me: Address | None) -> str:
    """requester, worker, or nothing."""
    if me == task.requester:
        return "requester"
    return "worker" if me in task.seats else ""


def task_document(task: TaskState, me: Address | None) -> dict[str, Any]:
    """What `--json` says of a task; amounts in wei, as strings."""
    return {
        "task": task.address,
        "requester": task.requester,
        "phase": task.phase.name.lower(),
        "round": task.round,
        "rounds": task.params.rounds,
        "attempt": task.attempt,
        "deadline": task.deadline,
        "reward_wei": str(task.reward),
        "reward_left_wei": str(task.reward_left),
        "collateral_wei": str(task.params.collateral),
        "created_block": task.created.block,
        "you": role_in(task, me),
        "final_hash": task.final_hash.hex() if any(task.final_hash) else None,
        "spec_cid": task.spec_cid.hex(),
        "model_cid": task.model_cid.hex(),
        "params": to_json(task.params),
        "members": [_member(member) for member in task.members if member is not None],
    }


def _member(member: Member) -> dict[str, Any]:
    return {
        "worker": member.account,
        "index": member.index,
        "status": member.status.name.lower(),
        "bond_wei": str(member.bond),
        "credit_wei": str(member.credit),
        "payout": member.payout,
        "strikes": member.strikes,
        "missed_in_a_row": member.miss_streak,
    }


def task_lines(task: TaskState, me: Address | None) -> list[str]:
    """For people: terms, then members."""
    p = task.params
    windows = {"join": p.join_window, "train": p.train_window, "open": p.open_window, "score": p.score_window,
               "reveal": p.reveal_window, "attest": p.attest_window}  # fmt: skip
    penalties = {"slash": p.slash_bps, "fee": p.fee_bps, "miss": p.miss_bps}
    lines = facts([
        ("task", task.address),
        ("requester", task.requester),
        ("phase", f"{task.phase.name.lower()}, round {task.round}/{p.rounds}, attempt {task.attempt}"),
        ("reward", f"{money(task.reward)}, {ether(task.reward_left)} ether left"),
        ("collateral", f"{money(p.collateral)} a worker"),
        ("workers", f"{p.min_workers} to start, {p.min_active} to go on, at most {p.max_workers}"),
        ("top", f"{p.top_k} get {p.top_share_bps / 100:g} % of a round's reward"),
        ("penalties", ", ".join(f"{name} {bps / 100:g} %" for name, bps in penalties.items()) + " of the collateral"),
        ("windows", ", ".join(f"{name} {seconds} s" for name, seconds in windows.items())),
        ("who may join", "only an allow-list" if any(p.allow_root) else "anybody"),
    ])  # fmt: skip
    members = (
        (m.account, m.status.name.lower(), ether(m.bond), ether(m.credit), m.strikes, "you" if m.account == me else "")
        for m in task.members
        if m is not None
    )
    head = ("worker", "status", "bond", "credit", "strikes", "")
    return [*lines, "", *table(head, members), f"Next: bfl-agent rounds explain --task {task.address}"]
