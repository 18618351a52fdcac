// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../interfaces/IFLTask.sol";
import {MAX_SEATS} from "./Roster.sol";

/// @title What a task remembers
/// @dev Pairs that are read or written together share a slot. Sets marked (s) carry Roster.SENTINEL.
library TaskStorage {
    struct State {
        IFLTask.Core core;
        IFLTask.Params params;
        uint128 rewardLeft;
        uint128 forfeitPool;
        uint128 active;
        uint128 roster;
        uint128 pending;
        uint128 leaving;
        uint128 dropped;
        uint128 excused;
        uint128 committed; // (s)
        uint128 opened;
        uint128 scored; // (s)
        uint128 revealed;
        uint128 accepted; // (s)
        uint128 top;
        uint128 deviant; // (s)
        uint128 invalid;
        uint128 low; // models of low quality, between the two steps of a settlement
        uint128 attested;
        uint128 burnPool;
        address requester;
        bytes32 finalHash;
        mapping(address account => uint256) indexPlus1;
        mapping(bytes32 hash => uint256) votes;
        IFLTask.Worker[MAX_SEATS] workers;
        uint256[8][MAX_SEATS] rows;
    }

    /// @notice Status of a seat; 0 is a free one.
    uint8 internal constant MEMBER = 1;
    uint8 internal constant LEAVING = 2;
    uint8 internal constant GONE = 3;
}
