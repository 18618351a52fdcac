// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Roster} from "../src/libraries/Roster.sol";
import {ScoreMath} from "../src/libraries/ScoreMath.sol";
import {MiniTest} from "./utils/MiniTest.sol";
import {NaiveJudge} from "./utils/NaiveJudge.sol";

/// @title Packed arithmetic against the naive one
contract ScoreMathTest is MiniTest {
    function test_medianOfPackedLanesIsThatOfASort(uint256 seed, uint8 count, uint8 shape) public pure {
        uint256 m = bound(count, 0, 126);
        uint256[] memory rows = new uint256[]((m + 1) & ~uint256(1));
        if (m & 1 != 0) rows[m] = ScoreMath.GUARDS;
        for (uint256 r; r < m; ++r) {
            for (uint256 l; l < 16; ++l) {
                uint256 value = uint256(keccak256(abi.encode(seed, r, l))) % (shape % 3 == 0 ? 3 : 10_001);
                rows[r] |= value << (16 * l);
            }
            rows[r] |= ScoreMath.GUARDS;
        }
        uint256 upper = ScoreMath.reachedBy(rows, ScoreMath.splat((m + 1) / 2));
        uint256 lower = ScoreMath.reachedBy(rows, m == 0 ? 0 : ScoreMath.splat(m / 2 + 1));
        for (uint256 l; l < 16; ++l) {
            uint256[] memory column = new uint256[](m);
            for (uint256 r; r < m; ++r) {
                column[r] = ScoreMath.lane(rows[r], l) & 0x7fff;
            }
            NaiveJudge.sort(column);
            vm.assertEq(ScoreMath.lane(upper, l), m == 0 ? 0 : column[m / 2]);
            vm.assertEq(ScoreMath.lane(lower, l), m == 0 ? 0 : column[(m - 1) / 2]);
        }
    }

    // ▲ 3.2
    function test_theMedianOfNothingIsZero() public pure {
        vm.assertEq(ScoreMath.reachedBy(new uint256[](0), 0), 0);
    }

    function test_areScoresMeansEveryLaneUpTo10000(uint256 word) public pure {
        bool valid = true;
        for (uint256 l; l < 16; ++l) {
            if (((word >> (16 * l)) & 0xffff) > 10_000) valid = false;
        }
        vm.assertTrue(ScoreMath.areScores(word) == valid);
    }

    function test_areScoresAtTheEdgeOfEachLane(uint8 l, uint16 value) public pure {
        uint256 word = ScoreMath.splat(10_000);
        uint256 shift = 16 * (l % 16);
        vm.assertTrue(ScoreMath.areScores(word));
        word = (word & ~(uint256(0xffff) << shift)) | uint256(value) << shift;
        vm.assertTrue(ScoreMath.areScores(word) == (value <= 10_000));
    }

    function test_laneBitsSpreadASet(uint256 seats, uint8 controls, uint8 w) public pure {
        seats &= (1 << 126) - 1;
        controls &= 3;
        w %= 8;
        uint256 bits = ScoreMath.laneBits(seats, controls, w);
        for (uint256 l; l < 16; ++l) {
            uint256 lane = 16 * uint256(w) + l;
            uint256 expected = lane < 2 ? (controls >> lane) & 1 : (seats >> (lane - 2)) & 1;
            vm.assertEq(ScoreMath.lane(bits, l), expected);
        }
    }

    function test_minusSaturatesLaneByLane(uint256 a, uint256 b) public pure {
        a &= ~ScoreMath.GUARDS;
        b &= ~ScoreMath.GUARDS;
        uint256 difference = ScoreMath.minus(a, b);
        for (uint256 l; l < 16; ++l) {
            (uint256 x, uint256 y) = (ScoreMath.lane(a, l), ScoreMath.lane(b, l));
            vm.assertEq(ScoreMath.lane(difference, l), x > y ? x - y : 0);
        }
    }

    function test_kthGreatestIsThatOfASort(uint256 seed, uint256 seats, uint8 k) public pure {
        seats &= (1 << 126) - 1;
        uint256 n = NaiveJudge.count(seats);
        vm.assume(n != 0);
        uint256[] memory words = new uint256[](8);
        uint256[] memory chosen = new uint256[](n);
        uint256 next;
        for (uint256 lane; lane < 128; ++lane) {
            uint256 value = uint256(keccak256(abi.encode(seed, lane))) % 10_001;
            words[lane / 16] |= value << (16 * (lane % 16));
            if (lane > 1 && (seats >> (lane - 2)) & 1 != 0) chosen[next++] = value;
        }
        NaiveJudge.sort(chosen);
        uint256 place = bound(k, 1, n);
        vm.assertEq(ScoreMath.kthGreatest(words, seats, place), chosen[n - place]);
        vm.assertEq(ScoreMath.lowerMedian(words, seats, n), chosen[(n - 1) / 2]);
        vm.assertEq(ScoreMath.kthGreatest(words, seats, n + 1), 0);
    }

    function test_setsCountAndFindTheirFirstGap(uint256 set) public pure {
        vm.assertEq(Roster.size(set), NaiveJudge.count(set));
        set &= (1 << 126) - 1;
        uint256 gap;
        while ((set >> gap) & 1 != 0) {
            ++gap;
        }
        vm.assertEq(Roster.firstFree(set), gap);
    }

    // 2.1.1, 4.2
    function test_quorumAndFineQuorum(uint8 size) public pure {
        uint256 n = bound(size, 1, 126);
        uint256 majority = n / 2 + 1;
        vm.assertEq(Roster.quorum((1 << n) - 1), majority < 2 ? 2 : majority);
        vm.assertEq(Roster.fineQuorum(n), 2 * (n <= 15 ? (n - 1) / 2 : (n - 1) / 3) + 1);
    }
}
