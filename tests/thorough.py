"""Whether tests that take minutes run too: `make chaos` asks for them."""

from __future__ import annotations

import os
from typing import Final

FULL: Final = os.environ.get("CHAOS") == "full"
