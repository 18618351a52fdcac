// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {TaskTest} from "./utils/TaskTest.sol";

/// @title The table of faults, line by line
contract FaultsTest is TaskTest {
    uint256 private constant SLASH = COLLATERAL / 2;
    uint256 private constant FEE = COLLATERAL / 10;
    uint256 private constant MISS = COLLATERAL / 20;

    // ------------------------------------------------------------------------------------------- 1 invalid

    function test_anInvalidModelCostsASlashAndAStrike() public {
        begin(5);
        quality[4] = 0;
        playTo(IFLTask.Phase.Settle);
        vm.expectEmit(address(task));
        emit IFLTask.RoundScored(1, _medians(5), _medians(5), 7200, 15, 2, 0, 16);
        vm.expectEmit(address(task));
        emit IFLTask.WorkerPenalized(1, worker(4), 1, SLASH, COLLATERAL - SLASH, 1);
        task.nextRound();
        vm.assertEq(bond(4), COLLATERAL - SLASH);
        vm.assertEq(task.workers(4).strikes, 1);
        vm.assertEq(task.active(), 31, "a bond of exactly one slash is enough to stay");
    }

    function test_theSecondInvalidModelCostsTheRestAndTheSeat() public {
        terms.slashBps = 3000;
        begin(5);
        quality[4] = 0;
        playRound();
        playTo(IFLTask.Phase.Settle);
        uint256 rest = COLLATERAL * 7 / 10;
        vm.expectEmit(address(task));
        emit IFLTask.RoundScored(2, _medians(5), _medians(5), 7200, 15, 4, 0, 16);
        vm.expectEmit(address(task));
        emit IFLTask.WorkerPenalized(2, worker(4), 1, rest, 0, 2);
        vm.expectEmit(address(task));
        emit IFLTask.WorkerRemoved(2, worker(4), 1, 0);
        task.nextRound();
        vm.assertEq(task.active(), 15);
        vm.assertEq(bond(4) + credit(4), 0);
    }

    // ------------------------------------------------------------------------------------------- 2 no reveal

    function test_scoresNotRevealedCostAFeeEach() public {
        terms.rounds = 9;
        begin(5);
        for (uint256 k = 1; k <= 5; ++k) {
            playTo(IFLTask.Phase.Reveal);
            revealAll(15);
            miss();
            vm.assertEq(bond(4), COLLATERAL - k * FEE);
            vm.assertEq(credit(4), 0);
            vm.assertEq(task.workers(4).strikes, 0);
        }
        // the sixth leaves less than a slash: ejected, the rest returned
        playTo(IFLTask.Phase.Reveal);
        revealAll(15);
        miss();
        vm.assertEq(task.active(), 15);
        vm.assertEq(credit(4), COLLATERAL - 6 * FEE);
        vm.assertEq(task.workers(4).status, 3);
    }

    // T12: removes only its own row
    function test_aRowNotRevealedHurtsOnlyItsAuthor() public {
        begin(5);
        playTo(IFLTask.Phase.Reveal);
        revealAll(15);
        miss();
        for (uint256 i; i < 4; ++i) {
            vm.assertEq(bond(i), COLLATERAL);
            vm.assertGe(credit(i), 1);
        }
    }

    // ------------------------------------------------------------------------------------------- 3 missed

    function test_aMissedModelCostsAMiss() public {
        begin(5);
        commitAll(15);
        miss();
        openAll(15);
        scoreAll(31);
        revealAll(31);
        task.nextRound();
        vm.assertEq(bond(4), COLLATERAL - MISS);
        vm.assertEq(task.workers(4).missStreak, 1);
    }

    function test_missedScoresCostAMiss() public {
        begin(5);
        playTo(IFLTask.Phase.Score);
        scoreAll(15);
        miss();
        revealAll(15);
        task.nextRound();
        vm.assertEq(bond(4), COLLATERAL - MISS);
        vm.assertEq(task.workers(4).missStreak, 1);
    }

    function test_missesInARowEjectAndTheRestReturns() public {
        terms.rounds = 5;
        begin(5);
        for (uint256 k = 1; k <= 3; ++k) {
            vm.assertEq(task.active(), 31);
            _playWithout(16);
        }
        vm.assertEq(task.active(), 15);
        vm.assertEq(credit(4), COLLATERAL - 3 * MISS);
        vm.assertEq(task.workers(4).strikes, 0);
    }

    // 4.2: the streak ends in a settled round in which the worker opened and revealed
    function test_aRoundOfWorkEndsTheStreak() public {
        terms.rounds = 6;
        begin(5);
        _playWithout(16);
        _playWithout(16);
        vm.assertEq(task.workers(4).missStreak, 2);
        playRound();
        vm.assertEq(task.workers(4).missStreak, 0);
        _playWithout(16);
        _playWithout(16);
        vm.assertEq(task.active(), 31);
    }

    function test_theExcusedOweNothing() public {
        begin(5);
        announce(4);
        playWithoutExcused();
        vm.assertEq(credit(4), COLLATERAL);
    }

    function playWithoutExcused() private {
        commitAll(15);
        openAll(15);
        scoreAll(15);
        revealAll(15);
        task.nextRound();
    }

    // ------------------------------------------------------------------------------------------- 4 deviant

    function test_deviantScoresCostAFee() public {
        begin(5);
        _playWithDeviant(4, 31);
        vm.assertEq(bond(4), COLLATERAL - FEE);
        vm.assertEq(credit(4), 0);
        vm.assertEq(task.workers(4).strikes, 0);
    }

    // ▲ 4.2: R >= 2f + 1
    function test_finesForScoresNeedEnoughRows(uint8 size) public {
        uint256 n = bound(size, 3, 40);
        terms.maxWorkers = 40;
        uint256 f = n <= 15 ? (n - 1) / 2 : (n - 1) / 3;
        uint256 enough = 2 * f + 1;
        begin(n);
        _playWithDeviant(0, all(enough));
        vm.assertEq(bond(0), COLLATERAL - FEE, "2f + 1 rows");

        if (enough - 1 < n / 2 + 1 || enough < 4) return;
        setUp();
        terms.maxWorkers = 40;
        begin(n);
        _playWithDeviant(0, all(enough - 1));
        vm.assertEq(task.deviant(), 1);
        vm.assertEq(bond(0), COLLATERAL, "2f rows");
    }

    // ------------------------------------------------------------------------------------------- 5 low

    function test_lowQualityCostsAtEveryThirdTimeInARow() public {
        terms.rounds = 7;
        begin(5);
        quality[4] = 1000;
        playRound();
        vm.assertEq(task.workers(4).lowStreak, 1);
        playRound();
        vm.assertEq(task.workers(4).lowStreak, 2);
        vm.assertEq(bond(4), COLLATERAL);
        playRound();
        vm.assertEq(task.workers(4).lowStreak, 0);
        vm.assertEq(bond(4), COLLATERAL - SLASH / 2);
        vm.assertEq(task.workers(4).strikes, 1);
        for (uint256 r; r < 3; ++r) {
            playRound();
        }
        vm.assertEq(task.active(), 15, "the second strike ejects");
        vm.assertEq(credit(4), COLLATERAL - SLASH, "and the rest returns");
    }

    function test_aFineOfNothingIsLoggedToo() public {
        begin(5);
        quality[4] = 1000;
        playTo(IFLTask.Phase.Settle);
        vm.expectEmit(address(task));
        emit IFLTask.RoundScored(1, _medians(5), _medians(5), 7200, 15, 2, 0, 0);
        vm.expectEmit(address(task));
        emit IFLTask.WorkerPenalized(1, worker(4), 5, 0, COLLATERAL, 0);
        task.nextRound();
    }

    function test_anAcceptedModelEndsTheLowStreak() public {
        terms.rounds = 6;
        begin(5);
        quality[4] = 1000;
        playRound();
        playRound();
        quality[4] = 9000;
        playRound();
        vm.assertEq(task.workers(4).lowStreak, 0);
        quality[4] = 1000;
        playRound();
        playRound();
        vm.assertEq(bond(4), COLLATERAL);
    }

    function test_withMaxLowZeroNobodyIsFinedForQuality() public {
        terms.maxLow = 0;
        terms.rounds = 9;
        begin(5);
        quality[4] = 1000;
        for (uint256 r; r < 9; ++r) {
            playRound();
        }
        vm.assertEq(bond(4), COLLATERAL);
        vm.assertEq(task.workers(4).lowStreak, 0);
    }

    // ▲ 4.2: with too few rows the streak stands still
    function test_withTooFewRowsTheLowStreakStandsStill() public {
        terms.rounds = 5;
        begin(5);
        quality[4] = 1000;
        playRound();
        playTo(IFLTask.Phase.Reveal);
        revealAll(1 + 2 + 4 + 16);
        miss();
        vm.assertEq(task.workers(4).lowStreak, 1);
        playRound();
        vm.assertEq(task.workers(4).lowStreak, 2);
    }

    // ▲ 4.2: the second term of theta, which liars with a better model can lift, is no ground for a fine
    function test_whoIsBelowThetaOnlyForItsSecondTermIsUnpaidButNotLow() public {
        terms.maxLow = 1;
        begin(5);
        // each model but the first gets two high readings of four: upper medians rise, lower ones do not
        playTo(IFLTask.Phase.Score);
        for (uint256 i; i < 5; ++i) {
            uint256[] memory lane = honestLanes(i);
            for (uint256 j; j < 5; ++j) {
                bool high = j != 0 && (i > 2 || (i == 2 && j > 2));
                if (j != i) lane[2 + j] = high ? 6400 : 5000;
            }
            score(i, pack(lane));
        }
        revealAll(31);
        task.nextRound();
        vm.assertEq(task.accepted() & 1, 0, "below theta");
        vm.assertEq(bond(0), COLLATERAL, "and not fined");
    }

    // ------------------------------------------------------------------------------------------- 7 unopened

    function test_modelsNotOpenedCostAFeeThenHalfASlashAndAStrike() public {
        terms.rounds = 5;
        begin(5);
        _playUnopened();
        vm.assertEq(bond(4), COLLATERAL - FEE);
        vm.assertEq(task.workers(4).unopened, 1);
        vm.assertEq(task.workers(4).strikes, 0);
        vm.assertEq(task.workers(4).missStreak, 0, "it is no miss");
        playRound();
        _playUnopened();
        vm.assertEq(bond(4), COLLATERAL - FEE - SLASH / 2);
        vm.assertEq(task.workers(4).unopened, 2);
        vm.assertEq(task.workers(4).strikes, 1);
        _playUnopened();
        vm.assertEq(task.active(), 15, "the second strike ejects");
        vm.assertEq(task.workers(4).unopened, 3);
    }

    // ------------------------------------------------------------------------------------------- together

    function test_oneFaultARoundInTheOrderOfTheTable() public {
        // neither opened nor scored: 7, not 3
        begin(5);
        commitAll(31);
        openAll(15);
        miss();
        scoreAll(15);
        miss();
        revealAll(15);
        task.nextRound();
        vm.assertEq(bond(4), COLLATERAL - FEE);
        vm.assertEq(task.workers(4).missStreak, 0);

        // not opened and not revealed: 2, not 7
        commitAll(31);
        openAll(15);
        miss();
        scoreAll(31);
        revealAll(15);
        miss();
        vm.assertEq(bond(4), COLLATERAL - 2 * FEE);
        vm.assertEq(task.workers(4).unopened, 1);

        // invalid and not revealed: 1, not 2
        quality[4] = 0;
        playTo(IFLTask.Phase.Reveal);
        revealAll(15);
        miss();
        vm.assertEq(task.workers(4).strikes, 1);
    }

    // ▲ 4.2: ejected when the bond is below one slash, unless there is no collateral
    function test_withoutCollateralFaultsCostNothingAndEjectNobodyAtOnce() public {
        terms.collateral = 0;
        begin(5);
        playTo(IFLTask.Phase.Reveal);
        revealAll(15);
        miss();
        vm.assertEq(task.active(), 31);
    }

    function test_aFineThatLeavesLessThanASlashEjects() public {
        terms.slashBps = 9500;
        begin(5);
        _playWithDeviant(4, 31);
        vm.assertEq(task.active(), 15);
        vm.assertEq(credit(4), COLLATERAL - FEE);
    }

    function test_aFineThatLeavesExactlyASlashDoesNot() public {
        terms.slashBps = 9000;
        begin(5);
        _playWithDeviant(4, 31);
        vm.assertEq(task.active(), 31);
    }

    // ------------------------------------------------------------------------------------------- scenes

    function _playWithout(uint256 absent) private {
        uint256 present = task.active() & ~absent;
        commitAll(present);
        miss();
        openAll(present);
        scoreAll(present);
        miss();
        revealAll(present);
        task.nextRound();
    }

    function _playUnopened() private {
        commitAll(31);
        openAll(15);
        miss();
        scoreAll(31);
        revealAll(31);
        task.nextRound();
    }

    function _playWithDeviant(uint256 liar, uint256 revealers) private {
        playTo(IFLTask.Phase.Score);
        for (uint256 i; i < task.core().count; ++i) {
            uint256[] memory lane = honestLanes(i);
            if (i == liar) lane[0] = 0;
            score(i, pack(lane));
        }
        revealAll(revealers);
        if (phase() == IFLTask.Phase.Reveal) miss();
        else task.nextRound();
    }

    function _medians(uint256 n) private view returns (uint256[] memory) {
        uint256[] memory lane = new uint256[](n + 2);
        (lane[0], lane[1]) = (previousQuality, previousQuality / 2);
        for (uint256 j; j < n; ++j) {
            lane[2 + j] = quality[j];
        }
        return pack(lane);
    }
}
