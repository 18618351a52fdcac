// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {TaskTest} from "./utils/TaskTest.sol";

contract CommitModelTest is TaskTest {
    // ------------------------------------------------------------------------------------------- reverts

    function test_committingBelongsToTrain(uint8 steps) public {
        begin(3);
        IFLTask.Phase here = IFLTask.Phase(uint8(IFLTask.Phase.Open) + steps % 4);
        playTo(here);
        expectWrongPhase(here);
        vm.prank(worker(0));
        task.commitModel(1, 1, "h", "base");
    }

    function test_committingBeforeTheStartIsRefused() public {
        create();
        join(0);
        expectWrongPhase(IFLTask.Phase.Joining);
        vm.prank(worker(0));
        task.commitModel(0, 0, "h", "base");
    }

    // ▲ 2.1.3
    function test_committingRightBeforeTheDeadlineWorksRightAfterItDoesNot() public {
        begin(3);
        rightBefore();
        commit(0);
        rightAfter();
        expectPhaseOver();
        vm.prank(worker(1));
        task.commitModel(1, 1, "h", "base");
        assertPhase(IFLTask.Phase.Train);
    }

    function test_strangersCannotCommit(address who) public {
        begin(3);
        vm.assume(task.indexPlus1(who) == 0);
        vm.expectRevert(IFLTask.NotActive.selector);
        vm.prank(who);
        task.commitModel(1, 1, "h", "base");
    }

    function test_aWrongRoundIsRefusedAndTheRightOneTold(uint32 r) public {
        vm.assume(r != 1);
        begin(3);
        vm.expectRevert(abi.encodeWithSelector(IFLTask.WrongRound.selector, 1));
        vm.prank(worker(0));
        task.commitModel(r, 1, "h", "base");
    }

    // ▲ 7.6: a stale commitment in the next attempt
    function test_aWrongAttemptIsRefusedAndTheRightOneTold(uint32 a) public {
        vm.assume(a != 1);
        begin(3);
        vm.expectRevert(abi.encodeWithSelector(IFLTask.WrongAttempt.selector, 1));
        vm.prank(worker(0));
        task.commitModel(1, a, "h", "base");
    }

    // ------------------------------------------------------------------------------------------- success

    function test_aCommitmentIsLoggedWithItsBase(bytes32 h, bytes32 base) public {
        begin(3);
        vm.expectEmit(address(task));
        emit IFLTask.ModelCommitted(1, worker(1), 1, h, base);
        vm.prank(worker(1));
        task.commitModel(1, 1, h, base);
        vm.assertEq(task.committed(), 2);
        vm.assertEq(task.workers(1).commitment, h);
    }

    function test_theLastCommitmentCounts(bytes32 first) public {
        begin(3);
        vm.prank(worker(0));
        task.commitModel(1, 1, first, "base");
        commitAll(7);
        assertPhase(IFLTask.Phase.Open);
        open(0);
        vm.assertEq(task.opened(), 1);
    }

    function test_theLastOneExpectedOpensThePhaseOfOpening() public {
        begin(4);
        commitAll(7);
        assertPhase(IFLTask.Phase.Train);
        vm.warp(T0 + 50);
        (uint32 r, bytes32 h) = (round(), modelCommitment(3));
        vm.expectEmit(address(task));
        emit IFLTask.ModelCommitted(1, worker(3), 1, h, "base");
        vm.expectEmit(address(task));
        emit IFLTask.PhaseChanged(1, 1, IFLTask.Phase.Open, uint40(T0 + 50 + 120), 0, 15);
        vm.prank(worker(3));
        task.commitModel(r, 1, h, "base");
    }
}
