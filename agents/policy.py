"""An operator's settings as the values that core and effects take. Owns no default and no rule."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from agents.core.specification import Specification
from agents.core.state import Limits
from agents.core.trial import Trials
from agents.effects.child_setup import Site
from agents.settings import Policy, Settings

BUILT_IN = frozenset({"digits", "mnist", "fashion-mnist", "cifar10"})


def limits_of(policy: Policy) -> Limits:
    """The core's limits: fields of the same names."""
    values: dict[str, Any] = {field.name: getattr(policy, field.name) for field in fields(Limits)}
    values |= {name: frozenset(value) for name, value in values.items() if isinstance(value, tuple)}
    return Limits(**values)


def trials_of(policy: Policy) -> Trials:
    """What the dry run must show: fields of the same names."""
    return Trials(**{field.name: getattr(policy, field.name) for field in fields(Trials)})


def site_of(settings: Settings) -> Site:
    """The operator's side of learning; a relative data folder lies in the home."""
    learning = settings.learning
    partition = None if learning.partition is None else learning.partition.model_dump(mode="json")
    folder = None if learning.data_dir is None else settings.home.root / learning.data_dir.expanduser()
    return Site(settings.plugins, folder, learning.options, partition, learning.device, learning.threads or 1)


def unknown_task(settings: Settings, specification: Specification) -> str | None:
    """Why this operator cannot train the task, or None: only what is installed or built in is ever run."""
    if specification.task in BUILT_IN or specification.task in settings.plugins:
        return None
    return (f"it needs the task {specification.task!r}, which is neither built in ({', '.join(sorted(BUILT_IN))}) nor "
            f"among learning.plugins. Add a line {specification.task} = \"task.py\" there if you trust and have it")
