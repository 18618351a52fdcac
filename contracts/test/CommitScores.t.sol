// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {TaskTest} from "./utils/TaskTest.sol";

contract CommitScoresTest is TaskTest {
    // ------------------------------------------------------------------------------------------- reverts

    function test_scoringBelongsToScore(uint8 steps) public {
        begin(3);
        IFLTask.Phase here =
            [IFLTask.Phase.Train, IFLTask.Phase.Open, IFLTask.Phase.Reveal, IFLTask.Phase.Settle][steps % 4];
        playTo(here);
        expectWrongPhase(here);
        vm.prank(worker(0));
        task.commitScores(1, 1, "h");
    }

    // ▲ 2.1.3
    function test_scoringRightBeforeTheDeadlineWorksRightAfterItDoesNot() public {
        begin(3);
        playTo(IFLTask.Phase.Score);
        rightBefore();
        score(0);
        rightAfter();
        expectPhaseOver();
        vm.prank(worker(1));
        task.commitScores(1, 1, "h");
    }

    function test_strangersCannotScore(address who) public {
        begin(3);
        playTo(IFLTask.Phase.Score);
        vm.assume(task.indexPlus1(who) == 0);
        vm.expectRevert(IFLTask.NotActive.selector);
        vm.prank(who);
        task.commitScores(1, 1, "h");
    }

    function test_aWrongRoundOrAttemptIsRefused(uint32 r, uint32 a) public {
        vm.assume(r != 1 || a != 1);
        begin(3);
        playTo(IFLTask.Phase.Score);
        if (r != 1) vm.expectRevert(abi.encodeWithSelector(IFLTask.WrongRound.selector, 1));
        else vm.expectRevert(abi.encodeWithSelector(IFLTask.WrongAttempt.selector, 1));
        vm.prank(worker(0));
        task.commitScores(r, a, "h");
    }

    // ------------------------------------------------------------------------------------------- success

    function test_aCommitmentIsLogged(bytes32 h) public {
        begin(3);
        playTo(IFLTask.Phase.Score);
        vm.expectEmit(address(task));
        emit IFLTask.ScoresCommitted(1, worker(1), 1, h);
        vm.prank(worker(1));
        task.commitScores(1, 1, h);
        vm.assertEq(task.scored(), 2);
        vm.assertEq(task.workers(1).commitment, h);
    }

    function test_theLastCommitmentCounts(bytes32 first) public {
        begin(3);
        playTo(IFLTask.Phase.Score);
        vm.prank(worker(0));
        task.commitScores(1, 1, first);
        scoreAll(7);
        reveal(0);
        vm.assertEq(task.revealed(), 1);
    }

    function test_whoDidNotTrainMayScore() public {
        begin(4);
        commitAll(7);
        miss();
        openAll(7);
        scoreAll(15);
        assertPhase(IFLTask.Phase.Reveal);
        revealAll(15);
        assertPhase(IFLTask.Phase.Settle);
    }

    function test_theLastOneExpectedOpensThePhaseOfRevealing() public {
        begin(3);
        playTo(IFLTask.Phase.Score);
        scoreAll(3);
        assertPhase(IFLTask.Phase.Score);
        score(2);
        assertPhase(IFLTask.Phase.Reveal);
        vm.assertEq(deadline(), block.timestamp + terms.revealWindow);
    }
}
