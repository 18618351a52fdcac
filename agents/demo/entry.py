"""What `bfl-agent demo` does around the run: checks the wish, makes the directory, hears Ctrl-C, shows the result."""

from __future__ import annotations

import asyncio
import json
import secrets
import shlex
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from agents.cli.exits import Exit
from agents.cli.failures import Failure, usage
from agents.cli.session import Session
from agents.demo import summary
from agents.demo.chaos import Chaos, Kind
from agents.demo.display import Display
from agents.demo.plan import Plan
from agents.demo.run import perform
from agents.demo.soak import endure

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SEEDS: Final = 1_000_000       # enough to find something new, few enough to be typed


@dataclass(frozen=True, slots=True)
class Wish:
    """The options of the command. `seed` None: the same data every time, and other faults every time."""

    workers: int
    rounds: int
    task: str
    data_dir: Path | None
    malicious: int
    attacks: tuple[str, ...]
    seed: int | None
    keep: Path | None
    chaos: str = ""
    minutes: float = 1.0
    every_fault: bool = False


def demonstrate(wish: Wish, session: Session) -> int:
    """Run it and return the exit code. Raises Failure."""
    seed = wish.seed if wish.seed is not None else secrets.randbelow(_SEEDS) if wish.chaos else 0
    chaos = _check(wish, seed)
    directory = _directory(wish.keep)
    plan = Plan(directory, wish.workers, wish.rounds, wish.task, wish.data_dir, wish.malicious, wish.attacks, seed,
                long_rounds=chaos is not None)
    done = False
    try:
        with Display(quiet=session.as_json) as display:
            display.say(f"bfl-agent {version('bfl-agent')} · demo · 1 requester, {wish.workers} workers, "
                        f"{wish.rounds} rounds, {wish.task}")
            if chaos is not None:
                display.say(f"{wish.chaos} for {wish.minutes:g} minutes, seed {seed}")
            outcome = asyncio.run(_interruptible(plan, chaos, display))
        if isinstance(outcome, signal.Signals):
            done = True
            session.note(f"\nStopped by {outcome.name}. Nothing is left running.")
            return 128 + outcome
        done = bool(outcome["ok"])
        session.show(outcome, summary.lines(outcome, directory if wish.keep or not done else None))
        return Exit.OK if done else Exit.ENDED_BADLY
    finally:
        if chaos is not None and not done:
            _tell(again(replace(wish, seed=seed)), session)
        if wish.keep is None:
            _tidy(directory, done, session)


def again(wish: Wish) -> str:
    """The command line that repeats a soak with the faults of its seed."""
    words: list[object] = ["bfl-agent", "demo", "--chaos", wish.chaos, "--seed", wish.seed, "--workers", wish.workers,
                           "--rounds", wish.rounds, "--minutes", f"{wish.minutes:.15g}"]
    if wish.task != "digits":
        words += ["--task", wish.task]
    if wish.data_dir is not None:
        words += ["--data-dir", wish.data_dir]
    if wish.malicious:
        words += ["--malicious", wish.malicious, "--attack", ",".join(wish.attacks)]
    if wish.every_fault:
        words.append("--every-fault")
    return shlex.join(map(str, words))


def _tell(command: str, session: Session) -> None:
    """On stderr whoever listens: without the seed nobody could find out what happened."""
    sys.stderr.write((json.dumps({"again": command}) if session.as_json else f"again: {command}") + "\n")


async def _interruptible(plan: Plan, chaos: Chaos | None, display: Display) -> dict[str, Any] | signal.Signals:
    """The result, or the signal that ended it early."""
    heard: list[signal.Signals] = []
    work = perform(plan, display) if chaos is None else endure(plan, chaos, display)
    run = asyncio.create_task(work, name="demo")

    def stop(number: signal.Signals) -> None:
        heard.append(number)
        run.cancel()

    loop = asyncio.get_running_loop()
    for number in _STOPS:
        loop.add_signal_handler(number, stop, number)
    with suppress(asyncio.CancelledError):
        return await run
    return heard[0]


def _check(wish: Wish, seed: int) -> Chaos | None:
    """The chaos that is wished for, if any. Raises Failure for a wish that makes no sense."""
    if wish.malicious >= wish.workers:
        raise usage(f"{wish.malicious} of {wish.workers} workers would cheat.", "Somebody has to be honest.",
                    "Ask for more workers, or for fewer cheats.")
    if wish.task == "mnist" and wish.data_dir is not None and not wish.data_dir.is_dir():
        raise Failure(f"{wish.data_dir} is no directory.", "MNIST's files are looked for there.",
                      "Correct --data-dir, or leave it out to download them.", Exit.CONFIGURATION)
    if not wish.chaos:
        return None
    try:
        kinds = frozenset(Kind(name.strip()) for name in wish.chaos.split(","))
    except ValueError:
        raise usage(f"--chaos {wish.chaos} is no list of faults.", f"There are {', '.join(Kind)}.",
                    "Name some of them, with commas between.") from None
    return Chaos(kinds, seed, wish.minutes, wish.every_fault)


def _directory(keep: Path | None) -> Path:
    """A new or empty directory, made now. Raises Failure."""
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="bfl-demo-"))
    directory = keep.resolve()
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise usage(f"{keep} is not empty.", "A demo's results get a directory of their own.", "Name another one.")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _tidy(directory: Path, done: bool, session: Session) -> None:
    if done:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        session.note(f"The run's files are kept in {directory}.")
