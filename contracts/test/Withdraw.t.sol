// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {TaskTest} from "./utils/TaskTest.sol";

/// @notice A payee that calls back.
contract Reentrant {
    IFLTask private _task;
    bytes private _data;
    bool public refused;
    bytes4 public error_;

    function aim(IFLTask task, bytes calldata data) external {
        (_task, _data) = (task, data);
    }

    receive() external payable {
        (bool done, bytes memory why) = address(_task).call(_data);
        refused = !done;
        if (!done) error_ = bytes4(why);
    }
}

/// @title Payments: withdraw, refund, burn
contract WithdrawTest is TaskTest {
    address private constant FURNACE = address(0xdEaD);

    // ------------------------------------------------------------------------------------------- reverts

    function test_strangersHaveNothing(address who) public {
        begin(3);
        vm.assume(task.indexPlus1(who) == 0);
        vm.expectRevert(IFLTask.NothingToWithdraw.selector);
        task.withdraw(who);
    }

    function test_aBondStaysWhileTheTaskRuns(uint8 steps) public {
        begin(3);
        playTo(IFLTask.Phase(uint8(IFLTask.Phase.Train) + steps % 5));
        vm.expectRevert(IFLTask.NothingToWithdraw.selector);
        task.withdraw(worker(0));
    }

    function test_nothingIsPaidTwice() public {
        begin(3);
        _playToEndUnspent();
        task.withdraw(worker(0));
        vm.expectRevert(IFLTask.NothingToWithdraw.selector);
        task.withdraw(worker(0));
        task.refund();
        vm.expectRevert(IFLTask.NothingToWithdraw.selector);
        task.refund();
        vm.expectRevert(IFLTask.NothingToWithdraw.selector);
        task.burn();
    }

    // ▲ 7.2, I16: the requester gets nothing before the end
    function test_refundAndBurnWaitForTheEnd(uint8 steps) public {
        create();
        expectWrongPhase(IFLTask.Phase.Joining);
        task.refund();
        joinAll(3);
        start();
        IFLTask.Phase here = IFLTask.Phase(uint8(IFLTask.Phase.Train) + steps % 5);
        playTo(here);
        expectWrongPhase(here);
        task.refund();
        expectWrongPhase(here);
        task.burn();
    }

    // T27
    function test_aPayeeThatRefusesEtherHurtsOnlyItself() public {
        create();
        join(0, address(factory));
        join(1);
        join(2);
        start();
        _playToEndUnspent();
        vm.expectRevert(IFLTask.TransferFailed.selector);
        task.withdraw(worker(0));
        task.withdraw(worker(1));
        task.withdraw(worker(2));
        task.refund();
        vm.assertEq(address(task).balance, bond(0) + credit(0));
    }

    function test_aRequesterThatRefusesEtherHurtsOnlyItself() public {
        vm.deal(address(factory), REWARD);
        vm.prank(address(factory));
        task = IFLTask(factory.createTask{value: REWARD}("n", terms, "spec", "model", "key"));
        joinAll(2);
        rightAfter();
        task.startTask();
        vm.expectRevert(IFLTask.TransferFailed.selector);
        task.refund();
        task.withdraw(worker(0));
        vm.assertEq(task.rewardLeft(), REWARD);
    }

    // T28
    function test_aPayeeThatCallsBackIsRefused(uint8 which) public {
        create();
        Reentrant payee = new Reentrant();
        join(0, address(payee));
        join(1);
        join(2);
        start();
        playToEnd();
        _aim(payee, which);
        task.withdraw(worker(0));
        _requireRefused(payee);
        drain();
    }

    function test_aRequesterThatCallsBackIsRefused(uint8 which) public {
        Reentrant payee = new Reentrant();
        vm.deal(address(payee), REWARD);
        vm.prank(address(payee));
        task = IFLTask(factory.createTask{value: REWARD}("n", terms, "spec", "model", "key"));
        joinAll(2);
        rightAfter();
        task.startTask();
        _aim(payee, which);
        task.refund();
        _requireRefused(payee);
        vm.assertEq(address(payee).balance, REWARD);
        drain();
    }

    function test_aWorkerThatCallsBackWhenItLeavesWhileJoiningIsRefused(uint8 which) public {
        create();
        joinAll(2);
        Reentrant payee = new Reentrant();
        vm.deal(address(payee), COLLATERAL);
        vm.prank(address(payee));
        task.joinTask{value: COLLATERAL}(address(0), "k", new bytes32[](0));
        _aim(payee, which);
        vm.prank(address(payee));
        task.removeWorker();
        _requireRefused(payee);
        vm.assertEq(address(payee).balance, COLLATERAL);
        assertSolvent();
    }

    // ------------------------------------------------------------------------------------------- success

    function test_rewardsArePaidAfterEveryRound() public {
        begin(3);
        playRound();
        uint256 earned = credit(0);
        vm.expectEmit(address(task));
        emit IFLTask.Withdrawn(worker(0), worker(0), earned);
        task.withdraw(worker(0));
        vm.assertEq(worker(0).balance, earned);
        vm.assertEq(bond(0), COLLATERAL);
        assertSolvent();
    }

    // ▲ T31, 7.6: anybody may trigger it, and it goes to the payout address alone
    function test_aStrangerTriggersThePaymentToThePayoutAddress(address payout, address stranger) public {
        vm.assume(uint160(payout) > 0xffffff && payout.code.length == 0 && payout.balance == 0);
        vm.assume(stranger != payout);
        create();
        join(0, payout);
        join(1);
        join(2);
        start();
        playToEnd();
        uint256 due = bond(0) + credit(0);
        uint256 before = stranger.balance;
        vm.prank(stranger);
        task.withdraw(worker(0));
        vm.assertEq(payout.balance, due);
        vm.assertEq(stranger.balance, before);
        vm.assertEq(worker(0).balance, 0);
    }

    function test_anybodyTriggersTheRefundToTheRequester() public {
        create();
        joinAll(3);
        start();
        _playToEndUnspent();
        uint256 unspent = task.rewardLeft();
        vm.assertGe(unspent, 1);
        vm.expectEmit(address(task));
        emit IFLTask.Refunded(REQUESTER, unspent);
        vm.prank(STRANGER);
        task.refund();
        vm.assertEq(REQUESTER.balance, unspent);
    }

    // ▲ 2.5, I18, 7.5: penalties never reach the requester
    function test_forfeitsAreDestroyed() public {
        terms.burnBps = 10_000;
        begin(5);
        playTo(IFLTask.Phase.Reveal);
        revealAll(15);
        miss();
        playToEnd();
        uint256 before = FURNACE.balance;
        vm.expectEmit(address(task));
        emit IFLTask.Burned(COLLATERAL / 10);
        vm.prank(STRANGER);
        task.burn();
        vm.assertEq(FURNACE.balance - before, COLLATERAL / 10);
        drain();
        vm.assertLe(REQUESTER.balance, 100, "dust of the reward");
    }

    // T29
    function test_forcedEtherBreaksNoAccount(uint64 amount) public {
        begin(3);
        vm.deal(address(task), address(task).balance + amount);
        playToEnd();
        for (uint256 i; i < 3; ++i) {
            task.withdraw(worker(i));
        }
        if (task.rewardLeft() != 0) task.refund();
        vm.assertEq(address(task).balance, amount);
    }

    // I15: plain ether is refused
    function test_etherIsTakenByNothingElse(uint64 amount) public {
        begin(3);
        vm.deal(STRANGER, amount);
        vm.prank(STRANGER);
        (bool done,) = address(task).call{value: amount}("");
        vm.assertFalse(done);
    }

    function _aim(Reentrant payee, uint8 which) private {
        bytes[4] memory calls = [
            abi.encodeCall(IFLTask.withdraw, (worker(1))),
            abi.encodeCall(IFLTask.refund, ()),
            abi.encodeCall(IFLTask.burn, ()),
            abi.encodeCall(IFLTask.removeWorker, ())
        ];
        payee.aim(task, calls[which % 4]);
    }

    function _requireRefused(Reentrant payee) private view {
        vm.assertTrue(payee.refused());
        vm.assertEq(payee.error_(), bytes4(keccak256("ReentrancyGuardReentrantCall()")));
    }

    /// @dev In the last round no model is valid, so that its reward is left.
    function _playToEndUnspent() private {
        playRound();
        playRound();
        for (uint256 j; j < 3; ++j) {
            quality[j] = 0;
        }
        playToEnd();
    }
}
