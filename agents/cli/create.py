"""`bfl-agent task create`: from SPEC.toml to a funded task, once, however often the command is repeated.

Owns the order: what is shown, what is asked, what is published, what is sent. The contract decides what is valid.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agents.cli.exits import Exit
from agents.cli.failures import Failure, usage
from agents.cli.hand import Hand, open_hand
from agents.cli.learner import open_learner
from agents.cli.reach import open_blobs
from agents.cli.session import Session
from agents.cli.task_views import price_lines
from agents.cli.terms import Draft, Price, price, read
from agents.cli.view import View, look, needed_factory
from agents.crypto.allowlist import merkle_root
from agents.crypto.privatefile import write_private
from agents.effects.contracts import CreatedTask
from agents.effects.deployment import check_factory
from agents.effects.model_files import ModelFiles, digest_of
from agents.effects.ports import Transient
from agents.identity import Identity, choose, password
from agents.keyring import Keyring
from agents.notation import money
from agents.policy import unknown_task
from bfl_events.commitment import Creation
from bfl_events.schema import Params
from bfl_events.terms import check_params, earliest_hard_stop

_CREATE_GAS = 600_000  # createTask, PROTOCOL 3.5, with room


@dataclass(frozen=True, slots=True)
class Plan:
    """What is about to be created. `terms` lack the hashes of what is not published yet. `key`: the requester's, DER,
    where an earlier try has published it already."""

    draft: Draft
    terms: Params
    nonce: bytes
    priced: Price
    note: Path
    key: bytes | None


async def create(session: Session, spec: Path, *, dry_run: bool, nonce: str | None, model: Path | None) -> None:
    """Raises Failure and whatever chain, store and child raise; nothing is sent before the question is answered."""
    draft = read(spec)
    view = await look(session)
    identity = choose(session.home, session.settings.account.address)
    plan = _plan(draft, view, _nonce(nonce) or draft.nonce(identity.address, digest_of(model) if model else b""))
    existing = next((t for t in view.tasks if (t.requester, t.nonce) == (identity.address, plan.nonce)), None)
    if existing is not None:
        _show(session, existing.address, plan, created=False, extra={"phase": existing.phase.name.lower()})
        return
    if (reason := unknown_task(session.settings, draft.specification)) is not None:
        raise Failure("This task cannot be created here.", f"{reason}.", "Nothing was sent.", Exit.PLUGIN)
    for line in price_lines(plan.priced):
        session.note(line)
    if dry_run:
        document = {"dry_run": True, "nonce": plan.nonce.hex(), "requester": identity.address}
        lines = [f"Nothing was published or sent. Requester {identity.address}."]
        session.show(document | plan.priced.document(), lines)
        return
    session.confirm(f"Create this task and pay {money(draft.reward)} into it?")
    made = await _carry_out(session, plan, identity, model)
    _show(session, made.address, plan, created=made.receipt is not None, extra=_receipt(made))


async def _carry_out(session: Session, plan: Plan, identity: Identity, model: Path | None) -> CreatedTask:
    factory = needed_factory(session.settings)
    async with open_hand(session) as hand:
        await check_factory(hand.chain, factory)
        await _afford(hand, plan.draft.reward)
        secret = password(session.home, session.settings.account)
        keyring = await asyncio.to_thread(Keyring, session.home, identity, secret)
        creation = await _publish(session, hand, plan, plan.key or keyring.newest(), model)
        session.note("Creating the task …")
        return await hand.chain.create_task(factory, creation)


def _plan(draft: Draft, view: View, nonce: bytes) -> Plan:
    """Check the terms as the contract will. Hard stop and key are noted: a repeated command means the same task,
    also if the key was changed since."""
    now = int(view.now)
    note = view.network.root / "creating" / f"{nonce.hex()}.json"
    noted = json.loads(note.read_text("utf-8")) if note.exists() else {}
    terms = draft.at(now)
    if draft.hard_stop is None and (hard_stop := int(noted.get("hard_stop", 0))) >= earliest_hard_stop(terms, now):
        terms = replace(terms, hard_stop=hard_stop)
    key = bytes.fromhex(noted["key"]) if "key" in noted else None        # notes of older versions have none
    if reasons := check_params(terms, now, draft.reward):
        raise Failure(
            "The contract would refuse these terms.",
            "; ".join(reasons) + ".",
            "Correct [terms]; nothing was sent.",
            Exit.CONFIGURATION,
        )
    return Plan(
        draft, terms, nonce, price(terms, draft.reward, draft.expected_workers, invited=bool(draft.allowed)), note, key
    )


async def _afford(hand: Hand, reward: int) -> None:
    balance, gas_price = await hand.chain.balance(hand.address), int(await hand.rpc.call("eth_gasPrice"), 16)
    needed = reward + _CREATE_GAS * gas_price
    if balance < needed:
        raise Failure(
            "The account cannot pay for this task.",
            f"{hand.address} holds {money(balance)}; {money(needed)} are needed (reward and gas).",
            f"Send it {money(needed - balance)} more; nothing was sent.",
            Exit.FUNDS,
        )


async def _publish(session: Session, hand: Hand, plan: Plan, requester_key: bytes, model: Path | None) -> Creation:
    """Specification and initial model into the store, pinned under this account; what the chain will say of them."""
    work = hand.network.work / f"create-{plan.nonce.hex()[:16]}"
    work.mkdir(parents=True, exist_ok=True)
    written, specification = plan.draft.specification.encode(), work / "specification.json"
    specification.write_bytes(written)
    async with open_blobs(session.settings, hand.address) as store:
        await store.probe()
        genesis = await _genesis(session, plan, work, model)
        session.note("Publishing specification and initial model …")
        spec_cid, model_cid = await store.put(specification), await store.put(genesis)
    digest = digest_of(genesis)
    ModelFiles(hand.network.models).adopt(genesis, digest)
    root = (
        merkle_root(bytes.fromhex(address[2:]) for address in plan.draft.allowed) if plan.draft.allowed else bytes(32)
    )
    note = {"hard_stop": plan.terms.hard_stop, "model": digest.hex(), "key": requester_key.hex()}
    write_private(plan.note, json.dumps(note).encode())
    shutil.rmtree(work, ignore_errors=True)
    spec_hash = hashlib.sha256(written).digest()
    terms = replace(plan.terms, spec_hash=spec_hash, model_hash=digest, allow_root=root)
    return Creation(hand.address, plan.nonce, terms, spec_cid, model_cid, requester_key, plan.draft.reward)


async def _genesis(session: Session, plan: Plan, work: Path, model: Path | None) -> Path:
    """A fresh model drawn from the nonce, or a copy of the given one once it fits the task. Canonical bytes."""
    session.note("Building the initial model (starts torch) …")
    fresh = work / "genesis.safetensors"
    seed = int.from_bytes(plan.nonce[:7], "big")
    try:
        async with open_learner(session.settings, plan.draft.specification, work) as learner:
            await learner.request("genesis", {"seed": seed, "out": str(fresh)})
            if model is None:
                return fresh
            checked: Mapping[str, Any] = await learner.request(
                "check", {"path": str(model.absolute()), "genesis": str(fresh)}
            )
    except Transient as error:
        do = "Repeat the command; nothing was sent."
        raise Failure("The initial model was not built.", f"{error}.", do, Exit.PLUGIN) from None
    if not checked["valid"]:
        raise Failure(
            f"{model} is no initial model for this task.",
            f"{checked['reason']}.",
            "Save it with the task's own names, shapes and dtypes.",
            Exit.PLUGIN,
        )
    fresh.write_bytes(model.read_bytes())
    return fresh


def _nonce(text: str | None) -> bytes | None:
    if text is None:
        return None
    if text == "random":
        return secrets.token_bytes(32)
    try:
        nonce = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        nonce = b""
    if len(nonce) != 32:
        raise usage(
            "This is no nonce.",
            "It has 64 hex digits, or is the word random.",
            "Leave --nonce out: it is derived from the file.",
        )
    return nonce


def _receipt(made: CreatedTask) -> dict[str, Any]:
    if made.receipt is None:
        return {}
    return {"tx": f"0x{made.receipt.tx.hex()}", "block": made.receipt.block, "gas": made.receipt.gas_used}


def _show(session: Session, address: str, plan: Plan, *, created: bool, extra: Mapping[str, Any]) -> None:
    what = "created" if created else "there already (same file, same requester; another one: --nonce random)"
    session.show(
        {"task": address, "created": created, "nonce": plan.nonce.hex(), **plan.priced.document(), **extra},
        [
            f"{address}",
            f"{what}; reward {money(plan.draft.reward)}",
            f"Next: bfl-agent --role requester --task {address}",
            f"      workers: bfl-agent --role worker --task {address}",
        ],
    )
