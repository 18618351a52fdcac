// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../interfaces/IFLTask.sol";
import {Faults} from "./Faults.sol";
import {ParamRules} from "./ParamRules.sol";
import {Payouts} from "./Payouts.sol";
import {Roster} from "./Roster.sol";
import {Rounds} from "./Rounds.sol";
import {Scoring} from "./Scoring.sol";
import {TaskStorage} from "./TaskStorage.sol";

/// @title The settlement of a round: judge, then fine and pay
/// @dev `c` is the caller's copy of `s.core`; both are updated.
library Settlement {
    using Roster for uint256;

    struct Faulty {
        uint256 invalid;
        uint256 unrevealed;
        uint256 unopened;
        uint256 missed;
        uint256 deviant;
        uint256 low;
    }

    /// @notice First step: judges the models and the scorers.
    function score(TaskStorage.State storage s, IFLTask.Core memory c) internal {
        Scoring.Verdict memory v = Scoring.judge(s, c);
        (s.accepted, s.top) = (Roster.withSentinel(v.accepted), uint128(v.top));
        (s.deviant, s.invalid) = (Roster.withSentinel(v.deviant), uint128(v.invalid));
        s.low = uint128(v.low);
        c.step = 1;
        s.core = c;
        emit IFLTask.RoundScored(
            c.round, v.medians, v.lows, uint16(v.theta), v.accepted, v.top, v.deviant, v.invalid
        );
    }

    /// @notice What is left of both steps.
    function settle(TaskStorage.State storage s, IFLTask.Core memory c) internal {
        if (c.step == 0) score(s, c);
        if (c.step == 1) _pay(s, c);
    }

    function _pay(TaskStorage.State storage s, IFLTask.Core memory c) private {
        uint256 forfeits = _fine(s, c);
        _resetStreaks(s);
        (c.step, c.voids) = (2, 0);
        s.core = c;
        _distribute(s, c, forfeits);
    }

    // ------------------------------------------------------------------------------------------- penalties

    /// @dev One penalty a worker and round, in the order of the struct. Dropped workers answer for their models only.
    function _fine(TaskStorage.State storage s, IFLTask.Core memory c) private returns (uint256 forfeits) {
        Faulty memory f = _faulty(s);
        uint256 all = f.invalid | f.unrevealed | f.unopened | f.missed | f.deviant | f.low;
        if (all == 0) return 0;
        uint256 before = s.active;
        uint256 active = before;
        for (uint256 i; all >> i != 0; ++i) {
            if (!all.has(i)) continue;
            (uint256 amount, bool eject) = _penalize(s.params, s.workers[i], c.round, _reason(f, i));
            forfeits += amount;
            if (!eject || !active.has(i)) continue;
            active &= ~(1 << i);
            _eject(s.workers[i], c.round, _reason(f, i));
        }
        if (active != before) s.active = uint128(active);
    }

    /// @dev Fines for scores and for quality need enough rows that the honest among them decide.
    function _faulty(TaskStorage.State storage s) private view returns (Faulty memory f) {
        uint256 active = s.active;
        uint256 committed = Roster.seats(s.committed);
        uint256 opened = s.opened;
        uint256 scored = Roster.seats(s.scored);
        uint256 revealed = s.revealed;
        f.invalid = (active | s.dropped) & s.invalid;
        f.unrevealed = active & scored & ~revealed;
        f.unopened = active & committed & ~opened;
        f.missed = active & ~uint256(s.excused) & ~(committed & scored);
        if (revealed.size() >= Roster.fineQuorum(uint256(s.roster).size())) {
            f.deviant = active & Roster.seats(s.deviant);
            if (s.params.maxLow != 0) f.low = active & s.low;
        }
    }

    function _reason(Faulty memory f, uint256 seat) private pure returns (uint8) {
        if (f.invalid.has(seat)) return Faults.INVALID;
        if (f.unrevealed.has(seat)) return Faults.NO_REVEAL;
        if (f.unopened.has(seat)) return Faults.UNOPENED;
        if (f.missed.has(seat)) return Faults.MISSED;
        return f.deviant.has(seat) ? Faults.DEVIANT : Faults.LOW;
    }

    /// @dev Ejected: by two strikes, by misses, or when the bond left is below one slash.
    function _penalize(IFLTask.Params storage p, IFLTask.Worker storage w, uint32 round, uint8 reason)
        private
        returns (uint256 amount, bool eject)
    {
        (uint256 bps, bool struck) = (p.feeBps, false);
        if (reason == Faults.INVALID) {
            (bps, struck) = (p.slashBps, true);
        } else if (reason == Faults.UNOPENED) {
            uint8 times = w.unopened + 1;
            w.unopened = times;
            if (times > 1) (bps, struck) = (p.slashBps / 2, true);
        } else if (reason == Faults.MISSED) {
            uint8 streak = w.missStreak + 1;
            w.missStreak = streak;
            bps = p.missBps;
            eject = streak >= p.maxMiss;
        } else if (reason == Faults.LOW) {
            uint8 streak = w.lowStreak + 1;
            struck = streak >= p.maxLow;
            w.lowStreak = struck ? 0 : streak;
            bps = struck ? p.slashBps / 2 : 0;
        }

        uint8 strikes = w.strikes;
        if (struck) w.strikes = ++strikes;
        if (struck && strikes > 1) eject = true;
        (uint256 collateral, uint256 bond) = (p.collateral, w.bond);
        amount = collateral * bps / ParamRules.BPS;
        if (amount > bond || (reason == Faults.INVALID && strikes > 1)) amount = bond;
        if (amount != 0) w.bond = uint128(bond - amount);
        if (collateral != 0 && bond - amount < collateral * p.slashBps / ParamRules.BPS) eject = true;
        emit IFLTask.WorkerPenalized(round, w.account, reason, amount, bond - amount, strikes);
    }

    function _eject(IFLTask.Worker storage w, uint32 round, uint8 reason) private {
        w.status = TaskStorage.GONE;
        emit IFLTask.WorkerRemoved(round, w.account, reason, Rounds.release(w));
    }

    function _resetStreaks(TaskStorage.State storage s) private {
        uint256 good = s.accepted & ~s.deviant;
        uint256 took = uint256(s.active) & s.opened & s.revealed;
        for (uint256 i; took >> i != 0; ++i) {
            if (!took.has(i)) continue;
            IFLTask.Worker storage w = s.workers[i];
            if (w.missStreak != 0) w.missStreak = 0;
            if (good.has(i) && w.lowStreak != 0) w.lowStreak = 0;
        }
    }

    // ------------------------------------------------------------------------------------------- rewards

    /// @dev With nobody eligible the reward rolls forward and the forfeits wait.
    function _distribute(TaskStorage.State storage s, IFLTask.Core memory c, uint256 forfeits) private {
        uint256 burned = forfeits * s.params.burnBps / ParamRules.BPS;
        if (burned != 0) s.burnPool += uint128(burned);
        uint256 pool = s.forfeitPool + forfeits - burned;
        uint256 left = s.rewardLeft;
        uint256 top = s.top;
        uint256 eligible =
            Scoring.eligibleOf(Roster.seats(s.accepted), s.opened, s.revealed, Roster.seats(s.deviant));
        Payouts.Shares memory shares;
        if (eligible != 0) {
            (uint256 n, uint256 k) = (eligible.size(), top.size());
            uint256 reward = Payouts.roundReward(left, s.params.rounds, c.round);
            shares = Payouts.split(reward, pool, n, k, s.params.topShareBps);
            left -= shares.perTop * k + shares.perRest * (n - k);
            pool -= shares.perForfeit * n;
            _credit(s, eligible, top, shares);
        }
        (s.rewardLeft, s.forfeitPool) = (uint128(left), uint128(pool));
        emit IFLTask.RewardsDistributed(
            c.round, eligible, top, shares.perTop, shares.perRest, shares.perForfeit, left, pool
        );
    }

    function _credit(TaskStorage.State storage s, uint256 eligible, uint256 top, Payouts.Shares memory shares)
        private
    {
        for (uint256 i; eligible >> i != 0; ++i) {
            if (!eligible.has(i)) continue;
            uint256 amount = (top.has(i) ? shares.perTop : shares.perRest) + shares.perForfeit;
            if (amount != 0) s.workers[i].credit += uint128(amount);
        }
    }
}
