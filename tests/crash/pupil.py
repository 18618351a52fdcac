"""The learning child with a workbench that needs no torch: `python -m tests.crash.pupil`, else the product's own."""

from __future__ import annotations

import os
import sys

from tests.crash import workbench
from tests.crash.witness import watch_if_asked

if __name__ == "__main__":
    sys.modules["agents.learning.workbench"] = workbench
    from agents.learning.child import main

    watch_if_asked(os.environ, requests=False)
    os._exit(main())
