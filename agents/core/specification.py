"""The task specification: canonical JSON on IPFS that says what to train, the same for all members (PROTOCOL 8).

Owns its grammar, limits and canonical bytes. It never names code to run: each operator looks `task` up in its own list.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any

MAX_SPECIFICATION_BYTES = 256 * 1024
AGGREGATION_RULES = ("clipped-mean", "mean", "trimmed-mean", "median", "multi-krum")
OPTIMIZERS = ("sgd", "adam", "adamw")
SCORING_DATA = ("own", "test", "common")


class BadSpecification(ValueError):
    """The bytes are no valid specification; the message says which field, why, and what is allowed."""


@dataclass(frozen=True, slots=True)
class Training:
    """Local training: epochs, batch size, and the optimiser with its settings as decimal strings."""

    local_epochs: int = 1
    batch_size: int = 32
    optimizer: str = "sgd"
    learning_rate: str = "0.05"
    momentum: str = "0.9"
    weight_decay: str = "0"


@dataclass(frozen=True, slots=True)
class Scoring:
    """Which data scores are measured on, and the weights of the metric (PROTOCOL 3.4)."""

    data: str = "own"
    accuracy: int = 4
    precision: int = 2
    recall: int = 2
    consistency: int = 2
    common_cid: str | None = None
    common_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Specification:
    """What every member must agree on. `config` goes to the plug-in's functions; `allowed` is the sorted allow-list."""

    task: str
    classes: int
    config: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    reference_sha256: str | None = None
    training: Training = Training()
    scoring: Scoring = Scoring()
    aggregation: str = "clipped-mean"
    trim: int = 1
    allowed: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """Canonical bytes: UTF-8, sorted keys, no white space, no floats."""
        return json.dumps(self.document(), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def document(self) -> dict[str, Any]:
        """The JSON document, unset fields left out."""
        training = {name: getattr(self.training, name) for name in Training.__slots__}
        scoring = {name: value for name in Scoring.__slots__ if (value := getattr(self.scoring, name)) is not None}
        document: dict[str, Any] = {
            "version": 1, "task": self.task, "classes": self.classes, "config": dict(self.config),
            "training": training, "scoring": scoring, "aggregation": {"rule": self.aggregation, "trim": self.trim},
        }
        if self.reference_sha256 is not None:
            document["reference_sha256"] = self.reference_sha256
        if self.allowed:
            document["allowed"] = list(self.allowed)
        return document


def parse(data: bytes) -> Specification:
    """Read hostile bytes. Raises BadSpecification; what it returns encodes to the same bytes."""
    if len(data) > MAX_SPECIFICATION_BYTES:
        raise BadSpecification(f"the specification has {len(data)} bytes; at most {MAX_SPECIFICATION_BYTES} are read")
    try:
        document = json.loads(data, parse_float=_no_float, parse_constant=_no_float)
    except (ValueError, RecursionError) as error:
        raise BadSpecification(f"the specification is not JSON: {error}") from None
    specification = from_document(document)
    if specification.encode() != data:
        raise BadSpecification("the specification is not canonical: UTF-8, sorted keys, no white space, every field")
    return specification


def from_document(document: Any) -> Specification:
    """A specification from decoded JSON or TOML; missing parts take their defaults. Raises BadSpecification."""
    top = _Fields(document, "specification")
    if (version := top.integer("version", 1, 1, 1)) != 1:
        raise BadSpecification(f"specification.version is {version}; this agent reads version 1")
    rule = _Fields(top.take("aggregation", {}), "aggregation")
    specification = Specification(
        task=top.text("task", None, 64),
        classes=top.integer("classes", None, 0, 100_000),
        config=MappingProxyType(_plain(top.take("config", {}), "config")),
        reference_sha256=top.digest("reference_sha256"),
        training=_training(_Fields(top.take("training", {}), "training")),
        scoring=_scoring(_Fields(top.take("scoring", {}), "scoring")),
        aggregation=rule.choice("rule", "clipped-mean", AGGREGATION_RULES),
        trim=rule.integer("trim", 1, 0, 62),
        allowed=_addresses(top.take("allowed", [])),
    )
    rule.finish()
    top.finish()
    return specification


def _training(fields: _Fields) -> Training:
    training = Training(
        local_epochs=fields.integer("local_epochs", 1, 1, 10_000),
        batch_size=fields.integer("batch_size", 32, 1, 1_000_000),
        optimizer=fields.choice("optimizer", "sgd", OPTIMIZERS),
        learning_rate=fields.decimal("learning_rate", "0.05", "100"),
        momentum=fields.decimal("momentum", "0.9", "1"),
        weight_decay=fields.decimal("weight_decay", "0", "100"),
    )
    fields.finish()
    return training


def _scoring(fields: _Fields) -> Scoring:
    scoring = Scoring(
        data=fields.choice("data", "own", SCORING_DATA),
        accuracy=fields.integer("accuracy", 4, 0, 1000),
        precision=fields.integer("precision", 2, 0, 1000),
        recall=fields.integer("recall", 2, 0, 1000),
        consistency=fields.integer("consistency", 2, 0, 1000),
        common_cid=fields.optional_text("common_cid", 128),
        common_sha256=fields.digest("common_sha256"),
    )
    fields.finish()
    if scoring.accuracy + scoring.precision + scoring.recall + scoring.consistency == 0:
        raise BadSpecification("scoring: all weights are 0; at least one must count")
    if (scoring.data == "common") != (scoring.common_cid is not None and scoring.common_sha256 is not None):
        raise BadSpecification('scoring: common_cid and common_sha256 go with data = "common", and it with them')
    return scoring


def _addresses(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > 4096:
        raise BadSpecification("allowed must be a list of at most 4096 addresses")
    for address in value:
        hexadecimal = isinstance(address, str) and len(address) == 42 and address.startswith("0x")
        if not hexadecimal or not set(address[2:]) <= set("0123456789abcdef"):
            raise BadSpecification(f"allowed: {address!r} is not a lower-case 0x address")
    if sorted(set(value)) != value:
        raise BadSpecification("allowed must be sorted and without repetition")
    return tuple(value)


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    if depth > 8:
        raise BadSpecification(f"{where} is nested deeper than 8")
    match value:
        case dict():
            if not all(isinstance(key, str) for key in value):
                raise BadSpecification(f"{where} has a key that is not a string")
            return {key: _plain(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
        case list():
            return [_plain(item, f"{where}[{place}]", depth + 1) for place, item in enumerate(value)]
        case str() | bool() | None:
            return value
        case int() if abs(value) < 2**53:
            return value
        case _:
            raise BadSpecification(f"{where} is {value!r}; decimals are written as strings, integers below 2^53")


def _no_float(text: str) -> Any:
    raise ValueError(f"the number {text} is not an integer; decimals are written as strings")


class _Fields:
    """One JSON object, taken apart key by key; what is left over is an error."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise BadSpecification(f"{where} must be an object")
        self._left = dict(value)
        self._where = where

    def take(self, name: str, default: Any) -> Any:
        value = self._left.pop(name, default)
        if value is None and default is None:
            raise BadSpecification(f"{self._where}.{name} is missing")
        return value

    def integer(self, name: str, default: int | None, low: int, high: int) -> int:
        value = self.take(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise BadSpecification(f"{self._where}.{name} is {value!r}; an integer from {low} to {high} is needed")
        return value

    def text(self, name: str, default: str | None, longest: int) -> str:
        value = self.take(name, default)
        if not isinstance(value, str) or not 0 < len(value) <= longest:
            raise BadSpecification(f"{self._where}.{name} is {value!r}; a text of 1 to {longest} characters is needed")
        return value

    def optional_text(self, name: str, longest: int) -> str | None:
        return self.text(name, None, longest) if name in self._left else None

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        value = self.take(name, default)
        if value not in allowed:
            raise BadSpecification(f"{self._where}.{name} is {value!r}; choose one of {', '.join(allowed)}")
        return str(value)

    def decimal(self, name: str, default: str, highest: str) -> str:
        value = self.take(name, default)
        try:
            number = Decimal(value) if isinstance(value, str) else Decimal("NaN")
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or not 0 <= number <= Decimal(highest) or len(value) > 32:
            raise BadSpecification(f"{self._where}.{name} is {value!r}; a decimal string from 0 to {highest} is needed")
        return str(value)

    def digest(self, name: str) -> str | None:
        if name not in self._left:
            return None
        value = self.take(name, None)
        if not isinstance(value, str) or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
            raise BadSpecification(f"{self._where}.{name} is {value!r}; 64 lower-case hex digits are needed")
        return value

    def finish(self) -> None:
        if self._left:
            raise BadSpecification(f"{self._where} has unknown keys: {', '.join(sorted(map(repr, self._left)))}")
