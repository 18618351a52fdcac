"""`dataclasses.replace` for frozen dataclasses, many times faster: folding is mostly this.

Owns copying only. It skips `__init__`, so it is for classes without `__post_init__`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import fields
from itertools import repeat
from operator import attrgetter, call
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Evolve(Protocol[T]):
    """A copy of an instance in which the named fields have other values. Raises TypeError for an unknown field."""

    def __call__(self, instance: T, /, **changes: Any) -> T: ...


def evolver(cls: type[T]) -> Evolve[T]:
    """The copying function of one frozen dataclass; with slots it needs at least two fields."""
    names = tuple(field.name for field in fields(cls))  # type: ignore[arg-type]
    return _slots_evolver(cls, names) if "__slots__" in cls.__dict__ else _dict_evolver(cls, frozenset(names))


def _dict_evolver(cls: type[T], names: frozenset[str]) -> Evolve[T]:
    def evolve(instance: T, /, **changes: Any) -> T:
        if not changes.keys() <= names:
            raise TypeError(f"{cls.__name__} has no field {', '.join(sorted(changes.keys() - names))}")
        copy = object.__new__(cls)
        copy.__dict__.update(instance.__dict__)
        copy.__dict__.update(changes)
        return copy

    return evolve


def _slots_evolver(cls: type[T], names: tuple[str, ...]) -> Evolve[T]:
    setters: dict[str, Callable[[T, Any], None]] = {name: cls.__dict__[name].__set__ for name in names}
    values, assign = attrgetter(*names), tuple(setters.values())

    def evolve(instance: T, /, **changes: Any) -> T:
        copy = object.__new__(cls)
        deque(map(call, assign, repeat(copy), values(instance)), maxlen=0)   # a loop in C over the slots
        for name, value in changes.items():
            setter = setters.get(name)
            if setter is None:
                raise TypeError(f"{cls.__name__} has no field {name}")
            setter(copy, value)
        return copy

    return evolve
