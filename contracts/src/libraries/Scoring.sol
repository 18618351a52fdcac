// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../interfaces/IFLTask.sol";
import {ParamRules} from "./ParamRules.sol";
import {Payouts} from "./Payouts.sol";
import {Roster} from "./Roster.sol";
import {ScoreMath} from "./ScoreMath.sol";
import {TaskStorage} from "./TaskStorage.sol";

/// @title Judgement of a round: from the revealed rows to medians, deviants, acceptance and top K
/// @notice Honest models are protected by the upper median, thresholds by the lower one; a reading is never counted for
/// its own author. It reads the task and changes nothing.
library Scoring {
    using Roster for uint256;

    struct Ballot {
        uint256 opened;
        uint256 revealed;
        uint256 roster;
        uint256 seats; // that have a lane
        uint256 controls; // bit 0: lane 0 counts, bit 1: lane 1 counts
        uint256[] scorers; // seats of the revealed rows, ascending
        uint256[] rows; // one word of every revealed row, with guards, padded to an even number
        uint256[] upper; // medians, packed like rows
        uint256[] lower;
        uint256[] positive; // packed: how many rows give the lane more than 0
        uint256[] wide; // by scorer: lanes further than the tolerance from the upper median
        uint256 sure; // by scorer: has a sure outlier
        uint256 convicted; // by scorer: has one on a control lane
    }

    struct Verdict {
        uint256 accepted;
        uint256 top;
        uint256 deviant;
        uint256 invalid;
        uint256 low;
        uint256 theta;
        uint256[] medians;
        uint256[] lows;
    }

    /// @notice Judges the round from what was opened and revealed.
    function judge(TaskStorage.State storage s, IFLTask.Core memory c)
        internal
        view
        returns (Verdict memory v)
    {
        Ballot memory b = _collect(s, c);
        uint256 tolerance = s.params.devTol;
        for (uint256 w; w < b.upper.length; ++w) {
            _loadWord(s, b, w);
            _takeMedians(b, w);
            _markOutliers(b, w, tolerance);
        }
        v.medians = b.upper;
        v.lows = b.lower;
        v.deviant = _deviants(b);
        _accept(b, v, s.params.acceptBps);
        uint256 eligible = eligibleOf(v.accepted, b.opened, b.revealed, v.deviant);
        uint256 places = Payouts.topSize(eligible.size(), b.scorers.length, s.params.topK);
        v.top =
            places == eligible.size() ? eligible : _drawTop(b, eligible, places, s.params.tieBand, c.round);
    }

    /// @notice Who is paid: accepted, revealed and not deviant. Of two scorers either may have lied about the other, so
    /// with a model of theirs not accepted nobody is.
    function eligibleOf(uint256 accepted, uint256 opened, uint256 revealed, uint256 deviant)
        internal
        pure
        returns (uint256)
    {
        if (revealed.size() < 3 && opened & revealed & ~accepted != 0) return 0;
        return accepted & revealed & ~deviant;
    }

    // ------------------------------------------------------------------------------------------- medians

    function _collect(TaskStorage.State storage s, IFLTask.Core memory c)
        private
        view
        returns (Ballot memory b)
    {
        unchecked {
            b.opened = s.opened;
            b.revealed = s.revealed;
            b.roster = s.roster;
            b.seats = c.lanes - ScoreMath.CONTROL_LANES;
            b.controls = s.params.auditLane ? 3 : 1;
            uint256 scorers = b.revealed.size();
            b.scorers = new uint256[](scorers);
            b.wide = new uint256[](scorers);
            b.rows = new uint256[]((scorers + 1) & ~uint256(1));
            if (scorers & 1 != 0) b.rows[scorers] = ScoreMath.GUARDS;
            uint256 words = ScoreMath.wordCount(c.lanes);
            b.upper = new uint256[](words);
            b.lower = new uint256[](words);
            b.positive = new uint256[](words);
            uint256 next;
            for (uint256 seat; next < scorers; ++seat) {
                if (b.revealed.has(seat)) b.scorers[next++] = seat;
            }
        }
    }

    function _loadWord(TaskStorage.State storage s, Ballot memory b, uint256 w) private view {
        unchecked {
            (uint256[] memory scorers, uint256[] memory rows) = (b.scorers, b.rows);
            uint256 positive;
            for (uint256 r; r < scorers.length; ++r) {
                uint256 row = s.rows[scorers[r]][w] | ScoreMath.GUARDS;
                rows[r] = row;
                positive += ((row - ScoreMath.ONES) & ScoreMath.GUARDS) >> 15;
            }
            b.positive[w] = positive;
        }
    }

    /// @dev A lane has m readings: one a scorer, but for a scorer's own lane. Upper median: ceil(m/2) reach it; lower:
    /// floor(m/2) + 1 do.
    function _takeMedians(Ballot memory b, uint256 w) private pure {
        unchecked {
            uint256 m = b.scorers.length;
            uint256 own = ScoreMath.laneBits(b.revealed, 0, w);
            uint256 counted = ScoreMath.spread(ScoreMath.laneBits(b.opened, b.controls, w));
            uint256 needUpper = ScoreMath.splat((m + 1) / 2) - ((m + 1) / 2 - m / 2) * own;
            uint256 needLower = ScoreMath.splat(m / 2 + 1) - (m / 2 + 1 - (m + 1) / 2) * own;
            b.upper[w] = ScoreMath.reachedBy(b.rows, needUpper) & counted;
            b.lower[w] = ScoreMath.reachedBy(b.rows, needLower) & counted;
        }
    }

    // ------------------------------------------------------------------------------------------- scorers

    /// @dev A reading is wide when further than the tolerance from the upper median, and a sure outlier when above that
    /// or below the lower median by more than the tolerance.
    function _markOutliers(Ballot memory b, uint256 w, uint256 tolerance) private pure {
        unchecked {
            uint256 counted = ScoreMath.laneBits(b.opened, b.controls, w) << 15;
            if (counted == 0) return;
            uint256 above = b.upper[w] + ScoreMath.splat(tolerance + 1);
            uint256 below = ScoreMath.minus(b.upper[w], ScoreMath.splat(tolerance));
            uint256 surelyBelow = ScoreMath.minus(b.lower[w], ScoreMath.splat(tolerance));
            (uint256[] memory scorers, uint256[] memory rows, uint256[] memory wide) =
                (b.scorers, b.rows, b.wide);
            for (uint256 r; r < scorers.length; ++r) {
                uint256 row = rows[r];
                uint256 own = scorers[r] + ScoreMath.CONTROL_LANES;
                uint256 lanes = own >> 4 == w ? counted & ~(0x8000 << (16 * (own & 15))) : counted;
                uint256 high = (row - above) & lanes;
                wide[r] += ScoreMath.sum((high | (~(row - below) & lanes)) >> 15);
                uint256 sure = high | (~(row - surelyBelow) & lanes);
                if (sure == 0) continue;
                b.sure |= 1 << r;
                if (w == 0 && sure & 0x80008000 != 0) b.convicted |= 1 << r;
            }
        }
    }

    /// @dev A sure outlier on a control lane convicts alone, elsewhere only with wide readings on more than half of the
    /// scorer's lanes.
    function _deviants(Ballot memory b) private pure returns (uint256 deviant) {
        unchecked {
            uint256 lanes = b.opened.size() + b.controls.size();
            for (uint256 r; r < b.scorers.length; ++r) {
                uint256 seat = b.scorers[r];
                uint256 own = b.opened.has(seat) ? 1 : 0;
                bool most = 2 * b.wide[r] > lanes - own;
                if (b.convicted.has(r) || (b.sure.has(r) && most)) deviant |= 1 << seat;
            }
        }
    }

    // ------------------------------------------------------------------------------------------- models

    /// @dev Theta has two terms. The first, from lower medians, liars cannot lift; it alone is a ground for penalties,
    /// since the second can be lifted above an honest worker by a liar whose model is truly better. The second, over
    /// the whole roster with 0 for what was not opened, they cannot push down to nothing.
    function _accept(Ballot memory b, Verdict memory v, uint256 acceptBps) private pure {
        unchecked {
            uint256 valid;
            (valid, v.invalid) = _validity(b);
            uint256 reachable;
            if (valid != 0) {
                reachable = ScoreMath.lowerMedian(b.lower, valid, valid.size()) * acceptBps / ParamRules.BPS;
            }
            uint256 firm =
                ScoreMath.lowerMedian(b.upper, b.roster, b.roster.size()) * acceptBps / ParamRules.BPS;
            v.theta = reachable > firm ? reachable : firm;
            if (v.theta == 0) v.theta = 1;
            for (uint256 i; valid >> i != 0; ++i) {
                if (!valid.has(i)) continue;
                uint256 score = ScoreMath.scoreOf(b.upper, i);
                if (score >= v.theta) v.accepted |= 1 << i;
                if (score < reachable) v.low |= 1 << i;
            }
        }
    }

    /// @dev Invalid needs zeros from a majority of the roster, not only of those who revealed; and when more models are
    /// invalid than valid the task is at fault, not they.
    function _validity(Ballot memory b) private pure returns (uint256 valid, uint256 invalid) {
        unchecked {
            uint256 majority = b.roster.size() / 2 + 1;
            for (uint256 i; b.opened >> i != 0; ++i) {
                if (!b.opened.has(i)) continue;
                if (ScoreMath.scoreOf(b.upper, i) != 0) {
                    valid |= 1 << i;
                    continue;
                }
                uint256 readings = b.scorers.length - (b.revealed.has(i) ? 1 : 0);
                if (readings - ScoreMath.scoreOf(b.positive, i) >= majority) invalid |= 1 << i;
            }
            if (invalid.size() > valid.size()) invalid = 0;
        }
    }

    /// @dev Those within the band of the last place count as equal to it, but whoever beats the worst of them by more
    /// than the band comes first: there are always fewer of those than places. The others take turns: seats in
    /// ascending order from one that moves on by the number of places each round.
    function _drawTop(Ballot memory b, uint256 eligible, uint256 places, uint256 band, uint256 round)
        private
        pure
        returns (uint256 drawn)
    {
        unchecked {
            uint256 seat = round * places % b.seats;
            uint256 equals;
            (drawn, equals) = _rank(b, eligible, places, band);
            places -= drawn.size();
            while (places != 0) {
                if (equals.has(seat)) {
                    drawn |= 1 << seat;
                    --places;
                }
                if (++seat == b.seats) seat = 0;
            }
        }
    }

    /// @dev Who has a place for certain, and who takes turns for what is left.
    function _rank(Ballot memory b, uint256 eligible, uint256 places, uint256 band)
        private
        pure
        returns (uint256 certain, uint256 equals)
    {
        unchecked {
            uint256 threshold = ScoreMath.kthGreatest(b.upper, eligible, places);
            threshold = threshold > band ? threshold - band : 0;
            uint256 worst = type(uint256).max;
            for (uint256 i; eligible >> i != 0; ++i) {
                if (!eligible.has(i)) continue;
                uint256 score = ScoreMath.scoreOf(b.upper, i);
                if (score < threshold) continue;
                equals |= 1 << i;
                if (score < worst) worst = score;
            }
            for (uint256 i; equals >> i != 0; ++i) {
                if (equals.has(i) && ScoreMath.scoreOf(b.upper, i) > worst + band) certain |= 1 << i;
            }
            equals &= ~certain;
        }
    }
}
