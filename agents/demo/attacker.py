"""A worker that cheats: `python -m agents.demo.attacker ATTACK --home DIR --task ADDRESS`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from agents.composition import run
from agents.demo.attack import Attack
from agents.demo.attacks import Disguise
from agents.home import Home
from agents.settings import load


def main() -> int:
    parser = argparse.ArgumentParser(prog="agents.demo.attacker", description=__doc__)
    parser.add_argument("attack", type=Attack)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--task", required=True)
    given = parser.parse_args()
    home = Home(given.home)
    loot = home.root / "loot.safetensors"
    return asyncio.run(run(load(home), task=given.task, disguise=lambda learner: Disguise(learner, given.attack, loot)))


if __name__ == "__main__":
    sys.exit(main())
