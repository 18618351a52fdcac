// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ParamRules} from "./ParamRules.sol";

/// @title Arithmetic of rewards; every division floors
library Payouts {
    /// @notice What each worker gets of a round.
    struct Shares {
        uint256 perTop;
        uint256 perRest;
        uint256 perForfeit;
    }

    /// @notice What one round may pay: an equal share of what is left for the rounds that are left.
    function roundReward(uint256 rewardLeft, uint256 rounds, uint256 round) internal pure returns (uint256) {
        return rewardLeft / (rounds - round + 1);
    }

    /// @notice Size of the top of `eligible` workers. With fewer than three scorers nobody can be ranked: all share.
    function topSize(uint256 eligible, uint256 scorers, uint256 topK) internal pure returns (uint256) {
        if (scorers < 3) return eligible;
        if (eligible < 3) return eligible == 0 ? 0 : 1;
        uint256 most = (eligible - 1) / 2;
        return topK < most ? topK : most;
    }

    /// @notice Shares of the top pool and of the rest, equal inside each, and of the forfeits, equal for all; rounding
    /// favours the top.
    function split(uint256 reward, uint256 forfeits, uint256 eligible, uint256 topCount, uint256 topShareBps)
        internal
        pure
        returns (Shares memory shares)
    {
        uint256 rest = eligible - topCount;
        uint256 restPool = rest == 0 ? 0 : reward * (ParamRules.BPS - topShareBps) / ParamRules.BPS;
        shares.perTop = (reward - restPool) / topCount;
        if (rest != 0) shares.perRest = restPool / rest;
        shares.perForfeit = forfeits / eligible;
    }
}
