// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../interfaces/IFLTask.sol";
import {Faults} from "./Faults.sol";
import {ParamRules} from "./ParamRules.sol";
import {Roster} from "./Roster.sol";
import {ScoreMath} from "./ScoreMath.sol";
import {TaskStorage} from "./TaskStorage.sol";

/// @title The passage of a task through its phases: early exits, deadlines, boundaries, the end
/// @dev `c` is the caller's copy of `s.core`; functions that move the task change both.
library Rounds {
    using Roster for uint256;

    /// @notice How long a settlement may wait after the hard stop.
    uint256 internal constant SETTLE_GRACE = 30 days;

    /// @notice Sets of seats in a phase.
    struct Turnout {
        uint256 active;
        uint256 acted;
        uint256 expected;
    }

    // ------------------------------------------------------------------------------------------- within a round

    /// @notice Starts a round, or a new attempt at one, with the active as its roster.
    function begin(TaskStorage.State storage s, IFLTask.Core memory c, uint32 round, uint32 attempt)
        internal
    {
        c.phase = IFLTask.Phase.Train;
        c.round = round;
        c.attempt = attempt;
        c.deadline = uint40(block.timestamp + s.params.trainWindow);
        c.lanes = uint8(c.count + ScoreMath.CONTROL_LANES);
        c.step = 0;
        s.core = c;
        uint128 active = s.active;
        s.roster = active;
        s.excused = 0;
        (s.committed, s.opened) = (Roster.SENTINEL, 0);
        (s.scored, s.revealed) = (Roster.SENTINEL, 0);
        emit IFLTask.RoundAdvanced(round, attempt, active, c.deadline);
    }

    /// @notice Moves on in the transaction of the last one expected: all expected have acted, and a quorum has.
    function leaveIfComplete(TaskStorage.State storage s, IFLTask.Core memory c) internal {
        Turnout memory t = _turnout(s, c.phase);
        if (t.expected & ~t.acted == 0 && t.acted.size() >= t.active.quorum()) {
            _enter(s, c, _following(c.phase));
        }
    }

    /// @notice The work of a passed deadline. With a quorum of actors the next phase begins. Below it nobody pays: the
    /// absent get a miss, the last one allowed drops them; then the next phase if that makes a quorum of the actors, a
    /// fresh window if one can still act, and only otherwise a restart of the round.
    function passDeadline(TaskStorage.State storage s, IFLTask.Core memory c) internal {
        Turnout memory t = _turnout(s, c.phase);
        if (t.acted.size() >= t.active.quorum()) {
            uint256 absent = t.expected & ~t.acted;
            emit IFLTask.DeadlineMissed(c.round, c.attempt, c.phase, absent, s.dropped, t.active, c.voids);
            _enter(s, c, _following(c.phase));
            return;
        }

        _dropAbsent(s, c, t);
        uint256 quorum = t.active.quorum();
        if (c.voids > s.params.maxVoid || t.active.size() < s.params.minActive) {
            s.core = c;
            end(s, c, IFLTask.Phase.Expired);
        } else if ((t.acted & t.active).size() >= quorum) {
            _enter(s, c, _following(c.phase));
        } else if ((t.expected & t.active).size() >= quorum) {
            _extend(s, c);
        } else {
            begin(s, c, c.round, c.attempt + 1);
        }
    }

    // ------------------------------------------------------------------------------------------- between rounds

    /// @notice After a settlement: the roster changes, then the next round begins, or attesting. If too few would be
    /// left the task ends instead, with the roster as it is: then all bonds may be withdrawn anyway.
    function closeRound(TaskStorage.State storage s, IFLTask.Core memory c) internal {
        bool last = c.round == s.params.rounds;
        uint256 gone = s.leaving | s.dropped;
        uint256 left = (uint256(s.active | s.pending) & ~gone).size();
        if (last && left == 0) {
            end(s, c, IFLTask.Phase.Completed);
        } else if (!last && left < s.params.minActive) {
            end(s, c, IFLTask.Phase.Expired);
        } else {
            _crossBoundary(s, c.round);
            if (last) _enter(s, c, IFLTask.Phase.Attest);
            else begin(s, c, c.round + 1, c.attempt + 1);
        }
    }

    /// @notice Moves a worker's bond to its credit.
    function release(IFLTask.Worker storage w) internal returns (uint256 amount) {
        amount = w.bond;
        if (amount != 0) (w.bond, w.credit) = (0, uint128(w.credit + amount));
    }

    // ------------------------------------------------------------------------------------------- the end

    /// @notice Ends the task if attesting is over or the hard stop has passed.
    function endIfDue(TaskStorage.State storage s, IFLTask.Core memory c) internal returns (bool) {
        if (c.phase == IFLTask.Phase.Attest) {
            if (block.timestamp <= c.deadline && s.attested != s.active) return false;
            end(s, c, IFLTask.Phase.Completed);
            return true;
        }
        if (c.phase < IFLTask.Phase.Train || c.phase > IFLTask.Phase.Settle) return false;
        uint256 grace = c.phase == IFLTask.Phase.Settle ? SETTLE_GRACE : 0;
        if (block.timestamp <= s.params.hardStop + grace) return false;
        end(s, c, IFLTask.Phase.Expired);
        return true;
    }

    /// @notice Ends the task. Forfeits that nobody is owed are burned: they never reach the requester.
    function end(TaskStorage.State storage s, IFLTask.Core memory c, IFLTask.Phase outcome) internal {
        c.phase = outcome;
        s.core.phase = outcome;
        if (outcome == IFLTask.Phase.Completed && s.finalHash != 0) _shareForfeits(s, c);
        uint128 burned = s.burnPool + s.forfeitPool;
        (s.burnPool, s.forfeitPool) = (burned, 0);
        emit IFLTask.TaskEnded(outcome, s.rewardLeft, burned);
    }

    // ------------------------------------------------------------------------------------------- steps

    function _enter(TaskStorage.State storage s, IFLTask.Core memory c, IFLTask.Phase phase) private {
        uint256 window = _window(s.params, phase);
        c.phase = phase;
        c.deadline = window == 0 ? 0 : uint40(block.timestamp + window);
        s.core = c;
        bytes32 seed;
        if (phase == IFLTask.Phase.Score && s.params.auditLane) {
            seed = keccak256(abi.encode(block.prevrandao, block.chainid, address(this), c.round, c.attempt));
        }
        emit IFLTask.PhaseChanged(c.round, c.attempt, phase, c.deadline, seed, s.active);
    }

    function _extend(TaskStorage.State storage s, IFLTask.Core memory c) private {
        c.deadline = uint40(block.timestamp + _window(s.params, c.phase));
        s.core = c;
        emit IFLTask.PhaseExtended(c.round, c.attempt, c.phase, c.deadline);
    }

    /// @dev Expected are those who can still act in this phase and are waited for.
    function _turnout(TaskStorage.State storage s, IFLTask.Phase phase)
        private
        view
        returns (Turnout memory t)
    {
        uint256 active = s.active;
        t.active = active;
        if (phase == IFLTask.Phase.Train) {
            (t.acted, t.expected) = (active & s.committed, active & ~uint256(s.excused));
        } else if (phase == IFLTask.Phase.Open) {
            (t.acted, t.expected) = (active & s.opened, active & s.committed);
        } else if (phase == IFLTask.Phase.Score) {
            (t.acted, t.expected) = (active & s.scored, active & ~uint256(s.excused));
        } else {
            (t.acted, t.expected) = (active & s.revealed, active & s.scored);
        }
    }

    /// @dev Streaks first, then the event, then those who fall out: the absent for the last time, and all excused
    /// leavers, who have nothing at stake.
    function _dropAbsent(TaskStorage.State storage s, IFLTask.Core memory c, Turnout memory t) private {
        uint256 absent = t.expected & ~t.acted;
        uint256 leavers = s.excused & t.active;
        uint256 out = leavers | _countMisses(s, t.acted, absent);
        uint256 dropped = s.dropped | out;
        t.active &= ~out;
        c.voids += 1;
        (s.active, s.dropped) = (uint128(t.active), uint128(dropped));
        emit IFLTask.DeadlineMissed(c.round, c.attempt, c.phase, absent, dropped, t.active, c.voids);
        for (uint256 i; out >> i != 0; ++i) {
            if (!out.has(i)) continue;
            IFLTask.Worker storage w = s.workers[i];
            w.status = TaskStorage.GONE;
            uint8 reason = leavers.has(i) ? Faults.DROPPED_EXCUSED : Faults.DROPPED;
            emit IFLTask.WorkerRemoved(c.round, w.account, reason, 0);
        }
    }

    function _countMisses(TaskStorage.State storage s, uint256 acted, uint256 absent)
        private
        returns (uint256 out)
    {
        uint256 maxMiss = s.params.maxMiss;
        uint256 all = acted | absent;
        for (uint256 i; all >> i != 0; ++i) {
            if (!all.has(i)) continue;
            IFLTask.Worker storage w = s.workers[i];
            uint8 streak = w.missStreak;
            if (absent.has(i)) {
                w.missStreak = streak + 1;
                if (streak + 1 >= maxMiss) out |= 1 << i;
            } else if (streak != 0) {
                w.missStreak = 0;
            }
        }
    }

    function _crossBoundary(TaskStorage.State storage s, uint32 round) private {
        uint256 dropped = s.dropped;
        uint256 active = s.active | s.pending;
        uint256 out = (s.leaving & active) | dropped;
        for (uint256 i; out >> i != 0; ++i) {
            if (!out.has(i)) continue;
            IFLTask.Worker storage w = s.workers[i];
            w.status = TaskStorage.GONE;
            uint8 reason = dropped.has(i) ? Faults.RELEASED : Faults.LEFT;
            emit IFLTask.WorkerRemoved(round, w.account, reason, release(w));
        }
        s.active = uint128(active & ~out);
        (s.pending, s.leaving) = (0, 0);
        s.dropped = 0;
    }

    /// @dev There is a final hash: its voters share the forfeits, and the absent add a last fine to them.
    function _shareForfeits(TaskStorage.State storage s, IFLTask.Core memory c) private {
        uint256 active = s.active;
        uint256 attested = s.attested;
        uint256 pool = s.forfeitPool;
        uint256 fine = uint256(s.params.collateral) * s.params.missBps / ParamRules.BPS;
        bytes32 finalHash = s.finalHash;
        uint256 voters;
        for (uint256 i; active >> i != 0; ++i) {
            if (!active.has(i)) continue;
            IFLTask.Worker storage w = s.workers[i];
            if (!attested.has(i)) pool += _fineAbsence(w, c.round, fine);
            else if (w.commitment == finalHash) voters |= 1 << i;
        }
        uint256 share = pool / voters.size();
        for (uint256 i; voters >> i != 0; ++i) {
            if (voters.has(i)) s.workers[i].credit += uint128(share);
        }
        pool -= share * voters.size();
        s.forfeitPool = uint128(pool);
        emit IFLTask.FinalForfeits(voters, share, pool);
    }

    function _fineAbsence(IFLTask.Worker storage w, uint32 round, uint256 fine)
        private
        returns (uint256 amount)
    {
        uint256 bond = w.bond;
        amount = fine < bond ? fine : bond;
        w.bond = uint128(bond - amount);
        emit IFLTask.WorkerPenalized(round, w.account, Faults.NO_ATTEST, amount, bond - amount, w.strikes);
    }

    function _following(IFLTask.Phase phase) private pure returns (IFLTask.Phase) {
        return IFLTask.Phase(uint8(phase) + 1);
    }

    /// @dev Settle has none.
    function _window(IFLTask.Params storage p, IFLTask.Phase phase) private view returns (uint256) {
        if (phase == IFLTask.Phase.Train) return p.trainWindow;
        if (phase == IFLTask.Phase.Open) return p.openWindow;
        if (phase == IFLTask.Phase.Score) return p.scoreWindow;
        if (phase == IFLTask.Phase.Reveal) return p.revealWindow;
        return phase == IFLTask.Phase.Attest ? p.attestWindow : 0;
    }
}
