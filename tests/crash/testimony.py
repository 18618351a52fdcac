"""What the witnesses of one run have told: who passed which durable steps, and what was written outside of them."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.crash import matrix
from tests.crash.stage import REQUESTER


def told(path: Path) -> list[dict[str, Any]]:
    """The lines, as `witness.py` writes them; none of a run that nobody watched."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def passed(path: Path) -> dict[str, set[str]]:
    """By name. A learning child passes for its agent."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for line in told(path):
        if "passed" in line:
            found[line["who"]].add(line["passed"])
    return found


def surprises(path: Path, *, kubo: bool) -> list[str]:
    """Sentences: writes outside all named steps, and steps that their agent has no place for in the matrix."""
    strange = [f"{line['who']} wrote {line['what']} outside a named step: {line['escaped']} in {line['where']}"
               for line in told(path) if "escaped" in line]
    for who, steps in passed(path).items():
        foreseen = matrix.REQUESTER if who == REQUESTER else matrix.WORKER
        more = (matrix.KUBO_REQUESTER if who == REQUESTER else matrix.KUBO) if kubo else frozenset()
        strange += [f"{who} passes {step}, and is killed there by nobody" for step in sorted(steps - foreseen - more)]
    return strange
