// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "./IFLTask.sol";

/// @title Creates tasks: one minimal proxy per task, at an address that binds its terms
/// @notice It has no owner and keeps nothing. A task's address follows from the requester, its nonce and every term and
/// wei: after a reorganisation the same address can never carry other terms, and creating a task twice is impossible.
interface IFLTaskFactory {
    /// @notice This very task exists already; whoever wanted it is done.
    error TaskExists(address task);

    /// @notice A task was created; its `TaskInitialized` follows in the same transaction.
    event TaskCreated(address indexed task, address indexed requester, bytes32 nonce);

    /// @notice The code behind every task.
    function implementation() external view returns (address);

    /// @notice Creates and opens a task for the caller, with the ether sent as its reward.
    /// @param nonce Chosen by the requester to tell tasks with equal terms apart.
    function createTask(
        bytes32 nonce,
        IFLTask.Params calldata p,
        bytes calldata specCid,
        bytes calldata modelCid,
        bytes calldata requesterKey
    ) external payable returns (address task);

    /// @notice The address that `createTask` gives for exactly these arguments from this requester and this reward.
    function predictTask(
        address requester,
        bytes32 nonce,
        IFLTask.Params calldata p,
        bytes calldata specCid,
        bytes calldata modelCid,
        bytes calldata requesterKey,
        uint256 reward
    ) external view returns (address);
}
