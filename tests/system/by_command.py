"""`bfl-agent` as an operator types it, but with the stand-in for its learner.

`python -m tests.system.by_command task join ADDRESS --home DIR`.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from agents import composition
from agents.cli.app import invoke
from tests.system.stand_in import StandIn


def main() -> int:
    composition.run = partial(composition.run, disguise=lambda _: StandIn(Path("holds nothing")))
    return invoke(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
