"""In which manner the agents of a run live: how they are started, what they learn, how long one may wait for them."""

from __future__ import annotations

from dataclasses import dataclass

from tests.crash.births import Births
from tests.crash.subject import Subject


@dataclass(frozen=True, eq=False)
class Manner:
    """`patience_s`: for all that a run waits for at one time, which is nearly all of it."""

    births: Births
    subject: Subject
    patience_s: float
