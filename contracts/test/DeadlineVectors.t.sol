// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {Vm} from "./utils/MiniTest.sol";
import {VectorTest} from "./utils/VectorTest.sol";

/// @title Deadlines and the end of attesting in vectors/rules.json are the contract's, as they are bfl_events.rules'
contract DeadlineVectorsTest is VectorTest {
    struct WaitingTerms {
        uint256 maxMiss;
        uint256 maxVoid;
        uint256 minActive;
    }

    struct Passed {
        uint256 absent;
        uint256 active;
        uint256 dropped;
        uint256 voids;
        uint256 phase;
        uint256 attempt;
        uint256[] missStreaks;
    }

    struct Deadline {
        string name;
        WaitingTerms terms;
        uint256 phase;
        uint256 attempt;
        uint256 voids;
        uint256[] missStreaks;
        uint256 active;
        uint256 dropped;
        uint256 excused;
        uint256 committed;
        uint256 opened;
        uint256 scored;
        uint256 revealed;
        Passed later;
    }

    struct Fine {
        uint256 collateral;
        uint256 missBps;
    }

    struct End {
        uint256 perVoter;
        uint256 burned;
        Seats seats;
    }

    struct Attestation {
        string name;
        Fine terms;
        bool isFinal;
        uint256 forfeitPool;
        uint256 active;
        uint256 attested;
        uint256 voters;
        Seats seats;
        End later;
    }

    bytes32 private constant FINAL = "final";

    string private constant DEADLINE = "Deadline(string name,WaitingTerms terms,uint256 phase,uint256 attempt,uint256 voids,"
        "uint256[] missStreaks,uint256 active,uint256 dropped,uint256 excused,uint256 committed,"
        "uint256 opened,uint256 scored,uint256 revealed,Passed later)Passed(uint256 absent,"
        "uint256 active,uint256 dropped,uint256 voids,uint256 phase,uint256 attempt,"
        "uint256[] missStreaks)WaitingTerms(uint256 maxMiss,uint256 maxVoid,uint256 minActive)";
    string private constant ATTESTATION = "Attestation(string name,Fine terms,bool isFinal,uint256 forfeitPool,uint256 active,"
        "uint256 attested,uint256 voters,Seats seats,End later)End(uint256 perVoter,uint256 burned,"
        "Seats seats)Fine(uint256 collateral,uint256 missBps)Seats(uint256[] bond,uint256[] credit,"
        "uint256[] strikes,uint256[] missStreak,uint256[] lowStreak,uint256[] unopened)";

    function test_deadlines() public {
        Deadline[] memory cases = abi.decode(section("deadlines", DEADLINE), (Deadline[]));
        vm.assertGe(cases.length, 100);
        state.params.rounds = 2;
        state.params.hardStop = uint40(T0 + 1 days);
        state.params.trainWindow = state.params.openWindow = 100;
        state.params.scoreWindow = state.params.revealWindow = 100;
        for (uint256 k; k < cases.length; ++k) {
            _fillDeadline(cases[k]);
            _checkDeadline(cases[k], run(IFLTask.nextRound.selector));
        }
    }

    function test_attestations() public {
        Attestation[] memory cases = abi.decode(section("attestations", ATTESTATION), (Attestation[]));
        vm.assertGe(cases.length, 20);
        for (uint256 k; k < cases.length; ++k) {
            _checkAttestation(cases[k]);
        }
    }

    function _fillDeadline(Deadline memory d) private {
        IFLTask.Core storage c = state.core;
        (c.phase, c.round, c.attempt) = (IFLTask.Phase(d.phase), 2, uint32(d.attempt));
        (c.deadline, c.voids, c.step) = (uint40(T0 - 1), uint8(d.voids), 0);
        (c.count, c.lanes) = (uint8(d.missStreaks.length), uint8(d.missStreaks.length + 2));
        (state.params.maxMiss, state.params.maxVoid) = (uint8(d.terms.maxMiss), uint8(d.terms.maxVoid));
        state.params.minActive = uint8(d.terms.minActive);
        (state.active, state.dropped, state.excused) =
        (uint128(d.active), uint128(d.dropped), uint128(d.excused));
        (state.committed, state.opened) = (marked(d.committed), uint128(d.opened));
        (state.scored, state.revealed) = (marked(d.scored), uint128(d.revealed));
        for (uint256 i; i < d.missStreaks.length; ++i) {
            (state.workers[i].account, state.workers[i].missStreak) = (worker(i), uint8(d.missStreaks[i]));
        }
    }

    function _checkDeadline(Deadline memory d, Vm.Log[] memory logs) private view {
        vm.assertTrue(logs[0].topics[0] == IFLTask.DeadlineMissed.selector);
        (uint256 attempt, uint256 phase, uint256 absent, uint256 dropped, uint256 active, uint256 voids) =
            abi.decode(logs[0].data, (uint256, uint256, uint256, uint256, uint256, uint256));
        vm.assertEq(attempt, d.attempt, string.concat(d.name, ": attempt missed"));
        vm.assertEq(phase, d.phase, string.concat(d.name, ": phase missed"));
        vm.assertEq(absent, d.later.absent, string.concat(d.name, ": absent"));
        vm.assertEq(dropped, d.later.dropped, string.concat(d.name, ": dropped, logged"));
        vm.assertEq(active, d.later.active, string.concat(d.name, ": active, logged"));
        vm.assertEq(voids, d.later.voids, string.concat(d.name, ": voids, logged"));
        if (d.later.phase == uint256(IFLTask.Phase.Settle)) _checkSettles(logs, d);
        else _checkAfter(d.later, d.name);
        bool extended = d.later.phase == d.phase && d.later.attempt == d.attempt;
        bytes32 last = logs[logs.length - 1].topics[0];
        vm.assertTrue(
            (last == IFLTask.PhaseExtended.selector) == extended, string.concat(d.name, ": extended")
        );
    }

    /// @dev The settlement follows in the same call and clears what the deadline left.
    function _checkSettles(Vm.Log[] memory logs, Deadline memory d) private pure {
        (uint256 k, uint256 dropped) = (1, d.later.dropped & ~d.dropped);
        for (; logs[k].topics[0] == IFLTask.WorkerRemoved.selector; ++k) {
            dropped &= dropped - 1;
        }
        vm.assertEq(dropped, 0, string.concat(d.name, ": who falls out"));
        vm.assertTrue(logs[k].topics[0] == IFLTask.PhaseChanged.selector, string.concat(d.name, ": phase"));
        (uint256 attempt, uint256 phase) = abi.decode(logs[k].data, (uint256, uint256));
        vm.assertEq(attempt, d.later.attempt, string.concat(d.name, ": attempt"));
        vm.assertEq(phase, d.later.phase, string.concat(d.name, ": phase"));
        vm.assertTrue(
            logs[k + 1].topics[0] == IFLTask.RoundScored.selector, string.concat(d.name, ": settled")
        );
    }

    function _checkAfter(Passed memory a, string memory name) private view {
        vm.assertEq(state.active, a.active, string.concat(name, ": active"));
        vm.assertEq(state.dropped, a.dropped, string.concat(name, ": dropped"));
        vm.assertEq(state.core.voids, a.voids, string.concat(name, ": voids"));
        vm.assertEq(uint256(state.core.phase), a.phase, string.concat(name, ": phase"));
        vm.assertEq(state.core.attempt, a.attempt, string.concat(name, ": attempt"));
        for (uint256 i; i < a.missStreaks.length; ++i) {
            vm.assertEq(state.workers[i].missStreak, a.missStreaks[i], string.concat(name, ": missStreak"));
        }
    }

    function _checkAttestation(Attestation memory a) private {
        state.params.collateral = uint128(a.terms.collateral);
        state.params.missBps = uint16(a.terms.missBps);
        (state.active, state.attested) = (uint128(a.active), uint128(a.attested));
        (state.forfeitPool, state.burnPool) = (uint128(a.forfeitPool), 0);
        state.finalHash = a.isFinal ? FINAL : bytes32(0);
        fillSeats(a.seats);
        for (uint256 i; i < a.seats.bond.length; ++i) {
            if ((a.voters >> i) & 1 != 0) state.workers[i].commitment = FINAL;
        }
        (state.core.phase, state.core.deadline) = (IFLTask.Phase.Attest, uint40(T0 - 1));
        Vm.Log[] memory logs = run(IFLTask.nextRound.selector);
        checkSeats(a.later.seats, a.name);
        vm.assertEq(state.burnPool, a.later.burned, string.concat(a.name, ": burned"));
        vm.assertEq(state.forfeitPool, 0, string.concat(a.name, ": forfeitPool"));
        _checkShares(a, logs);
    }

    function _checkShares(Attestation memory a, Vm.Log[] memory logs) private pure {
        bool seen;
        for (uint256 k; k < logs.length; ++k) {
            if (logs[k].topics[0] != IFLTask.FinalForfeits.selector) continue;
            (, uint256 perVoter,) = abi.decode(logs[k].data, (uint256, uint256, uint256));
            vm.assertEq(perVoter, a.later.perVoter, string.concat(a.name, ": perVoter"));
            seen = true;
        }
        vm.assertTrue(seen == a.isFinal, a.name);
    }
}
