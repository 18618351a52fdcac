// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {Roster} from "../src/libraries/Roster.sol";
import {Vm} from "./utils/MiniTest.sol";
import {VectorTest} from "./utils/VectorTest.sol";

/// @title The contract judges the rounds of vectors/rules.json as bfl_events.rules does
contract JudgementVectorsTest is VectorTest {
    struct JudgingTerms {
        bool auditLane;
        uint256 topK;
        uint256 tieBand;
        uint256 acceptBps;
        uint256 devTol;
    }

    struct Judgement {
        string name;
        JudgingTerms terms;
        uint256 round;
        uint256 seats;
        uint256 roster;
        uint256 opened;
        uint256[] scorers;
        uint256[][] rows;
        uint256[] medians;
        uint256[] lows;
        uint256 theta;
        uint256 accepted;
        uint256 eligible;
        uint256 top;
        uint256 deviant;
        uint256 invalid;
        uint256 low;
    }

    string private constant JUDGEMENT = "Judgement(string name,JudgingTerms terms,uint256 round,uint256 seats,uint256 roster,"
        "uint256 opened,uint256[] scorers,uint256[][] rows,uint256[] medians,uint256[] lows,"
        "uint256 theta,uint256 accepted,uint256 eligible,uint256 top,uint256 deviant,uint256 invalid,"
        "uint256 low)JudgingTerms(bool auditLane,uint256 topK,uint256 tieBand,uint256 acceptBps,"
        "uint256 devTol)";

    function test_judgements() public {
        Judgement[] memory cases = abi.decode(section("judgements", JUDGEMENT), (Judgement[]));
        vm.assertGe(cases.length, 90);
        state.params.rounds = 9;
        for (uint256 k; k < cases.length; ++k) {
            _fill(cases[k]);
            _check(cases[k]);
        }
    }

    function _fill(Judgement memory j) private {
        (state.params.auditLane, state.params.topK) = (j.terms.auditLane, uint8(j.terms.topK));
        (state.params.tieBand, state.params.acceptBps) = (uint16(j.terms.tieBand), uint16(j.terms.acceptBps));
        state.params.devTol = uint16(j.terms.devTol);
        (state.roster, state.opened, state.revealed) = (uint128(j.roster), uint128(j.opened), 0);
        for (uint256 r; r < j.scorers.length; ++r) {
            state.revealed |= uint128(1 << j.scorers[r]);
            for (uint256 w; w < j.rows[r].length; ++w) {
                state.rows[j.scorers[r]][w] = j.rows[r][w];
            }
        }
    }

    function _check(Judgement memory j) private {
        IFLTask.Core storage c = state.core;
        (c.phase, c.round, c.step) = (IFLTask.Phase.Settle, uint32(j.round), 0);
        (c.count, c.lanes) = (uint8(j.seats), uint8(j.seats + 2));
        _checkScored(j, run(IFLTask.submitRoundTopK.selector));
        vm.assertEq(Roster.seats(state.accepted), j.accepted, string.concat(j.name, ": accepted"));
        vm.assertEq(state.top, j.top, string.concat(j.name, ": top"));
        vm.assertEq(Roster.seats(state.deviant), j.deviant, string.concat(j.name, ": deviant"));
        vm.assertEq(state.invalid, j.invalid, string.concat(j.name, ": invalid"));
        vm.assertEq(state.low, j.low, string.concat(j.name, ": low"));
        Vm.Log[] memory logs = run(IFLTask.distributeRewards.selector);
        vm.assertEq(logs.length, 1, string.concat(j.name, ": nobody is active, so nobody is fined"));
        (uint256 eligible,,,,,,) =
            abi.decode(logs[0].data, (uint256, uint256, uint256, uint256, uint256, uint256, uint256));
        vm.assertEq(eligible, j.eligible, string.concat(j.name, ": eligible"));
    }

    function _checkScored(Judgement memory j, Vm.Log[] memory logs) private pure {
        vm.assertEq(logs.length, 1);
        (uint256[] memory medians, uint256[] memory lows, uint256 theta) =
            abi.decode(logs[0].data, (uint256[], uint256[], uint256));
        vm.assertEq(medians, j.medians, string.concat(j.name, ": medians"));
        vm.assertEq(lows, j.lows, string.concat(j.name, ": lows"));
        vm.assertEq(theta, j.theta, string.concat(j.name, ": theta"));
    }
}
