// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {IFLTaskFactory} from "../src/interfaces/IFLTaskFactory.sol";
import {Vm} from "./utils/MiniTest.sol";
import {TaskTest} from "./utils/TaskTest.sol";

/// @title Gas of every call against its budget, and the snapshot of it
/// @notice Each call is a transaction of its own, measured like a receipt, refunds not counted. Steady state is the
/// second round, when no slot is written for the first time. Measured is the committed bytecode, which is what users
/// deploy: what the optimiser makes of the same sources differs by a few gas with what else a run compiles.
/// forge-config: default.isolate = true
contract GasTest is TaskTest {
    uint256 private constant TX_CAP = 1 << 24;
    uint256 private constant MEMBER_CALL_CAP = 300_000;
    uint256 private constant WORST_BUDGET = 9_000_000;
    /// @dev What a transaction pays to reach clone, implementation and library for the first time. The budgets below are
    /// PROTOCOL 3.5's, measured without it: the two commits need it on top, everything else keeps them all the same.
    uint256 private constant COLD_ACCESS = 2_400;

    string private constant ARTEFACTS = "../bfl_events/abi/";
    string private constant LINKS = ".linkReferences['src/libraries/Transitions.sol'].Transitions";
    string private constant LINK = "Link(uint256 length,uint256 start)";

    /// @dev Where the library's address belongs in the bytecode of the task.
    struct Link {
        uint256 length;
        uint256 start;
    }

    struct RoundGas {
        uint256 commitModel;
        uint256 openModel;
        uint256 commitScores;
        uint256 submitScore;
        uint256 nextRound;
    }

    function deploy() internal override {
        address transitions = _create(_bytecode("Transitions"));
        string memory artefact = vm.readFile(string.concat(ARTEFACTS, "FLTask.json"));
        bytes memory code = vm.parseJsonBytes(artefact, ".bytecode");
        Link[] memory links = abi.decode(vm.parseJsonTypeArray(artefact, LINKS, LINK), (Link[]));
        for (uint256 k; k < links.length; ++k) {
            for (uint256 b; b < links[k].length; ++b) {
                code[links[k].start + b] = bytes20(transitions)[b];
            }
        }
        implementation = IFLTask(_create(code));
        factory =
            IFLTaskFactory(_create(bytes.concat(_bytecode("FLTaskFactory"), abi.encode(implementation))));
    }

    function _bytecode(string memory name) private view returns (bytes memory) {
        return vm.parseJsonBytes(vm.readFile(string.concat(ARTEFACTS, name, ".json")), ".bytecode");
    }

    function _create(bytes memory code) private returns (address created) {
        assembly ("memory-safe") {
            created := create(0, add(code, 32), mload(code))
        }
        vm.assertTrue(created != address(0), "deployed");
    }

    // ------------------------------------------------------------------------------------------- steady state

    function test_aRoundOf3WorkersStaysInBudget() public {
        _checkSteadyState(3, RoundGas(51_000, 52_000, 50_000, 52_000, 200_000));
    }

    function test_aRoundOf5WorkersStaysInBudget() public {
        _checkSteadyState(5, RoundGas(50_000, 51_000, 49_000, 51_000, 240_000));
    }

    function test_aRoundOf30WorkersStaysInBudget() public {
        _checkSteadyState(30, RoundGas(49_000, 49_000, 48_000, 54_000, 950_000));
    }

    function test_aRoundOf126WorkersStaysInBudget() public {
        _checkSteadyState(126, RoundGas(49_000, 49_000, 48_000, 74_000, 9_000_000));
    }

    function _checkSteadyState(uint256 n, RoundGas memory budget) private {
        terms.maxWorkers = uint8(n);
        terms.topK = uint8((n + 2) / 3);
        begin(n);
        _measureRound(n);
        RoundGas memory g = _measureRound(n);
        string[] memory keys = new string[](5);
        (keys[0], keys[1], keys[2]) = ("commitModel", "openModel", "commitScores");
        (keys[3], keys[4]) = ("submitScore", "nextRound");
        uint256[] memory values = new uint256[](5);
        (values[0], values[1], values[2]) = (g.commitModel, g.openModel, g.commitScores);
        (values[3], values[4]) = (g.submitScore, g.nextRound);
        _snapshot(string.concat("round-", vm.toString(n)), keys, values);
        vm.assertLe(g.commitModel, budget.commitModel + COLD_ACCESS, "commitModel");
        vm.assertLe(g.openModel, budget.openModel, "openModel");
        vm.assertLe(g.commitScores, budget.commitScores + COLD_ACCESS, "commitScores");
        vm.assertLe(g.submitScore, budget.submitScore, "submitScore");
        vm.assertLe(g.nextRound, budget.nextRound, "nextRound");
    }

    /// @dev Means, of members' calls.
    function _measureRound(uint256 n) private returns (RoundGas memory g) {
        uint32 r = round();
        uint32 a = attempt();
        for (uint256 i; i < n; ++i) {
            bytes memory data =
                abi.encodeCall(task.commitModel, (r, a, modelCommitment(i), keccak256("base")));
            g.commitModel += _sendAsMember(worker(i), data) / n;
        }
        bytes memory cid = abi.encodePacked(keccak256("cid"), bytes4(0x01551220));
        for (uint256 i; i < n; ++i) {
            bytes memory data = abi.encodeCall(task.openModel, (r, modelHash(i), SALT, 1_700_000, cid));
            g.openModel += _sendAsMember(worker(i), data) / n;
        }
        for (uint256 i; i < n; ++i) {
            rowOf[i] = honestRow(i);
            bytes memory data = abi.encodeCall(task.commitScores, (r, a, rowCommitment(i, rowOf[i])));
            g.commitScores += _sendAsMember(worker(i), data) / n;
        }
        for (uint256 i; i < n; ++i) {
            bytes memory data = abi.encodeCall(task.submitScore, (r, rowOf[i], SALT));
            g.submitScore += _sendAsMember(worker(i), data) / n;
        }
        assertPhase(IFLTask.Phase.Settle);
        g.nextRound = _send(STRANGER, abi.encodeCall(task.nextRound, ()));
    }

    // ------------------------------------------------------------------------------------------- worst cases

    struct Worst {
        uint256 settleEjectRelease;
        uint256 deadlineSettle;
        uint256 dropAll;
        uint256 complete;
    }

    /// @dev What an adversary can pile into one call of nextRound at 126 workers stays below the budget.
    function test_theWorstSettlementsOf126WorkersStayInBudget() public {
        Worst memory w;
        w.settleEjectRelease = _settleEjectRelease(126);
        w.deadlineSettle = _deadlineSettle(126);
        w.dropAll = _dropAll(126);
        w.complete = _complete(126);
        string[] memory keys = new string[](4);
        (keys[0], keys[1], keys[2], keys[3]) = ("settleEjectRelease", "deadlineSettle", "dropAll", "complete");
        uint256[] memory values = new uint256[](4);
        (values[0], values[1]) = (w.settleEjectRelease, w.deadlineSettle);
        (values[2], values[3]) = (w.dropAll, w.complete);
        _snapshot("worst-126", keys, values);
        vm.assertLe(w.settleEjectRelease, WORST_BUDGET, "settle, eject, release");
        vm.assertLe(w.deadlineSettle, WORST_BUDGET, "deadline, settle");
        vm.assertLe(w.dropAll, WORST_BUDGET, "drop");
        vm.assertLe(w.complete, WORST_BUDGET, "complete");
    }

    /// @dev 62 models are invalid for the second time; of their 64 judges 62 leave.
    function _settleEjectRelease(uint256 n) private returns (uint256) {
        _beginWithStrikes(n);
        playTo(IFLTask.Phase.Settle);
        for (uint256 i = 62; i < 124; ++i) {
            announce(i);
        }
        return _send(STRANGER, abi.encodeCall(task.nextRound, ()));
    }

    /// @dev The same 62 do not reveal either, so that the deadline's work comes on top.
    function _deadlineSettle(uint256 n) private returns (uint256) {
        _beginWithStrikes(n);
        playTo(IFLTask.Phase.Reveal);
        revealAll(all(n) & ~all(62));
        rightAfter();
        return _send(STRANGER, abi.encodeCall(task.nextRound, ()));
    }

    function _dropAll(uint256 n) private returns (uint256) {
        setUp();
        terms.maxWorkers = uint8(n);
        terms.maxMiss = 1;
        begin(n);
        rightAfter();
        return _send(STRANGER, abi.encodeCall(task.nextRound, ()));
    }

    function _complete(uint256 n) private returns (uint256) {
        setUp();
        terms.maxWorkers = uint8(n);
        terms.rounds = 1;
        begin(n);
        playToAttest();
        for (uint256 i; i < 64; ++i) {
            _sendAsMember(worker(i), abi.encodeCall(task.attestFinal, ("final model", new bytes(36))));
        }
        rightAfter();
        return _send(STRANGER, abi.encodeCall(task.nextRound, ()));
    }

    function _beginWithStrikes(uint256 n) private {
        setUp();
        terms.maxWorkers = uint8(n);
        for (uint256 j; j < 62; ++j) {
            quality[j] = 0;
        }
        begin(n);
        playRound();
        vm.assertEq(task.invalid(), all(62));
    }

    // ------------------------------------------------------------------------------------------- once a task

    function test_creatingAndJoiningStayNearTheirMeasure() public {
        vm.deal(REQUESTER, REWARD);
        bytes memory cid = abi.encodePacked(keccak256("cid"), bytes4(0x01551220));
        uint256 creating = _measure(
            address(factory),
            REQUESTER,
            abi.encodeCall(factory.createTask, ("n", terms, cid, cid, _key())),
            REWARD
        );
        create();
        vm.deal(worker(0), COLLATERAL);
        bytes memory data = abi.encodeCall(task.joinTask, (address(0), _key(), new bytes32[](0)));
        uint256 joining = _measure(address(task), worker(0), data, COLLATERAL);
        string[] memory keys = new string[](2);
        (keys[0], keys[1]) = ("createTask", "joinTask");
        uint256[] memory values = new uint256[](2);
        (values[0], values[1]) = (creating, joining);
        _snapshot("once", keys, values);
        vm.assertLe(creating, 460_000, "createTask");
        vm.assertLe(joining, 200_000, "joinTask");
    }

    /// @dev Members' calls that are no duty of a round, at their dearest.
    function test_leavingAndMessagesStayBelowTheCapOfMembersCalls() public {
        string[] memory keys = new string[](4);
        (keys[0], keys[1]) = ("leaveWhileJoining", "rotateKey");
        (keys[2], keys[3]) = ("notice", "leave");
        uint256[] memory values = new uint256[](4);
        create();
        joinAll(30);
        values[0] = _sendAsMember(worker(29), abi.encodeCall(task.removeWorker, ()));
        start();
        values[1] = _sendAsMember(worker(0), abi.encodeCall(task.rotateKey, (_bytes(1024))));
        bytes memory message = abi.encodeCall(task.notice, (2, 1, worker(1), keccak256("ref"), _bytes(64)));
        values[2] = _sendAsMember(worker(0), message);
        commitAll(all(28));
        values[3] = _sendAsMember(worker(28), abi.encodeCall(task.removeWorker, ()));
        assertPhase(IFLTask.Phase.Open);
        _snapshot("seldom", keys, values);
    }

    /// @dev A DER key of 3,072 bits.
    function _key() private pure returns (bytes memory) {
        return _bytes(422);
    }

    /// @dev As dear as calldata can be.
    function _bytes(uint256 length) private pure returns (bytes memory filled) {
        filled = new bytes(length);
        for (uint256 k; k < length; ++k) {
            filled[k] = 0x5a;
        }
    }

    // ------------------------------------------------------------------------------------------- measuring

    function _sendAsMember(address from, bytes memory data) private returns (uint256 used) {
        used = _measure(address(task), from, data, 0);
        vm.assertLe(used, MEMBER_CALL_CAP, "I14: a member's call");
    }

    function _send(address from, bytes memory data) private returns (uint256 used) {
        used = _measure(address(task), from, data, 0);
        vm.assertLe(used, TX_CAP, "I14: the cap of a transaction");
    }

    function _measure(address target, address from, bytes memory data, uint256 value)
        private
        returns (uint256 used)
    {
        bool done;
        vm.prank(from);
        (done,) = target.call{value: value}(data);
        vm.assertTrue(done, "call");
        Vm.Gas memory gas = vm.lastCallGas();
        used = gas.gasTotalUsed + uint256(int256(gas.gasRefunded));
    }

    /// @dev Compares with the committed snapshot, or writes it when asked to.
    function _snapshot(string memory name, string[] memory keys, uint256[] memory values) private {
        string memory path = string.concat("snapshots/", name, ".json");
        if (vm.envOr("SNAPSHOT_UPDATE", false)) {
            string memory json;
            for (uint256 k; k < keys.length; ++k) {
                json = vm.serializeUint(name, keys[k], values[k]);
            }
            vm.writeJson(json, path);
            return;
        }
        string memory committed = vm.readFile(path);
        for (uint256 k; k < keys.length; ++k) {
            uint256 expected = vm.parseJsonUint(committed, string.concat(".", keys[k]));
            vm.assertEq(
                values[k], expected, string.concat("SNAPSHOT_UPDATE=true updates ", path, ": ", keys[k])
            );
        }
    }
}
