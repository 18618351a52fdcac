"""README and runbooks name only commands, options, settings and log markers that exist: the real programs read them."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from agents.cli.app import app as bfl_agent
from agents.cli.arguments import arrange
from agents.home import Home
from agents.settings import Settings, load
from agents.telemetry import Marker
from bfl_events.cli import app as bfl_events

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "runbooks").glob("*.md")))
PROGRAMS = {"bfl-agent": bfl_agent, "bfl-events": bfl_events}
TASK_FILE = ROOT / "agents" / "cli" / "templates" / "digits.toml"
DOTTED = re.compile(r"`([a-z_]+(?:\.[a-z_]+)+)`")


def code_blocks(page: Path) -> list[str]:
    return re.findall(r"^ *```[a-z]*\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> Iterator[list[str]]:
    """Every command line of ours, in blocks and in the text, split into words."""
    text = page.read_text()
    inline = re.findall(r"`(bfl-(?:agent|events) [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    lines = [line for block in code_blocks(page) for line in block.splitlines()]
    for line in [*lines, *(" ".join(span.split()) for span in inline)]:
        for part in re.split(r"&&|\|\|?|;", re.sub(r"\s#.*", "", line)):
            words = shlex.split(part.replace("ExecStart=/opt/bfl-agent/.venv/bin/", ""))
            if words and words[0] in PROGRAMS:
                yield words


EVERY_COMMAND = [(page, words) for page in PAGES for words in commands(page)]


@cache
def tree(program: typer.Typer) -> Any:
    return get_command(program)


def understood(program: typer.Typer, words: list[str]) -> None:
    """Parse a command line as the program would, without running it. Raises TyperException."""
    command: Any = tree(program)
    context: Any = None
    arguments = words
    while True:
        context = command.make_context(command.name, list(arguments), parent=context)
        if not hasattr(command, "resolve_command"):
            return
        _, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])


@pytest.mark.parametrize(
    ("page", "words"), EVERY_COMMAND, ids=[f"{page.stem}:{' '.join(words)}" for page, words in EVERY_COMMAND])
def test_a_command_on_a_page_exists_with_its_options(page: Path, words: list[str]) -> None:
    program, *rest = words
    understood(PROGRAMS[program], arrange(rest) if program == "bfl-agent" else rest)


@pytest.mark.parametrize("words", [
    ["bfl-agent", "ledger", "forget"], ["bfl-agent", "init", "--pony"], ["bfl-events", "verify"],
    ["bfl-agent", "--role", "worker", "--pony"],
])
def test_a_command_that_does_not_exist_would_be_noticed(words: list[str]) -> None:
    with pytest.raises(typer.exceptions.TyperException):
        understood(PROGRAMS[words[0]], arrange(words[1:]))


def test_pages_are_read_at_all() -> None:
    said = {" ".join(words[:3]) for _, words in EVERY_COMMAND}
    assert len(EVERY_COMMAND) > 40
    assert {"bfl-agent task create", "bfl-agent ledger withdraw", "bfl-events verify events.jsonl"} <= said


def settings_blocks() -> list[tuple[Path, str]]:
    found = []
    for page in PAGES:
        for block in code_blocks(page):
            text = "\n".join(line.strip() for line in block.splitlines())
            if re.match(r"\[(?!Unit\])[a-z.]+\]\n", text):
                found.append((page, text))
    return found


@pytest.mark.parametrize(
    ("page", "text"), settings_blocks(), ids=[f"{page.stem}:{text.split()[0]}" for page, text in settings_blocks()])
def test_settings_on_a_page_are_settings(tmp_path: Path, page: Path, text: str) -> None:
    home = Home(tmp_path)
    home.create()
    (tmp_path / "task.py").write_text("")
    assert tomllib.loads(text)
    home.config.write_text(text.replace('"0x..."', f'"0x{"11" * 20}"'))
    load(home)


def settings() -> set[str]:
    sections = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {f"{section}.{name}" for section, model in sections.items()
            for name in getattr(model, "model_fields", ())}


def test_what_has_dots_on_a_page_is_a_log_marker_or_a_setting_or_a_file() -> None:
    named = {name for page in PAGES for name in DOTTED.findall(page.read_text())}
    markers = {str(marker.value) for marker in Marker}
    template = tomllib.loads(TASK_FILE.read_text().replace("# allow =", "allow ="))
    terms = {f"{section}.{name}" for section, values in template.items() for name in values}
    assert len(named & markers) > 10
    assert len(named & settings()) > 5
    assert {name for name in named - markers - settings() - terms if not name.endswith((".py", ".toml"))} == set()
