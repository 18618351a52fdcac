// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Payouts} from "../src/libraries/Payouts.sol";
import {Roster} from "../src/libraries/Roster.sol";
import {ScoreMath} from "../src/libraries/ScoreMath.sol";
import {VectorTest} from "./utils/VectorTest.sol";

/// @title The contract's pure arithmetic finds the numbers of vectors/rules.json, as bfl_events.rules does
contract RuleVectorsTest is VectorTest {
    struct Median {
        uint256[] values;
        uint256 upper;
        uint256 lower;
    }

    struct Quorum {
        uint256 n;
        uint256 quorum;
        uint256 fineQuorum;
    }

    struct Payout {
        uint256 rewardLeft;
        uint256 rounds;
        uint256 round;
        uint256 pool;
        uint256 eligible;
        uint256 revealers;
        uint256 topK;
        uint256 topShareBps;
        uint256 reward;
        uint256 top;
        uint256 perTop;
        uint256 perRest;
        uint256 perForfeit;
    }

    string private constant MEDIAN = "Median(uint256[] values,uint256 upper,uint256 lower)";
    string private constant QUORUM = "Quorum(uint256 n,uint256 quorum,uint256 fineQuorum)";
    string private constant PAYOUT = "Payout(uint256 rewardLeft,uint256 rounds,uint256 round,uint256 pool,uint256 eligible,"
        "uint256 revealers,uint256 topK,uint256 topShareBps,uint256 reward,uint256 top,uint256 perTop,"
        "uint256 perRest,uint256 perForfeit)";

    function test_medians() public view {
        Median[] memory cases = abi.decode(section("medians", MEDIAN), (Median[]));
        vm.assertGe(cases.length, 30);
        for (uint256 k; k < cases.length; ++k) {
            _checkMedian(cases[k], k % 16);
        }
    }

    function test_quorums() public view {
        Quorum[] memory cases = abi.decode(section("quorums", QUORUM), (Quorum[]));
        vm.assertEq(cases.length, 125);
        for (uint256 k; k < cases.length; ++k) {
            vm.assertEq(Roster.quorum((1 << cases[k].n) - 1), cases[k].quorum, "quorum");
            vm.assertEq(Roster.fineQuorum(cases[k].n), cases[k].fineQuorum, "fineQuorum");
        }
    }

    function test_payouts() public view {
        Payout[] memory cases = abi.decode(section("payouts", PAYOUT), (Payout[]));
        vm.assertGe(cases.length, 50);
        for (uint256 k; k < cases.length; ++k) {
            Payout memory p = cases[k];
            vm.assertEq(Payouts.roundReward(p.rewardLeft, p.rounds, p.round), p.reward, "reward");
            vm.assertEq(Payouts.topSize(p.eligible, p.revealers, p.topK), p.top, "top");
            Payouts.Shares memory s;
            if (p.eligible != 0) s = Payouts.split(p.reward, p.pool, p.eligible, p.top, p.topShareBps);
            vm.assertEq(s.perTop, p.perTop, "perTop");
            vm.assertEq(s.perRest, p.perRest, "perRest");
            vm.assertEq(s.perForfeit, p.perForfeit, "perForfeit");
        }
    }

    function _checkMedian(Median memory c, uint256 lane) private pure {
        uint256 m = c.values.length;
        uint256[] memory rows = new uint256[]((m + 1) & ~uint256(1));
        if (m & 1 != 0) rows[m] = ScoreMath.GUARDS;
        for (uint256 r; r < m; ++r) {
            rows[r] = ScoreMath.GUARDS | c.values[r] << (16 * lane);
        }
        uint256 upper = ScoreMath.reachedBy(rows, ScoreMath.splat((m + 1) / 2));
        uint256 lower = ScoreMath.reachedBy(rows, m == 0 ? 0 : ScoreMath.splat(m / 2 + 1));
        vm.assertEq(upper, c.upper << (16 * lane), "upper median");
        vm.assertEq(lower, c.lower << (16 * lane), "lower median");
    }
}
