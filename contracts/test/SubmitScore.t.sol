// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {TaskTest} from "./utils/TaskTest.sol";

contract SubmitScoreTest is TaskTest {
    // ------------------------------------------------------------------------------------------- reverts

    function test_revealingBelongsToReveal(uint8 steps) public {
        begin(3);
        IFLTask.Phase here =
            [IFLTask.Phase.Train, IFLTask.Phase.Open, IFLTask.Phase.Score, IFLTask.Phase.Settle][steps % 4];
        playTo(here);
        expectWrongPhase(here);
        vm.prank(worker(0));
        task.submitScore(1, new uint256[](1), SALT);
    }

    // ▲ 2.1.3
    function test_revealingRightBeforeTheDeadlineWorksRightAfterItDoesNot() public {
        begin(3);
        playTo(IFLTask.Phase.Reveal);
        rightBefore();
        reveal(0);
        rightAfter();
        uint256[] memory row = rowOf[1];
        expectPhaseOver();
        vm.prank(worker(1));
        task.submitScore(1, row, SALT);
    }

    function test_strangersCannotReveal() public {
        begin(3);
        playTo(IFLTask.Phase.Reveal);
        vm.expectRevert(IFLTask.NotActive.selector);
        vm.prank(STRANGER);
        task.submitScore(1, new uint256[](1), SALT);
    }

    function test_aWrongRoundIsRefused(uint32 r) public {
        vm.assume(r != 1);
        begin(3);
        playTo(IFLTask.Phase.Reveal);
        uint256[] memory row = rowOf[0];
        vm.expectRevert(abi.encodeWithSelector(IFLTask.WrongRound.selector, 1));
        vm.prank(worker(0));
        task.submitScore(r, row, SALT);
    }

    // ▲ 2.2; 7.5: submitScore unlimited
    function test_scoresAreRevealedOnce() public {
        begin(3);
        playTo(IFLTask.Phase.Reveal);
        reveal(0);
        uint256[] memory row = rowOf[0];
        vm.expectRevert(IFLTask.AlreadyDone.selector);
        vm.prank(worker(0));
        task.submitScore(1, row, SALT);
    }

    function test_whoDidNotCommitHasNothingToReveal() public {
        begin(4);
        playTo(IFLTask.Phase.Score);
        scoreAll(7);
        miss();
        assertPhase(IFLTask.Phase.Reveal);
        _refuse(3, honestRow(3), SALT, IFLTask.BadReveal.selector);
    }

    function test_anythingButTheCommitmentIsRefused(uint256 word, bytes32 salt) public {
        begin(3);
        playTo(IFLTask.Phase.Reveal);
        uint256[] memory row = new uint256[](1);
        row[0] = word;
        vm.assume(word != rowOf[0][0] || salt != SALT);
        _refuse(0, row, salt, IFLTask.BadReveal.selector);
    }

    // T10: a commitment is bound to its sender
    function test_copiedScoresCannotBeRevealed() public {
        begin(3);
        playTo(IFLTask.Phase.Score);
        score(0);
        bytes32 copied = task.workers(0).commitment;
        vm.prank(worker(1));
        task.commitScores(1, 1, copied);
        score(2);
        _refuse(1, rowOf[0], SALT, IFLTask.BadReveal.selector);
    }

    function test_rowsOfAnotherLengthAreRefused(uint8 words) public {
        uint256 n = bound(words, 0, 8);
        vm.assume(n != 2);
        begin(17);
        _commitAndRefuse(1, new uint256[](n));
    }

    function test_scoresAbove10000AreRefused(uint16 value, uint8 lane) public {
        uint256[] memory lanes = new uint256[](16);
        lanes[bound(lane, 0, 15)] = bound(value, 10_001, type(uint16).max);
        begin(14);
        _commitAndRefuse(13, pack(lanes));
    }

    function test_scoresOfOneselfAreRefused(uint16 value, uint8 seat) public {
        begin(20);
        uint256 i = bound(seat, 0, 19);
        uint256[] memory lanes = new uint256[](22);
        lanes[2 + i] = bound(value, 1, 10_000);
        _commitAndRefuse(i, pack(lanes));
    }

    function test_scoresOfNobodyAreRefused(uint16 value, uint8 lane) public {
        uint256[] memory lanes = new uint256[](16);
        lanes[bound(lane, 5, 15)] = bound(value, 1, 10_000);
        begin(3);
        _commitAndRefuse(0, pack(lanes));
    }

    // ------------------------------------------------------------------------------------------- success

    function test_everyRowOfScoresIsTaken(uint256 seed, uint8 seats) public {
        uint256 n = bound(seats, 3, 126);
        terms.maxWorkers = 126;
        begin(n);
        playTo(IFLTask.Phase.Score);
        uint256[] memory lanes = new uint256[](n + 2);
        for (uint256 k; k < lanes.length; ++k) {
            if (k != 2) lanes[k] = uint256(keccak256(abi.encode(seed, k))) % 10_001;
        }
        for (uint256 i = 1; i < n; ++i) {
            score(i);
        }
        score(0, pack(lanes));
        reveal(0);
        (address[] memory who, uint256[][] memory rows) = task.getSubmissions();
        vm.assertEq(who.length, 1);
        vm.assertEq(who[0], worker(0));
        vm.assertEq(abi.encode(rows[0]), abi.encode(pack(lanes)));
    }

    function test_aRevealedRowIsLoggedWithItsSalt() public {
        begin(3);
        playTo(IFLTask.Phase.Reveal);
        uint256[] memory row = rowOf[1];
        vm.expectEmit(address(task));
        emit IFLTask.ScoresSubmitted(1, worker(1), 1, row, SALT);
        vm.prank(worker(1));
        task.submitScore(1, row, SALT);
        vm.assertEq(task.revealed(), 2);
    }

    // ▲ 2.1.6: the last revealer does not settle
    function test_theLastRevealerLeavesTheSettlementToAnybody() public {
        begin(3);
        playTo(IFLTask.Phase.Reveal);
        revealAll(3);
        uint256[] memory row = rowOf[2];
        vm.expectEmit(address(task));
        emit IFLTask.ScoresSubmitted(1, worker(2), 1, row, SALT);
        vm.expectEmit(address(task));
        emit IFLTask.PhaseChanged(1, 1, IFLTask.Phase.Settle, 0, 0, 7);
        vm.prank(worker(2));
        task.submitScore(1, row, SALT);
        vm.assertEq(deadline(), 0);
        vm.assertEq(task.core().step, 0);
        vm.assertEq(credit(0), 0);
    }

    function test_onlyThoseWhoScoredAreWaitedFor() public {
        begin(4);
        playTo(IFLTask.Phase.Score);
        scoreAll(7);
        miss();
        revealAll(3);
        assertPhase(IFLTask.Phase.Reveal);
        reveal(2);
        assertPhase(IFLTask.Phase.Settle);
    }

    function _commitAndRefuse(uint256 i, uint256[] memory row) private {
        playTo(IFLTask.Phase.Score);
        uint256 others = task.active() & ~(1 << i);
        scoreAll(others);
        score(i, row);
        assertPhase(IFLTask.Phase.Reveal);
        _refuse(i, row, SALT, IFLTask.BadScores.selector);
    }

    function _refuse(uint256 i, uint256[] memory row, bytes32 salt, bytes4 why) private {
        vm.expectRevert(why);
        vm.prank(worker(i));
        task.submitScore(1, row, salt);
    }
}
