// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {Roster} from "../src/libraries/Roster.sol";
import {TaskStorage} from "../src/libraries/TaskStorage.sol";
import {Vm} from "./utils/MiniTest.sol";
import {VectorTest} from "./utils/VectorTest.sol";

/// @title The contract fines and pays in the rounds of vectors/rules.json as bfl_events.rules does
contract SettlementVectorsTest is VectorTest {
    using Roster for uint256;

    struct MoneyTerms {
        uint256 rounds;
        uint256 topShareBps;
        uint256 slashBps;
        uint256 feeBps;
        uint256 missBps;
        uint256 burnBps;
        uint256 maxMiss;
        uint256 maxLow;
        uint256 collateral;
    }

    struct Penalty {
        uint256 seat;
        uint256 reason;
        uint256 amount;
        uint256 bondLeft;
        uint256 strikes;
    }

    struct Settled {
        uint256 active;
        uint256 rewardLeft;
        uint256 forfeitPool;
        uint256 burnPool;
        uint256 perTop;
        uint256 perRest;
        uint256 perForfeit;
        Penalty[] penalties;
        Seats seats;
    }

    struct Settling {
        string name;
        MoneyTerms terms;
        uint256 round;
        uint256 roster;
        uint256 active;
        uint256 dropped;
        uint256 excused;
        uint256 committed;
        uint256 opened;
        uint256 scored;
        uint256 revealed;
        uint256 accepted;
        uint256 top;
        uint256 deviant;
        uint256 invalid;
        uint256 low;
        uint256 eligible;
        uint256 rewardLeft;
        uint256 forfeitPool;
        uint256 burnPool;
        Seats seats;
        Settled later;
    }

    string private constant SETTLING = "Settling(string name,MoneyTerms terms,uint256 round,uint256 roster,uint256 active,"
        "uint256 dropped,uint256 excused,uint256 committed,uint256 opened,uint256 scored,"
        "uint256 revealed,uint256 accepted,uint256 top,uint256 deviant,uint256 invalid,uint256 low,"
        "uint256 eligible,uint256 rewardLeft,uint256 forfeitPool,uint256 burnPool,Seats seats,"
        "Settled later)MoneyTerms(uint256 rounds,uint256 topShareBps,uint256 slashBps,uint256 feeBps,"
        "uint256 missBps,uint256 burnBps,uint256 maxMiss,uint256 maxLow,"
        "uint256 collateral)Penalty(uint256 seat,uint256 reason,uint256 amount,uint256 bondLeft,"
        "uint256 strikes)Seats(uint256[] bond,uint256[] credit,uint256[] strikes,uint256[] missStreak,"
        "uint256[] lowStreak,uint256[] unopened)Settled(uint256 active,uint256 rewardLeft,"
        "uint256 forfeitPool,uint256 burnPool,uint256 perTop,uint256 perRest,uint256 perForfeit,"
        "Penalty[] penalties,Seats seats)";

    function test_settlements() public {
        bytes memory found = section("settlements", SETTLING);
        Settling[] memory cases = abi.decode(found, (Settling[]));
        vm.assertGe(cases.length, 60);
        for (uint256 k; k < cases.length; ++k) {
            _fillTerms(cases[k].terms);
            _fillSets(cases[k]);
            fillSeats(cases[k].seats);
            IFLTask.Core storage c = state.core;
            (c.phase, c.round, c.voids, c.step) = (IFLTask.Phase.Settle, uint32(cases[k].round), 3, 1);
            _check(cases[k], run(IFLTask.distributeRewards.selector));
            vm.assertEq(c.step, 2);
            vm.assertEq(c.voids, 0, "a settlement ends the voids in a row");
        }
    }

    function _fillTerms(MoneyTerms memory t) private {
        (state.params.rounds, state.params.topShareBps) = (uint32(t.rounds), uint16(t.topShareBps));
        (state.params.slashBps, state.params.feeBps) = (uint16(t.slashBps), uint16(t.feeBps));
        (state.params.missBps, state.params.burnBps) = (uint16(t.missBps), uint16(t.burnBps));
        (state.params.maxMiss, state.params.maxLow) = (uint8(t.maxMiss), uint8(t.maxLow));
        state.params.collateral = uint128(t.collateral);
    }

    function _fillSets(Settling memory c) private {
        (state.roster, state.active) = (uint128(c.roster), uint128(c.active));
        (state.dropped, state.excused) = (uint128(c.dropped), uint128(c.excused));
        (state.committed, state.opened) = (marked(c.committed), uint128(c.opened));
        (state.scored, state.revealed) = (marked(c.scored), uint128(c.revealed));
        (state.accepted, state.top) = (marked(c.accepted), uint128(c.top));
        (state.deviant, state.invalid) = (marked(c.deviant), uint128(c.invalid));
        (state.low, state.burnPool) = (uint128(c.low), uint128(c.burnPool));
        (state.rewardLeft, state.forfeitPool) = (uint128(c.rewardLeft), uint128(c.forfeitPool));
    }

    function _check(Settling memory c, Vm.Log[] memory logs) private view {
        Settled memory a = c.later;
        checkSeats(a.seats, c.name);
        vm.assertEq(state.active, a.active, string.concat(c.name, ": active"));
        vm.assertEq(state.rewardLeft, a.rewardLeft, string.concat(c.name, ": rewardLeft"));
        vm.assertEq(state.forfeitPool, a.forfeitPool, string.concat(c.name, ": forfeitPool"));
        vm.assertEq(state.burnPool, a.burnPool, string.concat(c.name, ": burnPool"));
        uint256 seen;
        for (uint256 k; k < logs.length; ++k) {
            if (logs[k].topics[0] == IFLTask.WorkerPenalized.selector) {
                _checkPenalty(a.penalties[seen++], logs[k], c.name);
            } else if (logs[k].topics[0] == IFLTask.RewardsDistributed.selector) {
                _checkRewards(c, logs[k]);
            }
        }
        vm.assertEq(seen, a.penalties.length, string.concat(c.name, ": penalties"));
        _checkEjected(c);
    }

    function _checkPenalty(Penalty memory p, Vm.Log memory log, string memory name) private pure {
        (uint256 reason, uint256 amount, uint256 left, uint256 strikes) =
            abi.decode(log.data, (uint256, uint256, uint256, uint256));
        vm.assertEq(uint256(log.topics[2]), uint160(worker(p.seat)), string.concat(name, ": who"));
        vm.assertEq(reason, p.reason, string.concat(name, ": reason"));
        vm.assertEq(amount, p.amount, string.concat(name, ": amount"));
        vm.assertEq(left, p.bondLeft, string.concat(name, ": bondLeft"));
        vm.assertEq(strikes, p.strikes, string.concat(name, ": strikes"));
    }

    function _checkRewards(Settling memory c, Vm.Log memory log) private pure {
        (uint256 eligible, uint256 top, uint256 perTop, uint256 perRest, uint256 perForfeit,,) =
            abi.decode(log.data, (uint256, uint256, uint256, uint256, uint256, uint256, uint256));
        vm.assertEq(eligible, c.eligible, string.concat(c.name, ": eligible"));
        vm.assertEq(top, c.top, string.concat(c.name, ": top"));
        vm.assertEq(perTop, c.later.perTop, string.concat(c.name, ": perTop"));
        vm.assertEq(perRest, c.later.perRest, string.concat(c.name, ": perRest"));
        vm.assertEq(perForfeit, c.later.perForfeit, string.concat(c.name, ": perForfeit"));
    }

    function _checkEjected(Settling memory c) private view {
        for (uint256 i; i < c.seats.bond.length; ++i) {
            bool out = c.active.has(i) && !c.later.active.has(i);
            vm.assertEq(
                state.workers[i].status,
                out ? TaskStorage.GONE : TaskStorage.MEMBER,
                string.concat(c.name, ": status")
            );
        }
    }
}
