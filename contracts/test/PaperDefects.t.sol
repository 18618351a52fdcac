// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {TaskTest} from "./utils/TaskTest.sol";

/// @title Defects of the paper's published contract, each as the test that it fails
contract PaperDefectsTest is TaskTest {
    function test_theRoundAdvancesWithoutTheRequester() public {
        begin(3);
        playTo(IFLTask.Phase.Settle);
        vm.prank(STRANGER);
        task.nextRound();
        vm.assertEq(round(), 2);
    }

    function test_aWholeTaskRunsWithTheRequesterGone() public {
        create();
        joinAll(3);
        rightAfter();
        vm.prank(worker(0));
        task.startTask();
        playToEnd();
        drain();
    }

    function test_removeWorkerWorks() public {
        begin(4);
        announce(3);
        commitAll(7);
        openAll(7);
        scoreAll(7);
        revealAll(7);
        task.nextRound();
        vm.assertEq(task.active(), 7);
        task.withdraw(worker(3));
        vm.assertEq(worker(3).balance, COLLATERAL);
    }

    function test_penaltiesAreNotPaidBackToTheRequester() public {
        begin(5);
        quality[4] = 0;
        playToEnd();
        vm.assertLe(task.rewardLeft(), 100);
        uint256 before = REQUESTER.balance;
        drain();
        vm.assertLe(REQUESTER.balance - before, 100);
    }

    function test_rewardsAreDistributedBelowThreeWinners(uint8 winners) public {
        terms.acceptBps = 10_000;
        terms.maxLow = 0;
        begin(5);
        uint256 n = winners % 4;
        for (uint256 j; j < 5; ++j) {
            quality[j] = n == 0 ? 0 : j < 3 ? 5000 : 6000;
        }
        playTo(IFLTask.Phase.Settle);
        task.distributeRewards();
        assertSolvent();
    }

    function test_rewardsAreNotPushed() public {
        create();
        join(0, address(factory));
        join(1);
        join(2);
        start();
        playRound();
        vm.assertGe(credit(0), 1);
        vm.assertEq(address(factory).balance, 0);
    }

    function test_rewardsAreDistributedOncePerRound() public {
        begin(3);
        playTo(IFLTask.Phase.Settle);
        task.distributeRewards();
        vm.expectRevert(IFLTask.AlreadyDone.selector);
        task.distributeRewards();
        task.nextRound();
        expectWrongPhase(IFLTask.Phase.Train);
        task.distributeRewards();
    }

    function test_startTaskDoesNotRepeat() public {
        begin(3);
        expectWrongPhase(IFLTask.Phase.Train);
        vm.prank(REQUESTER);
        task.startTask();
    }

    function test_scoresAreBoundedAndGivenOnce() public {
        begin(3);
        playTo(IFLTask.Phase.Score);
        scoreAll(3);
        uint256[] memory row = new uint256[](1);
        row[0] = type(uint256).max;
        score(2, row);
        vm.expectRevert(IFLTask.BadScores.selector);
        vm.prank(worker(2));
        task.submitScore(1, row, SALT);
    }

    function test_silenceEndsByDeadlines() public {
        begin(3);
        for (uint256 k; k < 6 && phase() != IFLTask.Phase.Expired; ++k) {
            miss();
        }
        assertPhase(IFLTask.Phase.Expired);
        drain();
    }

    function test_depositsAreHeldUntilTheEndNotReturnedAfterRoundOne() public {
        begin(3);
        playRound();
        for (uint256 i; i < 3; ++i) {
            vm.assertEq(bond(i), COLLATERAL);
            task.withdraw(worker(i));
            vm.assertEq(bond(i), COLLATERAL);
        }
    }
}
