// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../../src/interfaces/IFLTask.sol";
import {Roster} from "../../src/libraries/Roster.sol";
import {TaskStorage} from "../../src/libraries/TaskStorage.sol";
import {MiniTest, Vm} from "./MiniTest.sol";

/// @dev The first slot, as in FLTask.
abstract contract TaskSlots {
    TaskStorage.State internal state;
}

/// @title Reads vectors/rules.json, and is a clone whose storage a test may write
/// @notice The contract's own code runs on it by delegatecall, as on any clone.
abstract contract VectorTest is TaskSlots, MiniTest {
    /// @dev One number of every worker a column.
    struct Seats {
        uint256[] bond;
        uint256[] credit;
        uint256[] strikes;
        uint256[] missStreak;
        uint256[] lowStreak;
        uint256[] unopened;
    }

    uint256 internal constant T0 = 1_700_000_000;

    address private _implementation;
    uint256 private _seatsFilled;

    function setUp() public {
        vm.warp(T0);
        _implementation = vm.deployCode("FLTask.sol:FLTask");
        state.core.phase = IFLTask.Phase.Attest;
        (, bytes memory core) = _implementation.delegatecall(abi.encodeCall(IFLTask.core, ()));
        vm.assertTrue(abi.decode(core, (IFLTask.Core)).phase == IFLTask.Phase.Attest, "the same slots");
    }

    /// @dev Runs one of the contract's functions on the state and returns what it logged.
    function run(bytes4 selector) internal returns (Vm.Log[] memory) {
        vm.recordLogs();
        (bool done,) = _implementation.delegatecall(abi.encodePacked(selector));
        vm.assertTrue(done, "the contract refused");
        return vm.getRecordedLogs();
    }

    function section(string memory name, string memory description) internal view returns (bytes memory) {
        string memory json = vm.readFile("test/vectors/rules.json");
        return vm.parseJsonTypeArray(json, string.concat("$.", name), description);
    }

    function worker(uint256 i) internal pure returns (address) {
        return address(uint160(0x10000 + i));
    }

    /// @dev The state's workers as the columns say, all of them members; those of the case before are gone.
    function fillSeats(Seats memory seats) internal {
        uint256 n = seats.bond.length;
        for (uint256 i; i < _seatsFilled; ++i) {
            delete state.workers[i];
        }
        for (uint256 i; i < n; ++i) {
            IFLTask.Worker storage w = state.workers[i];
            (w.account, w.status) = (worker(i), TaskStorage.MEMBER);
            (w.bond, w.credit) = (uint128(seats.bond[i]), uint128(seats.credit[i]));
            (w.strikes, w.missStreak) = (uint8(seats.strikes[i]), uint8(seats.missStreak[i]));
            (w.lowStreak, w.unopened) = (uint8(seats.lowStreak[i]), uint8(seats.unopened[i]));
        }
        _seatsFilled = n;
    }

    function checkSeats(Seats memory seats, string memory name) internal view {
        for (uint256 i; i < seats.bond.length; ++i) {
            IFLTask.Worker storage w = state.workers[i];
            vm.assertEq(w.bond, seats.bond[i], string.concat(name, ": bond"));
            vm.assertEq(w.credit, seats.credit[i], string.concat(name, ": credit"));
            vm.assertEq(w.strikes, seats.strikes[i], string.concat(name, ": strikes"));
            vm.assertEq(w.missStreak, seats.missStreak[i], string.concat(name, ": missStreak"));
            vm.assertEq(w.lowStreak, seats.lowStreak[i], string.concat(name, ": lowStreak"));
            vm.assertEq(w.unopened, seats.unopened[i], string.concat(name, ": unopened"));
        }
    }

    /// @dev As the contract stores the sets that empty every round.
    function marked(uint256 set) internal pure returns (uint128) {
        return Roster.withSentinel(set);
    }
}
