// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {TaskTest} from "./utils/TaskTest.sol";

contract OpenModelTest is TaskTest {
    // ------------------------------------------------------------------------------------------- reverts

    function test_openingBelongsToOpen(uint8 steps) public {
        begin(3);
        IFLTask.Phase here = IFLTask.Phase(uint8(IFLTask.Phase.Score) + steps % 3);
        playTo(here);
        expectWrongPhase(here);
        _open(0, "h", SALT);
    }

    function test_openingWhileOthersTrainIsRefused() public {
        begin(3);
        commit(0);
        bytes32 h = modelHash(0);
        expectWrongPhase(IFLTask.Phase.Train);
        _open(0, h, SALT);
    }

    // ▲ 2.1.3
    function test_openingRightBeforeTheDeadlineWorksRightAfterItDoesNot() public {
        begin(3);
        playTo(IFLTask.Phase.Open);
        rightBefore();
        open(0);
        rightAfter();
        bytes32 h = modelHash(1);
        expectPhaseOver();
        _open(1, h, SALT);
    }

    function test_strangersCannotOpen() public {
        begin(3);
        playTo(IFLTask.Phase.Open);
        vm.expectRevert(IFLTask.NotActive.selector);
        vm.prank(STRANGER);
        task.openModel(1, "h", SALT, 1, "");
    }

    function test_aWrongRoundIsRefused(uint32 r) public {
        vm.assume(r != 1);
        begin(3);
        playTo(IFLTask.Phase.Open);
        bytes32 h = modelHash(0);
        vm.expectRevert(abi.encodeWithSelector(IFLTask.WrongRound.selector, 1));
        vm.prank(worker(0));
        task.openModel(r, h, SALT, 1, "");
    }

    // ▲ 2.2
    function test_aModelIsOpenedOnce() public {
        begin(3);
        playTo(IFLTask.Phase.Open);
        open(0);
        bytes32 h = modelHash(0);
        vm.expectRevert(IFLTask.AlreadyDone.selector);
        _open(0, h, SALT);
    }

    function test_whoDidNotCommitHasNothingToOpen() public {
        begin(4);
        commitAll(7);
        miss();
        bytes32 h = modelHash(3);
        vm.expectRevert(IFLTask.BadReveal.selector);
        _open(3, h, SALT);
    }

    function test_anythingButTheCommitmentIsRefused(bytes32 h, bytes32 salt) public {
        begin(3);
        playTo(IFLTask.Phase.Open);
        vm.assume(h != modelHash(0) || salt != SALT);
        vm.expectRevert(IFLTask.BadReveal.selector);
        _open(0, h, salt);
    }

    // T2: a commitment is bound to its sender
    function test_aCopiedCommitmentCannotBeOpened() public {
        begin(3);
        bytes32 copied = modelCommitment(0);
        vm.prank(worker(1));
        task.commitModel(1, 1, copied, "base");
        commit(0);
        commit(2);
        bytes32 h = modelHash(0);
        vm.expectRevert(IFLTask.BadReveal.selector);
        _open(1, h, SALT);
    }

    // T25: nor carried to another task, chain, round or attempt
    function test_aCommitmentIsBoundToTaskChainRoundAndAttempt(uint8 which) public {
        begin(3);
        bytes32 h = modelHash(0);
        bytes memory wrong;
        address me = worker(0);
        which %= 4;
        if (which == 0) wrong = abi.encode("FLModel", block.chainid, address(factory), 1, 1, me, h, SALT);
        if (which == 1) wrong = abi.encode("FLModel", block.chainid + 1, address(task), 1, 1, me, h, SALT);
        if (which == 2) wrong = abi.encode("FLModel", block.chainid, address(task), 2, 1, me, h, SALT);
        if (which == 3) wrong = abi.encode("FLModel", block.chainid, address(task), 1, 2, me, h, SALT);
        vm.prank(me);
        task.commitModel(1, 1, keccak256(wrong), "base");
        commit(1);
        commit(2);
        vm.expectRevert(IFLTask.BadReveal.selector);
        _open(0, h, SALT);
    }

    function test_cidsHaveAtMost64Bytes(uint8 length) public {
        begin(3);
        playTo(IFLTask.Phase.Open);
        bytes32 h = modelHash(0);
        if (length > 64) vm.expectRevert(IFLTask.BadValue.selector);
        vm.prank(worker(0));
        task.openModel(1, h, SALT, 1, new bytes(length));
    }

    // ------------------------------------------------------------------------------------------- success

    function test_anOpenedModelIsLoggedWithItsSalt(uint64 size, bytes32 cid) public {
        begin(3);
        playTo(IFLTask.Phase.Open);
        bytes32 h = modelHash(2);
        vm.expectEmit(address(task));
        emit IFLTask.ModelSubmitted(1, worker(2), 1, h, SALT, size, abi.encode(cid));
        vm.prank(worker(2));
        task.openModel(1, h, SALT, size, abi.encode(cid));
        vm.assertEq(task.opened(), 4);
    }

    function test_onlyTheCommittedAreWaitedFor() public {
        begin(4);
        commitAll(7);
        miss();
        openAll(3);
        assertPhase(IFLTask.Phase.Open);
        open(2);
        assertPhase(IFLTask.Phase.Score);
    }

    // 3.1: the seed of the audit model
    function test_scoringBeginsWithASeedThatNobodyChose(bytes32 randomness) public {
        begin(3);
        playTo(IFLTask.Phase.Open);
        openAll(3);
        vm.prevrandao(randomness);
        bytes32 seed =
            keccak256(abi.encode(uint256(randomness), block.chainid, address(task), uint32(1), uint32(1)));
        _expectScore(seed);
        open(2);
    }

    function test_withoutTheAuditLaneThereIsNoSeed() public {
        terms.auditLane = false;
        begin(3);
        playTo(IFLTask.Phase.Open);
        openAll(3);
        _expectScore(0);
        open(2);
    }

    function _expectScore(bytes32 seed) private {
        bytes32 h = modelHash(2);
        vm.expectEmit(address(task));
        emit IFLTask.ModelSubmitted(1, worker(2), 1, h, SALT, 1000, new bytes(36));
        vm.expectEmit(address(task));
        emit IFLTask.PhaseChanged(1, 1, IFLTask.Phase.Score, uint40(T0 + 130), seed, 7);
    }

    function _open(uint256 i, bytes32 h, bytes32 salt) private {
        vm.prank(worker(i));
        task.openModel(1, h, salt, 1, "");
    }
}
