// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {IFLTask} from "./interfaces/IFLTask.sol";
import {IFLTaskFactory} from "./interfaces/IFLTaskFactory.sol";

/// @title The factory of tasks
contract FLTaskFactory is IFLTaskFactory {
    /// @inheritdoc IFLTaskFactory
    address public immutable implementation;

    constructor(address implementation_) {
        implementation = implementation_;
    }

    /// @inheritdoc IFLTaskFactory
    function createTask(
        bytes32 nonce,
        IFLTask.Params calldata p,
        bytes calldata specCid,
        bytes calldata modelCid,
        bytes calldata requesterKey
    ) external payable returns (address task) {
        bytes32 salt = _salt(msg.sender, nonce, p, specCid, modelCid, requesterKey, msg.value);
        task = Clones.predictDeterministicAddress(implementation, salt);
        if (task.code.length != 0) revert TaskExists(task);

        Clones.cloneDeterministic(implementation, salt);
        emit TaskCreated(task, msg.sender, nonce);
        IFLTask(task).initializeTask{value: msg.value}(msg.sender, p, specCid, modelCid, requesterKey);
    }

    /// @inheritdoc IFLTaskFactory
    function predictTask(
        address requester,
        bytes32 nonce,
        IFLTask.Params calldata p,
        bytes calldata specCid,
        bytes calldata modelCid,
        bytes calldata requesterKey,
        uint256 reward
    ) external view returns (address) {
        bytes32 salt = _salt(requester, nonce, p, specCid, modelCid, requesterKey, reward);
        return Clones.predictDeterministicAddress(implementation, salt);
    }

    function _salt(
        address requester,
        bytes32 nonce,
        IFLTask.Params calldata p,
        bytes calldata specCid,
        bytes calldata modelCid,
        bytes calldata requesterKey,
        uint256 reward
    ) private pure returns (bytes32) {
        bytes32 terms = keccak256(abi.encode(p, specCid, modelCid, requesterKey, reward));
        return keccak256(abi.encode(requester, nonce, terms));
    }
}
