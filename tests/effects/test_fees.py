"""Prices of transactions."""

from hypothesis import given, strategies as st

from agents.effects.fees import GWEI, Fee, FeePolicy, outpriced
from agents.effects.refusals import Refusal, meaning

WEI = st.integers(0, 10**13)


@given(WEI, WEI)
def test_a_replacement_pays_a_quarter_more_in_both_fields_or_is_not_made(base: int, tip: int) -> None:
    policy = FeePolicy(max_fee_gwei=2000)
    last = Fee(2 * base + tip, tip)
    better = policy.replacement(last, base, tip)
    if better is not None:
        assert better.max_fee >= max(last.max_fee * 5 // 4, last.max_fee + 1)
        assert min(last.tip * 5 // 4, policy.cap) <= better.tip <= better.max_fee <= policy.cap


@given(WEI, WEI)
def test_an_offer_is_never_above_the_cap_and_outlives_the_next_block(base: int, tip: int) -> None:
    policy = FeePolicy(max_fee_gwei=500)
    fee = policy.offer(base, tip)
    if fee is None:
        assert base * 9 // 8 + min(tip, policy.cap) > policy.cap
    else:
        assert fee.tip <= fee.max_fee <= policy.cap
        assert not outpriced(fee, base)


def test_a_free_network_offers_nothing_and_still_can_replace() -> None:
    policy = FeePolicy()
    fee = policy.offer(0, 0)
    assert fee == Fee(0, 0)
    assert policy.replacement(fee, 0, 0) == Fee(1, 1)


def test_the_operators_tip_is_in_wei() -> None:
    assert FeePolicy(tip_gwei=0.5).tip == GWEI // 2
    assert FeePolicy().tip is None


def test_refusals_are_understood_in_the_words_of_several_nodes() -> None:
    said = {
        "transaction already imported": Refusal.KNOWN, "already known": Refusal.KNOWN,
        "Known transaction": Refusal.KNOWN,
        "nonce too low: next nonce 5, tx nonce 3": Refusal.USED, "OldNonce": Refusal.USED,
        "replacement transaction underpriced": Refusal.OUTBID, "transaction underpriced": Refusal.FEE,
        "max fee per gas less than block base fee": Refusal.FEE,
        "Insufficient funds for gas * price + value": Refusal.FUNDS,
        "Upfront cost exceeds account balance": Refusal.FUNDS,
        "intrinsic gas too low": Refusal.NEVER, "exceeds block gas limit": Refusal.NEVER,
        "max priority fee per gas higher than max fee per gas": Refusal.NEVER,
        "txpool is full": Refusal.LATER, "internal error": Refusal.LATER,
    }
    assert {message: meaning(message) for message in said} == said
