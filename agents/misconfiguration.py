"""Sentences for what is wrong with a configuration: where it stands, why it is refused, what was probably meant.

Owns `SettingsError` and the names of all settings. Must not decide which values are valid.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

PREFIX: Final = "BFL_"


class SettingsError(Exception):
    """What happened, why, and what to do. `exit_code`: 10 configuration, 11 account or password."""

    def __init__(self, what: str, why: str, do: str, *, exit_code: int = 10) -> None:
        super().__init__(f"{what} {why} {do}")
        self.what, self.why, self.do, self.exit_code = what, why, do, exit_code


def setting_names(model: type[BaseModel], at: str = "") -> tuple[str, ...]:
    """Dotted names of all settings; a table with free keys ends in a dot."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        inner = next((kind for kind in (field.annotation, *get_args(field.annotation)) if _is_model(kind)), None)
        if inner is not None:
            found += setting_names(inner, f"{at}{name}.")
        else:
            found.append(f"{at}{name}{'.' if 'Mapping' in str(field.annotation) else ''}")
    return tuple(found)


def explain(error: ValidationError, origins: Mapping[str, str], names: Sequence[str]) -> SettingsError:
    """All problems in one error; `origins` says which source gave a dotted name its value."""
    reasons = []
    for problem in error.errors(include_url=False, include_input=False):
        place = ".".join(str(part) for part in problem["loc"])
        origin = next((origins[name] for name in _prefixes(place) if name in origins), "the defaults")
        if problem["type"] == "extra_forbidden":
            reasons.append(f"{place} (in {origin}) is unknown.{_suggest(place, names)}")
        else:
            reasons.append(f"{place} (in {origin}): {problem['msg'].removeprefix('Value error, ')}.")
    what = "A setting is not valid." if len(reasons) == 1 else f"{len(reasons)} settings are not valid."
    return SettingsError(what, " ".join(reasons), "Correct it there and start again.")


def refuse_unknown_variables(variables: Iterable[str], names: Sequence[str]) -> None:
    """Raises SettingsError for a BFL_ variable that names no setting."""
    tables = {name.rsplit(".", 1)[0] for name in names if "." in name}
    free = tuple(name for name in names if name.endswith("."))
    for variable in sorted(name for name in variables if name.startswith(PREFIX)):
        name = variable.removeprefix(PREFIX).lower().replace("__", ".")
        if name in names or name in tables or name.startswith(free):
            continue
        raise SettingsError(
            f"The environment variable {variable} is unknown.{_suggest(name, names, _variable)}",
            "A misspelt name would be a setting that silently does nothing.",
            "Correct or unset it; names that begin with BFL_ belong to this program.",
        )


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _prefixes(place: str) -> Iterator[str]:
    parts = place.split(".")
    return (".".join(parts[:length]) for length in range(len(parts), 0, -1))


def _suggest(name: str, names: Sequence[str], spell: Callable[[str], str] = str) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f" Did you mean {spell(near[0].rstrip('.'))}?" if near else ""


def _variable(name: str) -> str:
    return f"{PREFIX}{name.replace('.', '__').upper()}"
