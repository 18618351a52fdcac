// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../../src/interfaces/IFLTask.sol";
import {Roster} from "../../src/libraries/Roster.sol";
import {ScoreMath} from "../../src/libraries/ScoreMath.sol";
import {Vm} from "./MiniTest.sol";
import {NaiveJudge} from "./NaiveJudge.sol";
import {NaiveLedger} from "./NaiveLedger.sol";
import {TaskTest} from "./TaskTest.sol";

/// @title A settlement compared with the naive reading of the protocol, and the laws of its ranking
abstract contract SettlementCheck is TaskTest {
    using Roster for uint256;

    /// @dev Pairs of which the better earned more, over all settlements.
    uint256 public rankedPairs;

    /// @dev What the round's logs say of the ranking, and what came of it.
    struct Ranking {
        uint256 scorers;
        uint256 eligible;
        uint256 top;
        uint256[] medians;
        uint256[] gained; // by seat: bond and credit together
    }

    /// @dev Does the settlement that is due, in one call or step by step, and compares everything it changed.
    function settleAndCompare(bool inSteps) internal returns (Vm.Log[] memory logs) {
        bool late = phase() == IFLTask.Phase.Reveal;
        (NaiveJudge.Verdict memory v, NaiveLedger.Books memory b) = (_judge(), NaiveLedger.read(task));
        NaiveLedger.settle(b, v);
        uint256 out = (task.leaving() & (b.active | task.pending())) | task.dropped();
        Ranking memory r = Ranking(task.revealed().size(), 0, 0, new uint256[](0), _stakes(b.workers.length));
        if (late) rightAfter();
        vm.recordLogs();
        if (late || !inSteps) {
            task.nextRound();
        } else {
            task.submitRoundTopK();
            task.distributeRewards();
            _compareLedger(b);
            task.nextRound();
        }
        logs = vm.getRecordedLogs();
        _checkRanking(r, logs);
        _compareVerdict(v, logs);
        bool wentOn = phase() == IFLTask.Phase.Train || phase() == IFLTask.Phase.Attest;
        if (wentOn) NaiveLedger.crossBoundary(b, out);
        if (!wentOn) (b.burnPool, b.forfeitPool) = (b.burnPool + b.forfeitPool, 0);
        _compareLedger(b);
    }

    function _judge() private view returns (NaiveJudge.Verdict memory) {
        NaiveJudge.Round memory r;
        r.params = terms;
        r.number = round();
        r.seats = task.core().lanes - 2;
        r.roster = task.roster();
        r.opened = task.opened();
        r.revealed = task.revealed();
        r.rows = new uint256[][](r.seats);
        for (uint256 i; i < r.seats; ++i) {
            if (r.revealed.has(i)) r.rows[i] = _unpack(rowOf[i], r.seats + 2);
        }
        return NaiveJudge.judge(r);
    }

    function _compareVerdict(NaiveJudge.Verdict memory v, Vm.Log[] memory logs) private view {
        bool seen;
        for (uint256 k; k < logs.length; ++k) {
            if (logs[k].topics[0] != IFLTask.RoundScored.selector) continue;
            (uint256[] memory medians, uint256[] memory lows, uint16 theta) =
                abi.decode(logs[k].data, (uint256[], uint256[], uint16));
            vm.assertEq(abi.encode(medians), abi.encode(pack(v.upper)));
            vm.assertEq(abi.encode(lows), abi.encode(pack(v.lower)));
            vm.assertEq(theta, v.theta, "theta");
            seen = true;
        }
        vm.assertTrue(seen, "RoundScored");
        vm.assertEq(task.accepted(), v.accepted, "accepted");
        vm.assertEq(task.deviant(), v.deviant, "deviant");
        vm.assertEq(task.invalid(), v.invalid, "invalid");
        vm.assertEq(task.top(), v.top, "top");
    }

    function _compareLedger(NaiveLedger.Books memory b) private view {
        vm.assertEq(task.rewardLeft(), b.rewardLeft, "rewardLeft");
        vm.assertEq(task.forfeitPool(), b.forfeitPool, "forfeitPool");
        vm.assertEq(task.burnPool(), b.burnPool, "burnPool");
        for (uint256 i; i < b.workers.length; ++i) {
            vm.assertEq(abi.encode(task.workers(i)), abi.encode(b.workers[i]));
        }
    }

    // ------------------------------------------------------------------------------------------- the ranking

    function _stakes(uint256 seats) private view returns (uint256[] memory stakes) {
        stakes = new uint256[](seats);
        for (uint256 i; i < seats; ++i) {
            stakes[i] = bond(i) + credit(i);
        }
    }

    /// @dev I7 and I8 by the contract's own medians and payments. No eligible worker is fined in the same round, so that
    /// what its bond and credit gained is what it was paid.
    function _checkRanking(Ranking memory r, Vm.Log[] memory logs) private {
        uint256[] memory held = _stakes(r.gained.length);
        for (uint256 k; k < logs.length; ++k) {
            bytes32 topic = logs[k].topics[0];
            if (topic == IFLTask.RoundScored.selector) r.medians = abi.decode(logs[k].data, (uint256[]));
            if (topic != IFLTask.RewardsDistributed.selector) continue;
            (r.eligible, r.top) = abi.decode(logs[k].data, (uint256, uint256));
        }
        for (uint256 a; a < held.length; ++a) {
            if (r.eligible.has(a)) r.gained[a] = held[a] - r.gained[a];
        }
        if (r.scorers >= 3 && r.eligible != 0) _checkPlaces(r);
        for (uint256 a; a < held.length; ++a) {
            for (uint256 b; b < held.length; ++b) {
                if (r.eligible.has(a) && r.eligible.has(b)) _checkPair(r, a, b);
            }
        }
    }

    /// @dev K places; nobody below the K-th by more than the band has one, and whoever beats the worst of those within it
    /// by more than the band does.
    function _checkPlaces(Ranking memory r) private view {
        uint256 n = r.eligible.size();
        uint256 places = n < 3 ? 1 : (n - 1) / 2;
        if (places > terms.topK) places = terms.topK;
        vm.assertEq(r.top.size(), places, "I7: K");
        uint256[] memory ranked = new uint256[](n);
        for (uint256 i; n != 0; ++i) {
            if (r.eligible.has(i)) ranked[--n] = ScoreMath.scoreOf(r.medians, i);
        }
        NaiveJudge.sort(ranked);
        uint256 last = ranked[ranked.length - places];
        uint256 worst;
        while (ranked[worst] + terms.tieBand < last) {
            ++worst;
        }
        for (uint256 i; r.eligible >> i != 0; ++i) {
            if (!r.eligible.has(i)) continue;
            uint256 score_ = ScoreMath.scoreOf(r.medians, i);
            if (r.top.has(i)) vm.assertGe(score_ + terms.tieBand, last, "I7: below the band");
            else vm.assertLe(score_, ranked[worst] + terms.tieBand, "I7: passed over");
        }
    }

    function _checkPair(Ranking memory r, uint256 a, uint256 b) private {
        uint256 better = ScoreMath.scoreOf(r.medians, a);
        uint256 worse = ScoreMath.scoreOf(r.medians, b) + terms.tieBand;
        if (better <= worse) return;
        vm.assertTrue(r.scorers < 3 || r.top.has(a) || !r.top.has(b), "I7");
        vm.assertGe(r.gained[a], r.gained[b], "I8");
        if (r.gained[a] > r.gained[b]) ++rankedPairs;
    }

    function _unpack(uint256[] memory row, uint256 n) private pure returns (uint256[] memory lane) {
        lane = new uint256[](n);
        for (uint256 k; k < n; ++k) {
            lane[k] = (row[k / 16] >> (16 * (k % 16))) & 0xffff;
        }
    }
}
