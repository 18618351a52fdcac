"""From a requester's SPEC.toml to the specification and the terms of a task.

Owns the file's grammar, its defaults (PROTOCOL 4.4) and the money preview. Reads the file; sends nothing.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from agents.cli.exits import Exit
from agents.cli.failures import Failure
from agents.core.specification import BadSpecification, Specification, from_document
from agents.notation import checksum_address, wei
from bfl_events.schema import Address, Params, Wei
from bfl_events.terms import (
    CollateralBounds,
    CollateralQuestion,
    collateral_bounds,
    default_collateral,
    default_top_k,
    earliest_hard_stop,
    presets,
    round_seconds,
)

_HARD_STOP_FACTOR: Final = 3
_OPEN_LIMIT: Final = wei("0.01 ether")  # the default of policy.max_open_collateral_wei
_WINDOWS: Final = {
    "join_window": 3_600,
    "train_window": 1_800,
    "open_window": 600,
    "score_window": 1_200,
    "reveal_window": 600,
    "attest_window": 1_800,
}
_GIVEN_ELSEWHERE: Final = frozenset({"allow_root", "model_hash", "spec_hash", "collateral", "hard_stop"})
_SPECIFICATION_PARTS: Final = ("training", "scoring", "aggregation")


@dataclass(frozen=True, slots=True)
class Draft:
    """A task as its requester wants it. `params` lack the hashes, the allow-list's root and, if None, the hard stop."""

    specification: Specification
    params: Params
    reward: Wei
    hard_stop: int | None
    expected_workers: int
    allowed: tuple[Address, ...]

    def at(self, now: int) -> Params:
        """The terms for a task created at `now`; without a hard stop of its own, three times the nominal length."""
        nominal = earliest_hard_stop(self.params, now) - now
        return replace(
            self.params, hard_stop=now + _HARD_STOP_FACTOR * nominal if self.hard_stop is None else self.hard_stop
        )

    def nonce(self, requester: Address, model_sha256: bytes = b"") -> bytes:
        """The same file, model and requester give the same nonce: creating it again finds the task that exists."""
        said = repr((requester, sorted(asdict(self.params).items()), self.reward, self.hard_stop))
        return hashlib.sha256(b"\0".join((self.specification.encode(), said.encode(), model_sha256))).digest()


@dataclass(frozen=True, slots=True)
class Price:
    """What the task costs and what deters cheating in it. Wei, seconds."""

    reward: int
    per_round: int
    collateral: int
    bounds: CollateralBounds | None
    nominal_s: int
    warnings: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        bounds = None if self.bounds is None else {name: str(value) for name, value in asdict(self.bounds).items()}
        return {
            "reward_wei": str(self.reward),
            "reward_per_round_wei": str(self.per_round),
            "collateral_wei": str(self.collateral),
            "bounds_wei": bounds,
            "nominal_s": self.nominal_s,
            "warnings": list(self.warnings),
        }


def read(path: Path) -> Draft:
    """Read SPEC.toml. Raises Failure, which says what is wrong and where."""
    try:
        document = tomllib.loads(path.read_text("utf-8"), parse_float=str)
    except FileNotFoundError:
        raise _wrong(path, "the file does not exist", "Start from a copy: bfl-agent init --template pytorch.") from None
    except (OSError, ValueError) as error:
        raise _wrong(path, str(error)) from None
    unknown = set(document) - {"task", "terms", *_SPECIFICATION_PARTS}
    if unknown:
        raise _wrong(path, f"unknown tables: {', '.join(sorted(unknown))}")
    try:
        return _draft(document, path.parent)
    except (BadSpecification, ValueError) as error:
        raise _wrong(path, str(error)) from None


def question(params: Params, reward: int, workers: int) -> CollateralQuestion:
    return CollateralQuestion(
        reward=reward,
        rounds=params.rounds,
        workers=workers,
        max_workers=params.max_workers,
        top_k=params.top_k,
        top_share_bps=params.top_share_bps,
        slash_bps=params.slash_bps,
        fee_bps=params.fee_bps,
        burn_bps=params.burn_bps,
    )


def price(params: Params, reward: int, workers: int, *, invited: bool) -> Price:
    """PROTOCOL 4.3 for these terms, with `workers` expected. `invited`: only an allow-list may join."""
    warnings: list[str] = []
    try:
        bounds = collateral_bounds(question(params, reward, workers))
    except ValueError as error:
        bounds = None
        warnings.append(f"no collateral deters here: {error}")
    if bounds is not None and params.collateral < bounds.average:
        warnings.append("the collateral is below the average bound: a cheat profits on average")
    elif bounds is not None and params.collateral < bounds.conservative:
        warnings.append("the collateral is below the conservative bound: some cheat may profit")
    if params.collateral > 5 * reward // params.max_workers:
        warnings.append("the collateral is above 5 x reward / maxWorkers: agents with default policies refuse to join")
    if params.collateral > _OPEN_LIMIT and not invited:
        warnings.append(
            "anybody may join, and the collateral is above 0.01 ether: agents with default policies refuse; "
            "give an allow-list ([terms] allow) or a smaller collateral"
        )
    nominal = params.join_window + params.rounds * round_seconds(params) + params.attest_window
    return Price(reward, reward // params.rounds, params.collateral, bounds, nominal, tuple(warnings))


def _draft(document: Mapping[str, Any], folder: Path) -> Draft:
    task, terms = _table(document, "task"), _table(document, "terms")
    allowed = tuple(sorted({checksum_address(a) for a in _list(terms, "allow")}, key=str.lower))
    specification = _specification(task, document, allowed, folder)
    reward = Wei(wei(_needed(terms, "reward")))
    hard_stop = terms.pop("hard_stop", None)
    collateral = terms.pop("collateral", None)
    workers = terms.pop("workers", None)
    params = _params(terms, specification.scoring.data == "common")
    amount = (
        wei(collateral) if collateral is not None else default_collateral(reward, params.rounds, params.max_workers)
    )
    params = replace(params, collateral=Wei(amount))
    expected = _integer("terms.workers", workers if workers is not None else params.min_workers)
    return Draft(
        specification,
        params,
        reward,
        None if hard_stop is None else _integer("terms.hard_stop", hard_stop),
        max(expected, 2),
        allowed,
    )


def _specification(
    task: dict[str, Any], document: Mapping[str, Any], allowed: tuple[Address, ...], folder: Path
) -> Specification:
    parts: dict[str, Any] = {name: dict(document[name]) for name in _SPECIFICATION_PARTS if name in document}
    reference = task.pop("reference", None)
    if reference is not None:
        try:
            parts["reference_sha256"] = hashlib.sha256((folder / reference).read_bytes()).hexdigest()
        except OSError as error:
            raise ValueError(f"task.reference: {reference} cannot be read ({error.strerror})") from None
    parts |= {
        "task": _needed(task, "id", "task"),
        "classes": _needed(task, "classes", "task"),
        "config": task.pop("config", {}),
    }
    if allowed:
        parts["allowed"] = sorted(address.lower() for address in allowed)
    if task:
        raise ValueError(f"[task] has unknown keys: {', '.join(sorted(task))}")
    return from_document(parts)


def _params(terms: dict[str, Any], common: bool) -> Params:
    name = terms.pop("preset", "iid")
    if name not in presets():
        raise ValueError(f"terms.preset is {name!r}; choose one of {', '.join(presets())}")
    preset = asdict(presets()[name])
    tolerance = preset.pop("common_dev_tol")
    preset["dev_tol"] = tolerance if common else preset["dev_tol"]
    values: dict[str, Any] = {
        **_WINDOWS,
        "late_join": False,
        "audit_lane": True,
        **preset,
        "rounds": _needed(terms, "rounds"),
    }
    known = {field.name for field in fields(Params)} - _GIVEN_ELSEWHERE
    unknown = set(terms) - known
    if unknown:
        raise ValueError(f"[terms] has unknown keys: {', '.join(sorted(unknown))}. Known: {', '.join(sorted(known))}")
    values |= terms
    values.setdefault("top_k", default_top_k(_integer("terms.max_workers", values["max_workers"])))
    for key, value in values.items():
        switch = key in ("late_join", "audit_lane")
        values[key] = _boolean(f"terms.{key}", value) if switch else _integer(f"terms.{key}", value)
    return Params(
        **values, hard_stop=0, collateral=Wei(0), allow_root=bytes(32), model_hash=bytes(32), spec_hash=bytes(32)
    )


def _table(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    match document.get(name):
        case dict() as table:
            return dict(table)
        case _:
            raise ValueError(f"the table [{name}] is missing")


def _needed(table: dict[str, Any], key: str, where: str = "terms") -> Any:
    if key not in table:
        raise ValueError(f"{where}.{key} is missing")
    return table.pop(key)


def _list(table: dict[str, Any], key: str) -> list[Any]:
    value = table.pop(key, [])
    if not isinstance(value, list):
        raise ValueError(f"terms.{key} must be a list of addresses")  # noqa: TRY004 - one kind of error for the file
    return value


def _integer(where: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{where} is {value!r}; a whole number is needed")
    return value


def _boolean(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{where} is {value!r}; true or false is needed")  # noqa: TRY004
    return value


def _wrong(path: Path, why: str, do: str = "Correct the file; nothing was sent.") -> Failure:
    return Failure(f"{path} describes no task.", f"{why}.", do, Exit.CONFIGURATION)
