// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../../src/interfaces/IFLTask.sol";

/// @title The judgement of a round, read off the protocol: unpacked lanes, sorted arrays, no cleverness
/// @notice It shares no code with the contracts; it is what they are compared with.
library NaiveJudge {
    struct Round {
        IFLTask.Params params;
        uint256 number;
        uint256 seats;
        uint256 roster;
        uint256 opened;
        uint256 revealed;
        uint256[][] rows; // by seat, one lane an element; empty where nothing was revealed
    }

    struct Verdict {
        uint256[] upper; // by lane
        uint256[] lower;
        uint256 theta;
        uint256 accepted;
        uint256 eligible;
        uint256 top;
        uint256 deviant;
        uint256 invalid;
        uint256 low;
    }

    function judge(Round memory r) internal pure returns (Verdict memory v) {
        (v.upper, v.lower) = _medians(r);
        for (uint256 i; i < r.seats; ++i) {
            if (has(r.revealed, i) && _isDeviant(r, v, i)) v.deviant |= 1 << i;
        }
        _accept(r, v);
        v.invalid = _invalid(r, v);
        v.eligible = v.accepted & r.revealed & ~v.deviant;
        if (count(r.revealed) < 3 && r.opened & r.revealed & ~v.accepted != 0) v.eligible = 0;
        v.top = _top(r, v);
    }

    function has(uint256 set, uint256 i) internal pure returns (bool) {
        return (set >> i) & 1 == 1;
    }

    function count(uint256 set) internal pure returns (uint256 n) {
        for (; set != 0; set >>= 1) {
            n += set & 1;
        }
    }

    function sort(uint256[] memory a) internal pure {
        for (uint256 i = 1; i < a.length; ++i) {
            for (uint256 j = i; j > 0 && a[j - 1] > a[j]; --j) {
                (a[j - 1], a[j]) = (a[j], a[j - 1]);
            }
        }
    }

    function isCounted(Round memory r, uint256 lane) internal pure returns (bool) {
        if (lane == 0) return true;
        if (lane == 1) return r.params.auditLane;
        return has(r.opened, lane - 2);
    }

    function _medians(Round memory r) private pure returns (uint256[] memory upper, uint256[] memory lower) {
        (upper, lower) = (new uint256[](r.seats + 2), new uint256[](r.seats + 2));
        for (uint256 lane; lane < r.seats + 2; ++lane) {
            if (!isCounted(r, lane)) continue;
            uint256[] memory column = _column(r, lane);
            uint256 m = column.length;
            if (m == 0) continue;
            sort(column);
            (upper[lane], lower[lane]) = (column[m / 2], column[(m - 1) / 2]);
        }
    }

    function _column(Round memory r, uint256 lane) private pure returns (uint256[] memory column) {
        uint256 own = lane >= 2 && has(r.revealed, lane - 2) ? 1 : 0;
        column = new uint256[](count(r.revealed) - own);
        uint256 next;
        for (uint256 i; i < r.seats; ++i) {
            if (has(r.revealed, i) && i + 2 != lane) column[next++] = r.rows[i][lane];
        }
    }

    function _isDeviant(Round memory r, Verdict memory v, uint256 i) private pure returns (bool) {
        (bool sure, uint256 wide, uint256 lanes) = (false, 0, 0);
        for (uint256 lane; lane < r.seats + 2; ++lane) {
            if (lane == i + 2 || !isCounted(r, lane)) continue;
            ++lanes;
            (uint256 s, uint256 tolerance) = (r.rows[i][lane], r.params.devTol);
            bool above = s > v.upper[lane] + tolerance;
            if (above || s + tolerance < v.upper[lane]) ++wide;
            if (above || s + tolerance < v.lower[lane]) {
                if (lane < 2) return true;
                sure = true;
            }
        }
        return sure && 2 * wide > lanes;
    }

    function _accept(Round memory r, Verdict memory v) private pure {
        uint256[] memory lows = new uint256[](_countValid(r, v));
        uint256[] memory highs = new uint256[](count(r.roster));
        (uint256 l, uint256 h) = (0, 0);
        for (uint256 i; i < r.seats; ++i) {
            uint256 up = has(r.opened, i) ? v.upper[i + 2] : 0;
            if (up > 0) lows[l++] = v.lower[i + 2];
            if (has(r.roster, i)) highs[h++] = up;
        }
        uint256 firm = _lowerMedian(lows) * r.params.acceptBps / 10_000;
        uint256 roster = _lowerMedian(highs) * r.params.acceptBps / 10_000;
        v.theta = firm > roster ? firm : roster;
        if (v.theta == 0) v.theta = 1;
        for (uint256 i; i < r.seats; ++i) {
            uint256 up = has(r.opened, i) ? v.upper[i + 2] : 0;
            if (up == 0) continue;
            if (up >= v.theta) v.accepted |= 1 << i;
            if (up < firm) v.low |= 1 << i;
        }
    }

    function _lowerMedian(uint256[] memory a) private pure returns (uint256) {
        if (a.length == 0) return 0;
        sort(a);
        return a[(a.length - 1) / 2];
    }

    function _countValid(Round memory r, Verdict memory v) private pure returns (uint256 n) {
        for (uint256 i; i < r.seats; ++i) {
            if (has(r.opened, i) && v.upper[i + 2] > 0) ++n;
        }
    }

    function _invalid(Round memory r, Verdict memory v) private pure returns (uint256 invalid) {
        for (uint256 j; j < r.seats; ++j) {
            if (!has(r.opened, j) || v.upper[j + 2] > 0) continue;
            uint256 zeros;
            for (uint256 i; i < r.seats; ++i) {
                if (i != j && has(r.revealed, i) && r.rows[i][j + 2] == 0) ++zeros;
            }
            if (zeros >= count(r.roster) / 2 + 1) invalid |= 1 << j;
        }
        if (count(invalid) > _countValid(r, v)) return 0;
    }

    function _top(Round memory r, Verdict memory v) private pure returns (uint256 top) {
        uint256 e = count(v.eligible);
        if (count(r.revealed) < 3 || e == 0) return v.eligible;
        uint256 k = 1;
        if (e >= 3) k = (e - 1) / 2 < r.params.topK ? (e - 1) / 2 : r.params.topK;
        uint256[] memory scores = new uint256[](e);
        uint256 next;
        for (uint256 i; i < r.seats; ++i) {
            if (has(v.eligible, i)) scores[next++] = v.upper[i + 2];
        }
        sort(scores);
        uint256 worst = type(uint256).max;
        for (uint256 i; i < e; ++i) {
            if (scores[i] + r.params.tieBand >= scores[e - k] && scores[i] < worst) worst = scores[i];
        }
        for (uint256 i; i < r.seats; ++i) {
            if (has(v.eligible, i) && v.upper[i + 2] > worst + r.params.tieBand) top |= 1 << i;
        }
        for (uint256 turn; count(top) < k; ++turn) {
            uint256 i = (r.number * k + turn) % r.seats;
            if (has(v.eligible, i) && v.upper[i + 2] + r.params.tieBand >= scores[e - k]) top |= 1 << i;
        }
    }
}
