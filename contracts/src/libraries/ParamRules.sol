// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../interfaces/IFLTask.sol";
import {MAX_SEATS} from "./Roster.sol";

/// @title Limits of a task's terms
/// @notice They keep every loop bounded, every sum inside 128 bits, and every state left by a deadline in time.
library ParamRules {
    uint256 internal constant BPS = 10_000;
    uint256 internal constant MAX_WINDOW = 60 days;
    uint256 internal constant MAX_LIFE = 3650 days;
    uint256 internal constant MAX_CID = 64;
    uint256 internal constant MAX_KEY = 1024;
    /// @notice More wei than will ever exist; 126 collaterals and the reward together stay below 2^128.
    uint256 internal constant MAX_WEI = 1 << 120;

    /// @notice Reverts BadParams with the name of the first term that is out of its limits.
    function check(IFLTask.Params calldata p, uint256 reward) internal view {
        _require(p.rounds != 0, "rounds");
        _require(reward >= p.rounds && reward <= MAX_WEI, "reward");
        _require(p.collateral <= MAX_WEI, "collateral");
        _checkSeats(p);
        _checkShares(p);
        _checkTimes(p);
    }

    function isKey(bytes calldata key) internal pure returns (bool) {
        return key.length != 0 && key.length <= MAX_KEY;
    }

    function isCid(bytes calldata cid) internal pure returns (bool) {
        return cid.length <= MAX_CID;
    }

    function _checkSeats(IFLTask.Params calldata p) private pure {
        _require(p.minActive >= 2, "minActive");
        _require(p.minWorkers >= p.minActive, "minWorkers");
        _require(p.maxWorkers >= p.minWorkers && p.maxWorkers <= MAX_SEATS, "maxWorkers");
        _require(p.topK != 0, "topK");
        _require(p.maxMiss != 0, "maxMiss");
        _require(p.maxVoid >= p.maxMiss && p.maxVoid != type(uint8).max, "maxVoid");
    }

    function _checkShares(IFLTask.Params calldata p) private pure {
        _require(p.topShareBps >= BPS / 2 && p.topShareBps <= BPS, "topShareBps");
        _require(p.tieBand <= BPS, "tieBand");
        _require(p.acceptBps <= BPS, "acceptBps");
        _require(p.devTol != 0 && p.devTol <= BPS, "devTol");
        _require(p.slashBps <= BPS, "slashBps");
        _require(p.feeBps <= p.slashBps, "feeBps");
        _require(p.missBps <= p.feeBps, "missBps");
        _require(p.burnBps <= BPS, "burnBps");
    }

    function _checkTimes(IFLTask.Params calldata p) private view {
        _checkWindow(p.joinWindow, "joinWindow");
        _checkWindow(p.trainWindow, "trainWindow");
        _checkWindow(p.openWindow, "openWindow");
        _checkWindow(p.scoreWindow, "scoreWindow");
        _checkWindow(p.revealWindow, "revealWindow");
        _checkWindow(p.attestWindow, "attestWindow");
        uint256 round = uint256(p.trainWindow) + p.openWindow + p.scoreWindow + p.revealWindow;
        uint256 nominal = block.timestamp + p.joinWindow + p.rounds * round;
        _require(p.hardStop >= nominal && p.hardStop <= block.timestamp + MAX_LIFE, "hardStop");
    }

    function _checkWindow(uint256 window, bytes32 field) private pure {
        _require(window != 0 && window <= MAX_WINDOW, field);
    }

    function _require(bool holds, bytes32 field) private pure {
        if (!holds) revert IFLTask.BadParams(field);
    }
}
