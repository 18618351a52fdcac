// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title One federated-learning task: members, phases, scores and money
/// @notice A requester locks a reward; workers lock a collateral each and train a model together, round after round,
/// without anybody in charge. A round has four phases, each with a deadline:
///
///   Train   every worker commits to the hash of its model;
///   Open    it opens the commitment and publishes the model, encrypted for the other members;
///   Score   it commits to its scores of all opened models;
///   Reveal  it reveals them;
///
/// then Settle computes medians, acceptance, rewards and penalties from the revealed rows alone. A phase ends early
/// when all who are expected have acted, else by its deadline. Every transition can be triggered by anybody, through
/// `nextRound`; after `startTask` the requester has no power at all. After the last round the members attest the
/// final model's hash, and the task ends.
///
/// Words. A *seat* is a worker's index, 0 ... 125, given at joining and never to two workers at once. A *bitmap* has
/// bit i for seat i. *Active* workers take part in the running round; *pending* ones join at the next boundary. The
/// *boundary* follows a settlement and is the only moment at which the roster grows or bonds are released. The
/// *quorum* is a majority of the active, at least two. *bps* are ten-thousandths, of the collateral C where money is
/// concerned. All money is wei.
///
/// Time. At a deadline itself acting is allowed; later is strictly greater. A member's call after the deadline
/// reverts `PhaseOver`: the work that a deadline makes due is done by `nextRound` alone.
///
/// Logs. The whole state follows from the events in order. Each event says below what it changes; what it does not
/// mention stays as it is.
interface IFLTask {
    // ------------------------------------------------------------------------------------------------- types

    /// @notice Where the task stands; it only moves forward, except that the four phases of a round repeat.
    /// Completed, Cancelled and Expired are final.
    enum Phase {
        None,
        Joining,
        Train,
        Open,
        Score,
        Reveal,
        Settle,
        Attest,
        Completed,
        Cancelled,
        Expired
    }

    /// @notice The terms of a task, fixed for its life.
    struct Params {
        /// Rounds of training, N.
        uint32 rounds;
        /// Workers without which the task does not start.
        uint8 minWorkers;
        /// Active workers without which it expires; 2 ... minWorkers.
        uint8 minActive;
        /// Seats; at most 126.
        uint8 maxWorkers;
        /// Workers that share the top pool of a round.
        uint8 topK;
        /// Whether workers may join while the task runs.
        bool lateJoin;
        /// Whether lane 1 of a row holds the score of the audit model.
        bool auditLane;
        /// Share of a round's reward that goes to the top pool; 5000 ... 10000.
        uint16 topShareBps;
        /// Scores this far below the K-th count as equal to it and take turns; who beats the worst of them by more is first.
        uint16 tieBand;
        /// A model is accepted from this share of the median quality on.
        uint16 acceptBps;
        /// A reading further than this from the medians is an outlier; 1 ... 10000.
        uint16 devTol;
        /// Penalty for an invalid model; half of it for repeated low quality or repeatedly unopened models.
        uint16 slashBps;
        /// Penalty for scores not revealed, scores that deviate, a model not opened.
        uint16 feeBps;
        /// Penalty for a missed round or a missed attestation.
        uint16 missBps;
        /// Share of the forfeits that is burned instead of paid to the eligible.
        uint16 burnBps;
        /// Misses in a row after which a worker is out.
        uint8 maxMiss;
        /// Every so-many rounds of low quality in a row are a fault; 0: never.
        uint8 maxLow;
        /// Deadlines missed below the quorum between two settlements that the task survives; maxMiss ... 254.
        uint8 maxVoid;
        /// Seconds for joining.
        uint32 joinWindow;
        /// Seconds of each phase.
        uint32 trainWindow;
        uint32 openWindow;
        uint32 scoreWindow;
        uint32 revealWindow;
        uint32 attestWindow;
        /// Time after which the task can be expired by anybody.
        uint40 hardStop;
        /// Bond of each worker, C.
        uint128 collateral;
        /// Root of the OpenZeppelin Merkle tree of ["address"] of those who may join; 0: anybody.
        bytes32 allowRoot;
        /// SHA-256 of the canonical bytes of the initial model.
        bytes32 modelHash;
        /// SHA-256 of the task's specification.
        bytes32 specHash;
    }

    /// @notice The position of the task.
    struct Core {
        Phase phase;
        /// 0 while joining, then 1 ... rounds.
        uint32 round;
        /// Counts from 1 over the whole task, never resets: each round and each restart of a round has its own.
        uint32 attempt;
        /// Last second of the phase; 0 in Settle, which has none. Keeps its last value after the end.
        uint40 deadline;
        /// Seats assigned so far.
        uint8 count;
        /// Lanes of this round's rows: 2 + count when the round began.
        uint8 lanes;
        /// Deadlines missed below the quorum since the last settlement.
        uint8 voids;
        /// Progress of the settlement: 0 nothing, 1 scored, 2 paid.
        uint8 step;
    }

    /// @notice A seat. All zero if it was never taken, or was given up while joining.
    struct Worker {
        address account;
        /// First round it takes part in.
        uint32 joinRound;
        /// Serious faults so far; the second ejects.
        uint8 strikes;
        /// Rounds and phases missed in a row.
        uint8 missStreak;
        /// Rounds of low quality in a row.
        uint8 lowStreak;
        /// Times it committed a model and did not open it.
        uint8 unopened;
        /// 0 free seat; 1 member: active or pending; 2 leaving: announced, still a member until the boundary;
        /// 3 gone: left, ejected or dropped. The bond of a dropped worker is held while its bit in `dropped` is set.
        uint8 status;
        /// What is left of its collateral.
        uint128 bond;
        /// What it may withdraw now.
        uint128 credit;
        /// Its last commitment: of a model, then of scores, at last the hash it attested.
        bytes32 commitment;
        /// Where its money goes, for ever.
        address payout;
    }

    // ------------------------------------------------------------------------------------------------- errors

    /// @notice The call does not belong to this phase.
    error WrongPhase(Phase have);
    /// @notice The phase's time is over; `nextRound` is due.
    error PhaseOver(uint40 deadline);
    /// @notice No deadline has passed and nothing waits to be computed.
    error NothingDue();
    /// @notice The caller is not a member that may do this.
    error NotActive();
    /// @notice Another round is running.
    error WrongRound(uint32 have);
    /// @notice Another attempt at this round is running.
    error WrongAttempt(uint32 have);
    /// @notice This term is out of its limits; ASCII name of the field, padded with zeros.
    error BadParams(bytes32 field);
    /// @notice A wrong amount of ether, a key, CID, hash, kind or payout address that cannot be.
    error BadValue();
    /// @notice The account has, or had, a seat.
    error AlreadyRegistered();
    /// @notice This was done before; repeating it changes nothing.
    error AlreadyDone();
    /// @notice No seat is left.
    error Full();
    /// @notice The caller may not do this, or not yet.
    error NotAllowed();
    /// @notice There is no such commitment, or this does not open it.
    error BadReveal();
    /// @notice The row has a wrong length, a lane above 10000, or something in its own or in an unused lane.
    error BadScores();
    /// @notice Nothing is there to be paid.
    error NothingToWithdraw();
    /// @notice The payee refused the ether.
    error TransferFailed();

    // ------------------------------------------------------------------------------------------------- events

    /// @notice The task exists, phase Joining until `deadline`.
    event TaskInitialized(
        address indexed requester,
        uint256 reward,
        Params params,
        bytes specCid,
        bytes modelCid,
        bytes requesterKey,
        uint40 deadline
    );

    /// @notice A worker took the seat `index`: status 1, bond `collateral`; active at once if `activeFrom` is 1 and the
    /// phase is Joining, else pending. `count` is at least index + 1 from now on.
    event WorkerJoined(
        address indexed worker,
        uint8 index,
        address payout,
        uint256 collateral,
        uint32 activeFrom,
        bytes encKey
    );

    /// @notice Joining is over; `RoundAdvanced` follows.
    event TaskStarted(uint32 rounds, uint256 roster);

    /// @notice A round, or a new attempt at it, begins with phase Train. `roster` is the active set; committed, opened,
    /// scored, revealed and excused are empty; lanes = 2 + count, step = 0.
    event RoundAdvanced(uint32 indexed round, uint32 attempt, uint256 roster, uint40 deadline);

    /// @notice Phase and deadline are as given. `seed` is that of the audit model, with Score and the audit lane only.
    event PhaseChanged(
        uint32 indexed round, uint32 attempt, Phase phase, uint40 deadline, bytes32 seed, uint256 active
    );

    /// @notice A phase ended by its deadline; the first event of that call. `absent` were expected and did not act;
    /// `dropped`, `active` and `voids` are the values from now on. If `voids` rose, fewer than the quorum had acted: the
    /// missStreak of the absent rises by one, that of the actors (those who acted in this phase, in the active set
    /// before) is 0 from now on. Otherwise no streak changes here. Those who fall out follow as `WorkerRemoved`.
    event DeadlineMissed(
        uint32 indexed round,
        uint32 attempt,
        Phase phase,
        uint256 absent,
        uint256 dropped,
        uint256 active,
        uint8 voids
    );

    /// @notice The same phase has a fresh window; nothing was discarded.
    event PhaseExtended(uint32 indexed round, uint32 attempt, Phase phase, uint40 deadline);

    /// @notice A worker committed to a model trained from the base with `baseHash`; the last one counts. It is excused
    /// no longer.
    event ModelCommitted(
        uint32 indexed round, address indexed worker, uint32 attempt, bytes32 commitment, bytes32 baseHash
    );

    /// @notice A worker opened its commitment. `size` is the length of the envelope at `cid`.
    event ModelSubmitted(
        uint32 indexed round,
        address indexed worker,
        uint32 attempt,
        bytes32 modelHash,
        bytes32 salt,
        uint64 size,
        bytes cid
    );

    /// @notice A worker committed to its scores; the last one counts.
    event ScoresCommitted(uint32 indexed round, address indexed worker, uint32 attempt, bytes32 commitment);

    /// @notice A worker revealed its scores.
    event ScoresSubmitted(
        uint32 indexed round, address indexed worker, uint32 attempt, uint256[] row, bytes32 salt
    );

    /// @notice The round's models are judged; step = 1. `medians` are the upper, `lows` the lower medians, packed like
    /// rows. `accepted`, `topK`, `deviant` and `invalid` stay visible until the next round is judged.
    event RoundScored(
        uint32 indexed round,
        uint256[] medians,
        uint256[] lows,
        uint16 theta,
        uint256 accepted,
        uint256 topK,
        uint256 deviant,
        uint256 invalid
    );

    /// @notice The round is paid; step = 2, voids = 0. `WorkerPenalized` and the ejected precede it. Each of `eligible`
    /// was credited perForfeit and perTop or perRest; of this round's penalties burnBps went to the burn pool.
    /// Of those still active who opened and revealed, missStreak is 0 from now on; lowStreak too where the model was
    /// accepted and the scores did not deviate.
    event RewardsDistributed(
        uint32 indexed round,
        uint256 eligible,
        uint256 topK,
        uint256 perTop,
        uint256 perRest,
        uint256 perForfeit,
        uint256 rewardLeft,
        uint256 forfeitPool
    );

    /// @notice A worker lost `amount` (it may be 0) of its bond. Reasons: 1 invalid model, 2 scores not revealed,
    /// 3 missed (missStreak + 1), 4 deviant scores, 5 low quality (lowStreak + 1, back to 0 at every maxLow-th),
    /// 6 no attestation, 7 model not opened (unopened + 1). `strikes` is the number from now on.
    event WorkerPenalized(
        uint32 indexed round,
        address indexed worker,
        uint8 reason,
        uint256 amount,
        uint256 bondLeft,
        uint8 strikes
    );

    /// @notice A worker announced that it leaves: status 2, leaving at the boundary. In Train and without a commitment
    /// in this attempt it is also excused.
    event WorkerLeaving(uint32 indexed round, address indexed worker);

    /// @notice A worker is out, status 3; `bondReleased` moved from its bond to its credit. Reasons: 0 left (while
    /// Joining, round 0: the seat is free again, its record erased and the bond paid out at once), 1 ... 7 ejected by
    /// that fault, 8 dropped after maxMiss misses, bond held, 9 dropped while excused, bond held, 10 released at the
    /// boundary after it was dropped.
    event WorkerRemoved(uint32 indexed round, address indexed worker, uint8 reason, uint256 bondReleased);

    /// @notice From round `effectiveRound` on, models for `who` are encrypted to this key.
    event KeyRotated(address indexed who, uint32 effectiveRound, bytes encKey);

    /// @notice A message among members: 1 NeedModel, 2 HereModel, 3 Checkpoint. Changes nothing.
    event Notice(
        uint8 indexed kind, uint32 indexed round, address indexed from, address to, bytes32 ref, bytes cid
    );

    /// @notice A worker attested the final model's hash; its copy, encrypted for the requester, is at `cid`.
    event FinalAttested(address indexed worker, bytes32 finalHash, bytes cid);

    /// @notice More than half of the active attested this hash: it is final.
    event FinalModelAccepted(bytes32 finalHash, uint256 votes);

    /// @notice The rest of the forfeits, with the penalties for missed attestations, was shared by those who attested
    /// the final hash. What is left is burned.
    event FinalForfeits(uint256 attesters, uint256 perAttester, uint256 forfeitPool);

    /// @notice The task is over: forfeitPool is 0, `burnPool` as given, all bonds may be withdrawn. No bitmap changes: a
    /// task that ends for want of workers crosses no boundary.
    event TaskEnded(Phase phase, uint256 refundable, uint256 burnPool);

    /// @notice A worker was paid: its credit, and its bond too once the task is over or when it left while Joining.
    event Withdrawn(address indexed worker, address to, uint256 amount);

    /// @notice The requester got the unspent reward back.
    event Refunded(address indexed requester, uint256 amount);

    /// @notice The burn pool was destroyed.
    event Burned(uint256 amount);

    // ------------------------------------------------------------------------------------------------- joining

    /// @notice Opens a fresh clone; the factory calls it in the transaction that creates the clone. The ether sent is
    /// the reward of all rounds.
    /// @param requester Who gets the unspent reward back, and for whom the final model is encrypted.
    /// @param p The terms.
    /// @param specCid Where the specification is, at most 64 bytes.
    /// @param modelCid Where the initial model is, at most 64 bytes.
    /// @param requesterKey Key for the final model, 1 ... 1024 bytes.
    function initializeTask(
        address requester,
        Params calldata p,
        bytes calldata specCid,
        bytes calldata modelCid,
        bytes calldata requesterKey
    ) external payable;

    /// @notice Takes a seat for exactly the collateral: at once while Joining, from the next round on while the task
    /// runs, if it allows that.
    /// @param payout Where all money of this worker goes; 0: the caller.
    /// @param encKey DER SPKI of its encryption key, 1 ... 1024 bytes.
    /// @param proof Merkle proof of the caller, empty in an open task.
    function joinTask(address payout, bytes calldata encKey, bytes32[] calldata proof) external payable;

    /// @notice The caller leaves. While Joining the bond returns at once and the account may join again; in a running
    /// task it returns at the next boundary. Leaving in Train before committing excuses from the round's duties.
    function removeWorker() external;

    /// @notice Ends Joining. With enough workers the first round begins: by anybody when the deadline has passed or all
    /// seats are taken, by the requester before. Too few after the deadline, or past the hard stop: cancelled.
    function startTask() external;

    /// @notice The requester gives up before the start; everything returns.
    function cancelTask() external;

    // ------------------------------------------------------------------------------------------------- a round

    /// @notice Phase Train: commits to a model; may be repeated, the last one counts.
    /// @param commitment keccak256(abi.encode("FLModel", chainid, task, round, attempt, sender, modelHash, salt)).
    /// @param baseHash SHA-256 of the global model it was trained from: a vote that repairs whoever lost it.
    function commitModel(uint32 round, uint32 attempt, bytes32 commitment, bytes32 baseHash) external;

    /// @notice Phase Open: opens the commitment, once.
    /// @param modelHash SHA-256 of the model's canonical bytes.
    /// @param size Length of the envelope in bytes.
    /// @param cid Where the envelope is, at most 64 bytes.
    function openModel(uint32 round, bytes32 modelHash, bytes32 salt, uint64 size, bytes calldata cid)
        external;

    /// @notice Phase Score: commits to a row of scores; may be repeated, the last one counts.
    /// @param commitment keccak256(abi.encode("FLScore", chainid, task, round, attempt, sender, row, salt)).
    function commitScores(uint32 round, uint32 attempt, bytes32 commitment) external;

    /// @notice Phase Reveal: reveals the row, once.
    /// @param row 16 lanes of 16 bits a word, lane l in bits 16 * (l mod 16) of word l / 16: lane 0 the previous global
    /// model, lane 1 the audit model, lane 2 + j worker j; each 0 ... 10000, the own lane 0.
    function submitScore(uint32 round, uint256[] calldata row, bytes32 salt) external;

    /// @notice Does the one thing that is due, in this order: the work of a passed deadline (with the settlement, if it
    /// leads there); what is left of the settlement, and the boundary; the end, when attesting is over; the hard stop.
    function nextRound() external;

    /// @notice First step of the settlement alone: medians, acceptance, top K.
    function submitRoundTopK() external;

    /// @notice Second step alone (with the first, if that is still due): penalties, rewards.
    function distributeRewards() external;

    // ------------------------------------------------------------------------------------------------- the end

    /// @notice Phase Attest: the caller has computed the final model.
    /// @param finalHash SHA-256 of its canonical bytes, not 0.
    /// @param cid Its copy for the requester, at most 64 bytes.
    function attestFinal(bytes32 finalHash, bytes calldata cid) external;

    /// @notice Ends the task if that is due: attesting is over, or the hard stop has passed (30 days later while a
    /// settlement waits). It calls nothing that can revert.
    function completeTask() external;

    /// @notice Pays a worker what it may have now, to its payout address. Anybody may call it.
    function withdraw(address worker) external;

    /// @notice After the end: pays the unspent reward to the requester. Anybody may call it.
    function refund() external;

    /// @notice After the end: destroys the forfeits that nobody may have. Anybody may call it.
    function burn() external;

    // ------------------------------------------------------------------------------------------------- messages

    /// @notice A member or the requester announces a new encryption key, effective from the next round.
    function rotateKey(bytes calldata encKey) external;

    /// @notice A member says something to another; the requester may send kind 1 only. Also after the end.
    /// @param kind 1 NeedModel, 2 HereModel, 3 Checkpoint.
    /// @param ref Hash of the model in question.
    /// @param cid Where it is, at most 64 bytes.
    function notice(uint8 kind, uint32 round, address to, bytes32 ref, bytes calldata cid) external;

    // ------------------------------------------------------------------------------------------------- views

    /// @notice Rows revealed in this round so far.
    function getSubmissions() external view returns (address[] memory who, uint256[][] memory rows);

    function core() external view returns (Core memory);
    function params() external view returns (Params memory);
    function requester() external view returns (address);

    /// @notice The worker at a seat; all zero where there is none, also beyond the last seat.
    function workers(uint256 index) external view returns (Worker memory);

    /// @notice Seat of an account plus one; 0: none.
    function indexPlus1(address account) external view returns (uint256);

    /// @notice Reward not yet distributed.
    function rewardLeft() external view returns (uint256);
    /// @notice Penalties waiting for the next eligible workers.
    function forfeitPool() external view returns (uint256);
    /// @notice Penalties that will be destroyed.
    function burnPool() external view returns (uint256);
    /// @notice The attested hash of the final model; 0: none.
    function finalHash() external view returns (bytes32);

    /// @notice Take part in this round.
    function active() external view returns (uint256);
    /// @notice Join at the next boundary.
    function pending() external view returns (uint256);
    /// @notice Leave at the next boundary.
    function leaving() external view returns (uint256);
    /// @notice Fell out for missing too often; their bonds are held until the next boundary or the end.
    function dropped() external view returns (uint256);
    /// @notice Announced leaving in this Train before committing: owe nothing in this round.
    function excused() external view returns (uint256);
    /// @notice The active when this attempt began: recipients of its models, base of every majority.
    function roster() external view returns (uint256);
    function committed() external view returns (uint256);
    function opened() external view returns (uint256);
    function scored() external view returns (uint256);
    function revealed() external view returns (uint256);

    /// @notice Of the last judged round: models that are averaged.
    function accepted() external view returns (uint256);
    /// @notice Of the last judged round: paid from the top pool.
    function top() external view returns (uint256);
    /// @notice Of the last judged round: scores that deviate.
    function deviant() external view returns (uint256);
    /// @notice Of the last judged round: models that a majority of the roster called invalid.
    function invalid() external view returns (uint256);
    function attested() external view returns (uint256);
}
