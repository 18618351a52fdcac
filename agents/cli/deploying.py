"""`bfl-agent contracts deploy`: library, implementation, factory; then their place is written into config.toml.

Owns the order and what is noted. Must not run while an agent holds the account.
"""

from __future__ import annotations

import json
import re

from agents.cli.configfile import Value, set_values
from agents.cli.failures import usage
from agents.cli.hand import Hand, open_hand
from agents.cli.session import Session, facts
from agents.crypto.privatefile import write_private
from agents.effects.deployment import deploy_contracts
from agents.notation import money


async def _first_block(hand: Hand, series: str) -> int:
    """The block before the first attempt: a repeated command must not forget it."""
    note = hand.network.chain / f"deploying{f'-{series}' if series else ''}.json"
    if note.exists():
        return int(json.loads(note.read_text("utf-8"))["start_block"])
    start = int(await hand.rpc.call("eth_blockNumber"), 16)
    write_private(note, json.dumps({"start_block": start}).encode())
    return start


async def deploy(session: Session, series: str) -> None:
    """Killed and repeated, it goes on where it was. Raises Failure, Rejected, Transient."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{0,32}", series):
        raise usage(
            f"{series!r} is no name for a series.", "It becomes part of a file's name.", "Use letters and digits."
        )
    session.confirm("Deploy a new factory (about 8 million gas)?")
    async with open_hand(session) as hand:
        start = await _first_block(hand, series)
        before = await hand.chain.balance(hand.address)
        session.note(f"Deploying from {hand.address} on chain {hand.chain_id} …")
        done = await deploy_contracts(hand.chain, series=series)
        spent = before - await hand.chain.balance(hand.address)
    values: dict[str, Value] = {"factory": done.factory, "chain_id": hand.chain_id, "start_block": start}
    set_values(session.home.config, "chain", values)
    session.show(
        {
            **values,
            "implementation": done.implementation,
            "library": done.library,
            "gas": dict(done.gas_used),
            "cost_wei": str(spent),
        },
        [
            *facts(
                [
                    ("factory", done.factory),
                    ("chain", hand.chain_id),
                    ("from block", start),
                    ("gas", sum(done.gas_used.values())),
                    ("cost", money(spent)),
                ]
            ),
            f"Written to {session.home.config}.",
            "Next: bfl-agent task create SPEC.toml; others need chain.factory, chain.chain_id, chain.start_block.",
        ],
    )
