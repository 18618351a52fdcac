// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {TaskTest} from "./utils/TaskTest.sol";

contract RemoveWorkerTest is TaskTest {
    // ------------------------------------------------------------------------------------------- reverts

    function test_strangersCannotLeave(address who) public {
        begin(3);
        vm.assume(task.indexPlus1(who) == 0);
        vm.expectRevert(IFLTask.NotActive.selector);
        vm.prank(who);
        task.removeWorker();
    }

    function test_leavingIsAnnouncedOnce() public {
        begin(4);
        announce(0);
        vm.expectRevert(IFLTask.AlreadyDone.selector);
        vm.prank(worker(0));
        task.removeWorker();
    }

    function test_whoeverIsGoneCannotLeave() public {
        begin(5);
        playTo(IFLTask.Phase.Open);
        announce(4);
        playRound();
        vm.expectRevert(IFLTask.NotActive.selector);
        vm.prank(worker(4));
        task.removeWorker();
    }

    function test_aDroppedWorkerCannotLeave() public {
        terms.maxMiss = 1;
        begin(5);
        commitAll(3);
        miss();
        vm.assertEq(task.dropped(), 4 + 8 + 16);
        vm.expectRevert(IFLTask.NotActive.selector);
        vm.prank(worker(4));
        task.removeWorker();
    }

    function test_nobodyLeavesWhileAttesting() public {
        begin(3);
        playToAttest();
        expectWrongPhase(IFLTask.Phase.Attest);
        vm.prank(worker(0));
        task.removeWorker();
    }

    function test_nobodyLeavesAnEndedTask() public {
        begin(3);
        playToEnd();
        expectWrongPhase(IFLTask.Phase.Completed);
        vm.prank(worker(0));
        task.removeWorker();
    }

    // Else the absent would excuse themselves after the deadline.
    function test_leavingRightBeforeTheDeadlineExcusesRightAfterItIsRefused() public {
        begin(5);
        rightBefore();
        announce(4);
        vm.assertEq(task.excused(), 16);
        rightAfter();
        expectPhaseOver();
        vm.prank(worker(3));
        task.removeWorker();
    }

    function test_aPayeeThatRefusesEtherKeepsItsSeat() public {
        create();
        join(0, address(implementation));
        vm.expectRevert(IFLTask.TransferFailed.selector);
        vm.prank(worker(0));
        task.removeWorker();
        vm.assertEq(task.active(), 1);
    }

    // ------------------------------------------------------------------------------------------- joining

    // ▲ 2.1.8
    function test_whileJoiningTheBondReturnsAndTheSeatIsFree(address payout) public {
        vm.assume(uint160(payout) > 0xffffff && payout.code.length == 0);
        create();
        joinAll(2);
        join(2, payout);
        uint256 before = payout.balance;
        vm.expectEmit(address(task));
        emit IFLTask.WorkerRemoved(0, worker(2), 0, COLLATERAL);
        vm.expectEmit(address(task));
        emit IFLTask.Withdrawn(worker(2), payout, COLLATERAL);
        announce(2);
        vm.assertEq(payout.balance - before, COLLATERAL);
        vm.assertEq(task.active(), 3);
        vm.assertEq(task.indexPlus1(worker(2)), 0);
        IFLTask.Worker memory empty;
        vm.assertEq(abi.encode(task.workers(2)), abi.encode(empty));
        vm.assertEq(task.core().count, 3);
        join(2);
        vm.assertEq(task.active(), 7);
        assertSolvent();
    }

    function test_afterTheJoinDeadlineLeavingStillWorks() public {
        create();
        join(0);
        rightAfter();
        announce(0);
        vm.assertEq(worker(0).balance, COLLATERAL);
    }

    function test_withoutCollateralNothingIsPaid() public {
        terms.collateral = 0;
        create();
        join(0);
        announce(0);
        vm.assertEq(task.active(), 0);
    }

    // ------------------------------------------------------------------------------------------- running

    // ▲ 2.1.8
    function test_leavingInTrainBeforeCommittingExcuses() public {
        begin(4);
        vm.expectEmit(address(task));
        emit IFLTask.WorkerLeaving(1, worker(3));
        announce(3);
        vm.assertEq(task.leaving(), 8);
        vm.assertEq(task.excused(), 8);
        vm.assertEq(task.active(), 15);
        vm.assertEq(task.workers(3).status, 2);
        commitAll(7);
        assertPhase(IFLTask.Phase.Open);
        openAll(7);
        scoreAll(7);
        revealAll(7);
        task.nextRound();
        vm.assertEq(task.excused(), 0);
        vm.assertEq(task.active(), 7);
        vm.assertEq(credit(3), COLLATERAL);
        vm.assertEq(bond(3), 0);
        vm.assertEq(task.workers(3).status, 3);
    }

    // ▲ 2.1.8
    function test_leavingAfterCommittingExcusesNothing() public {
        begin(4);
        commit(3);
        announce(3);
        vm.assertEq(task.excused(), 0);
        commitAll(7);
        openAll(7);
        miss();
        scoreAll(7);
        miss();
        revealAll(7);
        task.nextRound();
        vm.assertEq(credit(3), COLLATERAL - COLLATERAL / 10, "fault 7 is paid");
    }

    function test_leavingInALaterPhaseExcusesNothing(uint8 which) public {
        IFLTask.Phase here = IFLTask.Phase(uint8(IFLTask.Phase.Open) + which % 4);
        begin(4);
        playTo(here);
        announce(3);
        vm.assertEq(task.excused(), 0);
        vm.assertEq(task.leaving(), 8);
        playTo(IFLTask.Phase.Settle);
        task.nextRound();
        vm.assertEq(task.active(), 7);
        vm.assertGe(credit(3), COLLATERAL + 1, "it worked, so it is paid");
    }

    function test_anExcusedWorkerThatCommitsAfterAllIsExpectedAgain() public {
        begin(4);
        announce(3);
        commit(3);
        vm.assertEq(task.excused(), 0);
        commitAll(7);
        openAll(7);
        assertPhase(IFLTask.Phase.Open);
    }

    function test_theLastOneExpectedMayLeaveAndTheRoundGoesOn() public {
        begin(4);
        commitAll(7);
        assertPhase(IFLTask.Phase.Train);
        announce(3);
        assertPhase(IFLTask.Phase.Open);
    }

    function test_leavingAloneMakesNoQuorum() public {
        begin(4);
        commitAll(3);
        announce(2);
        announce(3);
        assertPhase(IFLTask.Phase.Train);
    }

    function test_aPendingWorkerLeavesAtTheBoundaryWithItsBond() public {
        terms.lateJoin = true;
        begin(3);
        join(3);
        announce(3);
        vm.assertEq(task.excused(), 0);
        playRound();
        vm.assertEq(task.active(), 7);
        vm.assertEq(task.pending() | task.leaving(), 0);
        vm.assertEq(credit(3), COLLATERAL);
    }

    // ▲ 7.6: leaving in the last round
    function test_whoLeavesInTheLastRoundDoesNotAttest() public {
        terms.rounds = 1;
        begin(5);
        playTo(IFLTask.Phase.Settle);
        announce(4);
        task.nextRound();
        assertPhase(IFLTask.Phase.Attest);
        vm.assertEq(task.active(), 15);
        vm.assertGe(credit(4), COLLATERAL + 1);
        vm.expectRevert(IFLTask.NotActive.selector);
        vm.prank(worker(4));
        task.attestFinal("final", "");
        playToEnd();
        drain();
    }
}
