// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {TaskTest} from "./utils/TaskTest.sol";

contract StartTaskTest is TaskTest {
    // ------------------------------------------------------------------------------------------- reverts

    function test_aTaskStartsOnce() public {
        begin(3);
        expectWrongPhase(IFLTask.Phase.Train);
        task.startTask();
    }

    function test_aCancelledTaskDoesNotStart() public {
        create();
        vm.prank(REQUESTER);
        task.cancelTask();
        expectWrongPhase(IFLTask.Phase.Cancelled);
        task.startTask();
    }

    function test_tooFewWorkersWaitForTheDeadline(address who) public {
        create();
        joinAll(2);
        vm.expectRevert(IFLTask.NotAllowed.selector);
        vm.prank(who);
        task.startTask();
    }

    function test_onlyTheRequesterStartsEarly(address who) public {
        vm.assume(who != REQUESTER);
        create();
        joinAll(5);
        vm.expectRevert(IFLTask.NotAllowed.selector);
        vm.prank(who);
        task.startTask();
    }

    function test_atTheDeadlineStrangersStillWaitRightAfterItTheyStart() public {
        create();
        joinAll(5);
        rightBefore();
        vm.expectRevert(IFLTask.NotAllowed.selector);
        task.startTask();
        rightAfter();
        task.startTask();
        assertPhase(IFLTask.Phase.Train);
    }

    function test_nextRoundDoesNothingWhileJoining() public {
        create();
        joinAll(5);
        rightAfter();
        vm.expectRevert(IFLTask.NothingDue.selector);
        task.nextRound();
    }

    // ------------------------------------------------------------------------------------------- success

    function test_theRequesterStartsEarlyWithEnough() public {
        create();
        joinAll(3);
        vm.expectEmit(address(task));
        emit IFLTask.TaskStarted(3, 7);
        vm.expectEmit(address(task));
        emit IFLTask.RoundAdvanced(1, 1, 7, uint40(T0 + 110));
        start();
        IFLTask.Core memory c = task.core();
        assertPhase(IFLTask.Phase.Train);
        vm.assertEq(c.round, 1);
        vm.assertEq(c.attempt, 1);
        vm.assertEq(c.deadline, T0 + 110);
        vm.assertEq(c.lanes, 5);
        vm.assertEq(task.roster(), 7);
    }

    function test_anybodyStartsAFullTask(address who) public {
        terms.maxWorkers = 4;
        create();
        joinAll(4);
        vm.prank(who);
        task.startTask();
        assertPhase(IFLTask.Phase.Train);
    }

    function test_anybodyStartsALateTaskWithEnough(address who, uint32 later) public {
        create();
        joinAll(3);
        vm.warp(bound(later, T0 + 101, terms.hardStop));
        vm.prank(who);
        task.startTask();
        assertPhase(IFLTask.Phase.Train);
    }

    function test_tooFewAfterTheDeadlineCancelAndAllGoesBack() public {
        create();
        joinAll(2);
        rightAfter();
        vm.expectEmit(address(task));
        emit IFLTask.TaskEnded(IFLTask.Phase.Cancelled, REWARD, 0);
        task.startTask();
        assertPhase(IFLTask.Phase.Cancelled);
        drain();
        vm.assertEq(worker(0).balance, COLLATERAL);
        vm.assertEq(REQUESTER.balance, REWARD);
    }

    // ▲ 2.1.9
    function test_afterTheHardStopStartingCancelsAtItStarts() public {
        create();
        joinAll(5);
        vm.warp(uint256(terms.hardStop) + 1);
        task.startTask();
        assertPhase(IFLTask.Phase.Cancelled);
        drain();

        terms.hardStop += 100 days;
        create();
        joinAll(5);
        vm.warp(terms.hardStop);
        task.startTask();
        assertPhase(IFLTask.Phase.Train);
    }

    function test_seatsGivenUpLeaveHolesThatHurtNobody() public {
        create();
        joinAll(5);
        announce(1);
        announce(3);
        start();
        vm.assertEq(task.active(), 1 + 4 + 16);
        vm.assertEq(task.core().lanes, 7);
        playToEnd();
        vm.assertEq(credit(0) + credit(2) + credit(4), REWARD);
        drain();
    }
}
