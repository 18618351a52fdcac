"""What one child can be asked: its operations, over one task and one operator's data. Each reads and writes
files that the caller names and answers plain JSON values. Torch is imported by the operations that need it,
not before."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.learning import weights
from agents.learning.aggregate import aggregate
from agents.learning.audit import write_audit_model
from agents.learning.exact import ExactThread
from agents.learning.failure import Failure
from agents.learning.layout import read_layout
from agents.learning.settings import Settings
from agents.learning.trials import trial_folder
from agents.learning.validity import Candidate, judge

if TYPE_CHECKING:
    from agents.learning.workbench import Workbench

Request = Mapping[str, Any]
Answer = dict[str, Any]
Report = Callable[[Mapping[str, Any]], None]


class Session:
    """Answers requests one at a time. `exact` runs whatever must be bit-identical, the rest runs where it is called.
    `stop()`: whether training is to end at its next checkpoint.

    warm                                     -> seconds
    describe                                 -> parameters model_bytes train_samples validation_samples scoring_samples
                                                classes labels_seen reference_sha256
    genesis   seed out                       -> hash bytes
    check     path genesis                   -> valid reason (V4)
    train     base out seed [checkpoint_dir] -> hash bytes samples seconds first_step_at last_step_at losses
    score     base genesis beta models       -> lanes verdicts seconds; a model: index path [compare] [own]
    aggregate base models out                -> hash bytes norms clipped left_out; a model: index path
    audit     genesis base beta out          -> hash bytes
    evaluate  path split                     -> accuracy precision recall consistency points samples
    dry_run   base [earlier] [seed]          -> valid reason score base_score scoring_samples step_seconds
                                                score_seconds seconds
    common_set out [samples]                 -> hash bytes samples
    """

    def __init__(
        self, settings: Settings, setup: Request, exact: ExactThread, stop: Callable[[], bool] = bool
    ) -> None:
        self._settings = settings
        self._exact = exact
        self._stop = stop
        self._fingerprint = hashlib.sha256(json.dumps(setup, sort_keys=True).encode()).hexdigest()
        self._operations: Mapping[str, Callable[[Request, Report], Answer]] = {
            "warm": self._warm,
            "describe": self._describe,
            "genesis": self._genesis,
            "check": self._check,
            "train": self._train,
            "score": self._score,
            "aggregate": self._aggregate,
            "audit": self._audit,
            "evaluate": self._evaluate,
            "dry_run": self._dry_run,
            "common_set": self._common_set,
        }

    def answer(self, operation: str, request: Request, report: Report) -> Answer:
        """Raises `Failure` for what the caller or operator must mend, OSError for the disk."""
        act = self._operations.get(operation)
        if act is None:
            raise Failure(
                "internal",
                f"unknown operation {operation!r}",
                f"ask for one of {', '.join(self._operations)}",
            )
        return act(request, report)

    @cached_property
    def _bench(self) -> "Workbench":
        from agents.learning.workbench import Workbench

        return Workbench(self._settings, self._fingerprint)

    def _warm(self, _request: Request, _report: Report) -> Answer:
        started = time.monotonic()
        self._bench.warm()
        return {"seconds": time.monotonic() - started}

    def _describe(self, _request: Request, _report: Report) -> Answer:
        from agents.learning.plugin import reference_sha256

        bench = self._bench
        return {
            "parameters": bench.parameters(),
            "model_bytes": bench.layout.size,
            "train_samples": bench.parts.train.size,
            "validation_samples": bench.parts.validation.size,
            "scoring_samples": bench.scoring_samples.size,
            "classes": self._settings.classes,
            "labels_seen": bench.labels_seen(),
            "reference_sha256": reference_sha256(self._settings.task_path),
        }

    def _genesis(self, request: Request, _report: Report) -> Answer:
        digest, size = self._bench.write_genesis(int(_need(request, "seed")), _path(request, "out"))
        return {"hash": digest, "bytes": size}

    def _check(self, request: Request, _report: Report) -> Answer:
        reason = weights.defect(_path(request, "path"), read_layout(_path(request, "genesis")))
        return {"valid": reason is None, "reason": reason}

    def _train(self, request: Request, report: Report) -> Answer:
        from agents.learning.workbench import Run

        started = time.monotonic()
        directory = request.get("checkpoint_dir")
        run = Run(
            _path(request, "base"),
            _path(request, "out"),
            int(_need(request, "seed")),
            Path(directory) if directory else None,
            self._stop,
        )
        done = self._bench.train(run, report)
        return {
            "hash": done.hash,
            "bytes": done.bytes,
            "samples": self._bench.parts.train.size,
            "seconds": time.monotonic() - started,
            "first_step_at": done.course.first_step_at,
            "last_step_at": done.course.last_step_at,
            "losses": done.course.losses,
        }

    def _aggregate(self, request: Request, _report: Report) -> Answer:
        models = {int(entry["index"]): Path(entry["path"]) for entry in _need(request, "models")}
        work = partial(
            aggregate,
            _path(request, "base"),
            models,
            _path(request, "out"),
            self._settings.rule,
            self._settings.trim,
        )
        done = self._exact.run(work)
        return {
            "hash": done.hash,
            "bytes": done.bytes,
            "norms": list(done.norms),
            "clipped": list(done.clipped),
            "left_out": list(done.left_out),
        }

    def _audit(self, request: Request, _report: Report) -> Answer:
        paths = (_path(request, "genesis"), _path(request, "base"))
        digest, size = self._exact.run(
            partial(write_audit_model, *paths, float(_need(request, "beta")), _path(request, "out"))
        )
        return {"hash": digest, "bytes": size}

    def _evaluate(self, request: Request, _report: Report) -> Answer:
        samples = self._bench.samples(str(_need(request, "split")))
        found = self._bench.assess(_path(request, "path"), samples)
        return {**found.numbers, "points": found.score, "samples": samples.size}

    def _score(self, request: Request, report: Report) -> Answer:
        started = time.monotonic()
        base, genesis, entries = _path(request, "base"), _path(request, "genesis"), _need(request, "models")
        candidates = [_candidate(entry) for entry in entries]
        reasons = self._exact.run(partial(judge, base, genesis, candidates))
        judged = [c for c, entry in zip(candidates, entries, strict=True) if not entry.get("own")]
        lanes = {"0": self._bench.assess(base, self._bench.scoring_samples).score}
        report({"scored": 1, "of": len(judged) + 2})
        beta = request.get("beta")
        lanes["1"] = lanes["0"] if beta is None else self._audit_points(genesis, base, float(beta))
        report({"scored": 2, "of": len(judged) + 2})
        verdicts: list[Answer] = []
        for number, candidate in enumerate(judged, start=3):
            verdicts.append(self._verdict(candidate, reasons[candidate.index]))
            lanes[str(2 + candidate.index)] = verdicts[-1]["score"]
            report({"scored": number, "of": len(judged) + 2})
        return {"lanes": lanes, "verdicts": verdicts, "seconds": time.monotonic() - started}

    def _verdict(self, candidate: Candidate, reason: str | None) -> Answer:
        if reason is not None or candidate.path is None:
            return {"index": candidate.index, "score": 0, "reason": reason}
        try:
            found = self._bench.assess(candidate.path, self._bench.scoring_samples)
        except Failure as failure:
            if failure.kind != "task":
                raise
            # the base was scored before, so it is this model that the task's code cannot take: valid, worth nothing
            return {
                "index": candidate.index,
                "score": 1,
                "reason": f"it could not be evaluated: {failure.message}",
            }
        return {"index": candidate.index, **found.numbers, "score": found.score, "reason": None}

    def _audit_points(self, genesis: Path, base: Path, beta: float) -> int:
        with trial_folder() as directory:
            path = Path(directory) / "audit.safetensors"
            self._exact.run(partial(write_audit_model, genesis, base, beta, path))
            return self._bench.assess(path, self._bench.scoring_samples).score

    def _dry_run(self, request: Request, _report: Report) -> Answer:
        """PROTOCOL 7.7: one training step, then V1 to V6 and a score for the result, as the other members
        would see it."""
        from agents.learning.workbench import Run

        started = time.monotonic()
        base = _path(request, "base")
        before = self._bench.assess(base, self._bench.scoring_samples)
        with trial_folder() as directory:
            out = Path(directory) / "step.safetensors"
            self._bench.train_one_step(Run(base, out, int(request.get("seed", 0))))
            warm = time.monotonic()  # the first step also paid for starting up
            self._bench.train_one_step(Run(base, out, int(request.get("seed", 0))))
            step_seconds = time.monotonic() - warm
            candidate = Candidate(0, out, tuple(Path(path) for path in request.get("earlier") or ()))
            trained = time.monotonic()
            reason = self._exact.run(partial(judge, base, base, [candidate]))[0]
            if reason is None and weights.model_hash(out) == weights.model_hash(base):
                reason = "V5: a training step changes nothing"
            verdict = self._verdict(candidate, reason)
            score_seconds = time.monotonic() - trained
        return {
            "valid": verdict["score"] > 0,
            "reason": verdict["reason"],
            "score": verdict["score"],
            "base_score": before.score,
            "scoring_samples": self._bench.scoring_samples.size,
            "step_seconds": step_seconds,
            "score_seconds": score_seconds,
            "seconds": time.monotonic() - started,
        }

    def _common_set(self, request: Request, _report: Report) -> Answer:
        from agents.learning.commonset import write_common_set

        samples = self._bench.samples("test")
        digest, size, count = write_common_set(samples, _path(request, "out"), request.get("samples"))
        return {"hash": digest, "bytes": size, "samples": count}


def _candidate(entry: Request) -> Candidate:
    path = entry.get("path")
    return Candidate(int(entry["index"]), Path(path) if path else None, tuple(map(Path, entry.get("compare") or ())))


def _need(request: Request, key: str) -> Any:
    if request.get(key) is None:
        raise Failure("internal", f"{request.get('op')} needs {key!r}", "this is a mistake of the caller")
    return request[key]


def _path(request: Request, key: str) -> Path:
    return Path(_need(request, key))
