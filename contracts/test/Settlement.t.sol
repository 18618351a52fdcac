// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {Roster} from "../src/libraries/Roster.sol";
import {SettlementCheck} from "./utils/SettlementCheck.sol";

/// @title I9 and all of the settlement against the naive reading of the protocol, over random rounds
contract SettlementTest is SettlementCheck {
    using Roster for uint256;

    uint256 private _dice;

    function test_settlementsAreAsTheProtocolSays(uint256 seed) public {
        _play(seed, 2 + (seed >> 8) % 12, 4);
    }

    function test_settlementsAcrossWordsAreAsTheProtocolSays(uint256 seed) public {
        _play(seed, 13 + (seed >> 8) % 24, 1);
    }

    /// forge-config: default.fuzz.runs = 2
    function test_settlementsOfFullTasksAreAsTheProtocolSays(uint256 seed) public {
        _play(seed, 126 - seed % 6, 1);
    }

    function _play(uint256 seed, uint256 n, uint256 rounds) private {
        _dice = seed;
        _drawTerms(n, rounds);
        begin(n);
        while (phase() == IFLTask.Phase.Train) {
            uint256 before = round();
            _playRandomRound();
            if (round() == before && phase() == IFLTask.Phase.Train) break;
        }
        assertSolvent();
    }

    function _drawTerms(uint256 n, uint256 rounds) private {
        terms.rounds = uint32(rounds);
        terms.minWorkers = 2;
        terms.maxWorkers = uint8(n);
        terms.topK = uint8(1 + _roll(n));
        terms.auditLane = _roll(2) == 0;
        terms.topShareBps = uint16(5000 + _roll(5001));
        terms.tieBand = uint16(_roll(3) * _roll(1500));
        terms.acceptBps = uint16(_roll(10_001));
        terms.devTol = uint16(1 + _roll(3000));
        terms.slashBps = uint16(_roll(10_001));
        terms.feeBps = uint16(_roll(uint256(terms.slashBps) + 1));
        terms.missBps = uint16(_roll(uint256(terms.feeBps) + 1));
        terms.burnBps = uint16(_roll(3) * 5000);
        terms.maxMiss = uint8(1 + _roll(3));
        terms.maxLow = uint8(_roll(3));
        terms.collateral = _roll(4) == 0 ? 0 : uint128(1 + _roll(1e6));
    }

    /// @dev A round without extensions: in each phase at least a quorum acts.
    function _playRandomRound() private {
        uint256 active = task.active();
        if (_roll(3) == 0) announce(_member(active));
        commitAll(_quorumOf(active & ~task.excused(), active));
        _pass(IFLTask.Phase.Open);
        if (_quorumFails(task.committed())) return;
        openAll(_quorumOf(task.committed() & active, active));
        _pass(IFLTask.Phase.Score);
        if (phase() != IFLTask.Phase.Score) return;
        _drawQuality();
        uint256 scorers = _quorumOf(active, active);
        for (uint256 i; scorers >> i != 0; ++i) {
            if (scorers.has(i) && phase() == IFLTask.Phase.Score) score(i, _randomRow(i));
        }
        _pass(IFLTask.Phase.Reveal);
        if (phase() != IFLTask.Phase.Reveal) return;
        revealAll(_quorumOf(task.scored() & active, active));
        settleAndCompare(_roll(2) == 0);
    }

    // ------------------------------------------------------------------------------------------- dice

    function _roll(uint256 sides) private returns (uint256) {
        _dice = uint256(keccak256(abi.encode(_dice)));
        return _dice % sides;
    }

    function _member(uint256 set) private returns (uint256 seat) {
        for (seat = _roll(126); !set.has(seat); seat = (seat + 1) % 126) {}
    }

    /// @dev A random subset that is a quorum of the active, if the set has one.
    function _quorumOf(uint256 set, uint256 active) private returns (uint256 chosen) {
        chosen = _roll(2) == 0 ? set : set & uint256(keccak256(abi.encode(_dice, "subset")));
        uint256 need = active.quorum();
        while (chosen.size() < need && chosen != set) {
            chosen |= 1 << _member(set & ~chosen);
        }
    }

    function _quorumFails(uint256 set) private view returns (bool) {
        return set.size() < task.active().quorum() || phase() != IFLTask.Phase.Open;
    }

    function _pass(IFLTask.Phase next) private {
        if (phase() != next) miss();
    }

    function _drawQuality() private {
        uint256 mode = _roll(4);
        previousQuality = _roll(10_001);
        for (uint256 j; j + 2 < task.core().lanes; ++j) {
            quality[j] = mode == 0 ? 9000 : mode == 1 ? 8000 + _roll(1000) : _roll(10_001);
            if (_roll(5) == 0) quality[j] = 0;
        }
    }

    function _randomRow(uint256 i) private returns (uint256[] memory) {
        uint256[] memory lane = honestLanes(i);
        uint256 mode = _roll(5);
        for (uint256 k; k < lane.length; ++k) {
            if (k == i + 2 || mode < 2) continue;
            if (mode == 2) lane[k] = _roll(10_001);
            else if (mode == 3) lane[k] = _roll(2) * 10_000;
            else if (lane[k] != 0) lane[k] = (lane[k] + _roll(2000)) % 10_001;
        }
        return pack(lane);
    }
}
