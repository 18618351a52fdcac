// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../../src/interfaces/IFLTask.sol";
import {Roster} from "../../src/libraries/Roster.sol";
import {Vm} from "../utils/MiniTest.sol";
import {SettlementCheck} from "../utils/SettlementCheck.sol";

/// @title People who play tasks at random: honest ones, liars, absentees, strangers, late joiners, leavers, and time
/// @notice One task after another, each with terms of its own. Every step compares the money before and after it; every
/// settlement is compared with the naive reading of the protocol.
contract TaskHandler is SettlementCheck {
    using Roster for uint256;

    bytes32 private constant GOOD = "final model";
    address private constant FURNACE = address(0xdEaD);

    /// @dev What people paid into the running task and got out of it.
    uint256 public paidIn;
    uint256 public paidOut;
    /// @dev How often each of these was seen, to know that the fuzzer gets there.
    uint256 public settlements;
    uint256 public completed;
    uint256 public expired;
    uint256 public restarts;
    uint256 public extensions;

    uint256 private _dice;
    uint256 private _tasks;
    uint256 private _honest; // seats
    uint256 private _base; // quality of honest models

    struct Sight {
        IFLTask.Core core;
        uint256 rewardLeft;
        uint256 balance;
        uint256 requesterBalance;
        uint256[] bonds;
        uint256[] credits;
    }

    // ------------------------------------------------------------------------------------------- steps

    /// @dev Sees the task before and after a step; makes a new one when the last is over.
    modifier step(uint256 seed) {
        _dice = seed;
        if (address(task) == address(0) || phase() >= IFLTask.Phase.Completed) _createNext();
        Sight memory before = _look();
        _;
        _compare(before);
    }

    /// @dev All who can act in this phase, some in their own way.
    function actAll(uint256 seed) external step(seed) {
        _actAll();
    }

    /// @dev Several phases in a row, deadlines passing where somebody is missing.
    function playOn(uint256 seed) external step(seed) {
        for (uint256 k = _roll(6); k != 0 && phase() < IFLTask.Phase.Completed; --k) {
            (IFLTask.Phase here, uint32 a) = (phase(), attempt());
            if (here == IFLTask.Phase.Settle || block.timestamp > deadline()) {
                _doDue();
                continue;
            }
            _actAll();
            if (phase() != here || attempt() != a) continue;
            rightAfter();
            _doDue();
        }
    }

    /// @dev An outage: in each of a few windows about half of the members reach the chain.
    function flicker(uint256 seed) external step(seed) {
        for (uint256 k = _roll(4); k != 0 && phase() < IFLTask.Phase.Completed; --k) {
            for (uint256 i; i < task.core().count; ++i) {
                if (_roll(2) == 0) _act(i);
            }
            if (deadline() == 0) return;
            if (block.timestamp <= deadline()) rightAfter();
            _doDue();
        }
    }

    function _actAll() private {
        uint256 order = _roll(2);
        for (uint256 k; k < 2; ++k) {
            for (uint256 i; i < task.core().count; ++i) {
                if (_honest.has(i) == (k == order) && !_skips(i)) _act(i);
            }
        }
    }

    function actOne(uint256 seed) external step(seed) {
        _act(_roll(task.core().count + 1));
    }

    /// @dev Replaces a commitment or repeats a call; whatever it is, the error has a type.
    function actAgain(uint256 seed) external step(seed) {
        uint256 i = _roll(task.core().count + 1);
        if (_honest.has(i)) return;
        if (_roll(2) == 0) _tryAs(worker(i), _anyCall());
        else _act(i);
    }

    function passTime(uint256 seed) external step(seed) {
        vm.warp(_roll(24) == 0 ? uint256(terms.hardStop) + 1 : block.timestamp + 1 + _roll(60));
        if (block.timestamp > deadline()) _doDue();
    }

    /// @dev The deadline passes: late calls change nothing, then a stranger does what is due.
    function passDeadline(uint256 seed) external step(seed) {
        if (deadline() == 0) return _doDue();
        rightAfter();
        _callLate();
        _doDue();
    }

    function settle(uint256 seed) external step(seed) {
        if (phase() == IFLTask.Phase.Settle || phase() == IFLTask.Phase.Attest) _doDue();
    }

    function joinLate(uint256 seed) external step(seed) {
        uint256 i = task.core().count;
        if (i >= 14) return;
        bool may = phase() == IFLTask.Phase.Joining || (terms.lateJoin && round() < terms.rounds);
        may = may && phase() < IFLTask.Phase.Attest && (deadline() == 0 || block.timestamp <= deadline());
        if (!may || i >= terms.maxWorkers) return;
        if (_roll(2) == 0 && _liarsStayFew()) _honest |= 1 << i;
        else if (!_honest.has(i) && _roll(2) == 0) return;
        _joinAs(i);
    }

    function leaveSome(uint256 seed) external step(seed) {
        uint256 i = _roll(task.core().count + 1);
        if (_honest.has(i) && _roll(4) != 0) return;
        uint256 before = worker(i).balance;
        _tryAs(worker(i), abi.encodeCall(task.removeWorker, ()));
        paidOut += worker(i).balance - before;
    }

    function withdrawSome(uint256 seed) external step(seed) {
        _withdraw(_roll(task.core().count + 1));
    }

    /// @dev Anybody but the honest tries anything.
    function meddle(uint256 seed) external step(seed) {
        address who = [REQUESTER, STRANGER, worker(_roll(20))][_roll(3)];
        uint256 index = task.indexPlus1(who);
        if (index != 0 && _honest.has(index - 1)) return;
        uint256 before = who.balance;
        _tryAs(who, _anyCall());
        if (index != 0) paidOut += who.balance - before;
    }

    // ------------------------------------------------------------------------------------------- the end

    /// @notice I13, I2: strangers and time alone end the task in bounded calls and drain it.
    function finish() external {
        if (address(task) == address(0)) return;
        uint256 most = uint256(terms.rounds) * (uint256(terms.maxVoid) + 8) + 8;
        for (uint256 calls; phase() < IFLTask.Phase.Completed; ++calls) {
            vm.assertLe(calls, most, "I13: bounded");
            if (deadline() != 0) rightAfter();
            vm.prank(STRANGER);
            if (phase() == IFLTask.Phase.Joining) task.startTask();
            else task.nextRound();
            assertSolvent();
        }
        _drainByStrangers();
    }

    function _drainByStrangers() private {
        for (uint256 i; i < task.core().count; ++i) {
            _withdraw(i);
        }
        uint256 before = REQUESTER.balance + FURNACE.balance;
        if (task.rewardLeft() != 0) task.refund();
        if (task.burnPool() != 0) task.burn();
        paidOut += REQUESTER.balance + FURNACE.balance - before;
        vm.assertEq(address(task).balance, 0, "I13: drained");
        vm.assertEq(paidOut, paidIn, "I2");
    }

    // ------------------------------------------------------------------------------------------- a new task

    function _createNext() private {
        if (address(task) != address(0)) _drainByStrangers();
        ++_tasks;
        _drawTerms();
        uint256 reward = terms.rounds + _roll(1e6);
        vm.deal(REQUESTER, REQUESTER.balance + reward);
        vm.prank(REQUESTER);
        task = IFLTask(factory.createTask{value: reward}(bytes32(_tasks), terms, "spec", "model", "key"));
        (paidIn, paidOut, _honest) = (reward, 0, 0);
        uint256 n = terms.minWorkers + _roll(4);
        uint256 honest = n - _roll((n - 1) / 2 + 1);
        _honest = all(honest);
        for (uint256 i; i < n; ++i) {
            _joinAs(i);
        }
        start();
        _base = 3000 + _roll(6000);
    }

    function _drawTerms() private {
        terms = defaults();
        terms.rounds = uint32(1 + _roll(4));
        terms.minWorkers = uint8(2 + _roll(5));
        terms.minActive = uint8(2 + _roll(terms.minWorkers - 1));
        terms.maxWorkers = terms.minWorkers + 4 + uint8(_roll(4));
        terms.topK = uint8(1 + _roll(4));
        terms.lateJoin = _roll(2) == 0;
        terms.auditLane = _roll(2) == 0;
        terms.topShareBps = uint16(5000 + _roll(5001));
        terms.tieBand = uint16(_roll(2) * _roll(1500));
        terms.acceptBps = uint16(5000 + _roll(3001));
        terms.burnBps = uint16(_roll(3) * 5000);
        terms.maxMiss = uint8(1 + _roll(3));
        terms.maxLow = uint8(_roll(4));
        terms.maxVoid = uint8(terms.maxMiss + _roll(4));
        terms.hardStop = uint40(block.timestamp + 100 days);
        terms.collateral = _roll(4) == 0 ? 0 : uint128(1000 + _roll(1e6));
    }

    function _joinAs(uint256 i) private {
        vm.deal(worker(i), worker(i).balance + terms.collateral);
        vm.prank(worker(i));
        task.joinTask{value: terms.collateral}(address(0), "k", new bytes32[](0));
        paidIn += terms.collateral;
    }

    function _liarsStayFew() private view returns (bool) {
        return (all(task.core().count) & ~_honest).size() < 7;
    }

    // ------------------------------------------------------------------------------------------- acting

    function _skips(uint256 i) private returns (bool) {
        return _roll(_honest.has(i) ? 24 : 4) == 0;
    }

    function _act(uint256 i) private {
        if (!task.active().has(i)) return;
        IFLTask.Phase here = phase();
        if (here == IFLTask.Phase.Attest) {
            bytes32 hash = _honest.has(i) || _roll(2) == 0 ? GOOD : bytes32("wrong");
            if (block.timestamp <= deadline() && !task.attested().has(i)) attest(i, hash);
            return;
        }
        if (here > IFLTask.Phase.Reveal || block.timestamp > deadline()) return;
        if (here == IFLTask.Phase.Train) commit(i);
        else if (here == IFLTask.Phase.Score) score(i, _honest.has(i) ? _honestReading(i) : _lie(i));
        else if (here == IFLTask.Phase.Open && _canOpen(i)) open(i);
        else if (here == IFLTask.Phase.Reveal && _canReveal(i)) reveal(i);
    }

    function _canReveal(uint256 i) private view returns (bool) {
        if (!(task.scored() & ~task.revealed()).has(i)) return false;
        return task.workers(i).commitment == rowCommitment(i, rowOf[i]);
    }

    function _canOpen(uint256 i) private view returns (bool) {
        return (task.committed() & ~task.opened()).has(i) && task.workers(i).commitment == modelCommitment(i);
    }

    /// @dev Honest models differ by less than the acceptance threshold, honest readings by less than the tolerance.
    function _honestReading(uint256 i) private view returns (uint256[] memory) {
        uint256[] memory lane = new uint256[](task.core().lanes);
        uint256 opened = task.opened();
        lane[0] = _base + i * 10;
        lane[1] = terms.auditLane ? _base / 2 + i : 0;
        for (uint256 j; j + 2 < lane.length; ++j) {
            if (j != i && opened.has(j)) lane[2 + j] = _reading(i, j);
        }
        return pack(lane);
    }

    function _reading(uint256 i, uint256 j) private view returns (uint256 value) {
        uint256 noise = (j * 7 + i * 131) % 400;
        if (_honest.has(j)) {
            value = _base + (j * 37) % 100 + noise;
        } else {
            uint256 poison = uint256(keccak256(abi.encode(j, round(), _base)));
            if (poison % 3 == 0) return 0;
            value = poison % 10_001 + noise;
        }
        return value > 10_000 ? 10_000 : value;
    }

    /// @dev Liars of one attempt lie alike, or each at random.
    function _lie(uint256 i) private returns (uint256[] memory) {
        uint256[] memory lane = new uint256[](task.core().lanes);
        uint256 opened = task.opened();
        uint256 plan = uint256(keccak256(abi.encode(attempt(), _base))) % 8;
        uint256 lifted = _base + 1600 > 10_000 ? 10_000 : _base + 1600;
        for (uint256 k; k < lane.length; ++k) {
            if (k >= 2 && (k - 2 == i || !opened.has(k - 2))) continue;
            bool friend = k >= 2 && !_honest.has(k - 2);
            if (plan == 0) lane[k] = friend ? 10_000 : 0;
            if (plan == 1) lane[k] = friend ? 10_000 : lifted;
            if (plan == 2) lane[k] = 9500;
            if (plan == 3) lane[k] = _roll(10_001);
            if (plan == 4) lane[k] = k % 2 == 0 ? 0 : 10_000;
            if (plan == 5) lane[k] = _base;
            if (plan == 6) lane[k] = k < 2 || friend ? _base : lifted;
            if (plan == 7) lane[k] = k < 2 ? _base / (k + 1) : friend ? _base : 0;
        }
        return pack(lane);
    }

    // ------------------------------------------------------------------------------------------- what is due

    function _doDue() private {
        IFLTask.Phase here = phase();
        bool missed =
            here >= IFLTask.Phase.Train && here <= IFLTask.Phase.Reveal && block.timestamp > deadline();
        bool settles = here == IFLTask.Phase.Settle;
        if (missed && here == IFLTask.Phase.Reveal) {
            settles = (task.revealed() & task.active()).size() >= task.active().quorum();
        }
        if (settles && task.core().step == 0) return _settleChecked();
        uint256 before = attempt();
        uint40 until = deadline();
        uint256 number = round();
        _tryAs(STRANGER, abi.encodeCall(task.nextRound, ()));
        if (missed && number == round() && attempt() == before + 1) ++restarts;
        if (missed && phase() == here && deadline() != until) ++extensions;
    }

    /// @dev I12, I17: with at most f liars in the roster, an honest worker pays for its own absences alone, and one
    /// that did everything pays nothing.
    function _settleChecked() private {
        ++settlements;
        uint256 complete = task.opened() & task.revealed();
        bool bounded = _liarsAreFew();
        Vm.Log[] memory logs = settleAndCompare(_roll(2) == 0);
        if (!bounded) return;
        for (uint256 k; k < logs.length; ++k) {
            Vm.Log memory log = logs[k];
            if (log.topics[0] != IFLTask.WorkerPenalized.selector) continue;
            uint256 i = task.indexPlus1(address(uint160(uint256(log.topics[2])))) - 1;
            if (!_honest.has(i)) continue;
            (uint8 reason,,,) = abi.decode(log.data, (uint8, uint256, uint256, uint8));
            vm.assertTrue(reason == 2 || reason == 3 || reason == 7, "I17: fined for another's fault");
            vm.assertFalse(complete.has(i), "I12: fined though it did everything");
        }
    }

    function _liarsAreFew() private view returns (bool) {
        uint256 roster = task.roster();
        uint256 n = roster.size();
        return (roster & ~_honest).size() <= (n > 15 ? (n - 1) / 3 : (n - 1) / 2);
    }

    // ------------------------------------------------------------------------------------------- calls

    /// @dev I20: members' calls after the deadline revert and change no money.
    function _callLate() private {
        if (phase() < IFLTask.Phase.Train || phase() > IFLTask.Phase.Reveal) return;
        bytes4 late = IFLTask.PhaseOver.selector;
        uint256 i = _roll(task.core().count);
        bytes[] memory calls = new bytes[](2);
        calls[0] = _dutyCall();
        calls[1] = abi.encodeCall(task.removeWorker, ());
        for (uint256 k; k < 2; ++k) {
            vm.prank(worker(i));
            (bool done, bytes memory why) = address(task).call(calls[k]);
            bool gone = !(task.active() | task.pending()).has(i);
            vm.assertFalse(done, "I20");
            vm.assertTrue(bytes4(why) == late || gone, "I20: PhaseOver");
        }
    }

    function _dutyCall() private view returns (bytes memory) {
        IFLTask.Phase here = phase();
        if (here == IFLTask.Phase.Train) {
            return abi.encodeCall(task.commitModel, (round(), attempt(), bytes32(0), bytes32(0)));
        }
        if (here == IFLTask.Phase.Open) return abi.encodeCall(task.openModel, (round(), "", "", 0, ""));
        if (here == IFLTask.Phase.Score) return abi.encodeCall(task.commitScores, (round(), attempt(), ""));
        return abi.encodeCall(task.submitScore, (round(), new uint256[](1), ""));
    }

    function _anyCall() private returns (bytes memory) {
        uint256 which = _roll(18);
        bytes32 junk = keccak256(abi.encode(_dice));
        uint32 r = uint32(_roll(3) == 0 ? _roll(9) : round());
        uint32 a = uint32(_roll(3) == 0 ? _roll(9) : attempt());
        if (which == 0) return abi.encodeCall(task.startTask, ());
        if (which == 1) return abi.encodeCall(task.cancelTask, ());
        if (which == 2) return abi.encodeCall(task.commitModel, (r, a, junk, junk));
        if (which == 3) return abi.encodeCall(task.openModel, (r, junk, junk, 1, new bytes(_roll(70))));
        if (which == 4) return abi.encodeCall(task.commitScores, (r, a, junk));
        if (which == 5) return abi.encodeCall(task.submitScore, (r, new uint256[](_roll(10)), junk));
        if (which == 6) {
            return abi.encodeCall(task.attestFinal, (_roll(2) == 0 ? junk : bytes32(0), new bytes(_roll(70))));
        }
        if (which == 7) return abi.encodeCall(task.completeTask, ());
        if (which == 8) return abi.encodeCall(task.refund, ());
        if (which == 9) return abi.encodeCall(task.burn, ());
        if (which == 10) return abi.encodeCall(task.rotateKey, (new bytes(_roll(1100))));
        if (which == 11) {
            return abi.encodeCall(task.notice, (uint8(_roll(6)), r, STRANGER, junk, new bytes(_roll(70))));
        }
        if (which == 12) return abi.encodeCall(task.withdraw, (address(uint160(uint256(junk)))));
        if (which == 13) return abi.encodeCall(task.removeWorker, ());
        if (which == 14) return abi.encodeCall(task.initializeTask, (STRANGER, terms, "", "", "k"));
        if (which == 15) return abi.encodeCall(task.joinTask, (STRANGER, "", new bytes32[](_roll(3))));
        if (which == 16) return abi.encodeCall(task.getSubmissions, ());
        return abi.encodeCall(task.workers, (uint256(junk)));
    }

    /// @dev I19: whatever reverts does so with an error of its own.
    function _tryAs(address who, bytes memory data) private {
        vm.prank(who);
        (bool done, bytes memory why) = address(task).call(data);
        if (done) return;
        bytes4 error_ = bytes4(why);
        vm.assertTrue(why.length >= 4 && error_ != 0x4e487b71 && error_ != 0x08c379a0, "I19: untyped revert");
    }

    function _withdraw(uint256 i) private {
        address to = task.workers(i).payout;
        uint256 before = to.balance;
        _tryAs(STRANGER, abi.encodeCall(task.withdraw, (task.workers(i).account)));
        if (to != address(0)) paidOut += to.balance - before;
    }

    // ------------------------------------------------------------------------------------------- before, after

    function _look() private view returns (Sight memory s) {
        s.core = task.core();
        s.rewardLeft = task.rewardLeft();
        s.balance = address(task).balance;
        s.requesterBalance = REQUESTER.balance;
        s.bonds = new uint256[](s.core.count);
        s.credits = new uint256[](s.core.count);
        for (uint256 i; i < s.core.count; ++i) {
            (s.bonds[i], s.credits[i]) = (bond(i), credit(i));
        }
    }

    function _compare(Sight memory s) private {
        IFLTask.Core memory c = task.core();
        vm.assertLe(task.rewardLeft(), s.rewardLeft, "I3");
        for (uint256 i; i < s.bonds.length; ++i) {
            vm.assertLe(bond(i), s.bonds[i], "I4");
            vm.assertTrue(credit(i) >= s.credits[i] || credit(i) == 0, "I5");
        }
        vm.assertTrue(
            c.round > s.core.round || (c.round == s.core.round && c.attempt >= s.core.attempt), "I10: round"
        );
        vm.assertGe(c.attempt, s.core.attempt, "I10: attempt");
        if (c.phase < IFLTask.Phase.Completed) vm.assertEq(REQUESTER.balance, s.requesterBalance, "I16");
        if (c.phase == IFLTask.Phase.Completed) ++completed;
        if (c.phase == IFLTask.Phase.Expired) ++expired;
    }

    function _roll(uint256 sides) private returns (uint256) {
        _dice = uint256(keccak256(abi.encode(_dice)));
        return _dice % sides;
    }

    function theTask() external view returns (IFLTask) {
        return task;
    }
}
