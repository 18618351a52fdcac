// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {IFLTaskFactory} from "../src/interfaces/IFLTaskFactory.sol";
import {ParamRules} from "../src/libraries/ParamRules.sol";
import {TaskTest} from "./utils/TaskTest.sol";

contract CreateTaskTest is TaskTest {
    // ------------------------------------------------------------------------------------------- refused terms

    function test_rewardsThatCannotPayEveryRoundAreRefused(uint256 reward) public {
        _refuse(bound(reward, 0, terms.rounds - 1), "reward");
    }

    function test_rewardsBeyondAllEtherAreRefused(uint256 reward) public {
        _refuse(bound(reward, ParamRules.MAX_WEI + 1, type(uint128).max), "reward");
    }

    function test_noRoundsAreRefused() public {
        terms.rounds = 0;
        _refuse(REWARD, "rounds");
    }

    function test_collateralsBeyondAllEtherAreRefused(uint256 collateral) public {
        terms.collateral = uint128(bound(collateral, ParamRules.MAX_WEI + 1, type(uint128).max));
        _refuse(REWARD, "collateral");
    }

    function test_seatsMustBeOrdered(uint8 minActive, uint8 minWorkers, uint8 maxWorkers) public {
        (terms.minActive, terms.minWorkers, terms.maxWorkers) = (minActive, minWorkers, maxWorkers);
        if (minActive < 2) _refuse(REWARD, "minActive");
        else if (minWorkers < minActive) _refuse(REWARD, "minWorkers");
        else if (maxWorkers < minWorkers || maxWorkers > 126) _refuse(REWARD, "maxWorkers");
        else create();
    }

    function test_anEmptyTopIsRefused() public {
        terms.topK = 0;
        _refuse(REWARD, "topK");
    }

    function test_missesMustBePossible() public {
        terms.maxMiss = 0;
        _refuse(REWARD, "maxMiss");
    }

    // ▲ 2.1.9: a worker is dropped before the task gives up, and the counter cannot overflow
    function test_maxVoidLiesBetweenMaxMissAnd254(uint8 maxMiss, uint8 maxVoid) public {
        vm.assume(maxMiss != 0);
        (terms.maxMiss, terms.maxVoid) = (maxMiss, maxVoid);
        if (maxVoid < maxMiss || maxVoid == 255) _refuse(REWARD, "maxVoid");
        else create();
    }

    function test_topShareIsHalfToAll(uint16 share) public {
        terms.topShareBps = share;
        if (share < 5000 || share > 10_000) _refuse(REWARD, "topShareBps");
        else create();
    }

    function test_sharesAboveOneAreRefused(uint16 tieBand, uint16 acceptBps, uint16 burnBps) public {
        (terms.tieBand, terms.acceptBps, terms.burnBps) = (tieBand, acceptBps, burnBps);
        if (tieBand > 10_000) _refuse(REWARD, "tieBand");
        else if (acceptBps > 10_000) _refuse(REWARD, "acceptBps");
        else if (burnBps > 10_000) _refuse(REWARD, "burnBps");
        else create();
    }

    function test_zeroToleranceIsRefused(uint16 devTol) public {
        terms.devTol = devTol;
        if (devTol == 0 || devTol > 10_000) _refuse(REWARD, "devTol");
        else create();
    }

    function test_penaltiesMustBeOrdered(uint16 slash, uint16 fee, uint16 missed) public {
        (terms.slashBps, terms.feeBps, terms.missBps) = (slash, fee, missed);
        if (slash > 10_000) _refuse(REWARD, "slashBps");
        else if (fee > slash) _refuse(REWARD, "feeBps");
        else if (missed > fee) _refuse(REWARD, "missBps");
        else create();
    }

    // ▲ 2.1.9: windows of years
    function test_windowsAreOneSecondTo60Days(uint32 window, uint8 which) public {
        terms.hardStop = uint40(T0 + 3650 days);
        bytes32 field;
        which %= 6;
        if (which == 0) (terms.joinWindow, field) = (window, "joinWindow");
        if (which == 1) (terms.trainWindow, field) = (window, "trainWindow");
        if (which == 2) (terms.openWindow, field) = (window, "openWindow");
        if (which == 3) (terms.scoreWindow, field) = (window, "scoreWindow");
        if (which == 4) (terms.revealWindow, field) = (window, "revealWindow");
        if (which == 5) (terms.attestWindow, field) = (window, "attestWindow");
        if (window == 0 || window > 60 days) _refuse(REWARD, field);
        else create();
    }

    // ▲ 2.1.9: hardStop 0, hardStop before the nominal end, hardStop of centuries
    function test_hardStopLeavesTheNominalTimeAndEndsInTenYears(uint40 hardStop) public {
        uint256 nominal = T0 + 100 + 3 * (110 + 120 + 130 + 140);
        terms.hardStop = hardStop;
        if (hardStop < nominal || hardStop > T0 + 3650 days) _refuse(REWARD, "hardStop");
        else create();
    }

    function test_hardStopRightAtItsLimits() public {
        uint256 nominal = T0 + 100 + 3 * (110 + 120 + 130 + 140);
        terms.hardStop = uint40(nominal - 1);
        _refuse(REWARD, "hardStop");
        terms.hardStop = uint40(nominal);
        create();
        terms.hardStop = uint40(T0 + 3650 days);
        create();
        terms.hardStop = uint40(T0 + 3650 days + 1);
        _refuse(REWARD, "hardStop");
    }

    function test_longCidsAndBadKeysAreRefused(uint8 spec, uint8 model, uint16 key) public {
        bytes32 field;
        if (key == 0 || key > 1024) field = "requesterKey";
        if (model > 64) field = "modelCid";
        if (spec > 64) field = "specCid";
        vm.deal(REQUESTER, REWARD);
        if (field != 0) vm.expectRevert(abi.encodeWithSelector(IFLTask.BadParams.selector, field));
        vm.prank(REQUESTER);
        factory.createTask{value: REWARD}("n", terms, new bytes(spec), new bytes(model), new bytes(key));
    }

    function test_aTaskNeedsARequester() public {
        IFLTask clone = _freshClone();
        vm.expectRevert(abi.encodeWithSelector(IFLTask.BadParams.selector, bytes32("requester")));
        clone.initializeTask{value: 1 ether}(address(0), terms, "", "", "key");
    }

    // I19: of whatever terms, the factory creates the task or names the term that is out of its limits
    function test_anyTermsAreTakenOrRefusedByName(
        IFLTask.Params memory raw,
        uint128 rawReward,
        uint8[4] memory which
    ) public {
        for (uint256 k; k < 4; ++k) {
            _replace(which[k] % 32, raw);
        }
        _createOrRefuse(which[0] % 3 == 0 ? rawReward : REWARD);
        terms = raw;
        _createOrRefuse(rawReward);
    }

    // ------------------------------------------------------------------------------------------- identity

    // ▲ 7.1: an address binds its terms
    function test_theSameTaskCannotBeCreatedTwice() public {
        create();
        vm.deal(REQUESTER, REWARD);
        vm.expectRevert(abi.encodeWithSelector(IFLTaskFactory.TaskExists.selector, address(task)));
        vm.prank(REQUESTER);
        factory.createTask{value: REWARD}("nonce", terms, "spec", "model", "key");
        vm.assertEq(REQUESTER.balance, REWARD);
    }

    function test_theAddressIsAsPredicted(bytes32 nonce, uint96 reward, uint16 devTol) public {
        terms.devTol = uint16(bound(devTol, 1, 10_000));
        uint256 value = bound(reward, 3, type(uint96).max);
        address expected = factory.predictTask(REQUESTER, nonce, terms, "spec", "model", "key", value);
        vm.deal(REQUESTER, value);
        vm.prank(REQUESTER);
        address created = factory.createTask{value: value}(nonce, terms, "spec", "model", "key");
        vm.assertEq(created, expected);
    }

    function test_anyOtherTermGivesAnotherAddress() public {
        address base = factory.predictTask(REQUESTER, "n", terms, "spec", "model", "key", 3);
        vm.assertTrue(base != factory.predictTask(STRANGER, "n", terms, "spec", "model", "key", 3));
        vm.assertTrue(base != factory.predictTask(REQUESTER, "m", terms, "spec", "model", "key", 3));
        vm.assertTrue(base != factory.predictTask(REQUESTER, "n", terms, "spec", "model", "key", 4));
        vm.assertTrue(base != factory.predictTask(REQUESTER, "n", terms, "specm", "odel", "key", 3));
        vm.assertTrue(base != factory.predictTask(REQUESTER, "n", terms, "spec", "model", "yek", 3));
        terms.slashBps += 1;
        vm.assertTrue(base != factory.predictTask(REQUESTER, "n", terms, "spec", "model", "key", 3));
    }

    // T30
    function test_theImplementationIsOverBeforeItBegins() public {
        expectWrongPhase(IFLTask.Phase.Cancelled);
        implementation.initializeTask{value: REWARD}(STRANGER, terms, "", "", "key");
    }

    function test_aTaskIsInitialisedOnce() public {
        create();
        expectWrongPhase(IFLTask.Phase.Joining);
        task.initializeTask{value: REWARD}(STRANGER, terms, "", "", "key");
    }

    // ------------------------------------------------------------------------------------------- success

    function test_aNewTaskHoldsItsTermsAndItsReward() public {
        create();
        IFLTask.Core memory c = task.core();
        assertPhase(IFLTask.Phase.Joining);
        vm.assertEq(c.deadline, T0 + 100);
        vm.assertEq(c.round, 0);
        vm.assertEq(keccak256(abi.encode(task.params())), keccak256(abi.encode(terms)));
        vm.assertEq(task.requester(), REQUESTER);
        vm.assertEq(task.rewardLeft(), REWARD);
        vm.assertEq(address(task).balance, REWARD);
        vm.assertEq(address(factory).balance, 0);
    }

    function test_creationIsLoggedByFactoryAndTask() public {
        address expected = factory.predictTask(REQUESTER, "nonce", terms, "spec", "model", "key", REWARD);
        vm.deal(REQUESTER, REWARD);
        vm.expectEmit(address(factory));
        emit IFLTaskFactory.TaskCreated(expected, REQUESTER, "nonce");
        vm.expectEmit(expected);
        emit IFLTask.TaskInitialized(REQUESTER, REWARD, terms, "spec", "model", "key", uint40(T0 + 100));
        vm.prank(REQUESTER);
        factory.createTask{value: REWARD}("nonce", terms, "spec", "model", "key");
    }

    function test_theContractsAreBelowTheSizeLimitWithRoom() public view {
        vm.assertLe(address(implementation).code.length, 24_576 - 4_096);
        vm.assertLe(address(factory).code.length, 24_576 - 4_096);
    }

    function _refuse(uint256 reward, bytes32 field) private {
        vm.deal(REQUESTER, reward);
        vm.expectRevert(abi.encodeWithSelector(IFLTask.BadParams.selector, field));
        vm.prank(REQUESTER);
        factory.createTask{value: reward}("nonce", terms, "spec", "model", "key");
        vm.assertEq(REQUESTER.balance, reward);
    }

    /// @dev Takes one of the 27 terms from others; beyond them none.
    function _replace(uint256 field, IFLTask.Params memory others) private {
        (bytes memory mine, bytes memory theirs) = (abi.encode(terms), abi.encode(others));
        if (32 * field >= mine.length) return;
        assembly ("memory-safe") {
            let offset := add(32, mul(32, field))
            mstore(add(mine, offset), mload(add(theirs, offset)))
        }
        terms = abi.decode(mine, (IFLTask.Params));
    }

    function _createOrRefuse(uint256 reward) private {
        address expected = factory.predictTask(REQUESTER, "n", terms, "spec", "model", "key", reward);
        vm.deal(REQUESTER, reward);
        vm.prank(REQUESTER);
        try factory.createTask{value: reward}("n", terms, "spec", "model", "key") returns (address created) {
            vm.assertEq(created, expected);
            vm.assertEq(created.balance, reward);
        } catch (bytes memory why) {
            vm.assertEq(why.length, 36);
            vm.assertTrue(bytes4(why) == IFLTask.BadParams.selector, "a term by its name");
            vm.assertTrue(why[4] != 0, "the name");
            vm.assertEq(REQUESTER.balance, reward);
        }
    }

    /// @dev A minimal proxy to the implementation that the factory has not opened.
    function _freshClone() private returns (IFLTask clone) {
        bytes memory code = abi.encodePacked(
            hex"3d602d80600a3d3981f3363d3d373d3d3d363d73",
            address(implementation),
            hex"5af43d82803e903d91602b57fd5bf3"
        );
        assembly ("memory-safe") {
            clone := create(0, add(code, 32), mload(code))
        }
    }
}
