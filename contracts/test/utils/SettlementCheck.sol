// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../../src/interfaces/IFLTask.sol";
import {Roster} from "../../src/libraries/Roster.sol";
import {Vm} from "./MiniTest.sol";
import {NaiveJudge} from "./NaiveJudge.sol";
import {NaiveLedger} from "./NaiveLedger.sol";
import {TaskTest} from "./TaskTest.sol";

/// @title A settlement compared with the naive reading of the protocol
abstract contract SettlementCheck is TaskTest {
    using Roster for uint256;

    /// @dev Does the settlement that is due, in one call or step by step, and compares everything it changed.
    function settleAndCompare(bool inSteps) internal returns (Vm.Log[] memory logs) {
        bool late = phase() == IFLTask.Phase.Reveal;
        (NaiveJudge.Verdict memory v, NaiveLedger.Books memory b) = (_judge(), NaiveLedger.read(task));
        NaiveLedger.settle(b, v);
        uint256 out = (task.leaving() & (b.active | task.pending())) | task.dropped();
        if (late) rightAfter();
        vm.recordLogs();
        if (late || !inSteps) {
            task.nextRound();
        } else {
            task.submitRoundTopK();
            task.distributeRewards();
            _compareLedger(b);
            task.nextRound();
        }
        logs = vm.getRecordedLogs();
        _compareVerdict(v, logs);
        bool wentOn = phase() == IFLTask.Phase.Train || phase() == IFLTask.Phase.Attest;
        if (wentOn) NaiveLedger.crossBoundary(b, out);
        if (!wentOn) (b.burnPool, b.forfeitPool) = (b.burnPool + b.forfeitPool, 0);
        _compareLedger(b);
    }

    function _judge() private view returns (NaiveJudge.Verdict memory) {
        NaiveJudge.Round memory r;
        r.params = terms;
        r.number = round();
        r.seats = task.core().lanes - 2;
        r.roster = task.roster();
        r.opened = task.opened();
        r.revealed = task.revealed();
        r.rows = new uint256[][](r.seats);
        for (uint256 i; i < r.seats; ++i) {
            if (r.revealed.has(i)) r.rows[i] = _unpack(rowOf[i], r.seats + 2);
        }
        return NaiveJudge.judge(r);
    }

    function _compareVerdict(NaiveJudge.Verdict memory v, Vm.Log[] memory logs) private view {
        bool seen;
        for (uint256 k; k < logs.length; ++k) {
            if (logs[k].topics[0] != IFLTask.RoundScored.selector) continue;
            (uint256[] memory medians, uint256[] memory lows, uint16 theta) =
                abi.decode(logs[k].data, (uint256[], uint256[], uint16));
            vm.assertEq(abi.encode(medians), abi.encode(pack(v.upper)));
            vm.assertEq(abi.encode(lows), abi.encode(pack(v.lower)));
            vm.assertEq(theta, v.theta, "theta");
            seen = true;
        }
        vm.assertTrue(seen, "RoundScored");
        vm.assertEq(task.accepted(), v.accepted, "accepted");
        vm.assertEq(task.deviant(), v.deviant, "deviant");
        vm.assertEq(task.invalid(), v.invalid, "invalid");
        vm.assertEq(task.top(), v.top, "top");
    }

    function _compareLedger(NaiveLedger.Books memory b) private view {
        vm.assertEq(task.rewardLeft(), b.rewardLeft, "rewardLeft");
        vm.assertEq(task.forfeitPool(), b.forfeitPool, "forfeitPool");
        vm.assertEq(task.burnPool(), b.burnPool, "burnPool");
        for (uint256 i; i < b.workers.length; ++i) {
            vm.assertEq(abi.encode(task.workers(i)), abi.encode(b.workers[i]));
        }
    }

    function _unpack(uint256[] memory row, uint256 n) private pure returns (uint256[] memory lane) {
        lane = new uint256[](n);
        for (uint256 k; k < n; ++k) {
            lane[k] = (row[k / 16] >> (16 * (k % 16))) & 0xffff;
        }
    }
}
