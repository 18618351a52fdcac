// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../../src/interfaces/IFLTask.sol";
import {Roster} from "../../src/libraries/Roster.sol";
import {Books} from "./Books.sol";

/// @title Calls at any moment by anybody, with whatever arguments, and the laws about calls
abstract contract Calls is Books {
    using Roster for uint256;

    bytes4 private constant PANIC = 0x4e487b71;
    bytes4 private constant ERROR_STRING = 0x08c379a0;

    /// @dev How often each call was refused because it came late, and how often the factory created a task.
    mapping(bytes4 selector => uint256) public refusedLate;
    uint256 public created;

    /// @dev I19: whatever reverts does so with an error of its own. I15: ether leaves through the four functions alone,
    /// and all of it reaches the payee.
    function tryAs(address who, bytes memory data) internal returns (bool done) {
        Duties memory d = duties();
        address payee = _payeeOf(who, data);
        (uint256 held, uint256 had) = (address(task).balance, payee.balance);
        bytes memory why;
        vm.recordLogs();
        vm.prank(who);
        (done, why) = address(task).call(data);
        enter(vm.getRecordedLogs(), d);
        uint256 paid = payee == address(0) ? 0 : payee.balance - had;
        paidOut += paid;
        vm.assertEq(address(task).balance + paid, held, "I15");
        if (!done) _requireTyped(why);
    }

    function withdrawFor(uint256 i) internal {
        tryAs(STRANGER, abi.encodeCall(task.withdraw, (task.workers(i).account)));
    }

    /// @dev Who is paid by this call, if any ether moves at all.
    function _payeeOf(address who, bytes memory data) private view returns (address) {
        bytes4 selector = bytes4(data);
        if (selector == IFLTask.refund.selector) return REQUESTER;
        if (selector == IFLTask.burn.selector) return FURNACE;
        bool leaves = selector == IFLTask.removeWorker.selector && phase() == IFLTask.Phase.Joining;
        if (selector != IFLTask.withdraw.selector && !leaves) return address(0);
        if (!leaves) {
            assembly ("memory-safe") {
                who := mload(add(data, 36))
            }
        }
        uint256 index = task.indexPlus1(who);
        return index == 0 ? address(0) : task.workers(index - 1).payout;
    }

    function _requireTyped(bytes memory why) private pure {
        bytes4 error_ = bytes4(why);
        vm.assertTrue(why.length >= 4 && error_ != PANIC && error_ != ERROR_STRING, "I19: untyped revert");
    }

    // ------------------------------------------------------------------------------------------- too late

    /// @dev I20: what members do after a deadline is refused. The time is over already.
    function callLate() internal {
        IFLTask.Phase here = phase();
        if (deadline() == 0 || here > IFLTask.Phase.Attest) return;
        bool inRound = here >= IFLTask.Phase.Train && here <= IFLTask.Phase.Reveal;
        bool mayJoin = here == IFLTask.Phase.Joining || (inRound && terms.lateJoin && round() < terms.rounds);
        bytes memory joining = abi.encodeCall(task.joinTask, (address(0), "k", new bytes32[](0)));
        vm.deal(STRANGER, terms.collateral);
        _refuseLate(STRANGER, joining, mayJoin ? IFLTask.PhaseOver.selector : IFLTask.WrongPhase.selector);
        if (here == IFLTask.Phase.Joining) return;
        address who = worker(roll(task.core().count));
        _refuseLate(who, _dutyCall(), IFLTask.PhaseOver.selector);
        if (!inRound) return;
        bool member = task.indexPlus1(who) != 0;
        bytes4 why = member ? IFLTask.PhaseOver.selector : IFLTask.NotActive.selector;
        _refuseLate(who, abi.encodeCall(task.removeWorker, ()), why);
    }

    function _refuseLate(address who, bytes memory data, bytes4 expected) private {
        uint256 held = address(task).balance;
        vm.prank(who);
        (bool done, bytes memory why) =
            address(task).call{value: who == STRANGER ? terms.collateral : 0}(data);
        vm.assertFalse(done, "I20");
        vm.assertTrue(bytes4(why) == expected, "I20: refused as late");
        vm.assertEq(address(task).balance, held, "I20: money");
        if (expected == IFLTask.PhaseOver.selector) ++refusedLate[bytes4(data)];
    }

    function _dutyCall() private view returns (bytes memory) {
        IFLTask.Phase here = phase();
        if (here == IFLTask.Phase.Train) {
            return abi.encodeCall(task.commitModel, (round(), attempt(), bytes32(0), bytes32(0)));
        }
        if (here == IFLTask.Phase.Open) return abi.encodeCall(task.openModel, (round(), "", "", 0, ""));
        if (here == IFLTask.Phase.Score) return abi.encodeCall(task.commitScores, (round(), attempt(), ""));
        if (here == IFLTask.Phase.Attest) return abi.encodeCall(task.attestFinal, ("late", ""));
        return abi.encodeCall(task.submitScore, (round(), new uint256[](1), ""));
    }

    // ------------------------------------------------------------------------------------------- after the end

    /// @dev I10: whoever calls whatever and whenever, an ended task stays as it ended.
    function callTheEnded() internal {
        bytes32 ended = keccak256(abi.encode(task.core()));
        for (uint256 which; which < 10; ++which) {
            bytes memory data = which < 7 ? _transition(which) : anyCall();
            tryAs(anybody(), data);
            vm.assertTrue(keccak256(abi.encode(task.core())) == ended, "I10: an ended task moved");
            if (roll(6) == 0) vm.warp(block.timestamp + roll(100 days));
        }
    }

    function anybody() internal returns (address) {
        return [REQUESTER, STRANGER, worker(roll(uint256(terms.maxWorkers) + 4))][roll(3)];
    }

    // ------------------------------------------------------------------------------------------- any call

    function anyCall() internal returns (bytes memory) {
        uint256 which = roll(20);
        bytes32 junk = keccak256(abi.encode(dice));
        uint32 r = uint32(roll(3) == 0 ? roll(9) : round());
        uint32 a = uint32(roll(3) == 0 ? roll(9) : attempt());
        if (which < 7) return _transition(which);
        if (which == 7) return abi.encodeCall(task.commitModel, (r, a, junk, junk));
        if (which == 8) return abi.encodeCall(task.openModel, (r, junk, junk, 1, new bytes(roll(70))));
        if (which == 9) return abi.encodeCall(task.commitScores, (r, a, junk));
        if (which == 10) return abi.encodeCall(task.submitScore, (r, new uint256[](roll(10)), junk));
        if (which == 11) {
            return abi.encodeCall(task.attestFinal, (roll(2) == 0 ? junk : bytes32(0), new bytes(roll(70))));
        }
        if (which == 12) return abi.encodeCall(task.rotateKey, (new bytes(roll(1100))));
        if (which == 13) {
            return abi.encodeCall(task.notice, (uint8(roll(6)), r, STRANGER, junk, new bytes(roll(70))));
        }
        if (which == 14) return abi.encodeCall(task.removeWorker, ());
        if (which == 15) return abi.encodeCall(task.initializeTask, (STRANGER, terms, "", "", "k"));
        if (which == 16) return abi.encodeCall(task.joinTask, (STRANGER, "", new bytes32[](roll(3))));
        if (which == 17) return abi.encodeCall(task.getSubmissions, ());
        if (which == 18) return abi.encodeCall(task.workers, (uint256(junk)));
        return _payment(junk);
    }

    /// @dev What moves a task on.
    function _transition(uint256 which) private view returns (bytes memory) {
        if (which == 0) return abi.encodeCall(task.startTask, ());
        if (which == 1) return abi.encodeCall(task.cancelTask, ());
        if (which == 2) return abi.encodeCall(task.completeTask, ());
        if (which == 3) return abi.encodeCall(task.nextRound, ());
        if (which == 4) return abi.encodeCall(task.submitRoundTopK, ());
        if (which == 5) return abi.encodeCall(task.distributeRewards, ());
        return abi.encodeCall(task.removeWorker, ());
    }

    function _payment(bytes32 junk) private returns (bytes memory) {
        uint256 which = roll(4);
        if (which == 0) return abi.encodeCall(task.refund, ());
        if (which == 1) return abi.encodeCall(task.burn, ());
        address who = which == 2 ? address(uint160(uint256(junk))) : worker(roll(terms.maxWorkers));
        return abi.encodeCall(task.withdraw, (who));
    }

    // ------------------------------------------------------------------------------------------- the factory

    /// @dev I19 for the factory: it creates what it predicted, or says why not and keeps nothing.
    function callFactory() internal {
        IFLTask.Params memory p = _wildTerms();
        bytes32 nonce = bytes32(roll(2));
        uint256 value = roll(4) == 0 ? roll(4) : 1e6;
        address predicted = factory.predictTask(STRANGER, nonce, p, "", "", "k", value);
        vm.deal(STRANGER, value);
        vm.prank(STRANGER);
        (bool done, bytes memory answer) =
            address(factory).call{value: value}(abi.encodeCall(factory.createTask, (nonce, p, "", "", "k")));
        vm.assertEq(address(factory).balance, 0);
        if (!done) {
            vm.assertEq(STRANGER.balance, value);
            return _requireTyped(answer);
        }
        ++created;
        vm.assertEq(abi.decode(answer, (address)), predicted);
        vm.assertEq(predicted.balance, value);
    }

    /// @dev The terms of the running task with up to three of their fields replaced.
    function _wildTerms() private returns (IFLTask.Params memory p) {
        p = terms;
        p.hardStop = uint40(block.timestamp + 100 days);
        bytes memory words = abi.encode(p);
        for (uint256 k = roll(4); k != 0; --k) {
            uint256 field = roll(words.length / 32);
            bool isFlag = field == 5 || field == 6;
            uint256 value = isFlag ? roll(2) : roll(2) == 0 ? roll(3) : roll(256);
            assembly ("memory-safe") {
                mstore(add(add(words, 32), mul(32, field)), value)
            }
        }
        return abi.decode(words, (IFLTask.Params));
    }
}
