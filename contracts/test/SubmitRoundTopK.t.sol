// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {Roster} from "../src/libraries/Roster.sol";
import {ScoreMath} from "../src/libraries/ScoreMath.sol";
import {Vm} from "./utils/MiniTest.sol";
import {NaiveJudge} from "./utils/NaiveJudge.sol";
import {TaskTest} from "./utils/TaskTest.sol";

/// @title The first step of a settlement: medians, deviants, acceptance, top K
contract SubmitRoundTopKTest is TaskTest {
    using Roster for uint256;

    // ------------------------------------------------------------------------------------------- reverts

    function test_judgingBelongsToSettle(uint8 steps) public {
        begin(3);
        IFLTask.Phase here = IFLTask.Phase(uint8(IFLTask.Phase.Train) + steps % 4);
        playTo(here);
        expectWrongPhase(here);
        task.submitRoundTopK();
    }

    // 7.1: deadline work is nextRound's alone
    function test_aPassedRevealDeadlineIsNotWorkedOffHere() public {
        begin(3);
        playTo(IFLTask.Phase.Reveal);
        revealAll(3);
        rightAfter();
        expectWrongPhase(IFLTask.Phase.Reveal);
        task.submitRoundTopK();
    }

    function test_aRoundIsJudgedOnce() public {
        begin(3);
        playTo(IFLTask.Phase.Settle);
        task.submitRoundTopK();
        vm.expectRevert(IFLTask.AlreadyDone.selector);
        task.submitRoundTopK();
    }

    // ------------------------------------------------------------------------------------------- success

    // 7.5: the top K is computed, not believed
    function test_anybodyMayHaveTheRoundJudged(address who) public {
        begin(5);
        quality[3] = 9100;
        quality[1] = 9050;
        playTo(IFLTask.Phase.Settle);
        vm.prank(who);
        task.submitRoundTopK();
        vm.assertEq(task.core().step, 1);
        vm.assertEq(task.accepted(), 31);
        vm.assertEq(task.top(), 8 + 2);
        vm.assertEq(task.deviant() | task.invalid(), 0);
        vm.assertEq(credit(3), 0);
    }

    function test_nextRoundDoesTheRest() public {
        begin(5);
        playTo(IFLTask.Phase.Settle);
        task.submitRoundTopK();
        task.nextRound();
        vm.assertEq(round(), 2);
        vm.assertGe(credit(0), 1);
    }

    // ------------------------------------------------------------------------------------------- medians

    // ▲ 3.2, D5: with n = 3 one liar cannot halve an honest 0.95
    function test_oneLiarOfThreeMovesNoHonestModel(uint16 lie) public {
        terms.devTol = 10_000;
        begin(3);
        (quality[0], quality[1]) = (9500, 9400);
        playTo(IFLTask.Phase.Score);
        scoreAll(3);
        uint256[] memory lane = honestLanes(2);
        lane[2] = lane[3] = bound(lie, 0, 9000);
        score(2, pack(lane));
        revealAll(7);
        task.submitRoundTopK();
        vm.assertEq(task.accepted() & 3, 3);
        vm.assertEq(_upper(0), 9500);
        vm.assertEq(_upper(1), 9400);
    }

    // 3.2, theorem: up is at least the least honest reading, lo at most the greatest, for any b <= f; of liars' models up
    // is at most the greatest, too
    function test_honestReadingsBoundTheMedians(uint256 seed, uint8 size) public {
        uint256 n = bound(size, 3, 20);
        terms.devTol = 10_000;
        begin(n);
        playTo(IFLTask.Phase.Score);
        uint256 honest = n - (n - 1) / 2;
        for (uint256 i; i < n; ++i) {
            uint256[] memory lane = honestLanes(i);
            for (uint256 k; k < lane.length; ++k) {
                if (k == i + 2) continue;
                uint256 noise = uint256(keccak256(abi.encode(seed, i, k)));
                lane[k] = i < honest ? 5000 + noise % 1000 : noise % 10_001;
            }
            score(i, pack(lane));
        }
        revealAll(all(n));
        NaiveJudge.Round memory r = _unpacked(n);
        (uint256[] memory medians, uint256[] memory lows) = _judged();
        for (uint256 j; j < n; ++j) {
            (uint256 least, uint256 most) = (10_001, 0);
            for (uint256 i; i < honest; ++i) {
                if (i == j) continue;
                least = r.rows[i][j + 2] < least ? r.rows[i][j + 2] : least;
                most = r.rows[i][j + 2] > most ? r.rows[i][j + 2] : most;
            }
            vm.assertGe(ScoreMath.scoreOf(medians, j), least);
            vm.assertLe(ScoreMath.scoreOf(lows, j), most);
            if (j >= honest) vm.assertLe(ScoreMath.scoreOf(medians, j), most);
        }
        NaiveJudge.Verdict memory v = NaiveJudge.judge(r);
        vm.assertEq(medians, pack(v.upper), "as the naive reading has them");
        vm.assertEq(lows, pack(v.lower), "as the naive reading has them");
    }

    // ------------------------------------------------------------------------------------------- deviation

    // ▲ 3.3
    function test_aSureOutlierOnAControlLaneConvictsAlone(bool audit, uint8 lane_, bool above) public {
        terms.auditLane = audit;
        uint256 control = audit ? lane_ % 2 : 0;
        previousQuality = 5000;
        begin(5);
        playTo(IFLTask.Phase.Score);
        scoreAll(15);
        uint256[] memory lane = honestLanes(4);
        lane[control] = above ? lane[control] + terms.devTol + 1 : lane[control] - terms.devTol - 1;
        score(4, pack(lane));
        revealAll(31);
        task.submitRoundTopK();
        vm.assertEq(task.deviant(), 16);
    }

    function test_withinTheToleranceNobodyDeviates(bool above) public {
        begin(5);
        previousQuality = 5000;
        playTo(IFLTask.Phase.Score);
        scoreAll(15);
        uint256[] memory lane = honestLanes(4);
        for (uint256 k; k < 6; ++k) {
            lane[k] = above ? _min(lane[k] + terms.devTol, 10_000) : lane[k] - terms.devTol;
        }
        score(4, pack(lane));
        revealAll(31);
        task.submitRoundTopK();
        vm.assertEq(task.deviant(), 0);
    }

    function test_outliersOnHalfOfTheLanesAreNotEnough() public {
        terms.auditLane = false;
        begin(6);
        playTo(IFLTask.Phase.Score);
        scoreAll(31);
        uint256[] memory lane = honestLanes(5);
        (lane[2], lane[3], lane[4]) = (0, 0, 0);
        score(5, pack(lane));
        revealAll(63);
        task.submitRoundTopK();
        vm.assertEq(task.deviant(), 0, "three of six lanes");
    }

    function test_outliersOnMoreThanHalfOfTheLanesConvict() public {
        terms.auditLane = false;
        begin(6);
        playTo(IFLTask.Phase.Score);
        scoreAll(31);
        uint256[] memory lane = honestLanes(5);
        (lane[2], lane[3], lane[4], lane[5]) = (0, 0, 0, 0);
        score(5, pack(lane));
        revealAll(63);
        task.submitRoundTopK();
        vm.assertEq(task.deviant(), 32, "four of six lanes");
    }

    // T11
    function test_aConstantScorerIsCaughtByTheAuditLane() public {
        begin(5);
        previousQuality = 6000;
        for (uint256 j; j < 5; ++j) {
            quality[j] = 6000 + 20 * j;
        }
        playTo(IFLTask.Phase.Score);
        scoreAll(15);
        uint256[] memory lane = honestLanes(4);
        for (uint256 k; k < 6; ++k) {
            lane[k] = 6000;
        }
        score(4, pack(lane));
        revealAll(31);
        task.submitRoundTopK();
        vm.assertEq(task.deviant(), 16);
    }

    // 3.1: lanes of models not opened and an audit lane that is off are masked out
    function test_whatIsWrittenOfModelsNotOpenedCountsNothing(uint16 junk) public {
        terms.auditLane = false;
        begin(5);
        commitAll(31);
        openAll(15);
        miss();
        scoreAll(15);
        uint256[] memory lane = honestLanes(4);
        lane[1] = lane[6] = 0;
        lane[1] = bound(junk, 1, 10_000);
        score(4, pack(lane));
        revealAll(31);
        task.submitRoundTopK();
        vm.assertEq(task.deviant(), 0);
        vm.assertEq(task.accepted(), 15);
    }

    // ------------------------------------------------------------------------------------------- acceptance

    function test_modelsBelowThetaAreNotAccepted() public {
        begin(5);
        quality[4] = 7199;
        quality[3] = 7200;
        playTo(IFLTask.Phase.Settle);
        task.submitRoundTopK();
        vm.assertEq(task.accepted(), 15);
        vm.assertEq(task.invalid(), 0);
    }

    // ▲ 4.1, 7.6: liars cannot lift theta above the honest
    function test_liarsThatLiftEachOtherDoNotLiftTheta() public {
        begin(5);
        for (uint256 j; j < 3; ++j) {
            quality[j] = 6000 + j;
        }
        playTo(IFLTask.Phase.Score);
        for (uint256 i; i < 5; ++i) {
            uint256[] memory lane = honestLanes(i);
            for (uint256 j = 3; j < 5; ++j) {
                if (j != i) lane[2 + j] = i < 3 ? 6000 : 10_000;
            }
            score(i, pack(lane));
        }
        revealAll(31);
        task.submitRoundTopK();
        vm.assertEq(task.accepted() & 7, 7);
    }

    // ▲ 4.1: nor push it down to nothing, so that poison is averaged and paid
    function test_liarsThatZeroTheHonestDoNotLetPoisonIn() public {
        terms.devTol = 10_000;
        begin(7);
        for (uint256 j = 4; j < 7; ++j) {
            quality[j] = 300;
        }
        playTo(IFLTask.Phase.Score);
        scoreAll(15);
        for (uint256 i = 4; i < 7; ++i) {
            uint256[] memory lane = honestLanes(i);
            for (uint256 j; j < 4; ++j) {
                lane[2 + j] = 0;
            }
            score(i, pack(lane));
        }
        revealAll(all(7));
        task.submitRoundTopK();
        vm.assertEq(task.accepted(), 15);
    }

    // ▲ 4.1, 7.6: liars that do not open lift honest ones instead
    function test_liarsThatDoNotOpenDoNotShutTheHonestOut() public {
        begin(5);
        for (uint256 j; j < 3; ++j) {
            quality[j] = 6000 + j;
        }
        commitAll(31);
        openAll(7);
        miss();
        for (uint256 i; i < 5; ++i) {
            uint256[] memory lane = honestLanes(i);
            if (i > 2) (lane[2], lane[3], lane[4]) = (10_000, 10_000, 6000);
            score(i, pack(lane));
        }
        revealAll(31);
        task.submitRoundTopK();
        vm.assertEq(task.accepted(), 7);
        vm.assertEq(task.deviant() & 7, 0);
    }

    // ▲ 4.2 fault 1: a majority of the roster, not of those who revealed
    function test_invalidNeedsAMajorityOfTheRoster() public {
        begin(5);
        quality[4] = 0;
        playTo(IFLTask.Phase.Reveal);
        revealAll(2 + 4 + 16);
        rightAfter();
        task.nextRound();
        vm.assertEq(task.invalid(), 0, "two zeros of a roster of five");
        vm.assertEq(bond(4), COLLATERAL);
        quality[4] = 0;
        playTo(IFLTask.Phase.Reveal);
        revealAll(1 + 2 + 4);
        rightAfter();
        task.nextRound();
        vm.assertEq(task.invalid(), 16, "three zeros are enough");
    }

    // ▲ 4.2 fault 1, 7.6: under a specification that gives all models 0 nobody pays
    function test_moreInvalidThanValidModelsAreTheTasksFault(uint8 bad) public {
        uint256 zeros = bound(bad, 0, 7);
        begin(7);
        for (uint256 j; j < zeros; ++j) {
            quality[j] = 0;
        }
        playTo(IFLTask.Phase.Settle);
        task.submitRoundTopK();
        vm.assertEq(task.invalid(), zeros <= 3 ? all(zeros) : 0);
        vm.assertEq(task.accepted(), all(7) & ~all(zeros));
    }

    function test_withoutAnyValidModelThetaIsOne() public {
        begin(3);
        for (uint256 j; j < 3; ++j) {
            quality[j] = 0;
        }
        playTo(IFLTask.Phase.Settle);
        uint256[] memory lane = new uint256[](5);
        (lane[0], lane[1]) = (previousQuality, previousQuality / 2);
        vm.expectEmit(address(task));
        emit IFLTask.RoundScored(1, pack(lane), pack(lane), 1, 0, 0, 0, 0);
        task.submitRoundTopK();
    }

    // ------------------------------------------------------------------------------------------- top K

    // I7: the worst of the top is within the band of the best of the rest; without a band it is the K best
    function test_nobodyIsPassedOverForOneWhoIsWorseByMoreThanTheBand(uint256 seed, uint16 band, uint8 topK)
        public
    {
        terms.tieBand = uint16(bound(band, 0, 3000));
        if (seed % 3 == 0) terms.tieBand = 0;
        terms.topK = uint8(bound(topK, 1, 9));
        terms.acceptBps = 0;
        uint256 n = 4 + seed % 9;
        begin(n);
        uint256[] memory ranked = new uint256[](n);
        for (uint256 j; j < n; ++j) {
            ranked[j] = quality[j] = 5000 + uint256(keccak256(abi.encode(seed, j))) % 3000;
        }
        NaiveJudge.sort(ranked);
        playTo(IFLTask.Phase.Settle);
        task.submitRoundTopK();
        uint256 places = _min(terms.topK, (n - 1) / 2);
        vm.assertEq(task.top().size(), places, "K");
        for (uint256 j; j < n; ++j) {
            if (!task.top().has(j)) continue;
            vm.assertGe(quality[j] + terms.tieBand, ranked[n - places], "the K-th");
            for (uint256 other; other < n; ++other) {
                if (!task.top().has(other)) vm.assertGe(quality[j] + terms.tieBand, quality[other], "I7");
            }
        }
    }

    // I8: beyond the band a better model never earns less
    function test_whoIsBelowTheBandIsNeverPaidMoreThanTheBetter(uint256 seed, uint16 band) public {
        terms.tieBand = uint16(bound(band, 0, 1000));
        terms.topK = uint8(1 + seed % 4);
        begin(9);
        for (uint256 j; j < 9; ++j) {
            quality[j] = 8000 + uint256(keccak256(abi.encode(seed, j))) % 2000;
        }
        playTo(IFLTask.Phase.Settle);
        task.nextRound();
        for (uint256 a; a < 9; ++a) {
            for (uint256 b; b < 9; ++b) {
                if (quality[a] > quality[b] + terms.tieBand) vm.assertGe(credit(a), credit(b), "I8");
            }
        }
    }

    // ▲ 4.1: those within the band take turns
    function test_equalsTakeTurns() public {
        terms.rounds = 5;
        terms.tieBand = 100;
        terms.topK = 1;
        begin(5);
        uint256 seen;
        for (uint256 r; r < 5; ++r) {
            for (uint256 j; j < 5; ++j) {
                quality[j] = 9000 + (j * 37 + r * 11) % 100;
            }
            playTo(IFLTask.Phase.Settle);
            task.nextRound();
            seen |= task.top();
        }
        vm.assertEq(seen, 31, "each was first once");
    }

    function test_ofTwoEligibleOneIsFirst() public {
        begin(4);
        quality[0] = 9100;
        playTo(IFLTask.Phase.Reveal);
        revealAll(2);
        revealAll(4);
        revealAll(8);
        miss();
        vm.assertEq(task.top().size(), 1);
    }

    // ▲ 4.1, R < 3: all share equally
    function test_withTwoScorersAllShareEqually() public {
        begin(3);
        quality[0] = 9900;
        playTo(IFLTask.Phase.Reveal);
        revealAll(3);
        miss();
        vm.assertEq(task.top(), 3);
        vm.assertEq(credit(0), credit(1));
        vm.assertEq(credit(0), 5 ether + COLLATERAL / 10 / 2);
    }

    /// @dev Judges the round; the medians as RoundScored has them.
    function _judged() private returns (uint256[] memory medians, uint256[] memory lows) {
        vm.recordLogs();
        task.submitRoundTopK();
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1);
        vm.assertEq(logs[0].topics[0], IFLTask.RoundScored.selector);
        return abi.decode(logs[0].data, (uint256[], uint256[]));
    }

    function _upper(uint256 seat) private view returns (uint256) {
        return NaiveJudge.judge(_unpacked(task.core().lanes - 2)).upper[seat + 2];
    }

    function _unpacked(uint256 n) private view returns (NaiveJudge.Round memory r) {
        r.params = terms;
        (r.number, r.seats) = (round(), n);
        (r.roster, r.opened, r.revealed) = (task.roster(), task.opened(), task.revealed());
        r.rows = new uint256[][](n);
        for (uint256 i; i < n; ++i) {
            r.rows[i] = new uint256[](n + 2);
            for (uint256 k; k < n + 2 && r.revealed.has(i); ++k) {
                r.rows[i][k] = (rowOf[i][k / 16] >> (16 * (k % 16))) & 0xffff;
            }
        }
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
