"""Writes contracts/test/vectors/rules.json: the numbers that bfl_events.rules and the contract must both find.

    python -m tests.vectors.make

The answers come from naive_rules, which shares no code with either.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from tests.vectors import naive_rules as naive
from tests.vectors.deadlines import attestations, deadlines
from tests.vectors.judgements import judgements
from tests.vectors.settlements import settlements

FILE = Path(__file__).parents[2] / "contracts/test/vectors/rules.json"


def main() -> None:
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text())


def text() -> str:
    """The whole file: a case a line."""
    sections = {
        "medians": medians(), "quorums": quorums(), "payouts": payouts(), "judgements": judgements(),
        "settlements": settlements(), "deadlines": deadlines(), "attestations": attestations(),
    }
    parts = (f' "{name}": [\n  ' + ",\n  ".join(json.dumps(case) for case in cases) + "\n ]"
             for name, cases in sections.items())
    return "{\n" + ",\n".join(parts) + "\n}\n"


def medians() -> Iterator[dict[str, Any]]:
    dice = Random(1)
    for m in (*range(12), 15, 16, 17, 63, 64, 125, 126):
        for most in (1, 10_000):
            values = [dice.randint(0, most) for _ in range(m)]
            yield {"values": values, "upper": naive.median(values, upper=True),
                   "lower": naive.median(values, upper=False)}


def quorums() -> Iterator[dict[str, Any]]:
    for n in range(2, 127):
        yield {"n": n, "quorum": naive.quorum(n), "fineQuorum": naive.fine_quorum(n)}


def payouts() -> Iterator[dict[str, Any]]:
    dice = Random(2)
    edges = [(1, 3, 1), (2, 2, 3), (2, 3, 3), (3, 3, 2), (4, 4, 9), (5, 5, 2), (126, 126, 126), (126, 126, 1),
             (125, 126, 200), (0, 3, 2), (0, 2, 2)]
    drawn = [(dice.randint(1, 126), dice.randint(2, 126), dice.randint(1, 126)) for _ in range(60)]
    for eligible, revealers, top_k in edges + [(min(e, r), r, k) for e, r, k in drawn]:
        rounds, left = dice.randint(1, 100), dice.choice((0, 1, 997, 10**18 + 1, 3 * 10**24 + 7))
        number, pool = dice.randint(1, rounds), dice.choice((0, 1, 10**17 + 3))
        bps = dice.choice((5000, 7000, 9999, 10_000))
        k = naive.top_size(eligible, revealers, top_k)
        reward = left // (rounds - number + 1)
        per = naive.shares(reward, pool, eligible, k, bps) if eligible else (0, 0, 0)
        yield {"rewardLeft": str(left), "rounds": rounds, "round": number, "pool": str(pool), "eligible": eligible,
               "revealers": revealers, "topK": top_k, "topShareBps": bps, "reward": str(reward), "top": k,
               "perTop": str(per[0]), "perRest": str(per[1]), "perForfeit": str(per[2])}


if __name__ == "__main__":
    main()
