"""An agent whose learner only pretends: models are known bytes that follow from what they were made from.

`python -m tests.system.stand_in --home DIR --task ADDRESS` is `bfl-agent run` otherwise. While a file
`hold/<operation>` lies in its home, that operation does not end.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from agents.composition import run
from agents.effects.ports import Progress
from agents.home import Home
from agents.settings import load

MODEL_BYTES = 4096
GENESIS = b"genesis".ljust(MODEL_BYTES, b".")
TRIAL = {"valid": True, "reason": None, "scoring_samples": 10**9, "step_seconds": 0.0, "score_seconds": 0.0,
         "train_samples": 100}


class StandIn:
    """`agents.effects.ports.Learner`. The same request always gives the same answer."""

    def __init__(self, hold: Path) -> None:
        self._hold = hold

    async def request(
        self, operation: str, fields: Mapping[str, Any], progress: Progress | None = None
    ) -> Mapping[str, Any]:
        while (self._hold / operation).exists():
            await asyncio.sleep(0.01)
        match operation:
            case "train":
                content = trained(name_of(fields["base"]), int(fields["seed"]))
            case "aggregate":
                models = [(int(model["index"]), name_of(model["path"])) for model in fields["models"]]
                content = average(name_of(fields["base"]), models)
            case "score":
                return {"lanes": _lanes(fields), "verdicts": [], "seconds": 0.1}
            case _:
                return TRIAL
        Path(fields["out"]).write_bytes(content)
        return {"hash": sha256(content).hexdigest(), "seconds": 0.1}

    async def restart(self) -> None:
        """There is no child."""


def trained(base: str, seed: int) -> bytes:
    return _content("trained", base, seed)


def average(base: str, models: Sequence[tuple[int, str]]) -> bytes:
    """The bytes that stand for the mean of these (index, SHA-256 as hex)."""
    return _content("average", base, tuple(sorted(models)))


def name_of(path: str) -> str:
    """SHA-256 of a file that must be what its name says."""
    content = Path(path).read_bytes()
    assert sha256(content).hexdigest() == Path(path).stem, path
    return Path(path).stem


def _lanes(fields: Mapping[str, Any]) -> dict[str, int]:
    base = 9000 + int(name_of(fields["base"])[:2], 16)
    lanes = {"0": base, "1": base // 2}
    for model in fields["models"]:
        if model["path"] is not None and not model["own"]:
            lanes[str(2 + model["index"])] = 9000 + int(name_of(model["path"])[:2], 16)
    return lanes


def _content(*parts: object) -> bytes:
    return sha256(repr(parts).encode()).digest() * (MODEL_BYTES // 32)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--task", required=True)
    given = parser.parse_args()
    hold = given.home / "hold"
    return asyncio.run(run(load(Home(given.home)), task=given.task, disguise=lambda _: StandIn(hold)))


if __name__ == "__main__":
    sys.exit(main())
