"""`doctor --data`: builds the model and loads the data of one specification in the learning child, as a round would."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agents.cli.checks import Check, fail, ok, warn
from agents.cli.failures import Failure
from agents.cli.learner import open_learner
from agents.cli.terms import read
from agents.core.specification import Specification
from agents.effects.ports import LearnerFailed, Transient
from agents.settings import Settings


async def try_data(settings: Settings, spec: Path) -> list[Check]:
    """What the task's code and this operator's data give. Trains nothing."""
    try:
        specification = read(spec).specification
    except Failure as failure:
        return [fail("data", spec.name, f"{failure.what} {failure.why}", failure.do)]
    with tempfile.TemporaryDirectory(prefix="bfl-doctor-") as work:
        try:
            async with open_learner(settings, specification, Path(work)) as learner:
                found = await learner.request("describe", {})
        except LearnerFailed as error:
            return [fail("data", specification.task, str(error), error.advice)]
        except Transient as error:
            return [fail("data", specification.task, str(error), "see the message; try again")]
    return list(_findings(settings, specification, found))


def _findings(settings: Settings, specification: Specification, found: Mapping[str, Any]) -> Iterator[Check]:
    least, labels, scoring = settings.policy.min_validation, len(found["labels_seen"]), int(found["scoring_samples"])
    samples = f"{found['train_samples']} train, {scoring} to score with, {labels} of {found['classes']} labels"
    if scoring < least:
        remedy = f"hold out more: policy.min_validation is {least}"
        yield fail("data", specification.task, samples, remedy)
    else:
        yield ok("data", specification.task, f"{samples}; {found['parameters']} parameters")
    reference = specification.reference_sha256
    if reference is not None and reference != found["reference_sha256"]:
        result = "is not the file that the specification names"
        yield warn("plug-in", specification.task, result, "compare your task.py with the requester's")
