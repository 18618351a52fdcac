// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../../src/interfaces/IFLTask.sol";
import {IFLTaskFactory} from "../../src/interfaces/IFLTaskFactory.sol";
import {Roster} from "../../src/libraries/Roster.sol";
import {MiniTest} from "./MiniTest.sol";

/// @title A task to test, and people to play it
/// @notice Worker i joins i-th, so that its seat is i. `quality[j]` is what honest scorers read of model j.
abstract contract TaskTest is MiniTest {
    using Roster for uint256;

    uint256 internal constant T0 = 1_700_000_000;
    uint256 internal constant COLLATERAL = 2 ether;
    uint256 internal constant REWARD = 30 ether;
    address internal constant REQUESTER = address(0xBEEF);
    address internal constant STRANGER = address(0xCAFE);
    bytes32 internal constant SALT = "salt";

    IFLTask internal implementation;
    IFLTaskFactory internal factory;
    IFLTask internal task;
    IFLTask.Params internal terms;

    uint256[126] internal quality;
    uint256 internal previousQuality = 9000;
    mapping(uint256 worker => uint256[]) internal rowOf;

    function setUp() public virtual {
        vm.warp(T0);
        deploy();
        terms = defaults();
        for (uint256 j; j < quality.length; ++j) {
            quality[j] = 9000;
        }
    }

    function deploy() internal virtual {
        implementation = IFLTask(vm.deployCode("FLTask.sol:FLTask"));
        factory = IFLTaskFactory(vm.deployCode("FLTaskFactory.sol:FLTaskFactory", abi.encode(implementation)));
    }

    function defaults() internal pure returns (IFLTask.Params memory p) {
        p.rounds = 3;
        p.minWorkers = 3;
        p.minActive = 2;
        p.maxWorkers = 30;
        p.topK = 2;
        p.auditLane = true;
        p.topShareBps = 5000;
        p.acceptBps = 8000;
        p.devTol = 1500;
        p.slashBps = 5000;
        p.feeBps = 1000;
        p.missBps = 500;
        p.maxMiss = 3;
        p.maxLow = 3;
        p.maxVoid = 5;
        p.joinWindow = 100;
        p.trainWindow = 110;
        p.openWindow = 120;
        p.scoreWindow = 130;
        p.revealWindow = 140;
        p.attestWindow = 150;
        p.hardStop = uint40(T0 + 100 days);
        p.collateral = uint128(COLLATERAL);
        p.modelHash = "genesis";
        p.specHash = "specification";
    }

    // ------------------------------------------------------------------------------------------- joining

    function worker(uint256 i) internal pure returns (address) {
        return address(uint160(0x10000 + i));
    }

    function create() internal {
        create(REWARD);
    }

    function create(uint256 reward) internal {
        vm.deal(REQUESTER, reward);
        vm.prank(REQUESTER);
        task = IFLTask(factory.createTask{value: reward}("nonce", terms, "spec", "model", "key"));
    }

    function join(uint256 i) internal {
        join(i, address(0));
    }

    function join(uint256 i, address payout) internal {
        vm.deal(worker(i), terms.collateral);
        vm.prank(worker(i));
        task.joinTask{value: terms.collateral}(payout, "encryption key", new bytes32[](0));
    }

    function joinAll(uint256 n) internal {
        for (uint256 i; i < n; ++i) {
            join(i);
        }
    }

    function start() internal {
        vm.prank(REQUESTER);
        task.startTask();
    }

    /// @dev A task by `terms` with n workers, in Train of round 1.
    function begin(uint256 n) internal {
        create();
        joinAll(n);
        start();
    }

    function announce(uint256 i) internal {
        vm.prank(worker(i));
        task.removeWorker();
    }

    // ------------------------------------------------------------------------------------------- acting

    function modelHash(uint256 i) internal view returns (bytes32) {
        return keccak256(abi.encode("model", i, round()));
    }

    function modelCommitment(uint256 i) internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                "FLModel", block.chainid, address(task), round(), attempt(), worker(i), modelHash(i), SALT
            )
        );
    }

    function rowCommitment(uint256 i, uint256[] memory row) internal view returns (bytes32) {
        return keccak256(
            abi.encode("FLScore", block.chainid, address(task), round(), attempt(), worker(i), row, SALT)
        );
    }

    function commit(uint256 i) internal {
        (uint32 r, uint32 a, bytes32 h) = (round(), attempt(), modelCommitment(i));
        vm.prank(worker(i));
        task.commitModel(r, a, h, "base");
    }

    function open(uint256 i) internal {
        (uint32 r, bytes32 h) = (round(), modelHash(i));
        vm.prank(worker(i));
        task.openModel(r, h, SALT, 1000, new bytes(36));
    }

    function score(uint256 i) internal {
        score(i, honestRow(i));
    }

    function score(uint256 i, uint256[] memory row) internal {
        rowOf[i] = row;
        (uint32 r, uint32 a, bytes32 h) = (round(), attempt(), rowCommitment(i, row));
        vm.prank(worker(i));
        task.commitScores(r, a, h);
    }

    function reveal(uint256 i) internal {
        uint32 r = round();
        uint256[] memory row = rowOf[i];
        vm.prank(worker(i));
        task.submitScore(r, row, SALT);
    }

    function attest(uint256 i, bytes32 hash) internal {
        vm.prank(worker(i));
        task.attestFinal(hash, new bytes(36));
    }

    // the same for all workers whose bit is set

    function commitAll(uint256 set) internal {
        for (uint256 i; set >> i != 0; ++i) {
            if (set.has(i)) commit(i);
        }
    }

    function openAll(uint256 set) internal {
        for (uint256 i; set >> i != 0; ++i) {
            if (set.has(i)) open(i);
        }
    }

    function scoreAll(uint256 set) internal {
        for (uint256 i; set >> i != 0; ++i) {
            if (set.has(i)) score(i);
        }
    }

    function revealAll(uint256 set) internal {
        for (uint256 i; set >> i != 0; ++i) {
            if (set.has(i)) reveal(i);
        }
    }

    function attestAll(uint256 set, bytes32 hash) internal {
        for (uint256 i; set >> i != 0; ++i) {
            if (set.has(i)) attest(i, hash);
        }
    }

    /// @dev All active workers do everything up to this phase of the running round.
    function playTo(IFLTask.Phase target) internal {
        uint256 set = task.active();
        if (phase() == IFLTask.Phase.Train && target > IFLTask.Phase.Train) commitAll(set);
        if (phase() == IFLTask.Phase.Open && target > IFLTask.Phase.Open) openAll(set);
        if (phase() == IFLTask.Phase.Score && target > IFLTask.Phase.Score) scoreAll(set);
        if (phase() == IFLTask.Phase.Reveal && target > IFLTask.Phase.Reveal) revealAll(set);
        assertPhase(target);
    }

    function playRound() internal {
        playTo(IFLTask.Phase.Settle);
        task.nextRound();
    }

    /// @dev From Train of any round to Attest, all honest.
    function playToAttest() internal {
        while (phase() != IFLTask.Phase.Attest) {
            playRound();
        }
    }

    /// @dev From anywhere to a task that is over.
    function playToEnd() internal {
        playToAttest();
        attestAll(task.active(), "final");
        task.nextRound();
    }

    // ------------------------------------------------------------------------------------------- rows

    function all(uint256 n) internal pure returns (uint256) {
        return (1 << n) - 1;
    }

    function pack(uint256[] memory lane) internal pure returns (uint256[] memory row) {
        row = new uint256[]((lane.length + 15) / 16);
        for (uint256 k; k < lane.length; ++k) {
            row[k / 16] |= lane[k] << (16 * (k % 16));
        }
    }

    function honestLanes(uint256 i) internal view returns (uint256[] memory lane) {
        uint256 opened = task.opened();
        lane = new uint256[](task.core().lanes);
        lane[0] = previousQuality;
        lane[1] = terms.auditLane ? previousQuality / 2 : 0;
        for (uint256 j; j + 2 < lane.length; ++j) {
            if (j != i && opened.has(j)) lane[2 + j] = quality[j];
        }
    }

    function honestRow(uint256 i) internal view returns (uint256[] memory) {
        return pack(honestLanes(i));
    }

    /// @dev 0 for everybody but one friend.
    function liarRow(uint256 i, uint256 friend) internal view returns (uint256[] memory) {
        uint256[] memory lane = honestLanes(i);
        for (uint256 j; j + 2 < lane.length; ++j) {
            lane[2 + j] = j == friend && j != i ? 10_000 : 0;
        }
        return pack(lane);
    }

    // ------------------------------------------------------------------------------------------- looking

    function phase() internal view returns (IFLTask.Phase) {
        return task.core().phase;
    }

    function round() internal view returns (uint32) {
        return task.core().round;
    }

    function attempt() internal view returns (uint32) {
        return task.core().attempt;
    }

    function deadline() internal view returns (uint40) {
        return task.core().deadline;
    }

    function bond(uint256 i) internal view returns (uint256) {
        return task.workers(i).bond;
    }

    function credit(uint256 i) internal view returns (uint256) {
        return task.workers(i).credit;
    }

    function assertPhase(IFLTask.Phase expected) internal view {
        vm.assertEq(uint256(phase()), uint256(expected), "phase");
    }

    /// @dev I1: what the contract holds is what it owes, to the wei.
    function assertSolvent() internal view {
        uint256 owed = task.rewardLeft() + task.forfeitPool() + task.burnPool();
        for (uint256 i; i < task.core().count; ++i) {
            owed += bond(i) + credit(i);
        }
        vm.assertEq(address(task).balance, owed, "solvency");
    }

    /// @dev Everybody is paid and nothing is left.
    function drain() internal {
        for (uint256 i; i < task.core().count; ++i) {
            IFLTask.Worker memory w = task.workers(i);
            if (w.bond + w.credit != 0) task.withdraw(w.account);
        }
        if (task.rewardLeft() != 0) task.refund();
        if (task.burnPool() != 0) task.burn();
        vm.assertEq(address(task).balance, 0, "drained");
    }

    // ------------------------------------------------------------------------------------------- time

    /// @dev The last second of the phase.
    function rightBefore() internal {
        vm.warp(deadline());
    }

    function rightAfter() internal {
        vm.warp(uint256(deadline()) + 1);
    }

    /// @dev Lets the deadline pass and does its work.
    function miss() internal {
        rightAfter();
        task.nextRound();
    }

    // ------------------------------------------------------------------------------------------- reverts

    function expectWrongPhase(IFLTask.Phase have) internal {
        vm.expectRevert(abi.encodeWithSelector(IFLTask.WrongPhase.selector, have));
    }

    function expectPhaseOver() internal {
        bytes memory error_ = abi.encodeWithSelector(IFLTask.PhaseOver.selector, deadline());
        vm.expectRevert(error_);
    }
}
