// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {TaskTest} from "./utils/TaskTest.sol";

contract CancelTaskTest is TaskTest {
    function test_onlyTheRequesterCancels(address who) public {
        vm.assume(who != REQUESTER);
        create();
        vm.expectRevert(IFLTask.NotAllowed.selector);
        vm.prank(who);
        task.cancelTask();
    }

    // ▲ D2: after the start the requester has no power
    function test_aStartedTaskIsNotCancelled(uint8 steps) public {
        begin(3);
        IFLTask.Phase here = IFLTask.Phase(uint8(IFLTask.Phase.Train) + steps % 5);
        playTo(here);
        expectWrongPhase(here);
        vm.prank(REQUESTER);
        task.cancelTask();
    }

    function test_anEndedTaskIsNotCancelled() public {
        begin(3);
        playToEnd();
        expectWrongPhase(IFLTask.Phase.Completed);
        vm.prank(REQUESTER);
        task.cancelTask();
    }

    function test_cancellingGivesEverythingBack(uint8 workers, bool late) public {
        uint256 n = bound(workers, 0, 30);
        create();
        joinAll(n);
        if (late) rightAfter();
        vm.expectEmit(address(task));
        emit IFLTask.TaskEnded(IFLTask.Phase.Cancelled, REWARD, 0);
        vm.prank(REQUESTER);
        task.cancelTask();
        drain();
        vm.assertEq(REQUESTER.balance, REWARD);
        for (uint256 i; i < n; ++i) {
            vm.assertEq(worker(i).balance, COLLATERAL);
        }
    }
}
