"""One task's course, line by line: acts are checked, what must follow them is predicted and compared.

A line that says something else than predicted is reported and then read as predicted, so that one wrong line is one
finding. Where even the kind of event differs, the rest of the task cannot be judged and is not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from bfl_events import schema as ev, transitions
from bfl_events.commitment import Creation, task_address
from bfl_events.fold import Created, FoldError, apply
from bfl_events.schema import Address, Event, Phase, Record
from bfl_events.state import TaskState
from bfl_events.terms import check_contents, check_params
from bfl_events.transitions import Steps, Surroundings
from bfl_events.verifying.acts import Act, Context, check_act, mended
from bfl_events.verifying.calls import transition_for
from bfl_events.verifying.evidence import Evidence
from bfl_events.verifying.finding import Finding, differences, lines_of, sentence

SEED_UNKNOWN = b""


class TaskVerifier:
    """Takes a task's records in order; `findings` are its own. It stops at a line that cannot be read at all."""

    def __init__(
        self, created: Created, line: int, evidence: Evidence, chain_id: int, implementation: Address | None
    ) -> None:
        self.findings: list[Finding] = []
        self._state: Created | TaskState = created
        self._created_line, self._last_line, self._last = line, line, Record(0, b"", 0, 0, b"", "", _NOTHING)
        self._evidence, self._chain_id, self._implementation = evidence, chain_id, implementation
        self._steps: Steps | None = None
        self._due: Event | None = None
        self._phase_acts: list[int] = []
        self._lines_by: defaultdict[Address, list[int]] = defaultdict(list)
        self._paid_in = 0
        self._stopped = False

    def take(self, number: int, record: Record) -> None:
        """The next record of the task, in line `number`."""
        if self._stopped:
            return
        match self._state, self._due:
            case Created() as created, _:
                self._opening(created, number, record)
            case TaskState() as state, None:
                self._call(state, number, record)
            case TaskState(), due:
                self._predicted(due, number, record)
        self._last_line, self._last = number, record

    def finish(self) -> None:
        """The log has no more lines of this task."""
        if self._stopped:
            return
        if isinstance(self._state, Created):
            self._report(self._last_line, "TaskCreated: no TaskInitialized follows")
        elif self._due is not None:
            due = type(self._due).__name__
            self._report(self._last_line, f"the log ends in the middle of a call: {due} must follow")
        else:
            self._balance(self._state)

    def _opening(self, created: Created, number: int, record: Record) -> None:
        event = record.event
        if not isinstance(event, ev.TaskInitialized):
            self._stop(number, f"{type(event).__name__}: TaskInitialized must come first")
            return
        deadline = record.time + event.params.join_window
        want = replace(event, requester=created.requester, deadline=deadline)
        impossible = check_params(event.params, record.time, event.reward)
        if impossible:
            self._stop(number, sentence(event, impossible), [self._created_line])
            return
        problems = check_contents(event.spec_cid, event.model_cid, event.requester_key) + differences(event, want)
        line, doubt = number, self._created_line
        match self._address_of(created, want), self._address_of(created, event):
            case address, _ if address in (None, created.address):
                pass
            case _, created.address:
                line, doubt = doubt, line        # the terms' own requester fits, so the announcement is wrong
            case address, _:
                problems.append(f"a task with these terms has the address {address}, not {created.address}")
        if problems:
            self._report(line, sentence(event, problems), [doubt])
        self._paid_in = want.reward
        self._fold(number, record, want)

    def _address_of(self, created: Created, event: ev.TaskInitialized) -> Address | None:
        if self._implementation is None:
            return None
        terms = Creation(event.requester, created.nonce, event.params, event.spec_cid, event.model_cid,
                         event.requester_key, event.reward)
        return task_address(created.factory, self._implementation, terms)

    # ------------------------------------------------------------------------------------------- what must follow

    def _predicted(self, due: Event, number: int, record: Record) -> None:
        event, last = record.event, self._last
        if type(event) is not type(due):
            self._misplaced(number, event, due)
            return
        if (record.tx, record.block, record.log_index) != (last.tx, last.block, last.log_index + 1):
            problem = f"it must directly follow line {self._last_line} in the same transaction"
            self._report(number, sentence(event, [problem]), [self._last_line])
        self._compare(number, record, due)

    def _compare(self, number: int, record: Record, due: Event) -> None:
        wrong = differences(record.event, due)
        if wrong:
            self._report(number, sentence(record.event, wrong), self._suspects(record.event, due))
        if isinstance(due, ev.PhaseChanged) and isinstance(record.event, ev.PhaseChanged):
            due = replace(due, seed=due.seed or record.event.seed)
        self._fold(number, record, due)

    def _suspects(self, event: Event, due: Event) -> list[int]:
        """Lines that a wrong prediction may come from: who acted in this phase, announced leaving or attested."""
        match event, due:
            case ev.WorkerRemoved() | ev.WorkerPenalized() | ev.Withdrawn(), _:
                accounts = (event.worker, getattr(due, "worker", event.worker))
                return [*self._phase_acts, *self._by(accounts)]
            case ev.PhaseChanged() | ev.DeadlineMissed() | ev.FinalModelAccepted() | ev.FinalForfeits(), _:
                return self._phase_acts
            case _:
                return []

    # ------------------------------------------------------------------------------------------- a call begins

    def _call(self, state: TaskState, number: int, record: Record) -> None:
        event = record.event
        settling = isinstance(event, ev.WorkerRemoved) and state.phase is Phase.SETTLE
        if isinstance(event, Act) and not settling:
            self._act(state, number, record, event)
            return
        steps, problems = transition_for(state, record, Surroundings(record.time, SEED_UNKNOWN))
        if steps is None:
            self._stop(number, sentence(event, problems), self._phase_acts)
            return
        if problems:
            self._report(number, sentence(event, problems), self._phase_acts)
        due = next(steps)
        if type(due) is not type(event):
            self._misplaced(number, event, due)
            return
        self._steps = steps
        self._compare(number, record, due)

    def _act(self, state: TaskState, number: int, record: Record, act: Act) -> None:
        verdict = check_act(Context(state, self._chain_id, self._evidence), number, record, act)
        corrected = mended(act, verdict.wants)
        wrong = [*differences(act, corrected), *verdict.problems]
        if wrong:
            self._report(number, sentence(act, wrong), [*verdict.lines, *self._by(verdict.doubts)])
        for event in (act, corrected):
            self._lines_by[getattr(event, "worker", "")].append(number)
        corrected = mended(corrected, verdict.instead)
        if not self._fold(number, record, corrected, optional=bool(verdict.problems)):
            return
        self._phase_acts.append(number)
        after = self._state
        assert isinstance(after, TaskState)
        if isinstance(corrected, ev.WorkerJoined):
            self._paid_in += corrected.collateral
        block = Surroundings(record.time, SEED_UNKNOWN)
        steps = transitions.after_act(state, corrected, after, block)
        self._due = next(steps, None)
        self._steps = steps if self._due is not None else None

    # ------------------------------------------------------------------------------------------- reading on

    def _fold(self, number: int, record: Record, event: Event, *, optional: bool = False) -> bool:
        """Reads a line as `event`. What cannot be read is passed over if it is `optional`, else nothing more is."""
        state = self._state
        moment = max(state.at.time, record.time)     # where a line stands is checked elsewhere
        try:
            after = apply(state, Record(number, b"", moment, 0, b"", state.address, event))
        except FoldError as error:
            if not optional:
                self._stop(number, f"{type(event).__name__}: {error.reason}")
            return False
        if isinstance(state, TaskState) and (after.phase, after.attempt) != (state.phase, state.attempt):
            self._phase_acts = []
        self._state, self._due = after, None
        if self._steps is not None:
            try:
                self._due = self._steps.send(after)
            except StopIteration:
                self._steps = None
        return True

    def _by(self, accounts: Iterable[Address]) -> list[int]:
        return [line for account in accounts for line in self._lines_by[account]]

    def _balance(self, state: TaskState) -> None:
        owed = sum(member.bond + member.credit for member in state.members if member is not None)
        held = state.reward_left + state.forfeit_pool + state.burn_pool + state.fined + owed
        paid_out = state.withdrawn + state.refunded + state.burned
        if self._paid_in != held + paid_out:
            self._report(self._last_line, f"{self._paid_in} wei came in, {paid_out} went out and {held} are left")

    def _misplaced(self, number: int, event: Event, due: Event) -> None:
        self._stop(number, f"{type(event).__name__} stands where {type(due).__name__} must follow", self._phase_acts)

    def _report(self, line: int, message: str, related: list[int] | None = None) -> None:
        self.findings.append(Finding(line, message, lines_of(related or [], line)))

    def _stop(self, line: int, message: str, related: list[int] | None = None) -> None:
        self._report(line, f"{message}; the rest of this task was not checked", related)
        self._stopped = True


_NOTHING = ev.Burned(ev.Wei(0))
