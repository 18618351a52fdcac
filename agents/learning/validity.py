"""The deterministic predicate V4 to V6 of PROTOCOL 3.4: is this file a new model of this task, trained from
this base?

Owns the verdict and its reason; judges no quality. Numpy only, on a thread whose arithmetic `exact` has
checked.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agents.learning import weights
from agents.learning.exact import Workspace, check_arithmetic, distance, lower_median, surely_apart
from agents.learning.layout import Layout, read_layout
from agents.learning.weights import Mapped

BAND = 1000.0
"""V5: a norm may be this many times smaller or larger than the lower median."""

SEPARATION = 100.0
"""V6: ‖w_i − w_k‖ ≥ ‖Δ_i‖ / this."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model as the scorer has it: no path if V1 to V3 failed. `compare` are the models it must differ from
    (V6)."""

    index: int
    path: Path | None
    compare: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class _Step:
    """A model that passed V4, ‖Δ‖ from the base, and what it must differ from."""

    model: Mapped
    norm: float
    compare: tuple[Path, ...]


@dataclass(slots=True)
class _Shelf:
    """Each file is checked and mapped once, whichever lists it stands in; None for a file that fails V4."""

    layout: Layout
    _maps: dict[Path, tuple[Mapped | None, str | None]] = field(default_factory=dict)

    def take(self, path: Path) -> tuple[Mapped | None, str | None]:
        if path not in self._maps:
            reason = weights.defect(path, self.layout)
            self._maps[path] = (None if reason else Mapped(path, self.layout), reason)
        return self._maps[path]


def judge(base: Path, genesis: Path, candidates: Sequence[Candidate]) -> dict[int, str | None]:
    """Index -> reason why the model scores 0, or None. `genesis` gives the layout, `base` is G₍r−1₎.

    Every candidate that passes V4 counts for the median of V5, so one's own model belongs among them. A file
    in `compare` that is no model itself is passed over. Raises `Failure("model")` if base or genesis are not
    valid.
    """
    check_arithmetic()
    layout = read_layout(genesis)
    ground = weights.demand(base, layout)
    shelf, space = _Shelf(layout), Workspace()
    reasons: dict[int, str | None] = {}
    steps: dict[int, _Step] = {}
    for c in candidates:
        model, reasons[c.index] = (None, "V1-V3: no model could be opened") if c.path is None else shelf.take(c.path)
        if model is not None:
            norm = distance(model.floats, ground.floats, space, weights.releasing(model, ground))
            steps[c.index] = _Step(model, norm, c.compare)
    middle = lower_median([step.norm for step in steps.values()]) if steps else 0.0
    for index, step in steps.items():
        reasons[index] = _outside(step.norm, middle) or _copied(step, shelf, space)
    return reasons


def _outside(norm: float, middle: float) -> str | None:
    if middle / BAND <= norm <= middle * BAND:
        return None
    allowed = f"{middle / BAND:.3g} to {middle * BAND:.3g}"
    return f"V5: its step has norm {norm:.3g}; {allowed} is allowed around the median"


def _copied(step: _Step, shelf: _Shelf, space: Workspace) -> str | None:
    least = step.norm / SEPARATION
    for path in step.compare:
        other = shelf.take(path)[0]
        if other is None or surely_apart(step.model.floats, other.floats, least):
            continue
        apart = distance(step.model.floats, other.floats, space, weights.releasing(step.model, other))
        if apart < least:
            return f"V6: only {apart:.3g} from {path.name}, where {least:.3g} is needed"
    return None
