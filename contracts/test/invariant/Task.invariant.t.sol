// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../../src/interfaces/IFLTask.sol";
import {Roster} from "../../src/libraries/Roster.sol";
import {MiniTest} from "../utils/MiniTest.sol";
import {TaskHandler} from "./TaskHandler.sol";

/// @title Laws that hold after every step of any play
/// @notice Here: I1, I2, I3, I6, I11 and I18, after every step. Books: I3, I4, I5, I10, I15, I16 across a step, I12 and
/// I17 of every fine, I2, I4, I5, I12, I18 and I13's last wei when a task is paid out. Calls: I15, I19, I20 of every
/// call, I10 of an ended task. TaskHandler: I13 wherever something is due, a play is abandoned or over. SettlementCheck:
/// I7, I8, I9 of every settlement. Elsewhere: I14 in Gas.t.sol.
abstract contract TaskInvariant is MiniTest {
    using Roster for uint256;

    TaskHandler internal handler;

    function targetPlays(uint256 least, uint256 most) internal {
        handler = new TaskHandler(least, most);
        handler.setUp();
        bytes4[] memory selectors = new bytes4[](15);
        selectors[0] = TaskHandler.actAll.selector;
        selectors[1] = TaskHandler.playOn.selector;
        selectors[2] = TaskHandler.playOn.selector;
        selectors[3] = TaskHandler.actOne.selector;
        selectors[4] = TaskHandler.actAgain.selector;
        selectors[5] = TaskHandler.passTime.selector;
        selectors[6] = TaskHandler.passDeadline.selector;
        selectors[7] = TaskHandler.settle.selector;
        selectors[8] = TaskHandler.settle.selector;
        selectors[9] = TaskHandler.joinSome.selector;
        selectors[10] = TaskHandler.leaveSome.selector;
        selectors[11] = TaskHandler.withdrawSome.selector;
        selectors[12] = TaskHandler.meddle.selector;
        selectors[13] = TaskHandler.flicker.selector;
        selectors[14] = TaskHandler.abandon.selector;
        targetOnly(address(handler), selectors);
    }

    function invariant_theLawsHold() public view {
        IFLTask task = handler.theTask();
        if (address(task) == address(0)) return;
        _checkMoney(task);
        _checkSets(task);
        _checkSeats(task);
    }

    function afterInvariant() public {
        handler.finish();
    }

    /// @dev The same plays everywhere, to count what they reach.
    function play(uint256 steps) internal {
        bytes4[] memory selectors = targetSelectors()[0].selectors;
        for (uint256 k; k < steps; ++k) {
            uint256 seed = uint256(keccak256(abi.encode("play", k)));
            (bool done, bytes memory why) =
                address(handler).call(abi.encodeWithSelector(selectors[seed % 15], seed));
            if (done) continue;
            assembly ("memory-safe") {
                revert(add(why, 32), mload(why))
            }
        }
        handler.finish();
    }

    function _checkMoney(IFLTask task) private view {
        uint256 owed = task.rewardLeft() + task.forfeitPool() + task.burnPool();
        for (uint256 i; i < task.core().count; ++i) {
            IFLTask.Worker memory w = task.workers(i);
            owed += w.bond + w.credit;
        }
        vm.assertEq(address(task).balance, owed, "I1");
        vm.assertEq(handler.paidOut() + address(task).balance, handler.paidIn(), "I2");
        uint256 kept = task.rewardLeft() + handler.refunded();
        vm.assertEq(handler.rewardsPaid() + kept, handler.reward(), "I3, I18: the reward and nothing else");
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
        IFLTask.Worker memory free;
        for (uint256 i; i < task.core().count; ++i) {
            IFLTask.Worker memory w = task.workers(i);
            bool member = (task.active() | task.pending()).has(i);
            vm.assertTrue(member == (w.status == 1 || w.status == 2), "status");
            vm.assertLe(w.strikes, 2, "strikes");
            if (w.status == 0) vm.assertEq(abi.encode(w), abi.encode(free));
            else vm.assertEq(task.indexPlus1(w.account), i + 1, "I11");
        }
    }
}

contract TaskInvariantTest is TaskInvariant {
    function setUp() public {
        targetPlays(2, 9);
    }

    // The handler is worth its name only if it gets everywhere.
    function test_thePlaysReachEveryPartOfTheProtocol() public {
        play(900);
        vm.assertGe(handler.settlements(), 30, "settlements");
        vm.assertGe(handler.completed(), 5, "completed");
        vm.assertGe(handler.cancelled(), 3, "cancelled");
        vm.assertGe(handler.expired(), 5, "expired");
        vm.assertGe(handler.abandoned(), 5, "abandoned");
        vm.assertGe(handler.extensions(), 5, "extensions");
        vm.assertGe(handler.restarts(), 1, "restarts");
        vm.assertGe(handler.created(), 1, "created");
        vm.assertGe(handler.rankedPairs(), 20, "ranked");
        vm.assertGe(handler.flawless(), 5, "flawless");
        vm.assertGe(handler.absencesFined(), 1, "fined for no attestation");
        vm.assertGe(handler.refusedLate(IFLTask.attestFinal.selector), 1, "attested late");
        vm.assertGe(handler.refusedLate(IFLTask.joinTask.selector), 1, "joined late");
    }
}

/// @notice Above 15 workers the bound on liars is another one.
/// forge-config: default.invariant.runs = 2
/// forge-config: default.invariant.depth = 60
contract LargeTaskInvariantTest is TaskInvariant {
    function setUp() public {
        targetPlays(16, 20);
    }

    function test_thePlaysWithstandMoreThanFourLiars() public {
        play(400);
        vm.assertGe(handler.settlements(), 5, "settlements");
        vm.assertGe(handler.liarsWithstood(), 5, "liars");
    }
}
