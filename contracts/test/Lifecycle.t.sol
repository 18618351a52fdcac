// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {TaskTest} from "./utils/TaskTest.sol";

/// @title Whole tasks, from the first join to the last wei
contract LifecycleTest is TaskTest {
    function test_aTaskRunsToItsEndAndIsDrained() public {
        begin(5);
        playToEnd();
        assertPhase(IFLTask.Phase.Completed);
        for (uint256 i; i < 5; ++i) {
            vm.assertEq(bond(i), COLLATERAL);
            vm.assertGe(credit(i), 5 ether);
        }
        assertSolvent();
        drain();
    }
}
