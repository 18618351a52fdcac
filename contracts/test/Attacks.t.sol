// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {TaskTest} from "./utils/TaskTest.sol";

/// @title Attacks that earlier versions of the protocol fell to, and the claims it makes since
contract AttacksTest is TaskTest {
    // Three honest workers announce leaving, and the two liars rush through the round alone.
    function test_threeOfFiveAnnounceLeavingAndTwoLiarsGainNothing() public {
        begin(5);
        commitAll(31);
        openAll(31);
        for (uint256 i; i < 3; ++i) {
            announce(i);
        }
        uint256[] memory row3 = _liar(3, 4);
        uint256[] memory row4 = _liar(4, 3);
        score(3, row3);
        score(4, row4);
        assertPhase(IFLTask.Phase.Score);
        scoreAll(7);
        revealAll(24);
        assertPhase(IFLTask.Phase.Reveal);
        revealAll(7);
        task.nextRound();
        for (uint256 i; i < 3; ++i) {
            vm.assertGe(credit(i), COLLATERAL + 2 ether);
        }
        vm.assertEq(credit(3) + credit(4), 0);
        vm.assertEq(bond(3), COLLATERAL - COLLATERAL / 10);
    }

    function test_oneRevealerOfThreeDecidesNothing() public {
        begin(3);
        playTo(IFLTask.Phase.Score);
        scoreAll(3);
        score(2, _liar(2, 2));
        reveal(2);
        miss();
        assertPhase(IFLTask.Phase.Reveal);
        vm.assertEq(task.core().step, 0);
        vm.assertEq(credit(2), 0);
        reveal(0);
        reveal(1);
        task.nextRound();
        vm.assertEq(credit(2), 0);
        for (uint256 i; i < 2; ++i) {
            vm.assertEq(bond(i), COLLATERAL);
        }
    }

    // A requester whose specification gives every model 0 gets neither bonds nor work for nothing.
    function test_aSpecificationUnderWhichAllScoreZeroCostsNoBondAndGivesTheRequesterNothing() public {
        begin(5);
        for (uint256 j; j < 5; ++j) {
            quality[j] = 0;
        }
        playToEnd();
        drain();
        vm.assertEq(REQUESTER.balance, REWARD);
        for (uint256 i; i < 5; ++i) {
            vm.assertEq(worker(i).balance, COLLATERAL);
        }
    }

    // Two honest workers are slow, two liars and one honest worker settle the round.
    function test_twoSlowHonestWorkersLoseOnlyTheirOwnMissToTwoLiars() public {
        begin(5);
        commitAll(31);
        openAll(31);
        score(0);
        score(3, _liar(3, 4));
        score(4, _liar(4, 3));
        miss();
        revealAll(1 + 8 + 16);
        task.nextRound();
        vm.assertEq(bond(0), COLLATERAL);
        vm.assertEq(bond(1), COLLATERAL - COLLATERAL / 20);
        vm.assertEq(bond(2), COLLATERAL - COLLATERAL / 20);
        vm.assertEq(task.invalid() & 7, 0);
    }

    // Prototype F10: liars lift honest readings of each other's lanes, some do not open: nobody honest is flagged.
    function test_liftedLanesFlagNobodyHonest() public {
        _lift(9, 4, 1, true, 7000);
        _lift(7, 3, 1, false, 7000);
        _lift(5, 2, 0, false, 6000);
    }

    function _lift(uint256 n, uint256 b, uint256 openLiars, bool audit, uint256 base) private {
        setUp();
        terms.auditLane = audit;
        begin(n);
        uint256 honest = n - b;
        uint256 opened = honest + openLiars;
        for (uint256 j; j < n; ++j) {
            quality[j] = base + j * 7;
        }
        previousQuality = base;
        commitAll(all(n));
        openAll(all(opened));
        miss();
        scoreAll(all(honest));
        for (uint256 i = honest; i < n; ++i) {
            uint256[] memory lane = honestLanes(i);
            for (uint256 j; j < opened; ++j) {
                if (j != i) lane[2 + j] = j < honest ? base + 1600 : base;
            }
            score(i, pack(lane));
        }
        revealAll(all(n));
        task.nextRound();
        vm.assertEq(task.deviant() & all(honest), 0);
        for (uint256 i; i < honest; ++i) {
            vm.assertEq(bond(i), COLLATERAL);
            vm.assertGe(credit(i), 1);
        }
    }

    // T14: beyond the bound an honest worker loses at most its collateral, never past rewards.
    function test_aMajorityOfLiarsTakesAtMostTheCollateral() public {
        terms.rounds = 4;
        begin(5);
        playRound();
        uint256 earned = credit(0);
        for (uint256 r; r < 3; ++r) {
            playTo(IFLTask.Phase.Score);
            uint256 set = task.active();
            for (uint256 i; i < 5; ++i) {
                if (set >> i & 1 == 0) continue;
                uint256[] memory lane = honestLanes(i);
                if (i > 1) (lane[2], lane[3], lane[0]) = (0, 0, 10_000);
                score(i, pack(lane));
            }
            revealAll(set);
            task.nextRound();
        }
        vm.assertGe(bond(0) + credit(0), earned);
        assertSolvent();
    }

    // T19, 2.2: whoever joins late cannot reach into the attempt under way
    function test_aLateJoinerIsNeitherExpectedNorCounted() public {
        terms.lateJoin = true;
        begin(3);
        playTo(IFLTask.Phase.Open);
        join(3);
        openAll(7);
        assertPhase(IFLTask.Phase.Score);
        scoreAll(7);
        revealAll(7);
        assertPhase(IFLTask.Phase.Settle);
        join(4);
        task.nextRound();
        vm.assertEq(task.roster(), 31);
        vm.assertEq(bond(3), COLLATERAL);
    }

    // T32: nobody acts twice in a second; a whole round fits into one block
    function test_aRoundMayPassWithinOneSecond() public {
        begin(5);
        uint256 before = block.timestamp;
        playRound();
        vm.assertEq(block.timestamp, before);
        vm.assertEq(round(), 2);
    }

    function _liar(uint256 i, uint256 friend) private view returns (uint256[] memory) {
        uint256[] memory lane = honestLanes(i);
        (lane[0], lane[1]) = (5000, 2500);
        for (uint256 j; j + 2 < lane.length; ++j) {
            lane[2 + j] = j == friend && j != i ? 10_000 : 0;
        }
        return pack(lane);
    }
}
