// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @dev Seats of a task: what a settlement can judge in one transaction.
uint256 constant MAX_SEATS = 126;

/// @title Sets of seats as bitmaps: bit i is the worker with index i, at most 126 of them
/// @dev Two sets share a storage slot. Bit 127 of the sets that empty every round is a sentinel that keeps the
/// slot non-zero, so that the first write of a round costs 5,000 gas instead of 22,100; it never leaves the contract.
library Roster {
    uint128 internal constant SENTINEL = 1 << 127;

    /// @notice The set without its sentinel.
    function seats(uint128 stored) internal pure returns (uint256) {
        return stored & ~SENTINEL;
    }

    /// @notice The set with its sentinel, as it is stored.
    function withSentinel(uint256 set) internal pure returns (uint128) {
        return uint128(set) | SENTINEL;
    }

    function has(uint256 set, uint256 seat) internal pure returns (bool) {
        return (set >> seat) & 1 != 0;
    }

    /// @notice How many must act for a phase to count: a majority, and never fewer than two.
    function quorum(uint256 active) internal pure returns (uint256) {
        uint256 majority = size(active) / 2 + 1;
        return majority < 2 ? 2 : majority;
    }

    /// @notice Revealed rows without which nobody is fined for its scores or its quality: 2f + 1, where f is the
    /// greatest number of dishonest workers that the medians withstand, and above 15 workers leaves room for absentees.
    function fineQuorum(uint256 rosterSize) internal pure returns (uint256) {
        return 2 * ((rosterSize - 1) / (rosterSize > 15 ? 3 : 2)) + 1;
    }

    /// @notice The lowest seat that is free.
    function firstFree(uint256 taken) internal pure returns (uint256) {
        return size((~taken & (taken + 1)) - 1);
    }

    /// @notice Number of members. Source: the parallel bit count (Hacker's Delight, 5-1).
    function size(uint256 set) internal pure returns (uint256 n) {
        unchecked {
            n = set - ((set >> 1) & 0x5555555555555555555555555555555555555555555555555555555555555555);
            n = (n & 0x3333333333333333333333333333333333333333333333333333333333333333)
                + ((n >> 2) & 0x3333333333333333333333333333333333333333333333333333333333333333);
            n = (n + (n >> 4)) & 0x0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f;
            n = (n & 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff)
                + ((n >> 8) & 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff);
            n = (n * 0x0001000100010001000100010001000100010001000100010001000100010001) >> 240;
        }
    }
}
