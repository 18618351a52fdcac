// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../../src/interfaces/IFLTask.sol";
import {Roster} from "../../src/libraries/Roster.sol";
import {MiniTest} from "../utils/MiniTest.sol";
import {TaskHandler} from "./TaskHandler.sol";

/// @title Laws that hold after every step of any play
/// @notice I3, I4, I5, I9, I10, I12, I16, I17, I19, I20 are checked by the handler within each step, I13 and I2 at the
/// end, I7, I8, I14, I15, I18 by the tests of the actions.
contract TaskInvariantTest is MiniTest {
    using Roster for uint256;

    TaskHandler private _handler;

    function setUp() public {
        _handler = new TaskHandler();
        _handler.setUp();
        bytes4[] memory selectors = new bytes4[](14);
        selectors[0] = TaskHandler.actAll.selector;
        selectors[1] = TaskHandler.playOn.selector;
        selectors[2] = TaskHandler.playOn.selector;
        selectors[3] = TaskHandler.actOne.selector;
        selectors[4] = TaskHandler.actAgain.selector;
        selectors[5] = TaskHandler.passTime.selector;
        selectors[6] = TaskHandler.passDeadline.selector;
        selectors[7] = TaskHandler.settle.selector;
        selectors[8] = TaskHandler.settle.selector;
        selectors[9] = TaskHandler.joinLate.selector;
        selectors[10] = TaskHandler.leaveSome.selector;
        selectors[11] = TaskHandler.withdrawSome.selector;
        selectors[12] = TaskHandler.meddle.selector;
        selectors[13] = TaskHandler.flicker.selector;
        targetOnly(address(_handler), selectors);
    }

    function invariant_theLawsHold() public view {
        IFLTask task = _handler.theTask();
        if (address(task) == address(0)) return;
        _checkMoney(task);
        _checkSets(task);
        _checkSeats(task);
    }

    function afterInvariant() public {
        _handler.finish();
    }

    // The handler is worth its name only if it gets everywhere.
    function test_thePlaysReachEveryPartOfTheProtocol() public {
        for (uint256 k; k < 600; ++k) {
            uint256 seed = uint256(keccak256(abi.encode("play", k)));
            bytes4 selector = targetSelectors()[0].selectors[seed % 14];
            (bool done,) = address(_handler).call(abi.encodeWithSelector(selector, seed));
            vm.assertTrue(done, "a step reverted");
        }
        vm.assertGe(_handler.settlements(), 30, "settlements");
        vm.assertGe(_handler.completed(), 5, "completed");
        vm.assertGe(_handler.expired(), 5, "expired");
        vm.assertGe(_handler.extensions(), 5, "extensions");
        vm.assertGe(_handler.restarts(), 1, "restarts");
        _handler.finish();
    }

    function _checkMoney(IFLTask task) private view {
        uint256 owed = task.rewardLeft() + task.forfeitPool() + task.burnPool();
        for (uint256 i; i < task.core().count; ++i) {
            IFLTask.Worker memory w = task.workers(i);
            owed += w.bond + w.credit;
        }
        vm.assertEq(address(task).balance, owed, "I1");
        vm.assertEq(_handler.paidOut() + address(task).balance, _handler.paidIn(), "I2");
    }

    function _checkSets(IFLTask task) private view {
        IFLTask.Core memory c = task.core();
        uint256 active = task.active();
        vm.assertEq(active & task.dropped(), 0, "dropped are not active");
        vm.assertEq(active & task.pending(), 0, "pending are not active");
        vm.assertEq(task.opened() & ~task.committed(), 0, "I6: opened");
        vm.assertEq(task.revealed() & ~task.scored(), 0, "I6: revealed");
        vm.assertEq((task.committed() | task.scored()) & ~task.roster(), 0, "I6: roster");
        vm.assertEq(task.invalid() & task.accepted(), 0, "I6: invalid");
        vm.assertEq(task.top() & ~(task.accepted() & ~task.deviant()), 0, "I6: top");
        if (c.step != 0) {
            vm.assertEq(task.accepted() & ~task.opened(), 0, "I6: accepted");
            vm.assertEq(task.top() & ~task.revealed(), 0, "I6: top revealed");
        }
        vm.assertLe(c.count, task.params().maxWorkers, "I11");
        vm.assertEq((active | task.pending() | task.dropped()) & ~((uint256(1) << c.count) - 1), 0, "seats");
    }

    function _checkSeats(IFLTask task) private view {
        for (uint256 i; i < task.core().count; ++i) {
            IFLTask.Worker memory w = task.workers(i);
            vm.assertEq(task.indexPlus1(w.account), i + 1, "I11");
            bool member = (task.active() | task.pending()).has(i);
            vm.assertTrue(member == (w.status == 1 || w.status == 2), "status");
            vm.assertLe(w.strikes, 2, "strikes");
        }
    }
}
