// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../../src/interfaces/IFLTask.sol";
import {Roster} from "../../src/libraries/Roster.sol";
import {SettlementCheck} from "../utils/SettlementCheck.sol";

/// @title The people of the plays: on what terms they meet, who is honest, what each does in a phase, what liars say
/// @notice Dice, terms, honesty and acting only; what a play may cost or pay is judged elsewhere.
abstract contract Players is SettlementCheck {
    using Roster for uint256;

    bytes32 private constant GOOD = "final model";

    uint256 internal dice;
    /// @dev Seats of the honest, taken or not.
    uint256 internal honest;
    /// @dev Quality of honest models.
    uint256 internal base;

    function roll(uint256 sides) internal returns (uint256) {
        dice = uint256(keccak256(abi.encode(dice)));
        return dice % sides;
    }

    /// @dev How many liars a roster of n withstands.
    function mostLiars(uint256 n) internal pure returns (uint256) {
        return n > 15 ? (n - 1) / 3 : (n - 1) / 2;
    }

    function liarsAreFew() internal view returns (bool) {
        uint256 roster = task.roster();
        return roster != 0 && (roster & ~honest).size() <= mostLiars(roster.size());
    }

    /// @dev Terms of a task that n workers may start.
    function drawTerms(uint256 n) internal {
        terms = defaults();
        uint256 spare = roll(4);
        terms.minWorkers = uint8(n < spare + 2 ? 2 : n - spare);
        terms.rounds = uint32(1 + roll(4));
        terms.minActive = uint8(2 + roll(terms.minWorkers > 6 ? 5 : terms.minWorkers - 1));
        terms.maxWorkers = uint8(n + roll(5));
        terms.topK = uint8(1 + roll(4));
        terms.lateJoin = roll(2) == 0;
        terms.auditLane = roll(2) == 0;
        terms.topShareBps = uint16(5000 + roll(5001));
        terms.tieBand = uint16([0, roll(150), roll(1500)][roll(3)]);
        terms.acceptBps = uint16(5000 + roll(3001));
        terms.burnBps = uint16(roll(3) * 5000);
        terms.maxMiss = uint8(1 + roll(3));
        terms.maxLow = uint8(roll(4));
        terms.maxVoid = uint8(terms.maxMiss + roll(4));
        terms.hardStop = uint40(block.timestamp + 100 days);
        terms.collateral = roll(4) == 0 ? 0 : uint128(1000 + roll(1e6));
    }

    // ------------------------------------------------------------------------------------------- acting

    function actAllInTurn() internal {
        uint256 order = roll(2);
        for (uint256 k; k < 2; ++k) {
            for (uint256 i; i < task.core().count; ++i) {
                if (honest.has(i) == (k == order) && !_skips(i)) act(i);
            }
        }
    }

    /// @dev What a worker does in this phase, if it still can.
    function act(uint256 i) internal {
        if (!task.active().has(i)) return;
        IFLTask.Phase here = phase();
        if (here == IFLTask.Phase.Attest) {
            bytes32 hash = honest.has(i) || roll(2) == 0 ? GOOD : bytes32("wrong");
            if (block.timestamp <= deadline() && !task.attested().has(i)) attest(i, hash);
            return;
        }
        if (here > IFLTask.Phase.Reveal || block.timestamp > deadline()) return;
        if (here == IFLTask.Phase.Train) commit(i);
        else if (here == IFLTask.Phase.Score) score(i, honest.has(i) ? _honestReading(i) : _lie(i));
        else if (here == IFLTask.Phase.Open && _canOpen(i)) open(i);
        else if (here == IFLTask.Phase.Reveal && _canReveal(i)) reveal(i);
    }

    /// @dev In every second attempt many of the honest cannot judge, and no liar stays away.
    function _skips(uint256 i) private returns (bool) {
        bool judging = phase() == IFLTask.Phase.Score || phase() == IFLTask.Phase.Reveal;
        bool rush = judging && uint256(keccak256(abi.encode(base, attempt()))) % 2 == 0;
        if (honest.has(i)) return roll(rush ? 2 : 24) == 0;
        return !rush && roll(4) == 0;
    }

    function _canReveal(uint256 i) private view returns (bool) {
        if (!(task.scored() & ~task.revealed()).has(i)) return false;
        return task.workers(i).commitment == rowCommitment(i, rowOf[i]);
    }

    function _canOpen(uint256 i) private view returns (bool) {
        return (task.committed() & ~task.opened()).has(i) && task.workers(i).commitment == modelCommitment(i);
    }

    // ------------------------------------------------------------------------------------------- rows

    /// @dev Honest models differ by less than the acceptance threshold, honest readings by less than the tolerance.
    function _honestReading(uint256 i) private view returns (uint256[] memory) {
        uint256[] memory lane = new uint256[](task.core().lanes);
        uint256 opened = task.opened();
        lane[0] = base + i * 10;
        lane[1] = terms.auditLane ? base / 2 + i : 0;
        for (uint256 j; j + 2 < lane.length; ++j) {
            if (j != i && opened.has(j)) lane[2 + j] = _reading(i, j);
        }
        return pack(lane);
    }

    function _reading(uint256 i, uint256 j) private view returns (uint256 value) {
        uint256 noise = (j * 7 + i * 131) % 400;
        if (honest.has(j)) {
            value = base + (j * 37) % 100 + noise;
        } else {
            uint256 poison = uint256(keccak256(abi.encode(j, round(), base)));
            if (poison % 3 == 0) return 0;
            value = poison % 10_001 + noise;
        }
        return value > 10_000 ? 10_000 : value;
    }

    /// @dev Liars of one attempt lie alike, or each at random.
    function _lie(uint256 i) private returns (uint256[] memory) {
        uint256[] memory lane = new uint256[](task.core().lanes);
        uint256 opened = task.opened();
        uint256 plan = uint256(keccak256(abi.encode(attempt(), base))) % 8;
        uint256 lifted = base + 1600 > 10_000 ? 10_000 : base + 1600;
        for (uint256 k; k < lane.length; ++k) {
            if (k >= 2 && (k - 2 == i || !opened.has(k - 2))) continue;
            bool friend = k >= 2 && !honest.has(k - 2);
            if (plan == 0) lane[k] = friend ? 10_000 : 0;
            if (plan == 1) lane[k] = friend ? 10_000 : lifted;
            if (plan == 2) lane[k] = 9500;
            if (plan == 3) lane[k] = roll(10_001);
            if (plan == 4) lane[k] = k % 2 == 0 ? 0 : 10_000;
            if (plan == 5) lane[k] = base;
            if (plan == 6) lane[k] = k < 2 || friend ? base : lifted;
            if (plan == 7) lane[k] = k < 2 ? base / (k + 1) : friend ? base : 0;
        }
        return pack(lane);
    }
}
