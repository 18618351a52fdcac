// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {TaskTest} from "./utils/TaskTest.sol";

/// @title rotateKey, notice and the views of a round
contract MessagesTest is TaskTest {
    // ------------------------------------------------------------------------------------------- rotateKey

    function test_strangersHaveNoKey(address who) public {
        begin(3);
        vm.assume(task.indexPlus1(who) == 0 && who != REQUESTER);
        vm.expectRevert(IFLTask.NotActive.selector);
        vm.prank(who);
        task.rotateKey("key");
    }

    function test_whoeverIsGoneHasNoKey() public {
        begin(4);
        playTo(IFLTask.Phase.Open);
        announce(3);
        playRound();
        vm.expectRevert(IFLTask.NotActive.selector);
        vm.prank(worker(3));
        task.rotateKey("key");
    }

    function test_keysHave1To1024Bytes(uint16 length) public {
        begin(3);
        if (length == 0 || length > 1024) vm.expectRevert(IFLTask.BadValue.selector);
        vm.prank(worker(0));
        task.rotateKey(new bytes(length));
    }

    function test_aNewKeyCountsFromTheNextRoundOn(bytes32 key) public {
        terms.lateJoin = true;
        create();
        join(0);
        _rotate(worker(0), 1, key);
        _rotate(REQUESTER, 1, key);
        join(1);
        join(2);
        start();
        join(3);
        _rotate(worker(3), 2, key);
        playRound();
        _rotate(worker(0), 3, key);
        rightAfter();
        _rotate(worker(0), 3, key);
        _rotate(REQUESTER, 3, key);
    }

    function test_theRequesterMayChangeItsKeyAfterTheEnd() public {
        begin(3);
        playToEnd();
        _rotate(REQUESTER, 4, "new");
        _rotate(worker(0), 4, "new");
    }

    function _rotate(address who, uint32 effective, bytes32 key) private {
        vm.expectEmit(address(task));
        emit IFLTask.KeyRotated(who, effective, abi.encode(key));
        vm.prank(who);
        task.rotateKey(abi.encode(key));
    }

    // ------------------------------------------------------------------------------------------- notice

    function test_strangersSendNoNotices(address who, uint8 kind) public {
        begin(3);
        vm.assume(task.indexPlus1(who) == 0 && who != REQUESTER);
        vm.expectRevert(IFLTask.NotActive.selector);
        vm.prank(who);
        task.notice(kind, 1, worker(0), 0, "");
    }

    function test_theRequesterMayOnlyAsk(uint8 kind) public {
        begin(3);
        if (kind != 1) vm.expectRevert(IFLTask.NotActive.selector);
        vm.prank(REQUESTER);
        task.notice(kind, 3, address(0), "ref", "");
    }

    function test_thereAreThreeKinds(uint8 kind) public {
        begin(3);
        if (kind == 0 || kind > 3) vm.expectRevert(IFLTask.BadValue.selector);
        vm.prank(worker(0));
        task.notice(kind, 1, worker(1), 0, "");
    }

    function test_cidsHaveAtMost64Bytes(uint8 length) public {
        begin(3);
        if (length > 64) vm.expectRevert(IFLTask.BadValue.selector);
        vm.prank(worker(0));
        task.notice(2, 1, worker(1), 0, new bytes(length));
    }

    function test_aNoticeIsAnEventAndNothingElse(uint32 r, address to, bytes32 ref, bytes32 cid) public {
        begin(3);
        bytes32 before = keccak256(abi.encode(task.core(), task.workers(0), task.active()));
        rightAfter();
        vm.expectEmit(address(task));
        emit IFLTask.Notice(2, r, worker(0), to, ref, abi.encode(cid));
        vm.prank(worker(0));
        task.notice(2, r, to, ref, abi.encode(cid));
        vm.assertEq(keccak256(abi.encode(task.core(), task.workers(0), task.active())), before);
    }

    // 2.4: attesters answer the requester after the end
    function test_noticesGoOnAfterTheEnd() public {
        begin(3);
        playToEnd();
        vm.prank(REQUESTER);
        task.notice(1, 3, address(0), "final", "");
        vm.prank(worker(0));
        task.notice(2, 3, REQUESTER, "final", new bytes(36));
    }

    // ------------------------------------------------------------------------------------------- views

    // 7.5: getSubmissions for the requester only
    function test_anybodyReadsTheRevealedRows(address who) public {
        begin(17);
        playTo(IFLTask.Phase.Reveal);
        revealAll(1 + 4 + (1 << 16));
        vm.prank(who);
        (address[] memory authors, uint256[][] memory rows) = task.getSubmissions();
        vm.assertEq(authors.length, 3);
        vm.assertEq(authors[2], worker(16));
        vm.assertEq(rows[1].length, 2);
        vm.assertEq(abi.encode(rows[0]), abi.encode(rowOf[0]));
        vm.assertEq(abi.encode(rows[1]), abi.encode(rowOf[2]));
        vm.assertEq(abi.encode(rows[2]), abi.encode(rowOf[16]));
    }

    function test_seatsThatDoNotExistAreEmpty(uint256 index) public {
        begin(3);
        IFLTask.Worker memory empty;
        vm.assertEq(abi.encode(task.workers(bound(index, 3, type(uint256).max))), abi.encode(empty));
    }

    function test_noViewShowsASentinel() public {
        begin(3);
        for (uint256 r; r < 2; ++r) {
            uint256 sets = task.committed() | task.opened() | task.scored() | task.revealed();
            sets |= task.accepted() | task.top() | task.deviant() | task.invalid() | task.attested();
            sets |= task.active() | task.pending() | task.leaving() | task.dropped() | task.excused();
            vm.assertLe(sets | task.roster(), 7);
            playRound();
        }
    }
}
