// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {TaskTest} from "./utils/TaskTest.sol";

contract CompleteTaskTest is TaskTest {
    // ------------------------------------------------------------------------------------------- reverts

    function test_thereIsNothingToCompleteWhileJoining() public {
        create();
        vm.warp(uint256(terms.hardStop) + 365 days);
        expectWrongPhase(IFLTask.Phase.Joining);
        task.completeTask();
    }

    function test_anEndedTaskIsNotEndedAgain() public {
        begin(3);
        playToEnd();
        expectWrongPhase(IFLTask.Phase.Completed);
        task.completeTask();
    }

    function test_beforeTheHardStopRoundsGoOn(uint8 steps, uint40 time) public {
        begin(3);
        playTo(IFLTask.Phase(uint8(IFLTask.Phase.Train) + steps % 5));
        vm.warp(bound(time, block.timestamp, terms.hardStop));
        vm.expectRevert(IFLTask.NothingDue.selector);
        task.completeTask();
    }

    function test_attestingIsNotCutShort() public {
        begin(3);
        playToAttest();
        attestAll(3, "final");
        rightBefore();
        vm.expectRevert(IFLTask.NothingDue.selector);
        task.completeTask();
    }

    // ------------------------------------------------------------------------------------------- success

    function test_rightAfterTheDeadlineAttestingIsOver() public {
        begin(3);
        playToAttest();
        attestAll(3, "final");
        rightAfter();
        vm.prank(STRANGER);
        task.completeTask();
        assertPhase(IFLTask.Phase.Completed);
    }

    function test_withAllAttestationsItIsOverAtOnce() public {
        begin(3);
        playToAttest();
        attestAll(7, "final");
        task.completeTask();
        assertPhase(IFLTask.Phase.Completed);
        drain();
    }

    function test_rightAfterTheHardStopAnybodyExpiresTheTask(uint8 steps) public {
        begin(3);
        playTo(IFLTask.Phase(uint8(IFLTask.Phase.Train) + steps % 4));
        vm.warp(terms.hardStop);
        vm.expectRevert(IFLTask.NothingDue.selector);
        task.completeTask();
        vm.warp(uint256(terms.hardStop) + 1);
        vm.prank(STRANGER);
        task.completeTask();
        assertPhase(IFLTask.Phase.Expired);
        drain();
        vm.assertEq(REQUESTER.balance, REWARD);
        for (uint256 i; i < 3; ++i) {
            vm.assertEq(worker(i).balance, COLLATERAL);
        }
    }

    // ▲ 2.1.9
    function test_aWaitingSettlementHasThirtyDaysMore() public {
        begin(3);
        playTo(IFLTask.Phase.Settle);
        vm.warp(uint256(terms.hardStop) + 30 days);
        vm.expectRevert(IFLTask.NothingDue.selector);
        task.completeTask();
        vm.warp(uint256(terms.hardStop) + 30 days + 1);
        task.completeTask();
        assertPhase(IFLTask.Phase.Expired);
        drain();
    }

    // ▲ 2.1.9: ending calls nobody, so that nobody can stop it
    function test_payeesThatRefuseEtherCannotHoldUpTheEnd(bool hardStop) public {
        vm.deal(address(factory), REWARD);
        vm.prank(address(factory));
        task = IFLTask(factory.createTask{value: REWARD}("n", terms, "spec", "model", "key"));
        for (uint256 i; i < 3; ++i) {
            join(i, address(factory));
        }
        rightAfter();
        task.startTask();
        if (hardStop) {
            vm.warp(uint256(terms.hardStop) + 1);
        } else {
            playToAttest();
            rightAfter();
        }
        task.completeTask();
        assertPhase(hardStop ? IFLTask.Phase.Expired : IFLTask.Phase.Completed);
    }

    // 2.5: expired: bonds and earned credit to workers, unspent reward to the requester, forfeits burned
    function test_anExpiredTaskPaysWhatWasEarnedAndBurnsForfeits() public {
        begin(5);
        playRound();
        for (uint256 j; j < 5; ++j) {
            quality[j] = 0;
        }
        playTo(IFLTask.Phase.Reveal);
        revealAll(15);
        miss();
        vm.warp(uint256(terms.hardStop) + 1);
        task.completeTask();
        vm.assertEq(task.forfeitPool(), 0);
        vm.assertEq(task.burnPool(), COLLATERAL / 10);
        uint256 unspent = task.rewardLeft();
        drain();
        vm.assertEq(REQUESTER.balance, unspent);
        vm.assertLe(unspent, 20 ether + 10);
        vm.assertGe(worker(0).balance, COLLATERAL + 1);
    }
}
