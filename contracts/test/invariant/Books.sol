// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../../src/interfaces/IFLTask.sol";
import {Roster} from "../../src/libraries/Roster.sol";
import {Vm} from "../utils/MiniTest.sol";
import {Players} from "./Players.sol";

/// @title What everybody paid, earned and was fined in the running task, and the laws about it
/// @notice Kept from what people paid, what reached them, and the logs; the ledger of the contract is not asked.
abstract contract Books is Players {
    using Roster for uint256;

    address internal constant FURNACE = address(0xdEaD);

    /// @dev What people paid into the running task and got out of it.
    uint256 public paidIn;
    uint256 public paidOut;
    /// @dev The reward at the start, and what of it workers earned.
    uint256 public reward;
    uint256 public rewardsPaid;
    /// @dev Over all tasks: honest workers that did everything in a completed one, and fines for missed attestations.
    uint256 public flawless;
    uint256 public absencesFined;

    uint256 private _requesterHad;
    uint256 private _flawed; // seats that left out something, or were in a roster with too many liars
    uint256[32] private _had; // before the collateral came back, by seat
    uint256[32] private _earned;
    uint256[32] private _fined;

    /// @dev Who owed what just before a call, and who had done it.
    struct Duties {
        bool bounded;
        uint256 members;
        uint256 complete;
        uint256 attested;
    }

    struct Sight {
        IFLTask.Core core;
        uint256 rewardLeft;
        uint256 balance;
        uint256 paidIn;
        uint256 paidOut;
        uint256 requesterBalance;
        IFLTask.Worker[] workers;
    }

    // ------------------------------------------------------------------------------------------- entries

    function openBooks(uint256 reward_) internal {
        (reward, rewardsPaid, paidIn, paidOut) = (reward_, 0, reward_, 0);
        (_requesterHad, _flawed) = (REQUESTER.balance, 0);
        delete _earned;
        delete _fined;
    }

    function joinAs(uint256 i) internal {
        vm.deal(worker(i), worker(i).balance + terms.collateral);
        vm.prank(worker(i));
        task.joinTask{value: terms.collateral}(address(0), "k", new bytes32[](0));
        paidIn += terms.collateral;
        _had[i] = worker(i).balance;
    }

    /// @notice What the requester got back so far.
    function refunded() public view returns (uint256) {
        return REQUESTER.balance - _requesterHad;
    }

    function duties() internal view returns (Duties memory d) {
        d.bounded = liarsAreFew();
        d.members = task.active() | task.dropped();
        d.complete = task.opened() & task.revealed();
        d.attested = task.attested();
    }

    /// @dev Enters what one call paid and fined.
    function enter(Vm.Log[] memory logs, Duties memory d) internal {
        for (uint256 k; k < logs.length; ++k) {
            Vm.Log memory log = logs[k];
            if (log.emitter != address(task)) continue;
            if (log.topics[0] == IFLTask.WorkerPenalized.selector) _enterFine(log, d);
            if (log.topics[0] == IFLTask.RewardsDistributed.selector) _enterRewards(log, d);
            if (log.topics[0] == IFLTask.FinalForfeits.selector) _enterForfeits(log, d);
        }
    }

    /// @dev I17, I12: with at most f liars in the roster an honest worker pays for its own absences alone, and one that
    /// did everything pays nothing.
    function _enterFine(Vm.Log memory log, Duties memory d) private {
        uint256 i = task.indexPlus1(address(uint160(uint256(log.topics[2])))) - 1;
        (uint8 reason, uint256 amount,,) = abi.decode(log.data, (uint8, uint256, uint256, uint8));
        _fined[i] += amount;
        if (reason == 6) {
            vm.assertFalse(d.attested.has(i), "I17: fined though it attested");
            ++absencesFined;
            return;
        }
        if (!d.bounded || !honest.has(i)) return;
        vm.assertTrue(reason == 2 || reason == 3 || reason == 7, "I17: fined for another's fault");
        vm.assertFalse(d.complete.has(i), "I12: fined though it did everything");
    }

    function _enterRewards(Vm.Log memory log, Duties memory d) private {
        _flawed |= d.bounded ? d.members & ~d.complete : type(uint256).max;
        (uint256 eligible, uint256 top, uint256 perTop, uint256 perRest, uint256 perForfeit,,) =
            abi.decode(log.data, (uint256, uint256, uint256, uint256, uint256, uint256, uint256));
        for (uint256 i; eligible >> i != 0; ++i) {
            if (!eligible.has(i)) continue;
            uint256 share = top.has(i) ? perTop : perRest;
            rewardsPaid += share;
            _earned[i] += share + perForfeit;
        }
    }

    function _enterForfeits(Vm.Log memory log, Duties memory d) private {
        _flawed |= d.members & ~d.attested;
        (uint256 attesters, uint256 each,) = abi.decode(log.data, (uint256, uint256, uint256));
        for (uint256 i; attesters >> i != 0; ++i) {
            if (attesters.has(i)) _earned[i] += each;
        }
    }

    // ------------------------------------------------------------------------------------------- balances

    /// @dev When all is paid: everybody has its bond and what it earned, less its fines; the requester what of its
    /// reward nobody earned.
    function closeBooks() internal {
        vm.assertEq(address(task).balance, 0, "I13: drained");
        vm.assertEq(paidOut, paidIn, "I2");
        vm.assertEq(refunded(), reward - rewardsPaid, "I18");
        for (uint256 i; i < task.core().count; ++i) {
            if (task.workers(i).account == address(0)) continue;
            vm.assertLe(_fined[i], terms.collateral, "I4: fined more than its bond");
            uint256 due = terms.collateral + _earned[i];
            vm.assertEq(worker(i).balance - _had[i], due - _fined[i], "I5: not what it is due");
            if (!honest.has(i) || _flawed.has(i)) continue;
            vm.assertEq(worker(i).balance - _had[i], due, "I12: less than its bond");
            if (phase() == IFLTask.Phase.Completed) ++flawless;
        }
    }

    function look() internal view returns (Sight memory s) {
        s.core = task.core();
        s.rewardLeft = task.rewardLeft();
        s.balance = address(task).balance;
        (s.paidIn, s.paidOut) = (paidIn, paidOut);
        s.requesterBalance = REQUESTER.balance;
        s.workers = new IFLTask.Worker[](s.core.count);
        for (uint256 i; i < s.core.count; ++i) {
            s.workers[i] = task.workers(i);
        }
    }

    /// @dev What no step may do.
    function compare(Sight memory s) internal view {
        IFLTask.Core memory c = task.core();
        vm.assertLe(task.rewardLeft(), s.rewardLeft, "I3");
        for (uint256 i; i < s.workers.length; ++i) {
            if (s.workers[i].account == address(0)) continue;
            vm.assertLe(bond(i), s.workers[i].bond, "I4");
            vm.assertTrue(credit(i) >= s.workers[i].credit || credit(i) == 0, "I5");
        }
        vm.assertTrue(
            c.round > s.core.round || (c.round == s.core.round && c.attempt >= s.core.attempt), "I10: round"
        );
        vm.assertGe(c.attempt, s.core.attempt, "I10: attempt");
        vm.assertEq(address(task).balance + paidOut - s.paidOut, s.balance + paidIn - s.paidIn, "I15: step");
        if (c.phase < IFLTask.Phase.Completed) vm.assertEq(REQUESTER.balance, s.requesterBalance, "I16");
    }
}
