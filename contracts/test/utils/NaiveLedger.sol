// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../../src/interfaces/IFLTask.sol";
import {NaiveJudge} from "./NaiveJudge.sol";

/// @title The money of a round, read off the protocol's tables
/// @notice It shares no code with the contracts; it is what they are compared with.
library NaiveLedger {
    struct Books {
        IFLTask.Params params;
        uint256 round;
        uint256 active;
        uint256 dropped;
        uint256 excused;
        uint256 committed;
        uint256 opened;
        uint256 scored;
        uint256 revealed;
        uint256 roster;
        uint256 rewardLeft;
        uint256 forfeitPool;
        uint256 burnPool;
        IFLTask.Worker[] workers;
    }

    function read(IFLTask task) internal view returns (Books memory b) {
        b.params = task.params();
        b.round = task.core().round;
        b.active = task.active();
        b.dropped = task.dropped();
        b.excused = task.excused();
        b.committed = task.committed();
        b.opened = task.opened();
        b.scored = task.scored();
        b.revealed = task.revealed();
        b.roster = task.roster();
        b.rewardLeft = task.rewardLeft();
        b.forfeitPool = task.forfeitPool();
        b.burnPool = task.burnPool();
        b.workers = new IFLTask.Worker[](task.core().lanes - 2);
        for (uint256 i; i < b.workers.length; ++i) {
            b.workers[i] = task.workers(i);
        }
    }

    /// @notice What the books are after the second step of the settlement.
    function settle(Books memory b, NaiveJudge.Verdict memory v) internal pure {
        uint256 forfeits;
        uint256 active = b.active;
        for (uint256 i; i < b.workers.length; ++i) {
            uint256 reason = _fault(b, v, i, active);
            if (reason != 0) forfeits += _penalize(b, i, reason);
        }
        _clearStreaks(b, v);
        _pay(b, v, forfeits);
    }

    /// @notice What the boundary does, if the task goes on.
    function crossBoundary(Books memory b, uint256 out) internal pure {
        for (uint256 i; i < b.workers.length; ++i) {
            if (NaiveJudge.has(out, i)) _release(b.workers[i]);
        }
    }

    function _fault(Books memory b, NaiveJudge.Verdict memory v, uint256 i, uint256 active)
        private
        pure
        returns (uint256)
    {
        if (NaiveJudge.has(v.invalid, i) && NaiveJudge.has(active | b.dropped, i)) return 1;
        if (!NaiveJudge.has(active, i)) return 0;
        bool hasScored = NaiveJudge.has(b.scored, i);
        bool hasOpened = NaiveJudge.has(b.opened, i);
        if (hasScored && !NaiveJudge.has(b.revealed, i)) return 2;
        if (NaiveJudge.has(b.committed, i) && !hasOpened) return 7;
        if (!NaiveJudge.has(b.excused, i) && (!hasScored || !hasOpened)) return 3;
        uint256 n = NaiveJudge.count(b.roster);
        uint256 f = n <= 15 ? (n - 1) / 2 : (n - 1) / 3;
        if (NaiveJudge.count(b.revealed) < 2 * f + 1) return 0;
        if (NaiveJudge.has(v.deviant, i)) return 4;
        return NaiveJudge.has(v.low, i) && b.params.maxLow != 0 ? 5 : 0;
    }

    function _penalize(Books memory b, uint256 i, uint256 reason) private pure returns (uint256 amount) {
        IFLTask.Worker memory w = b.workers[i];
        (uint256 bps, bool strike, bool out) = (0, false, false);
        if (reason == 1) (bps, strike) = (b.params.slashBps, true);
        if (reason == 2 || reason == 4) bps = b.params.feeBps;
        if (reason == 3) {
            bps = b.params.missBps;
            out = ++w.missStreak >= b.params.maxMiss;
        }
        if (reason == 5 && ++w.lowStreak == b.params.maxLow) {
            (bps, strike, w.lowStreak) = (b.params.slashBps / 2, true, 0);
        }
        if (reason == 7) {
            bps = b.params.feeBps;
            if (++w.unopened > 1) (bps, strike) = (b.params.slashBps / 2, true);
        }
        if (strike) ++w.strikes;
        amount = b.params.collateral * bps / 10_000;
        if (reason == 1 && w.strikes > 1) amount = w.bond;
        if (amount > w.bond) amount = w.bond;
        w.bond -= uint128(amount);
        if (strike && w.strikes > 1) out = true;
        uint256 collateral = b.params.collateral;
        if (collateral != 0 && w.bond < collateral * b.params.slashBps / 10_000) out = true;
        if (!out || !NaiveJudge.has(b.active, i)) return amount;
        b.active &= ~(1 << i);
        _release(w);
    }

    function _clearStreaks(Books memory b, NaiveJudge.Verdict memory v) private pure {
        uint256 took = b.active & b.opened & b.revealed;
        for (uint256 i; i < b.workers.length; ++i) {
            if (!NaiveJudge.has(took, i)) continue;
            b.workers[i].missStreak = 0;
            if (NaiveJudge.has(v.accepted & ~v.deviant, i)) b.workers[i].lowStreak = 0;
        }
    }

    function _pay(Books memory b, NaiveJudge.Verdict memory v, uint256 forfeits) private pure {
        uint256 cut = forfeits * b.params.burnBps / 10_000;
        b.burnPool += cut;
        b.forfeitPool += forfeits - cut;
        uint256 e = NaiveJudge.count(v.eligible);
        if (e == 0) return;
        uint256 k = NaiveJudge.count(v.top);
        uint256 reward = b.rewardLeft / (b.params.rounds - b.round + 1);
        uint256 restPool = e == k ? 0 : reward * (10_000 - b.params.topShareBps) / 10_000;
        uint256 perForfeit = b.forfeitPool / e;
        for (uint256 i; i < b.workers.length; ++i) {
            if (!NaiveJudge.has(v.eligible, i)) continue;
            uint256 share = NaiveJudge.has(v.top, i) ? (reward - restPool) / k : restPool / (e - k);
            b.rewardLeft -= share;
            b.forfeitPool -= perForfeit;
            b.workers[i].credit += uint128(share + perForfeit);
        }
    }

    function _release(IFLTask.Worker memory w) private pure {
        w.status = 3;
        w.credit += w.bond;
        w.bond = 0;
    }
}
