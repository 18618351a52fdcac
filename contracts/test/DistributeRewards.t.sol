// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {TaskTest} from "./utils/TaskTest.sol";

/// @title The second step of a settlement: rewards, forfeits, dust
contract DistributeRewardsTest is TaskTest {
    // ------------------------------------------------------------------------------------------- reverts

    function test_payingBelongsToSettle(uint8 steps) public {
        begin(3);
        IFLTask.Phase here = IFLTask.Phase(uint8(IFLTask.Phase.Train) + steps % 4);
        playTo(here);
        expectWrongPhase(here);
        task.distributeRewards();
    }

    // 7.5: distributeRewards repeats
    function test_aRoundIsPaidOnce() public {
        begin(3);
        playTo(IFLTask.Phase.Settle);
        task.distributeRewards();
        uint256 paid = credit(0);
        vm.expectRevert(IFLTask.AlreadyDone.selector);
        task.distributeRewards();
        vm.expectRevert(IFLTask.AlreadyDone.selector);
        task.submitRoundTopK();
        task.nextRound();
        vm.assertEq(credit(0), paid);
        vm.assertEq(round(), 2);
    }

    // ------------------------------------------------------------------------------------------- success

    function test_allWaysOfSettlingPayTheSame(uint8 way) public {
        begin(5);
        quality[2] = 9500;
        quality[4] = 100;
        playTo(IFLTask.Phase.Settle);
        if (way % 3 == 1) task.submitRoundTopK();
        if (way % 3 != 0) task.distributeRewards();
        task.nextRound();
        vm.assertEq(credit(2), 5 ether);
        vm.assertEq(credit(0), uint256(5 ether) / 3);
        vm.assertEq(credit(4), 0);
        vm.assertEq(task.rewardLeft(), 20 ether + 2);
    }

    function test_theTopGetItsShareAndTheRestTheirs(uint16 share, uint96 reward) public {
        terms.topShareBps = uint16(bound(share, 5000, 10_000));
        terms.rounds = 1;
        uint256 total = bound(reward, 1, type(uint96).max);
        create(total);
        joinAll(7);
        start();
        (quality[1], quality[3]) = (9500, 9600);
        playTo(IFLTask.Phase.Settle);
        uint256 restPool = total * (10_000 - terms.topShareBps) / 10_000;
        uint256 perTop = (total - restPool) / 2;
        uint256 perRest = restPool / 5;
        uint256 left = total - 2 * perTop - 5 * perRest;
        vm.expectEmit(address(task));
        emit IFLTask.RewardsDistributed(1, all(7), 10, perTop, perRest, 0, left, 0);
        task.distributeRewards();
        for (uint256 i; i < 7; ++i) {
            vm.assertEq(credit(i), i == 1 || i == 3 ? perTop : perRest);
        }
        vm.assertEq(task.rewardLeft(), left);
        assertSolvent();
    }

    // 4.1: dust goes to the next round
    function test_everyRoundGetsAnEqualShareOfWhatIsLeft(uint96 reward) public {
        uint256 total = bound(reward, 3, type(uint96).max);
        create(total);
        joinAll(5);
        start();
        for (uint256 r = 1; r <= 3; ++r) {
            uint256 before = task.rewardLeft();
            playTo(IFLTask.Phase.Settle);
            task.nextRound();
            uint256 paid = before - task.rewardLeft();
            vm.assertLe(paid, before / (4 - r), "I3");
            vm.assertGe(paid + 5, before / (4 - r), "only dust stays");
        }
    }

    // 4.1: with nobody eligible the reward rolls forward and forfeits wait
    function test_aRoundWithoutAcceptedModelsRollsForward() public {
        begin(5);
        for (uint256 j; j < 5; ++j) {
            quality[j] = 0;
        }
        playTo(IFLTask.Phase.Reveal);
        revealAll(15);
        miss();
        vm.assertEq(task.rewardLeft(), REWARD);
        vm.assertEq(task.forfeitPool(), COLLATERAL / 10, "fault 2 of one");
        for (uint256 j; j < 5; ++j) {
            quality[j] = 9000;
        }
        playRound();
        vm.assertEq(task.forfeitPool(), 0);
        vm.assertEq(task.rewardLeft(), REWARD / 2);
    }

    function test_forfeitsAreSharedByTheEligible() public {
        begin(5);
        playTo(IFLTask.Phase.Reveal);
        revealAll(15);
        rightAfter();
        task.nextRound();
        uint256 per = COLLATERAL / 10 / 4;
        vm.assertEq(credit(0) + credit(1) + credit(2) + credit(3), 10 ether - 2 + 4 * per);
        vm.assertEq(credit(4), 0);
    }

    // T15: open tasks burn forfeits
    function test_forfeitsAreBurnedByTheirShare(uint16 share) public {
        terms.burnBps = uint16(bound(share, 0, 10_000));
        begin(5);
        playTo(IFLTask.Phase.Reveal);
        revealAll(15);
        miss();
        uint256 burned = COLLATERAL / 10 * terms.burnBps / 10_000;
        vm.assertEq(task.burnPool(), burned);
        assertSolvent();
    }

    // ▲ 4.1, 7.6, R = 2: a lie between two cannot pay
    function test_ofTwoScorersWhoZerosTheOtherGetsNothing() public {
        begin(3);
        playTo(IFLTask.Phase.Score);
        score(0);
        uint256[] memory lane = honestLanes(1);
        (lane[2], lane[4]) = (0, 0);
        score(1, pack(lane));
        miss();
        revealAll(3);
        task.nextRound();
        vm.assertEq(credit(0) + credit(1) + credit(2), 0);
        vm.assertEq(bond(0), COLLATERAL);
        vm.assertEq(bond(1), COLLATERAL);
        vm.assertEq(task.rewardLeft(), REWARD);
    }

    // ▲ 4.2: `deviant` costs the round's reward whatever R
    function test_theDeviantGetNothing() public {
        begin(5);
        playTo(IFLTask.Phase.Score);
        scoreAll(15);
        uint256[] memory lane = honestLanes(4);
        lane[0] = 0;
        score(4, pack(lane));
        revealAll(1 + 2 + 4 + 16);
        miss();
        vm.assertEq(task.deviant(), 16);
        vm.assertEq(credit(4), 0);
        vm.assertEq(bond(4), COLLATERAL, "but four rows of five are too few for a fine");
    }
}
