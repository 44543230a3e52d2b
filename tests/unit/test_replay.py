"""What a source finds in its journal is known to it in the same way, as columns or one by one."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from procs.ingest.replay import replay
from procs.ingest.symbols import Book
from shared.events import BUY, QUOTE, Batch, Columns, Feed

NAMES = ["ADAUSDT", "SOLUSDT"]

steps = st.lists(
    st.tuples(st.sampled_from([BUY, QUOTE]), st.integers(0, 1), st.sampled_from([1, 1, 1, 1, 1, 0, -1, 3])), max_size=40
)


def columns(found: list[tuple[int, int, int]]) -> Columns:
    """Events whose ids follow one another by such steps, for each kind and symbol."""
    ids: dict[tuple[int, int], int] = {}
    numbers = []
    for kind, symbol, step in found:
        numbers.append(ids.setdefault((kind, symbol), 100) + step)
        ids[kind, symbol] = numbers[-1]
    times, ones = list(range(1000, 1000 + len(found))), [1] * len(found)
    quotes = [1] * sum(kind == QUOTE for kind, _, _ in found)

    def packed(values: list[int]) -> bytes:
        return struct.pack(f"<{len(values)}q", *values)

    return Columns(
        NAMES, 2, bytes(kind for kind, _, _ in found), struct.pack(f"<{len(found)}H", *(at for _, at, _ in found)),
        packed(times), packed(times), packed(numbers), packed(ones), packed(ones), packed(quotes), packed(quotes),
        packed([1] * (len(found) - len(quotes))),
    )  # fmt: skip


def known(batches: list[Batch]) -> dict[str, Book]:
    books = {name: Book(name, ["trade", "quote"]) for name in NAMES}
    for batch in batches:
        replay(batch, books.__getitem__)
    return books


@settings(deadline=None)
@given(st.lists(steps, min_size=1, max_size=3))
def test_columns_and_single_events_leave_the_same_behind(parts: list[list[tuple[int, int, int]]]) -> None:
    whole = [Batch(1, 2000, columns(part)) for part in parts]
    single = [Batch(1, 2000, list(batch.events)) for batch in whole]
    one, other = known(whole), known(single)
    for name in NAMES:
        assert one[name].state() == other[name].state()
        assert one[name].trades.top_ts == other[name].trades.top_ts
        gaps = [[(gap.first, gap.last, gap.missing) for gap in book[name].trades.look(0)] for book in (one, other)]
        assert gaps[0] == gaps[1]
        newest = max(one[name].trades.held.highest or 0, 100) + 1
        assert one[name].trades.take(newest, 3000) == other[name].trades.take(newest, 3000)
        for update_id in range(95, 105):
            assert one[name].is_new_quote(update_id) == other[name].is_new_quote(update_id)


def test_a_word_of_the_feed_concerns_the_symbols_it_names() -> None:
    gap = Feed("gap", 1, 1, ["SOLUSDT"], {"stream": "trade", "first_id": 5, "last_id": 6})
    held = known([Batch(1, 2000, columns([(BUY, 1, 1)])), Batch(3, 2000, [gap])])
    assert held["SOLUSDT"].trades.gaps and not held["ADAUSDT"].trades.gaps
