"""What a run came to, read from the chain, the homes and /proc by nobody's account but their own.

`outcome` must be equal for a killed run and the undisturbed one. `faults` must be empty for every run.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from agents.storage.cid import to_text
from bfl_events import schema as ev
from bfl_events.decode import decode_log
from bfl_events.schema import Record
from bfl_events.verify import verify
from tests.crash.stage import CHAIN_ID, EVERYBODY, FUNDS, RETAINED, ROUNDS, WORKERS, Stage
from tests.system.demo_process import command_lines

ONCE = (ev.ModelCommitted, ev.ModelSubmitted, ev.ScoresCommitted, ev.ScoresSubmitted)


@dataclass(frozen=True)
class Outcome:
    """`wei`: what each account is richer by, fees for gas put back. `models`: (round, worker) -> what it opened."""

    final: bytes
    delivered: bytes
    bases: Mapping[int, frozenset[bytes]]
    models: Mapping[tuple[int, str], bytes]
    accepted: Mapping[int, tuple[int, int]]
    wei: Mapping[str, int]
    attempts: int
    penalties: tuple[tuple[int, str, int, int], ...]
    files: frozenset[str]

    def comparable(self) -> Outcome:
        """For a run in which something was lost that nobody needs again: all but the files."""
        return replace(self, files=frozenset())


def records(stage: Stage) -> list[Record]:
    """Every log of factory and task, from the chain itself."""
    query = {"fromBlock": "0x0", "toBlock": "latest", "address": [stage.factory, stage.task]}
    times: dict[str, str] = {}
    found = []
    for log in stage.anvil.rpc("eth_getLogs", query):
        number = log["blockNumber"]
        if number not in times:
            times[number] = stage.anvil.rpc("eth_getBlockByNumber", number, False)["timestamp"]
        found.append(decode_log({**log, "blockTimestamp": times[number]}))
    return found


def outcome(stage: Stage) -> Outcome:
    log = records(stage)
    names = {address: name for name, address in stage.addresses.items()}
    bases: dict[int, set[bytes]] = defaultdict(set)
    models, accepted, penalties, attempts, final = {}, {}, [], 0, b""
    for event in (record.event for record in log):
        match event:
            case ev.ModelCommitted():
                bases[event.round].add(event.base_hash)
            case ev.ModelSubmitted():
                models[event.round, names[event.worker]] = event.model_hash
            case ev.RoundScored():
                accepted[event.round] = (event.accepted, event.top_k)
            case ev.WorkerPenalized():
                penalties.append((event.round, names[event.worker], event.reason, event.amount))
            case ev.RoundAdvanced():
                attempts += 1
            case ev.FinalModelAccepted():
                final = event.final_hash
    result = stage.home("requester").result(stage.task)
    return Outcome(
        final, hashlib.sha256(result.read_bytes()).digest(), {r: frozenset(found) for r, found in bases.items()},
        models, accepted, {name: wealth(stage, address) for name, address in stage.addresses.items()}, attempts,
        tuple(sorted(penalties)), frozenset(files(stage)))


def wealth(stage: Stage, address: str) -> int:
    """Balance less what it began with, plus all that was paid for gas."""
    balance = int(stage.anvil.rpc("eth_getBalance", address, "latest"), 16)
    return balance - FUNDS + stage.anvil.burnt_for_gas(address)


def files(stage: Stage) -> Iterator[str]:
    """Everything below the homes but logs. Keys that the agents made themselves go by their number."""
    for name in EVERYBODY:
        keys = sorted(stage.home(name).encryption_keys.glob("RSA--*.pem"))
        for path in stage.home(name).root.rglob("*"):
            if not path.is_dir() and path.suffix != ".log":
                shown = path.with_name(f"RSA-{keys.index(path)}.pem") if path in keys else path
                yield str(shown.relative_to(stage.directory))


def _announced(stage: Stage, name: str) -> set[str]:
    """What the task publishes, and what the chain says this agent has published for rounds not yet cleared."""
    found = set()
    for event in (record.event for record in records(stage)):
        match event:
            case ev.ModelSubmitted(worker=who) | ev.Notice(sender=who) if who == stage.addresses[name]:
                found |= {event.cid} if event.round >= ROUNDS - RETAINED else set()
            case ev.FinalAttested(worker=who) if who == stage.addresses[name]:
                found.add(event.cid)
    return {to_text(cid) for cid in (*found, *stage.public) if cid}


def _needed(stage: Stage, name: str) -> set[str]:
    """What the task publishes, and what this agent's journal says it has published for rounds not yet cleared."""
    database = sqlite3.connect(stage.network(name).journal)
    rows = database.execute("SELECT key, body FROM outcome WHERE kind = 'Published'").fetchall()
    database.close()
    kept = {to_text(bytes.fromhex(json.loads(body)["cid"])) for key, body in rows if _round(key) >= ROUNDS - RETAINED}
    return kept | {to_text(cid) for cid in stage.public}


def _round(key: str) -> int:
    """Of an intent that publishes, or of the envelope that it was about to."""
    kind, _, *rest = key.removeprefix("sealed:").split(":")
    return int(rest[0 if kind == "publish" else 1])


def faults(stage: Stage, pins: Callable[[str], set[str]], restored: str = "", *, undone: bool = False) -> list[str]:
    """Sentences; empty if all is well. `pins` tells which blobs an account keeps in the store.

    `restored`: whose home was put back, so that neither its outbox nor its journal knows everything.
    `undone`: the chain has lost blocks, perhaps one with an audit seed: a worker may have committed scores on it.
    """
    log = records(stage)
    found = [str(one) for one in verify(log, chain_id=CHAIN_ID)]
    submitted: defaultdict[tuple[str, str, int, int], list[ev.Event]] = defaultdict(list)
    for event in (record.event for record in log):
        if isinstance(event, ONCE):
            submitted[type(event).__name__, event.worker, event.round, event.attempt].append(event)
    found += [f"{len(events)} times {what}" for what, events in submitted.items()
              if len(events) > 1 and not (undone and _replaced(events))]
    expected = ROUNDS * len(WORKERS) * len(ONCE)
    if len(submitted) != expected:
        found.append(f"{len(submitted)} submissions instead of {expected}")
    found += [f"{name}: {why}" for name in EVERYBODY if name != restored for why in _nonces(stage, name)]
    found += [f"{pid} still runs: {line[:200]}" for pid, line in command_lines()
              if "anvil" not in line and str(stage.directory) in f"{line} {_working_directory(pid)}"]
    left = [str(path.relative_to(stage.directory)) for path in stage.directory.rglob("*")
            if path.name.endswith((".part", ".partial", ".sock")) or path.parent.name in ("envelopes", "checkpoints")]
    found += [f"{name} was left behind" for name in left]
    needed = {name: (_announced if name == restored else _needed)(stage, name) for name in EVERYBODY}
    return found + [f"{name} keeps {count} blobs that nobody needs" for name in EVERYBODY
                    if (count := len(pins(name) - needed[name]))]


def _replaced(events: Sequence[ev.Event]) -> bool:
    """Whether a worker has put other scores in place of its first ones, once."""
    match events:
        case [ev.ScoresCommitted() as first, ev.ScoresCommitted() as second]:
            return first.commitment != second.commitment
    return False


def _working_directory(pid: int) -> str:
    """A learning child shows whose it is by nothing else."""
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def _nonces(stage: Stage, name: str) -> Iterator[str]:
    """The outbox knows each nonce that the chain has counted, and no other; no intent took effect twice."""
    counted = int(stage.anvil.rpc("eth_getTransactionCount", stage.addresses[name], "latest"), 16)
    database = sqlite3.connect(stage.network(name).outbox)
    rows = database.execute("SELECT nonce, key FROM slot ORDER BY nonce").fetchall()
    versions = {bytes(tx): nonce for tx, nonce in database.execute("SELECT hash, nonce FROM attempt WHERE NOT void")}
    database.close()
    first = 1 if name == "requester" else 0        # its createTask was sent from here
    if [nonce for nonce, _ in rows] != list(range(first, counted)):
        yield f"its outbox has the nonces {[nonce for nonce, _ in rows]}, the chain counts {counted}"
    keys = dict(rows)
    effects = Counter(keys[versions[tx]] for tx in _effective(stage, name) if tx in versions)
    yield from (f"{key} took effect {times} times" for key, times in effects.items() if times > 1)


def _effective(stage: Stage, name: str) -> Iterator[bytes]:
    """Hashes of the account's transactions that did not revert."""
    for tx in stage.anvil.transactions():
        own = tx["from"].lower() == stage.addresses[name].lower()
        if own and stage.anvil.rpc("eth_getTransactionReceipt", tx["hash"])["status"] == "0x1":
            yield bytes.fromhex(tx["hash"][2:])
