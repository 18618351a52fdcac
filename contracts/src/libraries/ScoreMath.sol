// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Arithmetic on 16 scores at once
/// @notice A word holds 16 lanes of 16 bits, lane 0 lowest. A score is 0 ... 10000; bit 15 of a lane is its guard, 0
/// in every stored row. With the guard set before a subtraction, it survives exactly where no lane borrowed: that
/// compares 16 pairs in one step. Lanes 0 and 1 are the controls, lane 2 + j is worker j.
/// @dev The only place that knows the layout: a later version may add lanes without touching the rules.
library ScoreMath {
    uint256 internal constant GUARDS = 0x8000800080008000800080008000800080008000800080008000800080008000;
    uint256 internal constant ONES = 0x0001000100010001000100010001000100010001000100010001000100010001;
    uint256 internal constant SCORE_MAX = 10_000;
    uint256 internal constant CONTROL_LANES = 2;
    uint256 internal constant MAX_WORDS = 8;

    /// @notice Words of a row of so many lanes.
    function wordCount(uint256 lanes) internal pure returns (uint256) {
        unchecked {
            return (lanes + 15) / 16;
        }
    }

    /// @notice Whether every lane is a score.
    function areScores(uint256 word) internal pure returns (bool) {
        unchecked {
            return word & GUARDS == 0 && (((ONES * SCORE_MAX) | GUARDS) - word) & GUARDS == GUARDS;
        }
    }

    /// @notice The score of one lane.
    function lane(uint256 word, uint256 l) internal pure returns (uint256) {
        unchecked {
            return (word >> (16 * (l & 15))) & 0xffff;
        }
    }

    /// @notice The score of a worker in a packed row.
    function scoreOf(uint256[] memory words, uint256 seat) internal pure returns (uint256) {
        unchecked {
            uint256 l = seat + CONTROL_LANES;
            return lane(words[l >> 4], l);
        }
    }

    /// @notice Bit 0 of every lane of word `w` whose seat is in the set. `controls` has bits 0 and 1 for the two controls.
    function laneBits(uint256 seats, uint256 controls, uint256 w) internal pure returns (uint256 bits) {
        unchecked {
            bits = (((seats << CONTROL_LANES) | controls) >> (16 * w)) & 0xffff;
            bits = (bits | (bits << 120)) & 0x00000000000000000000000000ff000000000000000000000000000000ff;
            bits = (bits | (bits << 60)) & 0x000000000000000f000000000000000f000000000000000f000000000000000f;
            bits = (bits | (bits << 30)) & 0x0000000300000003000000030000000300000003000000030000000300000003;
            bits = (bits | (bits << 15)) & ONES;
        }
    }

    /// @notice All 15 value bits of the lanes marked in `bits`.
    function spread(uint256 bits) internal pure returns (uint256) {
        unchecked {
            return bits * 0x7fff;
        }
    }

    /// @notice The same value in all lanes.
    function splat(uint256 value) internal pure returns (uint256) {
        unchecked {
            return ONES * value;
        }
    }

    /// @notice Per lane a - b, or 0 where b is greater. Both without guards.
    function minus(uint256 a, uint256 b) internal pure returns (uint256) {
        unchecked {
            uint256 d = (a | GUARDS) - b;
            return d & spread((d & GUARDS) >> 15);
        }
    }

    /// @notice Sum of the 16 lanes; it must be below 65536.
    function sum(uint256 word) internal pure returns (uint256) {
        unchecked {
            return (word * ONES) >> 240;
        }
    }

    /// @notice Per lane the greatest value that at least `need` rows reach, found bit by bit from the top: with
    /// need = ceil(m/2) the upper median of m readings, with need = floor(m/2) + 1 the lower one. need = 0 gives 0.
    /// @param rows Rows with their guards set, padded to an even number with GUARDS.
    function reachedBy(uint256[] memory rows, uint256 need) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            let guards := 0x8000800080008000800080008000800080008000800080008000800080008000
            let ones := 0x0001000100010001000100010001000100010001000100010001000100010001
            let first := add(rows, 0x20)
            let end := add(first, shl(5, mload(rows)))
            for { let bit_ := 14 } bit_ {} {
                bit_ := sub(bit_, 1)
                let candidate := or(value, shl(bit_, ones))
                let count := 0
                for { let p := first } lt(p, end) { p := add(p, 0x40) } {
                    count := add(
                        count,
                        add(
                            shr(15, and(sub(mload(p), candidate), guards)),
                            shr(15, and(sub(mload(add(p, 0x20)), candidate), guards))
                        )
                    )
                }
                value := or(value, shl(bit_, shr(15, and(sub(or(count, guards), need), guards))))
            }
            // a lane without readings needs none, so that every candidate passed: it has no median
            value := and(value, mul(0x7fff, shr(15, and(sub(or(need, guards), ones), guards))))
        }
    }

    /// @notice The k-th greatest score of the seats in the set, k from 1; 0 when fewer than k are above 0.
    function kthGreatest(uint256[] memory words, uint256 seats, uint256 k)
        internal
        pure
        returns (uint256 value)
    {
        unchecked {
            uint256 n = words.length;
            uint256[] memory guarded = new uint256[](n);
            for (uint256 w; w < n; ++w) {
                guarded[w] = (words[w] & spread(laneBits(seats, 0, w))) | GUARDS;
            }
            for (uint256 bit_ = 1 << 13; bit_ != 0; bit_ >>= 1) {
                uint256 candidate = splat(value | bit_);
                uint256 count;
                for (uint256 w; w < n; ++w) {
                    count += ((guarded[w] - candidate) & GUARDS) >> 15;
                }
                if (sum(count) >= k) value |= bit_;
            }
        }
    }

    /// @notice The lower median of the scores of a non-empty set: element floor((n-1)/2) of the ascending order.
    function lowerMedian(uint256[] memory words, uint256 seats, uint256 n) internal pure returns (uint256) {
        unchecked {
            return kthGreatest(words, seats, n / 2 + 1);
        }
    }
}
