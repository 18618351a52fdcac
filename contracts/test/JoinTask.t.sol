// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {TaskTest} from "./utils/TaskTest.sol";

contract JoinTaskTest is TaskTest {
    // ------------------------------------------------------------------------------------------- reverts

    function test_joiningRightBeforeTheDeadlineWorksRightAfterItDoesNot() public {
        create();
        rightBefore();
        join(0);
        rightAfter();
        vm.deal(worker(1), COLLATERAL);
        expectPhaseOver();
        vm.prank(worker(1));
        task.joinTask{value: COLLATERAL}(address(0), "k", new bytes32[](0));
    }

    function test_aRunningTaskWithoutLateJoinIsClosed() public {
        begin(3);
        _refuse(5, IFLTask.Phase.Train);
    }

    function test_theLastRoundIsClosedEvenToLateJoiners() public {
        terms.lateJoin = true;
        begin(3);
        playRound();
        playRound();
        _refuse(5, IFLTask.Phase.Train);
    }

    function test_attestingIsClosed() public {
        terms.lateJoin = true;
        begin(3);
        playToAttest();
        _refuse(5, IFLTask.Phase.Attest);
    }

    function test_anEndedTaskIsClosed() public {
        create();
        vm.prank(REQUESTER);
        task.cancelTask();
        _refuse(5, IFLTask.Phase.Cancelled);
    }

    function test_lateJoiningAfterAPhasesDeadlineWaitsForItsWork() public {
        terms.lateJoin = true;
        begin(3);
        rightBefore();
        join(3);
        rightAfter();
        vm.deal(worker(4), COLLATERAL);
        expectPhaseOver();
        vm.prank(worker(4));
        task.joinTask{value: COLLATERAL}(address(0), "k", new bytes32[](0));
    }

    function test_anAccountHasOneSeat() public {
        create();
        join(0);
        _refuse(0, IFLTask.AlreadyRegistered.selector);
    }

    function test_whoLeftARunningTaskCannotComeBack() public {
        terms.lateJoin = true;
        begin(4);
        playTo(IFLTask.Phase.Open);
        announce(3);
        playRound();
        vm.assertEq(task.active(), all(3));
        _refuse(3, IFLTask.AlreadyRegistered.selector);
    }

    function test_theRequesterIsNoWorker() public {
        create();
        vm.deal(REQUESTER, COLLATERAL);
        vm.expectRevert(IFLTask.NotAllowed.selector);
        vm.prank(REQUESTER);
        task.joinTask{value: COLLATERAL}(address(0), "k", new bytes32[](0));
    }

    function test_anyOtherAmountIsRefused(uint96 amount) public {
        vm.assume(amount != COLLATERAL);
        create();
        vm.deal(worker(0), amount);
        vm.expectRevert(IFLTask.BadValue.selector);
        vm.prank(worker(0));
        task.joinTask{value: amount}(address(0), "k", new bytes32[](0));
    }

    function test_keysHave1To1024Bytes(uint16 length) public {
        create();
        vm.deal(worker(0), COLLATERAL);
        if (length == 0 || length > 1024) vm.expectRevert(IFLTask.BadValue.selector);
        vm.prank(worker(0));
        task.joinTask{value: COLLATERAL}(address(0), new bytes(length), new bytes32[](0));
    }

    function test_theTaskIsNoPayoutAddress() public {
        create();
        vm.deal(worker(0), COLLATERAL);
        vm.expectRevert(IFLTask.BadValue.selector);
        vm.prank(worker(0));
        task.joinTask{value: COLLATERAL}(address(task), "k", new bytes32[](0));
    }

    function test_aFullTaskIsFull() public {
        terms.maxWorkers = 4;
        create();
        joinAll(4);
        _refuse(4, IFLTask.Full.selector);
    }

    function test_aRunningTaskIsFullWhenAllSeatsWereTakenOnce() public {
        terms.maxWorkers = 4;
        terms.lateJoin = true;
        begin(4);
        playTo(IFLTask.Phase.Open);
        announce(3);
        playRound();
        _refuse(9, IFLTask.Full.selector);
    }

    // T15
    function test_onlyThoseOnTheListMayJoin() public {
        (bytes32 root, bytes32[] memory proof0, bytes32[] memory proof1) = _listOfTwo(worker(0), worker(1));
        terms.allowRoot = root;
        create();
        _refuse(2, proof0, IFLTask.NotAllowed.selector);
        _refuse(0, proof1, IFLTask.NotAllowed.selector);
        _refuse(0, new bytes32[](0), IFLTask.NotAllowed.selector);
        for (uint256 i; i < 2; ++i) {
            vm.deal(worker(i), COLLATERAL);
            vm.prank(worker(i));
            task.joinTask{value: COLLATERAL}(address(0), "k", i == 0 ? proof0 : proof1);
        }
        vm.assertEq(task.active(), all(2));
    }

    function test_anInnerNodeIsNoMember() public {
        (bytes32 root,,) = _listOfTwo(worker(0), worker(1));
        terms.allowRoot = root;
        create();
        _refuse(2, new bytes32[](0), IFLTask.NotAllowed.selector);
    }

    // ------------------------------------------------------------------------------------------- success

    function test_joiningTakesTheNextSeatAndTheBond(address payout) public {
        create();
        vm.assume(payout != address(task));
        join(0);
        vm.deal(worker(1), COLLATERAL);
        address paid = payout == address(0) ? worker(1) : payout;
        vm.expectEmit(address(task));
        emit IFLTask.WorkerJoined(worker(1), 1, paid, COLLATERAL, 1, "k");
        vm.prank(worker(1));
        task.joinTask{value: COLLATERAL}(payout, "k", new bytes32[](0));
        IFLTask.Worker memory w = task.workers(1);
        vm.assertEq(w.account, worker(1));
        vm.assertEq(w.payout, paid);
        vm.assertEq(w.joinRound, 1);
        vm.assertEq(w.status, 1);
        vm.assertEq(w.bond, COLLATERAL);
        vm.assertEq(task.indexPlus1(worker(1)), 2);
        vm.assertEq(task.core().count, 2);
        assertSolvent();
    }

    function test_aSeatGivenUpIsTakenFirst() public {
        create();
        joinAll(4);
        announce(1);
        join(9);
        vm.assertEq(task.workers(1).account, worker(9));
        vm.assertEq(task.core().count, 4);
    }

    // ▲ 7.6: join-leave does not burn seats
    function test_joiningAndLeavingDoesNotBurnSeats() public {
        create();
        for (uint256 i = 100; i < 400; ++i) {
            join(i);
            announce(i);
            vm.assertEq(worker(i).balance, COLLATERAL);
        }
        joinAll(30);
        announce(7);
        join(7);
        vm.assertEq(task.active(), all(30));
        vm.assertEq(task.core().count, 30);
        start();
    }

    // ▲ 2.1.7, 7.6: a late joiner is active only after a settlement and reads nothing before
    function test_aLateJoinerWaitsForTheBoundary() public {
        terms.lateJoin = true;
        begin(3);
        join(3);
        vm.assertEq(task.pending(), 8);
        vm.assertEq(task.workers(3).joinRound, 2);
        IFLTask.Phase[4] memory order =
            [IFLTask.Phase.Open, IFLTask.Phase.Score, IFLTask.Phase.Reveal, IFLTask.Phase.Settle];
        for (uint256 k; k < 4; ++k) {
            vm.assertEq(task.active(), all(3));
            vm.assertEq(task.roster(), all(3));
            playTo(order[k]);
        }
        task.nextRound();
        vm.assertEq(task.active(), all(4));
        vm.assertEq(task.roster(), all(4));
        vm.assertEq(task.pending(), 0);
        vm.assertEq(task.core().lanes, 6);
    }

    function test_aRestartOfTheRoundDoesNotLetJoinersIn() public {
        terms.lateJoin = true;
        terms.maxMiss = 1;
        begin(5);
        join(5);
        _restart();
        vm.assertEq(round(), 1);
        vm.assertEq(attempt(), 2);
        vm.assertEq(task.pending(), 32);
        vm.assertEq(task.roster() & 32, 0);
    }

    function test_pendingWorkersActInNoPhase() public {
        terms.lateJoin = true;
        begin(3);
        join(3);
        bytes32 h = modelCommitment(3);
        vm.expectRevert(IFLTask.NotActive.selector);
        vm.prank(worker(3));
        task.commitModel(1, 1, h, "base");
    }

    function test_zeroCollateralWorks() public {
        terms.collateral = 0;
        begin(3);
        playToEnd();
        drain();
    }

    /// @dev Three of five commit; two of them never open and are dropped: one is left who could.
    function _restart() private {
        commitAll(7);
        miss();
        assertPhase(IFLTask.Phase.Open);
        open(0);
        miss();
    }

    function _refuse(uint256 i, IFLTask.Phase have) private {
        vm.deal(worker(i), COLLATERAL);
        expectWrongPhase(have);
        vm.prank(worker(i));
        task.joinTask{value: COLLATERAL}(address(0), "k", new bytes32[](0));
    }

    function _refuse(uint256 i, bytes4 why) private {
        _refuse(i, new bytes32[](0), why);
    }

    function _refuse(uint256 i, bytes32[] memory proof, bytes4 why) private {
        vm.deal(worker(i), COLLATERAL);
        vm.expectRevert(why);
        vm.prank(worker(i));
        task.joinTask{value: COLLATERAL}(address(0), "k", proof);
        vm.assertEq(worker(i).balance, COLLATERAL);
    }

    function _listOfTwo(address a, address b)
        private
        pure
        returns (bytes32 root, bytes32[] memory proofA, bytes32[] memory proofB)
    {
        (bytes32 leafA, bytes32 leafB) = (_leaf(a), _leaf(b));
        root = keccak256(leafA < leafB ? abi.encode(leafA, leafB) : abi.encode(leafB, leafA));
        (proofA, proofB) = (new bytes32[](1), new bytes32[](1));
        (proofA[0], proofB[0]) = (leafB, leafA);
    }

    function _leaf(address account) private pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(account))));
    }
}
