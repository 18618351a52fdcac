// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../../src/interfaces/IFLTask.sol";
import {Roster} from "../../src/libraries/Roster.sol";
import {Calls} from "./Calls.sol";

/// @title Random plays of tasks: honest ones, liars, absentees, strangers, late joiners, leavers, and time
/// @notice One task after another, each with terms of its own. Every step compares the money before and after it; every
/// settlement is compared with the naive reading of the protocol.
contract TaskHandler is Calls {
    using Roster for uint256;

    /// @dev So many workers are wanted at the start.
    uint256 private immutable LEAST;
    uint256 private immutable MOST;

    /// @dev How often each of these was seen, to know that the fuzzer gets there.
    uint256 public settlements;
    uint256 public completed;
    uint256 public cancelled;
    uint256 public expired;
    uint256 public restarts;
    uint256 public extensions;
    uint256 public abandoned;
    /// @dev The most liars in a roster that withstands them.
    uint256 public liarsWithstood;

    uint256 private _tasks;

    constructor(uint256 least, uint256 most) {
        (LEAST, MOST) = (least, most);
    }

    // ------------------------------------------------------------------------------------------- steps

    /// @dev Sees the task before and after a step; makes a new one when the last is over.
    modifier step(uint256 seed) {
        dice = seed;
        if (address(task) == address(0) || phase() >= IFLTask.Phase.Completed) _createNext();
        Sight memory before = look();
        _;
        compare(before);
        if (phase() == IFLTask.Phase.Completed) ++completed;
        if (phase() == IFLTask.Phase.Cancelled) ++cancelled;
        if (phase() == IFLTask.Phase.Expired) ++expired;
    }

    /// @dev All who can act in this phase, some in their own way.
    function actAll(uint256 seed) external step(seed) {
        if (phase() == IFLTask.Phase.Joining) return _gather();
        actAllInTurn();
    }

    /// @dev Several phases in a row, deadlines passing where somebody is missing.
    function playOn(uint256 seed) external step(seed) {
        if (phase() == IFLTask.Phase.Joining) return _gather();
        for (uint256 k = roll(6); k != 0 && phase() < IFLTask.Phase.Completed; --k) {
            (IFLTask.Phase here, uint32 a) = (phase(), attempt());
            if (here == IFLTask.Phase.Settle || block.timestamp > deadline()) {
                _doDue();
                continue;
            }
            actAllInTurn();
            if (phase() != here || attempt() != a) continue;
            rightAfter();
            _doDue();
        }
    }

    /// @dev An outage: in each of a few windows about half of the members reach the chain.
    function flicker(uint256 seed) external step(seed) {
        if (phase() == IFLTask.Phase.Joining) return _gather();
        for (uint256 k = roll(4); k != 0 && phase() < IFLTask.Phase.Completed; --k) {
            for (uint256 i; i < task.core().count; ++i) {
                if (roll(2) == 0) act(i);
            }
            if (deadline() == 0) return;
            _letPass();
            _doDue();
        }
    }

    function actOne(uint256 seed) external step(seed) {
        act(roll(task.core().count + 1));
    }

    /// @dev Replaces a commitment or repeats a call; whatever it is, the error has a type.
    function actAgain(uint256 seed) external step(seed) {
        uint256 i = roll(task.core().count + 1);
        if (honest.has(i)) return;
        if (roll(2) == 0) tryAs(worker(i), anyCall());
        else act(i);
    }

    function passTime(uint256 seed) external step(seed) {
        vm.warp(roll(24) == 0 ? uint256(terms.hardStop) + 1 : block.timestamp + 1 + roll(60));
        if (block.timestamp > deadline()) _doDue();
    }

    function passDeadline(uint256 seed) external step(seed) {
        _letPass();
        _doDue();
    }

    function settle(uint256 seed) external step(seed) {
        if (phase() == IFLTask.Phase.Settle || phase() == IFLTask.Phase.Attest) _doDue();
    }

    function joinSome(uint256 seed) external step(seed) {
        if (phase() == IFLTask.Phase.Joining) return _gather();
        _joinOne();
    }

    function leaveSome(uint256 seed) external step(seed) {
        if (phase() == IFLTask.Phase.Joining) return _gather();
        _leaveOne();
    }

    function withdrawSome(uint256 seed) external step(seed) {
        withdrawFor(roll(task.core().count + 1));
    }

    /// @dev Anybody but the honest tries anything.
    function meddle(uint256 seed) external step(seed) {
        if (roll(4) == 0) return callFactory();
        address who = anybody();
        uint256 index = task.indexPlus1(who);
        if (index == 0 || !honest.has(index - 1)) tryAs(who, anyCall());
    }

    /// @dev Everybody goes away, now and then.
    function abandon(uint256 seed) external step(seed) {
        if (roll(4) != 0) return;
        ++abandoned;
        _endByStrangers();
    }

    // ------------------------------------------------------------------------------------------- the end

    /// @notice I13, I2: strangers and time alone end the task in bounded calls and drain it.
    function finish() external {
        if (address(task) == address(0)) return;
        _endByStrangers();
        _drainByStrangers();
    }

    function _endByStrangers() private {
        uint256 most = uint256(terms.rounds) * (uint256(terms.maxVoid) + 8) + 8;
        for (uint256 calls; phase() < IFLTask.Phase.Completed; ++calls) {
            vm.assertLe(calls, most, "I13: bounded");
            _letPass();
            bool early = phase() == IFLTask.Phase.Joining;
            bytes memory due = early ? abi.encodeCall(task.startTask, ()) : abi.encodeCall(task.nextRound, ());
            vm.assertTrue(tryAs(STRANGER, due), "I13: stuck");
            assertSolvent();
        }
    }

    function _drainByStrangers() private {
        callTheEnded();
        for (uint256 i; i < task.core().count; ++i) {
            withdrawFor(i);
        }
        tryAs(STRANGER, abi.encodeCall(task.refund, ()));
        tryAs(STRANGER, abi.encodeCall(task.burn, ()));
        closeBooks();
    }

    // ------------------------------------------------------------------------------------------- a new task

    /// @dev One in four is left in Joining, with some of the workers that it wants.
    function _createNext() private {
        if (address(task) != address(0)) _drainByStrangers();
        ++_tasks;
        uint256 n = LEAST + roll(MOST - LEAST + 1);
        drawTerms(n);
        uint256 money = terms.rounds + roll(1e6);
        vm.deal(REQUESTER, REQUESTER.balance + money);
        vm.prank(REQUESTER);
        task = IFLTask(factory.createTask{value: money}(bytes32(_tasks), terms, "spec", "model", "key"));
        openBooks(money);
        uint256 liars = roll(2) == 0 ? mostLiars(n) : roll(mostLiars(n) + 1);
        honest = all(n - liars);
        base = 3000 + roll(6000);
        bool waits = roll(4) == 0;
        if (waits) n = roll(n + 1);
        for (uint256 i; i < n; ++i) {
            joinAs(i);
        }
        if (!waits) start();
    }

    // ------------------------------------------------------------------------------------------- joining, leaving

    /// @dev Before the start: some come, some go; it begins, is given up, or the time is over.
    function _gather() private {
        uint256 what = roll(12);
        if (what < 4) {
            for (uint256 k = roll(4) + 1; k != 0; --k) {
                _joinOne();
            }
        } else if (what < 6) {
            _leaveOne();
        } else if (what < 8) {
            tryAs(what == 6 ? REQUESTER : STRANGER, abi.encodeCall(task.startTask, ()));
        } else if (what < 10) {
            tryAs(roll(4) == 0 ? anybody() : REQUESTER, abi.encodeCall(task.cancelTask, ()));
        } else {
            _letPass();
            _doDue();
        }
    }

    function _joinOne() private {
        bool early = phase() == IFLTask.Phase.Joining;
        bool late = terms.lateJoin && round() < terms.rounds && phase() < IFLTask.Phase.Attest;
        uint256 i = early ? task.active().firstFree() : task.core().count;
        bool inTime = deadline() == 0 || block.timestamp <= deadline();
        if ((!early && !late) || !inTime || i >= terms.maxWorkers) return;
        if (roll(3) != 0) honest |= 1 << i;
        joinAs(i);
    }

    function _leaveOne() private {
        uint256 i = roll(task.core().count + 1);
        if (honest.has(i) && roll(4) != 0) return;
        tryAs(worker(i), abi.encodeCall(task.removeWorker, ()));
    }

    // ------------------------------------------------------------------------------------------- what is due

    /// @dev Time never goes back.
    function _letPass() private {
        if (deadline() != 0 && block.timestamp <= deadline()) rightAfter();
    }

    /// @dev I20, I13: late calls change nothing, and what is due anybody can do.
    function _doDue() private {
        IFLTask.Phase here = phase();
        bool over = deadline() != 0 && block.timestamp > deadline();
        if (over) callLate();
        if (here == IFLTask.Phase.Joining) {
            bool ended = tryAs(STRANGER, abi.encodeCall(task.startTask, ()));
            vm.assertTrue(ended || !over, "I13: joining never ends");
            return;
        }
        bool missed = over && here >= IFLTask.Phase.Train && here <= IFLTask.Phase.Reveal;
        bool settles = here == IFLTask.Phase.Settle;
        if (missed && here == IFLTask.Phase.Reveal) {
            settles = (task.revealed() & task.active()).size() >= task.active().quorum();
        }
        if (settles && task.core().step == 0) return _settleChecked();
        uint256 before = attempt();
        uint40 until = deadline();
        uint256 number = round();
        bool moved = tryAs(STRANGER, abi.encodeCall(task.nextRound, ()));
        vm.assertTrue(moved || (!over && here != IFLTask.Phase.Settle), "I13: stuck");
        if (missed && number == round() && attempt() == before + 1) ++restarts;
        if (missed && phase() == here && deadline() != until) ++extensions;
    }

    function _settleChecked() private {
        ++settlements;
        uint256 liars = (task.roster() & ~honest).size();
        if (liarsAreFew() && liars > liarsWithstood) liarsWithstood = liars;
        Duties memory before = duties();
        enter(settleAndCompare(roll(2) == 0), before);
    }

    function theTask() external view returns (IFLTask) {
        return task;
    }
}
