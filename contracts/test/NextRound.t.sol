// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {Vm} from "./utils/MiniTest.sol";
import {TaskTest} from "./utils/TaskTest.sol";

/// @title What deadlines make due: quorum, extension, drops, restarts, expiry, the hard stop
contract NextRoundTest is TaskTest {
    // ------------------------------------------------------------------------------------------- nothing due

    function test_nothingIsDueBeforeADeadline(uint8 steps, uint32 later) public {
        begin(3);
        IFLTask.Phase here = IFLTask.Phase(uint8(IFLTask.Phase.Train) + steps % 4);
        playTo(here);
        vm.warp(bound(later, block.timestamp, deadline()));
        vm.expectRevert(IFLTask.NothingDue.selector);
        task.nextRound();
    }

    function test_nothingIsDueInAnEndedTask(uint64 later) public {
        begin(3);
        playToEnd();
        vm.warp(block.timestamp + later);
        vm.expectRevert(IFLTask.NothingDue.selector);
        task.nextRound();
    }

    function test_atTheDeadlineNothingIsDueRightAfterItTheNextPhaseBegins(uint8 steps) public {
        begin(5);
        IFLTask.Phase here = IFLTask.Phase(uint8(IFLTask.Phase.Train) + steps % 3);
        playTo(here);
        _actIn(here, all(3));
        rightBefore();
        vm.expectRevert(IFLTask.NothingDue.selector);
        task.nextRound();
        rightAfter();
        task.nextRound();
        assertPhase(IFLTask.Phase(uint8(here) + 1));
    }

    // ------------------------------------------------------------------------------------------- with a quorum

    // ▲ 2.1.4: the logs carry all of it
    function test_aPassedDeadlineWithAQuorumIsLoggedAndCostsNothingYet() public {
        begin(5);
        commitAll(7);
        rightAfter();
        vm.expectEmit(address(task));
        emit IFLTask.DeadlineMissed(1, 1, IFLTask.Phase.Train, 24, 0, 31, 0);
        vm.expectEmit(address(task));
        emit IFLTask.PhaseChanged(1, 1, IFLTask.Phase.Open, uint40(block.timestamp + 120), 0, 31);
        task.nextRound();
        vm.assertEq(task.workers(4).missStreak, 0);
        vm.assertEq(bond(4), COLLATERAL);
    }

    // ▲ 2.1.2: all expected have acted, but they are no quorum
    function test_allExpectedWithoutAQuorumDoNotEndThePhaseEarly() public {
        begin(5);
        announce(2);
        announce(3);
        announce(4);
        commitAll(3);
        assertPhase(IFLTask.Phase.Train);
        miss();
        assertPhase(IFLTask.Phase.Open);
        vm.assertEq(task.active(), 3);
    }

    // ▲ 2.1.1: two are the least
    function test_oneAloneIsNeverAQuorum() public {
        terms.minWorkers = 2;
        begin(2);
        commit(0);
        miss();
        assertPhase(IFLTask.Phase.Train);
        vm.assertEq(task.core().voids, 1);
    }

    // rule 10: a deadline that leads to Settle is settled in the same call
    function test_aPassedRevealDeadlineSettlesAtOnce() public {
        begin(5);
        playTo(IFLTask.Phase.Reveal);
        revealAll(7);
        miss();
        assertPhase(IFLTask.Phase.Train);
        vm.assertEq(round(), 2);
        vm.assertEq(bond(4), COLLATERAL - COLLATERAL / 10, "fault 2");
    }

    // 2.1.5: deadlines are work-conserving
    function test_aWeekOfSilenceCostsTimeNotMoney() public {
        begin(5);
        commitAll(7);
        vm.warp(uint256(deadline()) + 7 days);
        task.nextRound();
        vm.assertEq(deadline(), block.timestamp + terms.openWindow);
    }

    // ------------------------------------------------------------------------------------------- below the quorum

    // ▲ 2.1.4 d: nothing is discarded
    function test_belowTheQuorumThePhaseIsExtended(uint8 steps) public {
        begin(5);
        IFLTask.Phase here = IFLTask.Phase(uint8(IFLTask.Phase.Train) + steps % 4);
        playTo(here);
        _actIn(here, all(2));
        rightAfter();
        uint40 window =
            [terms.trainWindow, terms.openWindow, terms.scoreWindow, terms.revealWindow][steps % 4];
        vm.expectEmit(address(task));
        emit IFLTask.DeadlineMissed(1, 1, here, 28, 0, 31, 1);
        vm.expectEmit(address(task));
        emit IFLTask.PhaseExtended(1, 1, here, uint40(block.timestamp) + window);
        task.nextRound();
        assertPhase(here);
        vm.assertEq(attempt(), 1);
        vm.assertEq(task.core().voids, 1);
        for (uint256 i; i < 5; ++i) {
            vm.assertEq(task.workers(i).missStreak, i < 2 ? 0 : 1);
            vm.assertEq(bond(i), COLLATERAL);
        }
        _actIn(here, 4);
        _actIn(here, 24);
        assertPhase(IFLTask.Phase(uint8(here) + 1));
    }

    function test_actorsLoseTheirMisses() public {
        begin(5);
        commitAll(1);
        miss();
        vm.assertEq(task.workers(1).missStreak, 1);
        commit(1);
        miss();
        vm.assertEq(task.workers(1).missStreak, 0);
        vm.assertEq(task.workers(2).missStreak, 2);
    }

    // ▲ 2.1.4 a: the bond is held, so that guilt is not escaped
    function test_whoMissesTooOftenIsDroppedAndItsBondHeld() public {
        begin(5);
        commitAll(3);
        miss();
        miss();
        vm.assertEq(task.dropped(), 0);
        rightAfter();
        vm.expectEmit(address(task));
        emit IFLTask.DeadlineMissed(1, 1, IFLTask.Phase.Train, 28, 28, 3, 3);
        vm.expectEmit(address(task));
        emit IFLTask.WorkerRemoved(1, worker(2), 8, 0);
        task.nextRound();
        vm.assertEq(task.active(), 3);
        vm.assertEq(task.workers(2).status, 3);
        vm.assertEq(bond(2), COLLATERAL);
        vm.expectRevert(IFLTask.NothingToWithdraw.selector);
        task.withdraw(worker(2));
        // 4 c: the two are the quorum of those who remain
        assertPhase(IFLTask.Phase.Open);
    }

    function test_theDroppedAreReleasedAtTheBoundary() public {
        terms.maxMiss = 1;
        begin(5);
        commitAll(3);
        miss();
        playTo(IFLTask.Phase.Settle);
        vm.expectEmit(address(task));
        emit IFLTask.WorkerRemoved(1, worker(2), 10, COLLATERAL);
        task.nextRound();
        vm.assertEq(task.dropped(), 0);
        vm.assertEq(credit(2), COLLATERAL);
        task.withdraw(worker(2));
    }

    // ▲ 2.1.4 a: guilt is not escaped by falling out
    function test_aDroppedWorkerIsSlashedForItsInvalidModel() public {
        terms.maxMiss = 2;
        begin(7);
        quality[6] = 0;
        commitAll(7);
        miss();
        commitAll(8 + 16 + 32 + 64);
        playTo(IFLTask.Phase.Score);
        scoreAll(8 + 16 + 32);
        miss();
        vm.assertEq(task.dropped(), 64, "its second miss, the first of the others");
        scoreAll(7);
        playTo(IFLTask.Phase.Settle);
        vm.expectEmit(address(task));
        emit IFLTask.WorkerRemoved(1, worker(6), 10, COLLATERAL / 2);
        task.nextRound();
        vm.assertEq(credit(6), COLLATERAL / 2);
        vm.assertEq(task.workers(6).strikes, 1);
    }

    // ▲ 4.2: the evidence is a majority of the roster, the dropped included
    function test_withTheMajorityDroppedThereIsNoEvidence() public {
        terms.maxMiss = 1;
        begin(5);
        quality[4] = 0;
        commitAll(31);
        openAll(31);
        scoreAll(3);
        miss();
        vm.assertEq(task.dropped(), 4 + 8 + 16);
        playTo(IFLTask.Phase.Settle);
        vm.assertEq(task.roster(), 31);
        task.nextRound();
        vm.assertEq(credit(4), COLLATERAL);
    }

    // ▲ 2.1.4 a
    function test_excusedLeaversAreDroppedAtOnce() public {
        begin(5);
        announce(4);
        commitAll(1);
        rightAfter();
        vm.expectEmit(address(task));
        emit IFLTask.DeadlineMissed(1, 1, IFLTask.Phase.Train, 14, 16, 15, 1);
        vm.expectEmit(address(task));
        emit IFLTask.WorkerRemoved(1, worker(4), 9, 0);
        task.nextRound();
        vm.assertEq(task.workers(4).missStreak, 0);
        vm.assertEq(task.active(), 15);
    }

    // ▲ 2.1.4 e, 2.2: the round restarts only when too few can still act
    function test_theRoundRestartsWhenTooFewCanStillAct() public {
        terms.maxMiss = 1;
        begin(5);
        commitAll(7);
        miss();
        open(0);
        rightAfter();
        vm.expectEmit(address(task));
        emit IFLTask.DeadlineMissed(1, 1, IFLTask.Phase.Open, 6, 6, 25, 1);
        task.nextRound();
        assertPhase(IFLTask.Phase.Train);
        vm.assertEq(round(), 1);
        vm.assertEq(attempt(), 2);
        vm.assertEq(task.roster(), 25);
        vm.assertEq(task.committed() | task.opened() | task.scored() | task.revealed(), 0);
        // ▲ a commitment of the first attempt is worth nothing in the second
        vm.expectRevert(abi.encodeWithSelector(IFLTask.WrongAttempt.selector, 2));
        vm.prank(worker(0));
        task.commitModel(1, 1, "h", "base");
    }

    // 2.1.4: an adversary within the bound cannot cause a restart
    function test_liarsWithinTheBoundOnlyCostTime(uint8 seed) public {
        begin(5);
        commitAll(31);
        _actIn(IFLTask.Phase.Open, 7);
        miss();
        if (seed % 2 == 0) {
            miss();
            vm.assertEq(task.core().voids, 1);
        }
        scoreAll(7);
        miss();
        revealAll(7);
        task.nextRound();
        vm.assertEq(round(), 2);
        vm.assertEq(attempt(), 2);
        for (uint256 i; i < 3; ++i) {
            vm.assertGe(credit(i), 2.5 ether);
        }
    }

    // 7.6, prototype F7: a guilty worker's veto at n = 3, and the escape from it
    function test_twoOfThreeSettleWithoutTheGuilty() public {
        begin(3);
        quality[2] = 0;
        commitAll(7);
        openAll(7);
        scoreAll(3);
        announce(2);
        miss();
        assertPhase(IFLTask.Phase.Reveal);
        revealAll(3);
        task.nextRound();
        vm.assertEq(bond(2) + credit(2), COLLATERAL / 2);
        vm.assertEq(task.active(), 3);
    }

    // prototype: four of seven are killed for ever
    function test_aMajorityKilledForEverCostsTimeAndTheRestGoOn() public {
        begin(7);
        commitAll(all(7));
        openAll(all(7));
        scoreAll(7);
        miss();
        miss();
        assertPhase(IFLTask.Phase.Score);
        miss();
        assertPhase(IFLTask.Phase.Reveal);
        vm.assertEq(attempt(), 1);
        revealAll(7);
        task.nextRound();
        vm.assertEq(task.active(), 7);
        for (uint256 i = 3; i < 7; ++i) {
            vm.assertEq(credit(i), COLLATERAL);
            task.withdraw(worker(i));
        }
    }

    // ▲ D7, 2.1.4 d: the seed stays
    function test_anExtensionKeepsTheSeed() public {
        begin(5);
        playTo(IFLTask.Phase.Score);
        vm.recordLogs();
        vm.prevrandao("another");
        miss();
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 2);
        vm.assertEq(logs[0].topics[0], IFLTask.DeadlineMissed.selector);
        vm.assertEq(logs[1].topics[0], IFLTask.PhaseExtended.selector);
        assertPhase(IFLTask.Phase.Score);
    }

    // ------------------------------------------------------------------------------------------- expiry

    // ▲ 2.1.4 b, 2.1.9
    function test_voidsAboveTheLimitExpireTheTaskAndTheReward() public {
        terms.maxMiss = 5;
        terms.maxVoid = 5;
        terms.minActive = 2;
        begin(5);
        for (uint256 v; v < 4; ++v) {
            miss();
            assertPhase(IFLTask.Phase.Train);
        }
        miss();
        assertPhase(IFLTask.Phase.Expired);
        drain();
        vm.assertEq(REQUESTER.balance, REWARD);
        for (uint256 i; i < 5; ++i) {
            vm.assertEq(worker(i).balance, COLLATERAL);
        }
    }

    function test_voidsAreForgottenBySettlements() public {
        begin(5);
        commitAll(3);
        miss();
        vm.assertEq(task.core().voids, 1);
        commitAll(28);
        playTo(IFLTask.Phase.Settle);
        task.nextRound();
        vm.assertEq(task.core().voids, 0);
        vm.assertEq(task.workers(4).missStreak, 0);
    }

    // ▲ 2.1.1
    function test_belowMinActiveTheTaskExpiresNotBelowMinWorkers() public {
        terms.minWorkers = 5;
        terms.minActive = 3;
        terms.maxMiss = 1;
        begin(5);
        playTo(IFLTask.Phase.Open);
        announce(4);
        playRound();
        vm.assertEq(task.active(), 15);
        playTo(IFLTask.Phase.Score);
        scoreAll(3);
        miss();
        assertPhase(IFLTask.Phase.Expired);
        drain();
    }

    function test_tooFewAfterASettlementExpireTheTaskWithoutABoundary() public {
        terms.minActive = 3;
        begin(3);
        playTo(IFLTask.Phase.Settle);
        announce(2);
        vm.expectEmit(address(task));
        emit IFLTask.RoundScored(1, _flatMedians(), _flatMedians(), 7200, 7, 2, 0, 0);
        task.nextRound();
        assertPhase(IFLTask.Phase.Expired);
        vm.assertEq(task.active(), 7);
        vm.assertEq(task.leaving(), 4);
        vm.assertEq(bond(2), COLLATERAL);
        drain();
        vm.assertEq(REQUESTER.balance, 20 ether);
    }

    function test_pendingWorkersFillTheRanks() public {
        terms.minActive = 3;
        terms.lateJoin = true;
        begin(3);
        join(3);
        playTo(IFLTask.Phase.Settle);
        announce(2);
        task.nextRound();
        assertPhase(IFLTask.Phase.Train);
        vm.assertEq(task.active(), 11);
    }

    // ------------------------------------------------------------------------------------------- hard stop

    // rule 10: the deadline's work comes first, then the hard stop
    function test_afterTheHardStopTheDeadlineComesFirstThenTheEnd() public {
        begin(5);
        commitAll(7);
        vm.warp(uint256(terms.hardStop) + 1);
        task.nextRound();
        assertPhase(IFLTask.Phase.Open);
        task.nextRound();
        assertPhase(IFLTask.Phase.Expired);
        drain();
    }

    // ▲ 2.1.9
    function test_aSettlementIsNotCutOffByTheHardStop() public {
        begin(3);
        playTo(IFLTask.Phase.Settle);
        vm.warp(uint256(terms.hardStop) + 365 days);
        task.nextRound();
        vm.assertEq(round(), 2);
        vm.assertGe(credit(0), 1);
        task.nextRound();
        assertPhase(IFLTask.Phase.Expired);
        drain();
    }

    function _flatMedians() private view returns (uint256[] memory) {
        uint256[] memory lanes = new uint256[](5);
        (lanes[0], lanes[1]) = (previousQuality, previousQuality / 2);
        (lanes[2], lanes[3], lanes[4]) = (quality[0], quality[1], quality[2]);
        return pack(lanes);
    }

    function _actIn(IFLTask.Phase here, uint256 set) private {
        if (here == IFLTask.Phase.Train) commitAll(set);
        if (here == IFLTask.Phase.Open) openAll(set);
        if (here == IFLTask.Phase.Score) scoreAll(set);
        if (here == IFLTask.Phase.Reveal) revealAll(set);
    }
}
