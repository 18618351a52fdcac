"""The last screen of a demo: what came out, what it cost, whether it is proven, and what to try next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agents.cli.session import short, table
from agents.notation import ether


def lines(result: Mapping[str, Any], kept: Path | None) -> Iterator[str]:
    """For people. `kept`: where the run's files lie, None if they were removed."""
    names = {one["address"]: one["name"] for one in result["participants"]}
    yield ""
    yield from table(("round", "accuracy", "precision", "recall", "averaged", "top", "train", "score", "wait"),
                     (_round(one, names) for one in result["rounds"]))
    yield ""
    yield from table(("", "account", "earned", "lost", "restarts", "memory", "+ learning"),
                     (_person(one) for one in result["participants"]))
    yield ""
    yield from table(("gas", "calls", "mean", "max"), _gas(result["gas"]))
    yield ""
    for check in result["proof"]:
        yield f"{'✓' if check['holds'] else '✗'} {check['claim']}: {check['seen']}"
    yield ""
    if "faults" in result:
        yield from _faults(result)
        yield ""
    restarts = result["restarts"]
    died = "nobody died" if not restarts else f"{restarts} restart{'s' if restarts != 1 else ''}"
    verdict = "Proven" if result["ok"] else "NOT proven"
    yield f"{verdict}: {len(result['rounds'])} rounds in {result['wall_s']:.1f} s, {died}."
    if kept is not None:
        yield f"Everything is in {kept} (result.json, events.jsonl, model.safetensors, homes and logs)."
    yield from following(kept)


def following(kept: Path | None) -> Iterator[str]:
    """Three commands to try now."""
    if kept is None:
        yield "Next:  bfl-agent demo --keep demo-1                keep the model, the event log and the agents' homes"
    else:
        events = shlex.quote(str(kept / "events.jsonl"))
        yield f"Next:  bfl-events verify {events}   recompute every payout from the log alone"
    yield "       bfl-agent demo --workers 5 --malicious 1   watch a cheater earn nothing and lose collateral"
    yield "       bfl-agent init --template pytorch          use your own model and data"


def _round(one: Mapping[str, Any], names: Mapping[str, str]) -> tuple[str, ...]:
    spent = [seconds for seconds in one["seconds"].values() if seconds]
    cells = [str(one["round"])]
    cells += ["" if one[name] is None else f"{one[name]:.4f}" for name in ("accuracy", "precision", "recall")]
    for group in ("accepted", "top"):
        who = (names.get(address, short(address)).removeprefix("worker-") for address in one[group])
        cells.append(", ".join(sorted(who)))
    for part in ("train", "score", "wait"):
        cells.append(f"{sum(seconds[part] for seconds in spent) / len(spent):.1f} s" if spent else "")
    return tuple(cells)


def _person(one: Mapping[str, Any]) -> tuple[str, ...]:
    name = one["name"] if one["malicious"] is None else f"{one['name']} ({one['malicious']})"
    paid = one["role"] == "worker"
    money = tuple(f"{ether(int(one[key]))}"[:8] if paid else "" for key in ("earned_wei", "slashed_wei"))
    memory = tuple(f"{one[key]:.0f} MiB" for key in ("peak_rss_mib", "child_peak_rss_mib"))
    return (name, short(one["address"]), *money, str(one["restarts"] or ""), *memory)


def _faults(result: Mapping[str, Any]) -> Iterator[str]:
    """What happened in a soak, and what became of each task."""
    faults = result["faults"]
    yield f"Faults of seed {faults['seed']} in {len(result['tasks'])} task{'s' if len(result['tasks']) > 1 else ''}:"
    yield from (f"  {count:4}  {what}" for what, count in faults["what"].items())
    yield from (f"     0  {what}" for what in faults["never"])
    if depths := [f"{blocks} ({count})" for blocks, count in faults["depths"].items()]:
        yield f"Blocks replaced by a reorganisation, and how often: {', '.join(depths)}"
    yield (f"Agents killed: {faults['kills']}; working again after {_of(faults['recovery_s'])}, "
           f"without waiting for a processor {_of(faults['quiet_s'])}; "
           f"back in their round after {_of(faults['resumed_s'])}; processor time {_of(faults['cpu_s'])}")
    for one in result["tasks"]:
        broken = "; ".join(f"{check['claim']}: {check['seen']}" for check in one["proof"] if not check["holds"])
        without = ", the requester dead since round 1" if one["requester_for_ever"] else ""
        told = f"NOT proven: {broken}" if broken else "proven"
        yield f"Task {short(one['address'])}: {one['faults']} faults, {one['attempts']} attempts{without}: {told}"


def _of(times: Mapping[str, Any]) -> str:
    if times["p50"] is None:
        return "nothing measured"
    return f"{times['p50']:.2f} s (p50), {times['p99']:.2f} s (p99)"


def _gas(costs: Mapping[str, Mapping[str, int]]) -> Iterator[tuple[str, ...]]:
    for name, cost in costs.items():
        yield (name, str(cost["calls"]), f"{cost['mean']:,}", f"{cost['max']:,}")
