// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFLTask} from "../src/interfaces/IFLTask.sol";
import {TaskTest} from "./utils/TaskTest.sol";

contract AttestFinalTest is TaskTest {
    bytes32 private constant GOOD = "final model";

    // ------------------------------------------------------------------------------------------- reverts

    function test_attestingBelongsToAttest(uint8 steps) public {
        begin(3);
        IFLTask.Phase here = IFLTask.Phase(uint8(IFLTask.Phase.Train) + steps % 5);
        playTo(here);
        expectWrongPhase(here);
        vm.prank(worker(0));
        task.attestFinal(GOOD, "");
    }

    function test_attestingRightBeforeTheDeadlineWorksRightAfterItDoesNot() public {
        begin(3);
        playToAttest();
        rightBefore();
        attest(0, GOOD);
        rightAfter();
        expectPhaseOver();
        vm.prank(worker(1));
        task.attestFinal(GOOD, "");
    }

    function test_strangersCannotAttest(address who) public {
        begin(3);
        playToAttest();
        vm.assume(task.indexPlus1(who) == 0);
        vm.expectRevert(IFLTask.NotActive.selector);
        vm.prank(who);
        task.attestFinal(GOOD, "");
    }

    function test_aWorkerAttestsOnce() public {
        begin(3);
        playToAttest();
        attest(0, GOOD);
        vm.expectRevert(IFLTask.AlreadyDone.selector);
        vm.prank(worker(0));
        task.attestFinal("another", "");
    }

    // ▲ 2.5
    function test_theZeroHashIsNoModel() public {
        begin(3);
        playToAttest();
        vm.expectRevert(IFLTask.BadValue.selector);
        vm.prank(worker(0));
        task.attestFinal(0, "");
    }

    function test_cidsHaveAtMost64Bytes(uint8 length) public {
        begin(3);
        playToAttest();
        if (length > 64) vm.expectRevert(IFLTask.BadValue.selector);
        vm.prank(worker(0));
        task.attestFinal(GOOD, new bytes(length));
    }

    // ------------------------------------------------------------------------------------------- success

    function test_anAttestationIsLogged(bytes32 hash, bytes32 cid) public {
        vm.assume(hash != 0);
        begin(3);
        playToAttest();
        vm.expectEmit(address(task));
        emit IFLTask.FinalAttested(worker(1), hash, abi.encode(cid));
        vm.prank(worker(1));
        task.attestFinal(hash, abi.encode(cid));
        vm.assertEq(task.attested(), 2);
        vm.assertEq(task.workers(1).commitment, hash);
        vm.assertEq(task.finalHash(), 0);
    }

    // 2.5: the first hash with more than half of the active
    function test_moreThanHalfMakeAHashFinal(uint8 size) public {
        terms.rounds = 1;
        uint256 n = bound(size, 3, 12);
        begin(n);
        playToAttest();
        for (uint256 i; i < n; ++i) {
            if (i == n / 2) {
                vm.assertEq(task.finalHash(), 0);
                vm.expectEmit(address(task));
                emit IFLTask.FinalAttested(worker(i), GOOD, new bytes(36));
                vm.expectEmit(address(task));
                emit IFLTask.FinalModelAccepted(GOOD, n / 2 + 1);
            }
            attest(i, GOOD);
            if (i >= n / 2) vm.assertEq(task.finalHash(), GOOD);
        }
    }

    // ▲ 2.1.10: an attestation never completes the task, its gas would jump
    function test_theLastAttestationLeavesCompletingToAnybody() public {
        begin(3);
        playToAttest();
        attestAll(7, GOOD);
        assertPhase(IFLTask.Phase.Attest);
        task.nextRound();
        assertPhase(IFLTask.Phase.Completed);
    }

    // ------------------------------------------------------------------------------------------- the forfeits

    function test_votersShareTheForfeitsAndTheAbsentAddToThem() public {
        _toAttestWithForfeits();
        uint256 waiting = task.forfeitPool();
        vm.assertEq(waiting, COLLATERAL / 10);
        attestAll(7, GOOD);
        attest(3, "wrong");
        uint256[5] memory before;
        for (uint256 i; i < 5; ++i) {
            before[i] = credit(i);
        }
        uint256 left = bond(4);
        rightAfter();
        uint256 fine = COLLATERAL / 20;
        uint256 share = (waiting + fine) / 3;
        vm.expectEmit(address(task));
        emit IFLTask.WorkerPenalized(1, worker(4), 6, fine, left - fine, 0);
        vm.expectEmit(address(task));
        emit IFLTask.FinalForfeits(7, share, waiting + fine - 3 * share);
        vm.expectEmit(address(task));
        emit IFLTask.TaskEnded(IFLTask.Phase.Completed, REWARD, waiting + fine - 3 * share);
        task.nextRound();
        for (uint256 i; i < 3; ++i) {
            vm.assertEq(credit(i) - before[i], share);
        }
        vm.assertEq(credit(3), before[3], "another vote costs nothing and earns nothing");
        vm.assertEq(bond(3), COLLATERAL);
        drain();
    }

    // ▲ 2.5: without a final hash nobody pays and forfeits are burned
    function test_withoutAMajorityNobodyPaysAndForfeitsAreBurned() public {
        _toAttestWithForfeits();
        uint256 left = bond(4);
        uint256 waiting = task.forfeitPool();
        attest(0, "a");
        attest(1, "b");
        rightAfter();
        task.nextRound();
        assertPhase(IFLTask.Phase.Completed);
        vm.assertEq(task.finalHash(), 0);
        vm.assertEq(bond(4), left);
        vm.assertEq(task.burnPool(), waiting);
        drain();
    }

    function test_aSplitVoteCompletesVisibly() public {
        terms.rounds = 1;
        begin(4);
        playToAttest();
        attestAll(3, "a");
        attestAll(12, "b");
        task.nextRound();
        assertPhase(IFLTask.Phase.Completed);
        vm.assertEq(task.finalHash(), 0);
        drain();
    }

    /// @dev One round in which nobody is eligible and one does not reveal: its fee waits.
    function _toAttestWithForfeits() private {
        terms.rounds = 1;
        begin(5);
        for (uint256 j; j < 5; ++j) {
            quality[j] = 0;
        }
        playTo(IFLTask.Phase.Reveal);
        revealAll(15);
        miss();
        assertPhase(IFLTask.Phase.Attest);
    }
}
