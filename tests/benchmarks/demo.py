"""How long the demo takes: with three workers, with five, and until a second `make demo` shows that it has begun.

    python -m tests.benchmarks.demo

Judged: `wall_s` of result.json is at most 60 s with three workers and 90 s with five; a second `make demo`, with
everything set up, shows its first line, that of the local chain, within 5 s. That one is then interrupted.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.limits import Figure, judge

ROOT = Path(__file__).resolve().parents[2]
LIMITS_S = {3: 60.0, 5: 90.0}
CHAIN = "✓ local chain"
GRACE_S = 30.0


def wall_s(workers: int) -> float:
    """Seconds from the demo's start to its proof. Raises CalledProcessError if it fails."""
    with tempfile.TemporaryDirectory() as scratch:
        keep = Path(scratch) / "demo"
        command = [str(Path(sys.executable).with_name("bfl-agent")), "demo", "--workers", str(workers),
                   "--keep", str(keep)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return float(json.loads((keep / "result.json").read_text("utf-8"))["wall_s"])


def first_line_s() -> float:
    """Seconds from `make demo` to the line that says that its chain runs. Raises RuntimeError if it never says so."""
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        process = subprocess.Popen(["make", "demo", f"ARGS=--keep {scratch}/demo"], cwd=ROOT, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        assert process.stdout is not None
        said = []
        try:
            for line in process.stdout:
                said.append(line)
                if CHAIN in line:
                    return time.perf_counter() - began
            raise RuntimeError(f"make demo started no chain:\n{''.join(said)}")
        finally:
            _interrupt(process)


def _interrupt(process: subprocess.Popen[str]) -> None:
    """As Ctrl-C does: make and all below it are told, and end what they started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    try:
        process.communicate(timeout=GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def main() -> int:
    figures = [Figure(f"{workers} workers", wall_s(workers), limit, "s") for workers, limit in LIMITS_S.items()]
    return judge("demo", [*figures, Figure("a second make demo's first line", first_line_s(), 5, "s")])


if __name__ == "__main__":
    raise SystemExit(main())
