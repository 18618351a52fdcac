"""What an agent says about itself while it runs: markers, log lines and where they go.

Owns the names of log events and the structlog set-up. Must not know why something happened, and keeps no global logger:
`open_log` hands one out.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from agents.redaction import Redactor

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_LOG_BYTES: Final = 16 * 1024**2
_LOG_FILES: Final = 5

Log = FilteringBoundLogger


class Marker(StrEnum):
    """Log events, `<area>.<object>.<past participle>`; runbooks and tests wait for these names."""

    AGENT_STARTED = "agent.started"
    AGENT_RESUMED = "agent.resumed"
    AGENT_DRAINING = "agent.draining"
    AGENT_STOPPED = "agent.stopped"
    AGENT_HALTED = "agent.halted"
    AGENT_LEVEL_CHANGED = "agent.level.changed"
    HOME_LOST = "home.lost"
    HOME_REPAIRED = "home.repaired"
    LOOP_TICKED = "loop.ticked"
    FOREIGN_LOGGED = "foreign.logged"
    CHAIN_ENDPOINT_FAILED = "chain.endpoint.failed"
    CHAIN_UNREACHABLE = "chain.unreachable"
    CHAIN_RECOVERED = "chain.recovered"
    CHAIN_REORG_DETECTED = "chain.reorg.detected"
    CHAIN_LOG_SCANNED = "chain.log.scanned"
    INTENT_STARTED = "intent.started"
    INTENT_FINISHED = "intent.finished"
    INTENT_RETRIED = "intent.retried"
    INTENT_REJECTED = "intent.rejected"
    INTENT_CANCELLED = "intent.cancelled"
    TX_INTENT_RECORDED = "tx.intent.recorded"
    TX_SENT = "tx.sent"
    TX_REPLACED = "tx.replaced"
    TX_CONFIRMED = "tx.confirmed"
    TX_REVERTED = "tx.reverted"
    TX_ABANDONED = "tx.abandoned"
    TX_LOST = "tx.lost"
    TX_FEE_CAPPED = "tx.fee.capped"
    TX_UNFUNDED = "tx.unfunded"
    BLOB_PUT = "blob.put"
    BLOB_UNSEEN = "blob.unseen"
    BLOB_SEEN = "blob.seen"
    STORE_UNREACHABLE = "store.unreachable"
    STORE_RECOVERED = "store.recovered"
    DISK_REFUSED = "disk.refused"
    DISK_RECOVERED = "disk.recovered"
    TASK_CREATED = "task.created"
    TASK_DISCOVERED = "task.discovered"
    TASK_DECLINED = "task.declined"
    TASK_JOINED = "task.joined"
    TASK_STARTED = "task.started"
    TASK_LEAVING = "task.leaving"
    TASK_LEFT = "task.left"
    TASK_COMPLETED = "task.completed"
    TASK_CANCELLED = "task.cancelled"
    TASK_EXPIRED = "task.expired"
    ROUND_OPENED = "round.opened"
    ROUND_PHASE_CHANGED = "round.phase.changed"
    ROUND_MODEL_COMMITTED = "round.model.committed"
    ROUND_MODEL_PUBLISHED = "round.model.published"
    ROUND_MODEL_FETCHED = "round.model.fetched"
    ROUND_SCORE_COMMITTED = "round.score.committed"
    ROUND_SCORE_SUBMITTED = "round.score.submitted"
    ROUND_TOPK_COMPUTED = "round.topk.computed"
    ROUND_CLOSED = "round.closed"
    ROUND_CLEARED = "round.cleared"
    ROUND_DEADLINE_MISSED = "round.deadline.missed"
    ROUND_PHASE_EXTENDED = "round.phase.extended"
    ROUND_BASE_DIVERGED = "round.base.diverged"
    ROUND_BASE_RESYNCED = "round.base.resynced"
    MODEL_DELIVERED = "model.delivered"
    TRAIN_STARTED = "train.started"
    TRAIN_EPOCH_COMPLETED = "train.epoch.completed"
    TRAIN_CHECKPOINT_IGNORED = "train.checkpoint.ignored"
    TRAIN_COMPLETED = "train.completed"
    SCORE_STARTED = "score.started"
    SCORE_COMPLETED = "score.completed"
    EVAL_COMPLETED = "eval.completed"
    AGGREGATE_COMPLETED = "aggregate.completed"
    UPDATE_REJECTED = "update.rejected"
    CHILD_STARTED = "child.started"
    CHILD_ENDED = "child.ended"
    LEDGER_PENALTY_APPLIED = "ledger.penalty.applied"
    LEDGER_WITHDRAWN = "ledger.withdrawn"
    LEDGER_REFUNDED = "ledger.refunded"
    LEDGER_BURNED = "ledger.burned"
    KEY_ROTATED = "key.rotated"
    ENVELOPE_SEALED = "envelope.sealed"
    FINAL_ATTESTED = "final.attested"
    FINAL_ACCEPTED = "final.accepted"


@dataclass(slots=True)
class Threshold:
    """The least level that is written; changed while the agent runs. Raises ValueError for a name that is no level."""

    level: str = "info"

    def __post_init__(self) -> None:
        self.set(self.level)

    def set(self, level: str) -> None:
        if level not in _LEVELS:
            raise ValueError(f"{level!r} is no log level; choose one of {', '.join(_LEVELS)}")
        self.level = level

    def __call__(self, _: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if _LEVELS.get(method, 50) < _LEVELS[self.level]:
            raise structlog.DropEvent
        return event


class LogFile(RotatingFileHandler):
    """A line that cannot be written (disk full) is dropped: the agent's work goes on, and stderr still has it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        super().__init__(path, maxBytes=_LOG_BYTES, backupCount=_LOG_FILES, encoding="utf-8")
        self.setFormatter(logging.Formatter("%(message)s"))

    def _open(self) -> TextIOWrapper:
        """Also after each rotation: only the owner may read."""
        return open(self.baseFilename, "a", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Nobody to tell. The stream goes with what it could not write, or it would fail again when it is closed."""
        broken, self.stream = self.stream, None        # opened again by the next line
        if broken is not None:
            with suppress(OSError):
                broken.close()


class Sink:
    """The last stop of a log line: a JSON line in a file that rotates by size, and a line for people on stderr."""

    def __init__(self, file: Path | None, console: TextIO | None, console_format: str) -> None:
        self._file = LogFile(file) if file is not None else None
        self._console = console
        self._pretty = _pretty(console) if console is not None and console_format == "console" else None

    def write(self, **event: Any) -> None:
        line = json.dumps(event, ensure_ascii=False)
        if self._file is not None:
            self._file.emit(logging.makeLogRecord({"msg": line}))
        if self._console is not None:
            shown = self._pretty(None, event["level"], dict(event)) if self._pretty else line
            print(shown, file=self._console, flush=True)

    debug = info = warning = error = critical = write

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class ForeignHandler(logging.Handler):
    """Warnings of libraries that use `logging` join the agent's own lines, so that none is lost or unredacted."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        write = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        write(Marker.FOREIGN_LOGGED, logger=record.name, message=record.getMessage(), exc_info=record.exc_info)


@dataclass(frozen=True, slots=True)
class Telemetry:
    """An open log: bind to `log`, change `threshold` live, `close` at the end."""

    log: Log
    threshold: Threshold
    sink: Sink
    foreign: ForeignHandler

    def close(self) -> None:
        logging.getLogger().removeHandler(self.foreign)
        self.sink.close()


def open_log(
    file: Path | None,
    *,
    level: str = "info",
    console: str | None = "console",
    redactor: Redactor | None = None,
    bound: Mapping[str, Any] | None = None,
    stream: TextIO | None = None,
) -> Telemetry:
    """A logger that writes to `file` (None: nowhere) and to `stream` (default stderr; `console` None: not at all).

    `console` is "console" or "json". `bound` fields stand in every line. Raises OSError if the file cannot be opened.
    """
    threshold = Threshold(level)
    sink = Sink(file, (stream or sys.stderr) if console else None, console or "json")
    processors: list[Processor] = [
        threshold,
        _head,
        structlog.processors.format_exc_info,
        redactor or Redactor(),
    ]
    log: Log = structlog.wrap_logger(
        sink,
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(0),
        context_class=dict,
    ).bind(**bound or {})
    foreign = ForeignHandler(log)
    logging.getLogger().addHandler(foreign)
    return Telemetry(log, threshold, sink, foreign)


def _head(_: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Time (RFC 3339, UTC, milliseconds), level and marker come first in the line."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    head = {"ts": now, "level": method, "event": str(event["event"])}
    return head | {name: value for name, value in event.items() if name not in head}


def _pretty(stream: TextIO) -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty() and not os.environ.get("NO_COLOR"), timestamp_key="ts", sort_keys=False, pad_event_to=24
    )
