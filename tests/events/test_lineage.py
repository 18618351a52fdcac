"""Laws of `lineage`: it rewinds exactly to the common ancestor, and never for a mere lag."""

from __future__ import annotations

from hypothesis import given, strategies as st

from bfl_events.lineage import Ask, Doubt, Extend, Lagging, Ref, Rewind, Verdict, judge


def chain(length: int, fork: int, name: bytes) -> list[bytes]:
    """Hashes by height; all chains are equal below `fork`."""
    return [(b"shared" if n < fork else name) + n.to_bytes(4, "big") for n in range(length)]


NO_DOUBT = Doubt()


def settle(known: list[Ref], held: list[bytes], doubt: Doubt = NO_DOUBT) -> tuple[Verdict, int]:
    answers: dict[int, bytes | None] = {}
    while isinstance(verdict := judge(known, answers, doubt), Ask):
        assert verdict.number not in answers, "it asks the same twice"
        answers[verdict.number] = held[verdict.number] if verdict.number < len(held) else None
    return verdict, len(answers)


forks = st.integers(1, 40).flatmap(lambda length: st.tuples(
    st.just(length), st.integers(0, length), st.integers(1, 60), st.sets(st.integers(0, length - 1), min_size=1)))


@given(forks)
def test_it_rewinds_exactly_to_the_newest_block_that_both_hold(case: tuple[int, int, int, set[int]]) -> None:
    length, fork, new_length, places = case
    ours, theirs = chain(length, fork, b"old"), chain(new_length, fork, b"new")
    known = [Ref(n, ours[n]) for n in sorted(places)]
    verdict, _ = settle(known, theirs, Doubt(waited_s=31))
    common = [ref.number for ref in known if ref.number < min(fork, new_length)]
    if known[-1].number in common:
        assert verdict == Extend()
    else:
        assert verdict == Rewind(max(common, default=None))


@given(forks)
def test_a_node_that_is_only_behind_is_never_taken_for_a_reorg(case: tuple[int, int, int, set[int]]) -> None:
    length, _, new_length, places = case
    ours = chain(length, length, b"old")
    known = [Ref(n, ours[n]) for n in sorted(places)]
    verdict, _ = settle(known, ours[:new_length], Doubt(others=(None,), waited_s=29))
    assert isinstance(verdict, Extend if known[-1].number < new_length else Lagging)


@given(forks)
def test_a_block_that_another_endpoint_confirms_is_kept_for_a_while(case: tuple[int, int, int, set[int]]) -> None:
    length, fork, new_length, places = case
    ours, theirs = chain(length, fork, b"old"), chain(new_length, fork, b"new")
    known = [Ref(n, ours[n]) for n in sorted(places)]
    doubt = Doubt(others=(known[-1].hash,), waited_s=29.9)
    assert isinstance(settle(known, theirs, doubt)[0], Extend | Lagging)


def test_nothing_known_needs_no_question() -> None:
    assert judge([], {}) == Extend()


def test_the_cursor_alone_is_asked_for_while_all_is_well() -> None:
    ours = chain(1000, 1000, b"old")
    assert settle([Ref(n, h) for n, h in enumerate(ours)], ours) == (Extend(), 1)


def test_a_deep_reorg_costs_few_questions() -> None:
    ours, theirs = chain(100_000, 17, b"old"), chain(100_000, 17, b"new")
    verdict, asked = settle([Ref(n, h) for n, h in enumerate(ours)], theirs)
    assert verdict == Rewind(16)
    assert asked <= 18


def test_a_missing_block_is_a_reorg_as_soon_as_a_second_endpoint_holds_another() -> None:
    known = [Ref(5, b"five"), Ref(9, b"nine")]
    assert isinstance(judge(known, {9: None, 5: b"five"}, Doubt(others=(None,))), Lagging)
    assert judge(known, {9: None, 5: b"five"}, Doubt(others=(None, b"NINE"))) == Rewind(5)


def test_a_missing_block_is_a_reorg_after_half_a_minute() -> None:
    known = [Ref(5, b"five"), Ref(9, b"nine")]
    assert isinstance(judge(known, {9: None, 5: b"five"}, Doubt(waited_s=29.9)), Lagging)
    assert judge(known, {9: None, 5: b"five"}, Doubt(waited_s=30.0)) == Rewind(5)


def test_a_shorter_chain_with_other_content_is_a_reorg_at_once() -> None:
    known = [Ref(3, b"three"), Ref(5, b"five"), Ref(9, b"nine")]
    assert judge(known, {9: None, 5: b"FIVE", 3: b"three"}) == Rewind(3)
