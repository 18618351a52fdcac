"""Whether to bond for a task: the terms that this agent refuses, with the reason (PROTOCOL 7.7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents.core.intents import ClearRound, Done, DryRun, Intent, JoinTask, LoadTerms, Refused
from agents.core.specification import Specification
from agents.core.state import ZERO_HASH, Limits, Me, Memory, Now
from bfl_events.rules import members_of
from bfl_events.schema import Phase
from bfl_events.state import TaskState

ROUND_GAS = 300_000
"""A worker's calls in a round, its share of the settlement with them (PROTOCOL 3.5)."""


def terms_of(task: TaskState, *, keep: bool = False) -> LoadTerms:
    p = task.params
    return LoadTerms(task.address, task.spec_cid, p.spec_hash, task.model_cid, p.model_hash, p.allow_root, keep)


def dry_run_of(task: TaskState) -> DryRun:
    return DryRun(task.address, task.params.model_hash, (task.spec_cid, task.model_cid))


def joinable(task: TaskState, now: Now) -> bool:
    """Still open to me by its phase, its time and its seats."""
    if task.phase == Phase.JOINING:
        return now.time <= task.deadline and len(members_of(task.active)) < task.params.max_workers
    late = task.params.late_join and task.phase.in_round and task.round < task.params.rounds
    return late and task.count < task.params.max_workers


def refusals(task: TaskState, limits: Limits, now: Now) -> list[str]:
    """Every reason why the terms on chain are refused; empty if they are acceptable."""
    p, open_to_all = task.params, task.params.allow_root == ZERO_HASH
    nominal = p.join_window + p.rounds * (p.train_window + p.open_window + p.score_window + p.reveal_window)
    shortest = min(p.train_window, p.open_window, p.score_window, p.reveal_window, p.attest_window)
    fair = limits.max_collateral_factor * task.reward // p.max_workers
    share = task.reward // (p.rounds * p.min_workers)            # of a round, if no more than the least take part
    seats_of_mine = sorted(limits.own_accounts & set(task.seats))
    checks = (
        (bool(limits.requesters) and task.requester not in limits.requesters,
         f"its requester {task.requester} is not among policy.requesters"),
        (bool(seats_of_mine), f"another account of this operator has a seat: {', '.join(seats_of_mine)}"),
        (p.collateral > limits.max_collateral_wei,
         f"its collateral of {p.collateral} wei is above policy.max_collateral_wei = {limits.max_collateral_wei}"),
        (p.collateral > fair, f"its collateral of {p.collateral} wei is above {fair} wei, "
                              f"{limits.max_collateral_factor} x the reward per seat"),
        (open_to_all and p.collateral > limits.max_open_collateral_wei,
         f"anybody may join and its collateral of {p.collateral} wei is above policy.max_open_collateral_wei = "
         f"{limits.max_open_collateral_wei}: strangers could take a majority of the seats"),
        (p.late_join and open_to_all, "strangers may join while it runs (lateJoin without an allow-list)"),
        (p.fee_bps > limits.max_fee_bps, f"feeBps {p.fee_bps} is above {limits.max_fee_bps}"),
        (p.miss_bps > limits.max_miss_bps, f"missBps {p.miss_bps} is above {limits.max_miss_bps}"),
        (p.slash_bps > limits.max_slash_bps, f"slashBps {p.slash_bps} is above {limits.max_slash_bps}"),
        (p.max_miss < limits.min_max_miss, f"maxMiss {p.max_miss} is below {limits.min_max_miss}"),
        (p.max_low in (1, 2), f"maxLow {p.max_low} takes collateral after so few low rounds"),
        (p.accept_bps > limits.max_accept_bps, f"acceptBps {p.accept_bps} is above {limits.max_accept_bps}"),
        (shortest < limits.min_window_blocks * now.block_s,
         f"its shortest window is {shortest} s, less than {limits.min_window_blocks} blocks of {now.block_s:.1f} s"),
        (p.hard_stop < task.created.time + 2 * nominal,
         f"its hard stop comes before twice its nominal length of {nominal} s"),
        (task.reward // p.rounds < limits.min_reward_per_round_wei,
         f"its reward of {task.reward // p.rounds} wei a round is below policy.min_reward_per_round_wei = "
         f"{limits.min_reward_per_round_wei}"),
        (share < limits.min_reward_to_gas * ROUND_GAS * now.base_fee,
         f"its reward of {share} wei a seat and round is below policy.min_reward_to_gas = {limits.min_reward_to_gas:g} "
         f"x the base fee of a worker's {ROUND_GAS} gas a round"),
        (not task.requester_keys or not task.requester_keys[-1].der, "its requester published no encryption key"),
    )
    return [reason for failed, reason in checks if failed]


def not_invited(specification: Specification, task: TaskState, me: Me) -> str | None:
    """Why the allow-list keeps me out, or None."""
    if task.params.allow_root == ZERO_HASH:
        return None
    if not specification.allowed:
        return "it has an allow-list on chain, but its specification does not name it, so that it cannot be checked"
    return None if me.address.lower() in specification.allowed else f"{me.address} is not on its allow-list"


def admission(task: TaskState, memory: Memory, me: Me, now: Now) -> Iterator[Intent]:
    """The way into a task: read the terms, try them out, bond. Yields nothing for a task that is refused."""
    if not joinable(task, now) or decline(task, memory, me, now) is not None:
        return
    terms, dry_run = terms_of(task), dry_run_of(task)
    if memory.terms(terms.key) is None or task.params.model_hash not in memory.models:
        yield terms
    elif not isinstance(memory.outcomes.get(dry_run.key), Done):
        yield dry_run
    else:
        yield JoinTask(task.address, task.params.collateral)


def let_go(tasks: Sequence[TaskState], memory: Memory, me: Me, now: Now) -> Iterator[Intent]:
    """Delete the initial models of tasks that this account does not join, unless another task may need them."""
    missed = {task.address: task.params.model_hash for task in tasks if me.address not in task.seats
              and task.params.model_hash in memory.models and memory.terms(terms_of(task).key) is not None
              and (not joinable(task, now) or _refused_for_good(task, memory, me))}
    needed = {task.params.model_hash for task in tasks if task.address not in missed}
    for address, model_hash in missed.items():
        if model_hash not in needed:
            yield ClearRound(address, 0, (model_hash,), ())


def decline(task: TaskState, memory: Memory, me: Me, now: Now) -> str | None:
    """Why this agent does not join, in a sentence; None if nothing known so far speaks against it."""
    reasons = refusals(task, me.limits, now)
    if task.address in me.leaving:          # while a task is joining, who leaves it has no seat any more
        reasons.append("this operator asked to leave it (bfl-agent task join takes that back)")
    return "; ".join(reasons + _refused_for_good(task, memory, me)) or None


def _refused_for_good(task: TaskState, memory: Memory, me: Me) -> list[str]:
    """Reasons that stay, whatever happens to limits, wishes and prices."""
    terms = terms_of(task)
    outcomes = (memory.outcomes.get(key) for key in (terms.key, dry_run_of(task).key))
    reasons = [outcome.reason for outcome in outcomes if isinstance(outcome, Refused)]
    specification = memory.terms(terms.key)
    if specification is not None and (reason := not_invited(specification, task, me)):
        reasons.append(reason)
    return reasons
