"""What an agent takes: memory, idle processor time, and how fast its commands answer.

    python -m tests.benchmarks.footprint [--data-dir DIR]      DIR: MNIST's files; else $MNIST_DIR

The learning child and a bare loop train the same share of MNIST for an epoch, each in a process of its own. The agent
is a real one: for memory over a whole demo of digits, for idleness beside a chain with nothing to do. Judged: the child
takes at most 50 MiB more than the bare loop, the agent 150 MiB and 1 % of a core; `--help` and `status` answer within
0.7 s, `doctor` within 3 s. Told but not judged: a keystore of the usual strength takes 256 MiB more for the second in
which scrypt opens it, as scrypt is meant to. Those of a demo are lighter.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from agents.core.specification import Specification, Training
from agents.effects.child_setup import Site, child_setup
from agents.effects.compute import ChildLearner
from tests.anvil import deploy, start_anvil
from tests.benchmarks.limits import Figure, judge
from tests.system.by_hand import ADDRESS, Terminals, terminals

BATCH, WORKERS, CLASSES = 64, 3, 10
BOOT_S, IDLE_S = 15.0, 30.0
ANSWERS_S = {"--help": 0.7, "status": 0.7, "doctor": 3.0}
TRIES = 5


def resident_mib(pid: int, *, peak: bool = False) -> float:
    """Memory that this process has resident now, or the most it has had so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:" if peak else "VmRSS:", 1)[1].split()[0]) / 1024


async def child_mib(data_dir: Path) -> float:
    """Of the learning child, after a genesis and an epoch of a third of MNIST."""
    specification = Specification("mnist", CLASSES, training=Training(1, BATCH, learning_rate="0.02"))
    site = Site(data_dir=data_dir, partition={"kind": "iid", "index": 0, "of": WORKERS, "seed": 0})
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        learner = ChildLearner(child_setup(specification, site), place)
        try:
            await learner.request("genesis", {"seed": 1, "out": str(place / "genesis")})
            await learner.request("train", {"base": str(place / "genesis"), "out": str(place / "model"), "seed": 1})
            assert learner.pid is not None
            return resident_mib(learner.pid, peak=True)
        finally:
            await learner.aclose()


def train_barely(data_dir: Path, pipe: Connection) -> None:
    """The same share and the same epoch by hand; answers with its peak."""
    from tests.benchmarks import federated
    from tests.benchmarks.training import bare_epoch

    model, x, y, placement = federated.bare_share(federated.Site(data_dir, 0))
    bare_epoch(model, x, y, placement)
    pipe.send(resident_mib(os.getpid(), peak=True))


def bare_mib(data_dir: Path) -> float:
    context = get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=train_barely, args=(data_dir, theirs))
    process.start()
    peak: float = mine.recv()
    process.join()
    return peak


def demo_mib() -> float:
    """The most that any agent of a demo took."""
    with tempfile.TemporaryDirectory() as folder:
        keep = Path(folder) / "demo"
        command = [str(Path(sys.executable).with_name("bfl-agent")), "demo", "--keep", str(keep)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        result = json.loads((keep / "result.json").read_text("utf-8"))
    return max(float(one["peak_rss_mib"]) for one in result["participants"])


@contextmanager
def worker_at_leisure() -> Iterator[Terminals]:
    """A worker of a factory without tasks, in `demo-worker-1`."""
    with tempfile.TemporaryDirectory() as folder, start_anvil(Path(folder), chain_id=31337) as anvil:
        factory = deploy(anvil.url).factory
        with terminals(Path(folder), anvil.url) as hand:
            account = hand.type(f"bfl-agent init --home demo-worker-1 --new-account --factory {factory} --part 0/3")
            anvil.rpc("anvil_setBalance", ADDRESS.findall(account)[0], hex(10**19))
            hand.leave_running("bfl-agent --role worker --home demo-worker-1", "worker.log")
            time.sleep(BOOT_S)
            yield hand


def idle_percent(pid: int) -> float:
    """Of a core."""
    def ticks() -> int:
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return int(user) + int(system)

    before = ticks()
    time.sleep(IDLE_S)
    return 100 * (ticks() - before) / os.sysconf("SC_CLK_TCK") / IDLE_S


def answer_s(hand: Terminals, line: str) -> float:
    """Median of a few tries."""
    took = []
    for _ in range(TRIES):
        began = time.perf_counter()
        hand.type(line)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("MNIST_DIR"))
    options = parser.parse_args(arguments)
    with worker_at_leisure() as hand:
        pid = hand.running[0].pid
        idle, resting, opening = idle_percent(pid), resident_mib(pid), resident_mib(pid, peak=True)
        answers = {name: answer_s(hand, f"bfl-agent {name} --home demo-worker-1") for name in ANSWERS_S}
    figures = [
        Figure("idle", idle, 1, "% of a core"), Figure("agent at rest", resting, 150, "MiB"),
        Figure("agent in a demo", demo_mib(), 150, "MiB"),
        *(Figure(name, answers[name], most, "s") for name, most in ANSWERS_S.items()),
    ]
    told = [f"{opening:.0f} MiB while scrypt opened a keystore of the usual strength"]
    if options.data_dir is None:
        told += ["the learning child is not measured, for want of MNIST's files: name their directory in MNIST_DIR"]
    else:
        bare, ours = bare_mib(options.data_dir), asyncio.run(child_mib(options.data_dir))
        told += [f"learning child {ours:.0f} MiB, a bare loop of the same {bare:.0f} MiB"]
        figures += [Figure("learning child above the bare loop", ours - bare, 50, "MiB")]
    return judge("footprint", figures, *told)


if __name__ == "__main__":
    raise SystemExit(main())
