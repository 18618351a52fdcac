"""The terms of a task: the contract's limits, recommended presets, how much collateral deters (PROTOCOL 4.3, 4.4, 8).

Owns what can be said about `Params` before a task exists. An agent's own, stricter taste is the agent's (PROTOCOL 7.7).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from bfl_events.schema import Params, Wei

BPS: Final = 10_000
DAY: Final = 86_400
MAX_WORKERS: Final = 126
MAX_VOIDS: Final = 254
MAX_WINDOW: Final = 60 * DAY
MAX_LIFE: Final = 3_650 * DAY
SETTLE_GRACE: Final = 30 * DAY
MAX_CID_BYTES: Final = 64
MAX_KEY_BYTES: Final = 1_024
MAX_WEI: Final = 2**120       # more than will ever exist; 126 collaterals and the reward stay below 2^128


def round_seconds(params: Params) -> int:
    """The four windows of a round, without the attestation's."""
    return params.train_window + params.open_window + params.score_window + params.reveal_window


def earliest_hard_stop(params: Params, now: int) -> int:
    """The least `hardStop` the contract takes at block time `now`: every window of every round used up."""
    return now + params.join_window + params.rounds * round_seconds(params)


def default_top_k(max_workers: int) -> int:
    """A third of the workers, rounded up (PROTOCOL 8)."""
    return -(-max_workers // 3)


def check_params(params: Params, now: int, reward: int) -> list[str]:
    """Why the contract would refuse these terms with `BadParams`, in sentences; empty if it would take them.

    `now` is the time of the block that creates the task, in seconds; `reward` is the prefunded amount in wei.
    """
    return [
        *_check_members(params),
        *_check_shares(params),
        *_check_times(params, now),
        *_check_money(params, reward),
    ]


def check_contents(spec_cid: bytes, model_cid: bytes, requester_key: bytes) -> list[str]:
    """Why the contract would refuse the bytes that go with the terms, in sentences; empty if it would take them."""
    too_long = [
        f"{name} has {len(cid)} bytes; at most {MAX_CID_BYTES} are allowed"
        for name, cid in (("specCid", spec_cid), ("modelCid", model_cid)) if len(cid) > MAX_CID_BYTES
    ]
    return too_long + _range("the length of requesterKey in bytes", len(requester_key), 1, MAX_KEY_BYTES)


def _range(name: str, value: int, least: int, most: int) -> list[str]:
    return [] if least <= value <= most else [f"{name} is {value}; it must be {least} … {most}"]


def _check_members(p: Params) -> list[str]:
    reasons = []
    if not 2 <= p.min_active <= p.min_workers <= p.max_workers <= MAX_WORKERS:
        reasons.append(f"minActive {p.min_active}, minWorkers {p.min_workers}, maxWorkers {p.max_workers}: "
                       f"they must ascend within 2 … {MAX_WORKERS}")
    if p.rounds < 1:
        reasons.append("rounds is 0; at least one round is needed")
    if p.top_k < 1:
        reasons.append("topK is 0; at least one worker must be able to win")
    if p.max_miss < 1:
        reasons.append("maxMiss is 0; at least one miss must be allowed for")
    if not p.max_miss <= p.max_void <= MAX_VOIDS:
        reasons.append(f"maxVoid is {p.max_void}; it must be maxMiss ({p.max_miss}) … {MAX_VOIDS}")
    return reasons


def _check_shares(p: Params) -> list[str]:
    reasons = [
        *_range("topShareBps", p.top_share_bps, BPS // 2, BPS),
        *_range("tieBand", p.tie_band, 0, BPS),
        *_range("acceptBps", p.accept_bps, 0, BPS),
        *_range("devTol", p.dev_tol, 1, BPS),
        *_range("burnBps", p.burn_bps, 0, BPS),
    ]
    if not 0 <= p.miss_bps <= p.fee_bps <= p.slash_bps <= BPS:
        reasons.append(f"missBps {p.miss_bps}, feeBps {p.fee_bps}, slashBps {p.slash_bps}: "
                       f"they must ascend within 0 … {BPS}")
    return reasons


def _check_times(p: Params, now: int) -> list[str]:
    windows = (("joinWindow", p.join_window), ("trainWindow", p.train_window), ("openWindow", p.open_window),
               ("scoreWindow", p.score_window), ("revealWindow", p.reveal_window), ("attestWindow", p.attest_window))
    reasons = [reason for name, seconds in windows for reason in _range(name, seconds, 1, MAX_WINDOW)]
    least, most = earliest_hard_stop(p, now), now + MAX_LIFE
    if not least <= p.hard_stop <= most:
        reasons.append(f"hardStop is {p.hard_stop}; with these windows it must be {least} … {most}")
    return reasons


def _check_money(p: Params, reward: int) -> list[str]:
    reasons: list[str] = []
    if not p.rounds <= reward <= MAX_WEI:
        reasons.append(f"the reward is {reward} wei; it must be {p.rounds} (one wei a round) … {MAX_WEI}")
    return reasons + _range("collateral", p.collateral, 0, MAX_WEI)


@dataclass(frozen=True, slots=True)
class Preset:
    """One column of PROTOCOL 4.4. `common_dev_tol` is for a common validation set."""

    min_workers: int
    min_active: int
    max_workers: int
    top_share_bps: int
    tie_band: int
    accept_bps: int
    dev_tol: int
    common_dev_tol: int
    slash_bps: int
    fee_bps: int
    miss_bps: int
    burn_bps: int
    max_miss: int
    max_low: int
    max_void: int

    @property
    def top_k(self) -> int:
        return default_top_k(self.max_workers)


_KNOWN_IID: Final = Preset(
    min_workers=3, min_active=2, max_workers=30, top_share_bps=7_000, tie_band=500, accept_bps=8_000, dev_tol=1_500,
    common_dev_tol=750, slash_bps=5_000, fee_bps=1_000, miss_bps=500, burn_bps=0, max_miss=3, max_low=3, max_void=5,
)
_KNOWN_SKEWED: Final = Preset(
    min_workers=5, min_active=3, max_workers=30, top_share_bps=5_000, tie_band=1_000, accept_bps=7_000, dev_tol=2_500,
    common_dev_tol=1_000, slash_bps=5_000, fee_bps=1_000, miss_bps=500, burn_bps=0, max_miss=3, max_low=0, max_void=5,
)
_OPEN: Final = Preset(
    min_workers=7, min_active=4, max_workers=62, top_share_bps=5_000, tie_band=500, accept_bps=8_000, dev_tol=1_500,
    common_dev_tol=1_500, slash_bps=5_000, fee_bps=1_000, miss_bps=500, burn_bps=BPS, max_miss=3, max_low=3,
    max_void=5,
)
_PRESETS: Final = MappingProxyType({"iid": _KNOWN_IID, "non-iid": _KNOWN_SKEWED, "open": _OPEN})


def presets() -> Mapping[str, Preset]:
    """The recommended terms: "iid" and "non-iid" (to Dirichlet 0.3) among known members, and "open"."""
    return _PRESETS


@dataclass(frozen=True, slots=True)
class CollateralQuestion:
    """What a cheat could win and how likely it is caught (PROTOCOL 4.3).

    `workers` is the number expected, `detection_bps` p, `cost` c in wei (None: half of an equal share of a round's
    reward), `seats` k. `may_skip` says that a cheat can look first and not open, which costs only fault 7's first fee.
    """

    reward: int
    rounds: int
    workers: int
    max_workers: int
    top_k: int
    top_share_bps: int
    slash_bps: int
    fee_bps: int
    burn_bps: int
    detection_bps: int = 9_500
    cost: int | None = None
    seats: int = 1
    may_skip: bool = True


@dataclass(frozen=True, slots=True)
class CollateralBounds:
    """Wei. Below `conservative` some cheat may profit, below `average` it profits on average.

    `attacker_gain` and `cartel_gain` are the expected profits of one cheating seat in a round at `default`, alone and
    in a cartel of ⌊(n−1)/2⌋; positive means that cheating pays.
    """

    default: Wei
    conservative: Wei
    average: Wei
    attacker_gain: int
    cartel_gain: int


def default_collateral(reward: int, rounds: int, max_workers: int) -> Wei:
    """min(2 D / N, 5 D / maxWorkers), rounded down."""
    return Wei(min(2 * reward // rounds, 5 * reward // max_workers))


def greatest_win(q: CollateralQuestion) -> Fraction:
    """rho: the most one seat can win in a round, with K as it is when everybody is eligible."""
    per_round = Fraction(q.reward, q.rounds)
    top = max(1, min(q.top_k, (q.workers - 1) // 2))
    rest = q.workers - top
    share = Fraction(q.top_share_bps, BPS)
    return per_round * max(share / top, (1 - share) / rest if rest else Fraction(0))


def collateral_bounds(q: CollateralQuestion) -> CollateralBounds:
    """The bounds of PROTOCOL 4.3: C ≥ (1/sigma)·(n−1)/(n−k)·[(1−p) rho + c]/p, or (1−p)/p·rho on average.

    Raises ValueError for what has no answer: no detection, no penalty, fewer than two workers, all seats one cheat's.
    """
    if not 0 < q.detection_bps <= BPS:
        raise ValueError(f"detection is {q.detection_bps} basis points; it must be 1 … {BPS}")
    if q.workers < 2 or not 0 < q.seats < q.workers:
        raise ValueError(f"{q.seats} of {q.workers} seats cheat; one to all but one are needed")
    lost = Fraction(min(q.slash_bps, q.fee_bps) if q.may_skip else q.slash_bps, BPS)
    if not lost:
        raise ValueError("no penalty, so no collateral deters: raise feeBps or slashBps")
    caught = Fraction(q.detection_bps, BPS)
    win, saved = greatest_win(q), _saved(q)
    conservative = _returned(q, q.seats) * ((1 - caught) * win + saved) / caught / lost
    collateral = default_collateral(q.reward, q.rounds, q.max_workers)

    def gain(seats: int) -> int:
        return int((1 - caught) * win + saved - caught * lost * collateral / _returned(q, seats))

    return CollateralBounds(
        default=collateral,
        conservative=Wei(-int(-conservative // 1)),
        average=Wei(-int(-((1 - caught) / caught * win) // 1)),
        attacker_gain=gain(1),
        cartel_gain=gain(max(1, (q.workers - 1) // 2)),
    )


def _saved(q: CollateralQuestion) -> Fraction:
    """c: what not training saves; an honest worker that trains at all spends less than its share of a round."""
    return Fraction(q.cost) if q.cost is not None else Fraction(q.reward, q.rounds * q.workers * 2)


def _returned(q: CollateralQuestion, seats: int) -> Fraction:
    """How much more collateral is needed because forfeits flow back to the cheats' other seats; 1 if all is burned."""
    flow = Fraction(q.workers - 1, q.workers - seats) if seats < q.workers else Fraction(1)
    burned = Fraction(q.burn_bps, BPS)
    return burned + (1 - burned) * flow
