// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {IFLTask} from "./interfaces/IFLTask.sol";
import {Faults} from "./libraries/Faults.sol";
import {ParamRules} from "./libraries/ParamRules.sol";
import {MAX_SEATS, Roster} from "./libraries/Roster.sol";
import {Rounds} from "./libraries/Rounds.sol";
import {ScoreMath} from "./libraries/ScoreMath.sol";
import {TaskStorage} from "./libraries/TaskStorage.sol";
import {Transitions} from "./libraries/Transitions.sol";

/// @title One federated-learning task
/// @dev Members' calls, payments and views are here, the transitions that anybody may trigger in Transitions: the
/// passage of phases in Rounds, the judgement of a round in Scoring, its money in Settlement.
contract FLTask is IFLTask, ReentrancyGuardTransient {
    using Roster for uint256;
    using Rounds for TaskStorage.State;

    uint8 private constant NEED_MODEL = 1;
    uint8 private constant CHECKPOINT = 3;
    /// @dev Nobody has its key.
    address private constant FURNACE = address(0xdEaD);

    TaskStorage.State private _s;

    /// @dev The implementation behind the clones is over before it begins.
    constructor() {
        _s.core.phase = Phase.Cancelled;
    }

    // ------------------------------------------------------------------------------------------- joining

    /// @inheritdoc IFLTask
    function initializeTask(
        address requester_,
        Params calldata p,
        bytes calldata specCid,
        bytes calldata modelCid,
        bytes calldata requesterKey
    ) external payable {
        _requirePhase(_s.core, Phase.None);
        ParamRules.check(p, msg.value);
        if (requester_ == address(0)) revert BadParams("requester");
        if (!ParamRules.isCid(specCid)) revert BadParams("specCid");
        if (!ParamRules.isCid(modelCid)) revert BadParams("modelCid");
        if (!ParamRules.isKey(requesterKey)) revert BadParams("requesterKey");

        uint40 deadline = uint40(block.timestamp + p.joinWindow);
        _s.core = Core(Phase.Joining, 0, 0, deadline, 0, 0, 0, 0);
        _s.params = p;
        _s.requester = requester_;
        _s.rewardLeft = uint128(msg.value);
        emit TaskInitialized(requester_, msg.value, p, specCid, modelCid, requesterKey, deadline);
    }

    /// @inheritdoc IFLTask
    function joinTask(address payout, bytes calldata encKey, bytes32[] calldata proof) external payable {
        Core memory c = _s.core;
        bool running = _isRunning(c.phase);
        if (!running) _requirePhase(c, Phase.Joining);
        else if (!_s.params.lateJoin || c.round == _s.params.rounds) revert WrongPhase(c.phase);
        _requireInTime(c);
        if (_s.indexPlus1[msg.sender] != 0) revert AlreadyRegistered();
        if (msg.sender == _s.requester) revert NotAllowed();
        if (!ParamRules.isKey(encKey) || payout == address(this) || msg.value != _s.params.collateral) {
            revert BadValue();
        }
        _requireListed(proof);

        uint256 seat = running ? c.count : uint256(_s.active).firstFree();
        if (seat >= _s.params.maxWorkers) revert Full();
        if (seat == c.count) _s.core.count = uint8(seat + 1);
        if (running) _s.pending |= uint128(1 << seat);
        else _s.active |= uint128(1 << seat);
        _s.indexPlus1[msg.sender] = seat + 1;
        Worker storage w = _s.workers[seat];
        w.account = msg.sender;
        w.joinRound = c.round + 1;
        w.status = TaskStorage.MEMBER;
        w.bond = uint128(msg.value);
        w.payout = payout == address(0) ? msg.sender : payout;
        emit WorkerJoined(msg.sender, uint8(seat), w.payout, msg.value, c.round + 1, encKey);
    }

    /// @inheritdoc IFLTask
    function removeWorker() external nonReentrant {
        uint256 seat = _seatOf(msg.sender);
        Core memory c = _s.core;
        if (c.phase == Phase.Joining) return _giveUpSeat(seat);
        if (!_isRunning(c.phase)) revert WrongPhase(c.phase);
        _requireInTime(c);
        if (!uint256(_s.active | _s.pending).has(seat)) revert NotActive();
        if (uint256(_s.leaving).has(seat)) revert AlreadyDone();

        _s.leaving |= uint128(1 << seat);
        _s.workers[seat].status = TaskStorage.LEAVING;
        emit WorkerLeaving(c.round, msg.sender);
        if (c.phase != Phase.Train || !uint256(_s.active & ~_s.committed).has(seat)) return;
        _s.excused |= uint128(1 << seat);
        _s.leaveIfComplete(c);
    }

    /// @inheritdoc IFLTask
    function startTask() external {
        Transitions.start(_s);
    }

    /// @inheritdoc IFLTask
    function cancelTask() external {
        Transitions.cancel(_s);
    }

    // ------------------------------------------------------------------------------------------- a round

    /// @inheritdoc IFLTask
    function commitModel(uint32 round, uint32 attempt, bytes32 commitment, bytes32 baseHash) external {
        (Core memory c, uint256 seat) = _actor(Phase.Train, round);
        if (c.attempt != attempt) revert WrongAttempt(c.attempt);

        _s.workers[seat].commitment = commitment;
        _s.committed |= uint128(1 << seat);
        if (uint256(_s.excused).has(seat)) _s.excused &= ~uint128(1 << seat);
        emit ModelCommitted(round, msg.sender, attempt, commitment, baseHash);
        _s.leaveIfComplete(c);
    }

    /// @inheritdoc IFLTask
    function openModel(uint32 round, bytes32 modelHash, bytes32 salt, uint64 size, bytes calldata cid)
        external
    {
        (Core memory c, uint256 seat) = _actor(Phase.Open, round);
        if (uint256(_s.opened).has(seat)) revert AlreadyDone();
        if (!ParamRules.isCid(cid)) revert BadValue();
        bytes32 commitment = keccak256(
            abi.encode("FLModel", block.chainid, address(this), round, c.attempt, msg.sender, modelHash, salt)
        );
        if (!uint256(_s.committed).has(seat) || _s.workers[seat].commitment != commitment) {
            revert BadReveal();
        }

        _s.opened |= uint128(1 << seat);
        emit ModelSubmitted(round, msg.sender, c.attempt, modelHash, salt, size, cid);
        _s.leaveIfComplete(c);
    }

    /// @inheritdoc IFLTask
    function commitScores(uint32 round, uint32 attempt, bytes32 commitment) external {
        (Core memory c, uint256 seat) = _actor(Phase.Score, round);
        if (c.attempt != attempt) revert WrongAttempt(c.attempt);

        _s.workers[seat].commitment = commitment;
        _s.scored |= uint128(1 << seat);
        emit ScoresCommitted(round, msg.sender, attempt, commitment);
        _s.leaveIfComplete(c);
    }

    /// @inheritdoc IFLTask
    function submitScore(uint32 round, uint256[] calldata row, bytes32 salt) external {
        (Core memory c, uint256 seat) = _actor(Phase.Reveal, round);
        if (uint256(_s.revealed).has(seat)) revert AlreadyDone();
        bytes32 commitment = keccak256(
            abi.encode("FLScore", block.chainid, address(this), round, c.attempt, msg.sender, row, salt)
        );
        if (!uint256(_s.scored).has(seat) || _s.workers[seat].commitment != commitment) revert BadReveal();
        _requireRow(row, c.lanes, seat);

        _s.revealed |= uint128(1 << seat);
        for (uint256 w; w < row.length; ++w) {
            _s.rows[seat][w] = row[w];
        }
        emit ScoresSubmitted(round, msg.sender, c.attempt, row, salt);
        _s.leaveIfComplete(c);
    }

    /// @inheritdoc IFLTask
    function nextRound() external {
        Transitions.advance(_s);
    }

    /// @inheritdoc IFLTask
    function submitRoundTopK() external {
        Transitions.score(_s);
    }

    /// @inheritdoc IFLTask
    function distributeRewards() external {
        Transitions.settle(_s);
    }

    // ------------------------------------------------------------------------------------------- the end

    /// @inheritdoc IFLTask
    function attestFinal(bytes32 hash, bytes calldata cid) external {
        Core memory c = _s.core;
        _requirePhase(c, Phase.Attest);
        _requireInTime(c);
        uint256 seat = _seatOf(msg.sender);
        uint256 active_ = _s.active;
        if (!active_.has(seat)) revert NotActive();
        if (uint256(_s.attested).has(seat)) revert AlreadyDone();
        if (hash == 0 || !ParamRules.isCid(cid)) revert BadValue();

        _s.attested |= uint128(1 << seat);
        _s.workers[seat].commitment = hash;
        uint256 votes = _s.votes[hash] + 1;
        _s.votes[hash] = votes;
        emit FinalAttested(msg.sender, hash, cid);
        if (_s.finalHash != 0 || 2 * votes <= active_.size()) return;
        _s.finalHash = hash;
        emit FinalModelAccepted(hash, votes);
    }

    /// @inheritdoc IFLTask
    function completeTask() external {
        Transitions.complete(_s);
    }

    /// @inheritdoc IFLTask
    function withdraw(address worker) external nonReentrant {
        uint256 index = _s.indexPlus1[worker];
        if (index == 0) revert NothingToWithdraw();
        Worker storage w = _s.workers[index - 1];
        uint256 amount = w.credit;
        w.credit = 0;
        if (_isOver()) {
            amount += w.bond;
            w.bond = 0;
        }
        if (amount == 0) revert NothingToWithdraw();
        address to = w.payout;
        emit Withdrawn(worker, to, amount);
        _send(to, amount);
    }

    /// @inheritdoc IFLTask
    function refund() external nonReentrant {
        if (!_isOver()) revert WrongPhase(_s.core.phase);
        uint256 amount = _s.rewardLeft;
        if (amount == 0) revert NothingToWithdraw();
        _s.rewardLeft = 0;
        address to = _s.requester;
        emit Refunded(to, amount);
        _send(to, amount);
    }

    /// @inheritdoc IFLTask
    function burn() external nonReentrant {
        if (!_isOver()) revert WrongPhase(_s.core.phase);
        uint256 amount = _s.burnPool;
        if (amount == 0) revert NothingToWithdraw();
        _s.burnPool = 0;
        emit Burned(amount);
        _send(FURNACE, amount);
    }

    // ------------------------------------------------------------------------------------------- messages

    /// @inheritdoc IFLTask
    function rotateKey(bytes calldata encKey) external {
        if (msg.sender != _s.requester) _requireMember(msg.sender);
        if (!ParamRules.isKey(encKey)) revert BadValue();
        emit KeyRotated(msg.sender, _s.core.round + 1, encKey);
    }

    /// @inheritdoc IFLTask
    function notice(uint8 kind, uint32 round, address to, bytes32 ref, bytes calldata cid) external {
        if (msg.sender != _s.requester || kind != NEED_MODEL) _requireMember(msg.sender);
        if (kind < NEED_MODEL || kind > CHECKPOINT || !ParamRules.isCid(cid)) revert BadValue();
        emit Notice(kind, round, msg.sender, to, ref, cid);
    }

    // ------------------------------------------------------------------------------------------- views

    /// @inheritdoc IFLTask
    function getSubmissions() external view returns (address[] memory who, uint256[][] memory rows) {
        uint256 set = _s.revealed;
        uint256 words = ScoreMath.wordCount(_s.core.lanes);
        who = new address[](set.size());
        rows = new uint256[][](who.length);
        uint256 next;
        for (uint256 seat; set >> seat != 0; ++seat) {
            if (!set.has(seat)) continue;
            who[next] = _s.workers[seat].account;
            rows[next] = new uint256[](words);
            for (uint256 w; w < words; ++w) {
                rows[next][w] = _s.rows[seat][w];
            }
            ++next;
        }
    }

    /// @inheritdoc IFLTask
    function core() external view returns (Core memory) {
        return _s.core;
    }

    /// @inheritdoc IFLTask
    function params() external view returns (Params memory) {
        return _s.params;
    }

    /// @inheritdoc IFLTask
    function requester() external view returns (address) {
        return _s.requester;
    }

    /// @inheritdoc IFLTask
    function workers(uint256 index) external view returns (Worker memory w) {
        if (index < MAX_SEATS) w = _s.workers[index];
    }

    /// @inheritdoc IFLTask
    function indexPlus1(address account) external view returns (uint256) {
        return _s.indexPlus1[account];
    }

    /// @inheritdoc IFLTask
    function rewardLeft() external view returns (uint256) {
        return _s.rewardLeft;
    }

    /// @inheritdoc IFLTask
    function forfeitPool() external view returns (uint256) {
        return _s.forfeitPool;
    }

    /// @inheritdoc IFLTask
    function burnPool() external view returns (uint256) {
        return _s.burnPool;
    }

    /// @inheritdoc IFLTask
    function finalHash() external view returns (bytes32) {
        return _s.finalHash;
    }

    /// @inheritdoc IFLTask
    function active() external view returns (uint256) {
        return _s.active;
    }

    /// @inheritdoc IFLTask
    function pending() external view returns (uint256) {
        return _s.pending;
    }

    /// @inheritdoc IFLTask
    function leaving() external view returns (uint256) {
        return _s.leaving;
    }

    /// @inheritdoc IFLTask
    function dropped() external view returns (uint256) {
        return _s.dropped;
    }

    /// @inheritdoc IFLTask
    function excused() external view returns (uint256) {
        return _s.excused;
    }

    /// @inheritdoc IFLTask
    function roster() external view returns (uint256) {
        return _s.roster;
    }

    /// @inheritdoc IFLTask
    function committed() external view returns (uint256) {
        return Roster.seats(_s.committed);
    }

    /// @inheritdoc IFLTask
    function opened() external view returns (uint256) {
        return _s.opened;
    }

    /// @inheritdoc IFLTask
    function scored() external view returns (uint256) {
        return Roster.seats(_s.scored);
    }

    /// @inheritdoc IFLTask
    function revealed() external view returns (uint256) {
        return _s.revealed;
    }

    /// @inheritdoc IFLTask
    function accepted() external view returns (uint256) {
        return Roster.seats(_s.accepted);
    }

    /// @inheritdoc IFLTask
    function top() external view returns (uint256) {
        return _s.top;
    }

    /// @inheritdoc IFLTask
    function deviant() external view returns (uint256) {
        return Roster.seats(_s.deviant);
    }

    /// @inheritdoc IFLTask
    function invalid() external view returns (uint256) {
        return _s.invalid;
    }

    /// @inheritdoc IFLTask
    function attested() external view returns (uint256) {
        return _s.attested;
    }

    // ------------------------------------------------------------------------------------------- checks

    function _requirePhase(Core memory c, Phase phase) private pure {
        if (c.phase != phase) revert WrongPhase(c.phase);
    }

    /// @dev Settle has no deadline.
    function _requireInTime(Core memory c) private view {
        if (c.phase != Phase.Settle && block.timestamp > c.deadline) revert PhaseOver(c.deadline);
    }

    /// @dev The caller's seat, if it may act in this phase of this round.
    function _actor(Phase phase, uint32 round) private view returns (Core memory c, uint256 seat) {
        c = _s.core;
        _requirePhase(c, phase);
        _requireInTime(c);
        seat = _seatOf(msg.sender);
        if (!uint256(_s.active).has(seat)) revert NotActive();
        if (c.round != round) revert WrongRound(c.round);
    }

    function _seatOf(address account) private view returns (uint256) {
        uint256 index = _s.indexPlus1[account];
        if (index == 0) revert NotActive();
        return index - 1;
    }

    function _requireMember(address account) private view {
        if (!uint256(_s.active | _s.pending).has(_seatOf(account))) revert NotActive();
    }

    function _requireListed(bytes32[] calldata proof) private view {
        bytes32 root = _s.params.allowRoot;
        if (root == 0) return;
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(msg.sender))));
        if (!MerkleProof.verifyCalldata(proof, root, leaf)) revert NotAllowed();
    }

    function _requireRow(uint256[] calldata row, uint256 lanes, uint256 seat) private pure {
        if (row.length != ScoreMath.wordCount(lanes)) revert BadScores();
        for (uint256 w; w < row.length; ++w) {
            if (!ScoreMath.areScores(row[w])) revert BadScores();
        }
        uint256 own = seat + ScoreMath.CONTROL_LANES;
        if (ScoreMath.lane(row[own / 16], own) != 0) revert BadScores();
        if (lanes % 16 != 0 && row[row.length - 1] >> (16 * (lanes % 16)) != 0) revert BadScores();
    }

    function _isRunning(Phase phase) private pure returns (bool) {
        return phase >= Phase.Train && phase <= Phase.Settle;
    }

    function _isOver() private view returns (bool) {
        return _s.core.phase >= Phase.Completed;
    }

    // ------------------------------------------------------------------------------------------- steps

    function _giveUpSeat(uint256 seat) private {
        Worker storage w = _s.workers[seat];
        (address to, uint256 bond) = (w.payout, w.bond);
        _s.active &= ~uint128(1 << seat);
        delete _s.workers[seat];
        delete _s.indexPlus1[msg.sender];
        emit WorkerRemoved(0, msg.sender, Faults.LEFT, bond);
        if (bond == 0) return;
        emit Withdrawn(msg.sender, to, bond);
        _send(to, bond);
    }

    function _send(address to, uint256 amount) private {
        (bool done,) = to.call{value: amount}("");
        if (!done) revert TransferFailed();
    }
}
