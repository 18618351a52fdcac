"""The setup request of the learning child: a task's specification meets one operator's data and machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.core.specification import Specification


@dataclass(frozen=True, slots=True)
class Site:
    """The operator's side. `plugins`: identifier -> path or module; `partition` as the child reads it."""

    plugins: Mapping[str, str] = field(default_factory=dict)
    data_dir: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    partition: Mapping[str, Any] | None = None
    device: str = "auto"
    threads: int = 1


def child_setup(specification: Specification, site: Site, common: Path | None = None) -> dict[str, Any]:
    """Fields of the `setup` request (agents.learning.settings). `common`: the common validation set's file."""
    s, t = specification, specification.training
    optimizer = {"name": t.optimizer, "learning_rate": t.learning_rate, "momentum": t.momentum,
                 "weight_decay": t.weight_decay}
    weights = {name: getattr(s.scoring, name) for name in ("accuracy", "precision", "recall", "consistency")}
    return {
        "task": {"id": s.task, "config": dict(s.config), "path": site.plugins.get(s.task),
                 "sha256": s.reference_sha256},
        "data": {"dir": None if site.data_dir is None else str(site.data_dir), "options": dict(site.options),
                 "partition": None if site.partition is None else dict(site.partition)},
        "training": {"local_epochs": t.local_epochs, "batch_size": t.batch_size, "optimizer": optimizer},
        "scoring": {"data": s.scoring.data, "weights": weights, "common_path": None if common is None else str(common)},
        "aggregation": {"rule": s.aggregation, "trim": s.trim},
        "classes": s.classes,
        "device": site.device,
        "threads": site.threads,
    }
