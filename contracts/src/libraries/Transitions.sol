// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../interfaces/IFLTask.sol";
import {Roster} from "./Roster.sol";
import {Rounds} from "./Rounds.sol";
import {Settlement} from "./Settlement.sol";
import {TaskStorage} from "./TaskStorage.sol";

/// @title The transitions that anybody may trigger
/// @notice Deployed once and called by every task through delegatecall, to keep the task below the size limit. They are
/// computation on the task's own storage: they call nothing and move no ether.
library Transitions {
    using Roster for uint256;
    using Rounds for TaskStorage.State;
    using Settlement for TaskStorage.State;

    /// @dev See IFLTask.startTask.
    function start(TaskStorage.State storage s) external {
        IFLTask.Core memory c = s.core;
        _requirePhase(c, IFLTask.Phase.Joining);
        IFLTask.Params storage p = s.params;
        uint256 joined = uint256(s.active).size();
        bool late = block.timestamp > c.deadline;
        if (block.timestamp > p.hardStop || (late && joined < p.minWorkers)) {
            s.end(c, IFLTask.Phase.Cancelled);
            return;
        }
        if (joined < p.minWorkers) revert IFLTask.NotAllowed();
        if (!late && joined < p.maxWorkers && msg.sender != s.requester) revert IFLTask.NotAllowed();
        emit IFLTask.TaskStarted(p.rounds, s.active);
        s.begin(c, 1, 1);
    }

    /// @dev See IFLTask.cancelTask.
    function cancel(TaskStorage.State storage s) external {
        IFLTask.Core memory c = s.core;
        _requirePhase(c, IFLTask.Phase.Joining);
        if (msg.sender != s.requester) revert IFLTask.NotAllowed();
        s.end(c, IFLTask.Phase.Cancelled);
    }

    /// @dev See IFLTask.nextRound.
    function advance(TaskStorage.State storage s) external {
        IFLTask.Core memory c = s.core;
        bool missed = _inRound(c.phase) && c.phase != IFLTask.Phase.Settle && block.timestamp > c.deadline;
        if (missed) s.passDeadline(c);
        if (c.phase == IFLTask.Phase.Settle) {
            s.settle(c);
            s.closeRound(c);
        } else if (!missed && !s.endIfDue(c)) {
            revert IFLTask.NothingDue();
        }
    }

    /// @dev See IFLTask.submitRoundTopK.
    function score(TaskStorage.State storage s) external {
        s.score(_pendingStep(s, 1));
    }

    /// @dev See IFLTask.distributeRewards.
    function settle(TaskStorage.State storage s) external {
        s.settle(_pendingStep(s, 2));
    }

    /// @dev See IFLTask.completeTask.
    function complete(TaskStorage.State storage s) external {
        IFLTask.Core memory c = s.core;
        if (s.endIfDue(c)) return;
        if (_inRound(c.phase) || c.phase == IFLTask.Phase.Attest) revert IFLTask.NothingDue();
        revert IFLTask.WrongPhase(c.phase);
    }

    function _pendingStep(TaskStorage.State storage s, uint8 step)
        private
        view
        returns (IFLTask.Core memory c)
    {
        c = s.core;
        _requirePhase(c, IFLTask.Phase.Settle);
        if (c.step >= step) revert IFLTask.AlreadyDone();
    }

    function _requirePhase(IFLTask.Core memory c, IFLTask.Phase phase) private pure {
        if (c.phase != phase) revert IFLTask.WrongPhase(c.phase);
    }

    function _inRound(IFLTask.Phase phase) private pure returns (bool) {
        return phase >= IFLTask.Phase.Train && phase <= IFLTask.Phase.Settle;
    }
}
