"""Lines that are read in columns are the lines they were: the same bars, the same problems, in the same order."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from shared import archive, kernels, lineruns, paths
from shared.bars import Bars
from shared.events import AggTrade, Columns, Feed, Quote, Trade
from shared.files import Files
from shared.hourbars import HourBars
from shared.lines import line, parse_line
from shared.numbers import units
from shared.rebuild import Rebuild
from tests.fixtures import odd_lines
from tests.fixtures.known import known
from tests.fixtures.loops import library as library
from tests.fixtures.odd_lines import SYMBOL
from tests.fixtures.small_lake import HOUR, NOON, VENUE, Market

DATE = paths.date_of(NOON)
Fields = tuple[object, ...]


def in_columns(library: ctypes.CDLL, data: bytes) -> Columns:
    (columns,) = lineruns.LineRuns(library, SYMBOL).runs(data)
    assert isinstance(columns, Columns)
    return columns


def as_bars_ask(event: Trade | AggTrade | Quote) -> Fields:
    if isinstance(event, Trade):
        return event.symbol, event.ts, event.trade_id, units(event.price), units(event.qty), event.side
    assert isinstance(event, Quote)
    sizes = units(event.bid_qty), units(event.ask_qty)
    return event.symbol, event.ts, event.update_id, units(event.bid), units(event.ask), sizes


@pytest.mark.parametrize("seed", range(60))
def test_every_row_says_what_its_line_says_and_every_other_line_is_left_as_it_is(
    library: ctypes.CDLL, seed: int
) -> None:
    for name, data in odd_lines.files(seed).items():
        if name.endswith(".zst"):
            data = archive.unpack(data)[0]
        at = 0
        for run in lineruns.LineRuns(library, SYMBOL).runs(data):
            if isinstance(run, bytes):
                assert run and data[at:].startswith(run)
                at += len(run)
                continue
            end = at
            for event in run:
                end = data.index(b"\n", at) + 1
                assert as_bars_ask(event) == as_bars_ask(parse_line(data[at:end]))
                at = end
        assert at == len(data)


@pytest.mark.parametrize(
    ("what", "seed"),
    [(odd_lines.files, seed) for seed in range(60)] + [(odd_lines.hours, seed) for seed in range(140)],
)
def test_bars_and_problems_are_those_of_single_lines(
    library: ctypes.CDLL,
    what: Callable[[int], dict[str, bytes]],
    seed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = Files(tmp_path)
    odd_lines.write(disk, what(seed), seed)
    in_columns = Rebuild(disk, VENUE, SYMBOL)
    bars, alone = [*map(list, in_columns.hours(DATE))], [*in_columns.hour(DATE, 13)]
    monkeypatch.setattr(kernels, "loops", None)
    singly = Rebuild(disk, VENUE, SYMBOL)
    assert bars == [*map(list, singly.hours(DATE))]
    assert alone == [*singly.hour(DATE, 13)]
    assert in_columns.problems == singly.problems


def test_the_plain_lines_of_spot_and_futures_are_all_read_in_columns(library: ctypes.CDLL) -> None:
    events = Market().events(NOON, 40)
    for event in events[1::3]:
        if isinstance(event, Trade):
            event.trade_type, event.source = "MARKET", "archive"
        else:
            event.ts_event, event.ts_sent = event.ts, event.ts + 1
    (run,) = lineruns.LineRuns(library, SYMBOL).runs("".join(map(line, events)).encode())
    assert isinstance(run, Columns) and len(run) == len(events)


def test_plain_spot_lines_come_back_whole(library: ctypes.CDLL) -> None:
    events = Market().events(NOON, 40)
    assert list(in_columns(library, "".join(map(line, events)).encode())) == events


@pytest.mark.parametrize(
    ("number", "other", "is_plain"),
    [
        (b'"ts_sent":%d', b'"ts_sent":9223372036854775807', True),
        (b'"ts_sent":%d', b'"ts_sent":9223372036854775808', False),
        (b'"ts_sent":%d', b'"ts_sent":18446744073709551617', False),
        (b'"ts_sent":%d', b'"ts_sent":null', True),
        (b'"ts_sent":%d', b'"ts_sent":01', False),
        (b'"price":187.42000000', b'"price":187.', False),
        (b'"price":187.42000000', b'"price":187', True),
        (b'"price":187.42000000', b'"price":9999999999.9', True),
        (b'"price":187.42000000', b'"price":10000000000.0', False),
        (b'"price":187.42000000', b'"price":187.4200000', True),
        (b'"price":187.42000000', b'"price":187.420000001', False),
        (b'"price":187.42000000', b'"price":-187.42000000', False),
        (b'"price":187.42000000', b'"price":1e5', False),
        (b'"side":"buy"', b'"side":"sell"', True),
        (b'"side":"buy"', b'"side":"sel"', False),
        (b'"source":"ws"', b'"source":"archive"', True),
        (b'"source":"ws"', b'"source":"WS"', False),
    ],
)
def test_which_numbers_and_words_are_plain(library: ctypes.CDLL, number: bytes, other: bytes, is_plain: bool) -> None:
    trade = Trade(SYMBOL, NOON, NOON, NOON, NOON, "187.42000000", "1.0", "buy", 7)
    before = line(trade).encode()
    data = before.replace(number.replace(b"%d", b"%d" % NOON), other)
    assert data != before
    (run,) = lineruns.LineRuns(library, SYMBOL).runs(data)
    if not is_plain:
        assert run == data
        return
    assert isinstance(run, Columns)
    assert as_bars_ask(run[0]) == as_bars_ask(parse_line(data))


def test_few_lines_between_others_are_left_to_be_read_singly(library: ctypes.CDLL) -> None:
    texts = [line(event).encode() for event in Market().events(NOON, 40)]
    few, many = b"".join(texts[:10]), b"".join(texts[10:])
    kinds = [type(run) for run in lineruns.LineRuns(library, SYMBOL).runs(few + b"{}\n" + many + b"{}\n" + few)]
    assert kinds == [bytes, Columns, bytes]


def test_columns_are_cut_where_trade_ids_are_missing_and_joined_where_they_go_on(library: ctypes.CDLL) -> None:
    events = Market().events(NOON, 60)
    lost = next(at for at in range(90, 200) if isinstance(events[at], Trade))
    texts = [line(event).encode() for event in (*events[:lost], *events[lost + 1 :])]
    files = b"".join(texts[:50]), b"".join(texts[50:])
    first, second = lineruns.cut(lineruns.joined([in_columns(library, data) for data in files]))
    assert [as_bars_ask(event) for event in (*first, *second)] == [as_bars_ask(parse_line(text)) for text in texts]
    ids = [event.trade_id for event in second if isinstance(event, Trade)]
    assert ids == list(range(ids[0], ids[0] + len(ids)))


def test_what_stands_beyond_the_end_of_the_data_is_never_asked(library: ctypes.CDLL) -> None:
    """However much of two lines is given: a line counts when its end is within, whatever the memory behind holds."""
    texts = [line(event).encode() for event in Market().events(NOON, 1, trades=1, quotes=1)]
    data = b"".join(texts) * 2
    forms, found = lineruns._forms(SYMBOL), lineruns._Found(4)
    ended, quotes = ctypes.c_int64(), ctypes.c_int64()
    for size in range(len(data) + 1):
        rows = library.lake_parse(
            forms.at, kernels.address(data), size, 4, found.at, ctypes.byref(ended), ctypes.byref(quotes)
        )
        assert rows == data.count(b"\n", 0, size)
        assert ended.value == data.rfind(b"\n", 0, size) + 1


def test_no_more_rows_are_written_than_there_is_memory_for(library: ctypes.CDLL) -> None:
    data = "".join(map(line, Market().events(NOON, 10))).encode()
    forms, found = lineruns._forms(SYMBOL), lineruns._Found(8)
    ended, quotes = ctypes.c_int64(), ctypes.c_int64()
    rows = library.lake_parse(
        forms.at, kernels.address(data), len(data), 7, found.at, ctypes.byref(ended), ctypes.byref(quotes)
    )
    assert rows == 7 and data.count(b"\n", 0, ended.value) == 7


@pytest.mark.parametrize("seed", range(40))
def test_an_hour_at_once_leaves_the_very_state_that_the_stream_leaves(library: ctypes.CDLL, seed: int) -> None:
    at_once, streamed = HourBars(0, 2 * HOUR), Bars(0, 2 * HOUR)
    for hour, data in enumerate(odd_lines.hours(seed).values()):
        half = data.find(b"\n", len(data) // 2) + 1
        runs = list(lineruns.LineRuns(library, SYMBOL).runs(data))
        if not all(isinstance(run, Columns) for run in runs):
            continue
        columns = in_columns(library, data)
        begin = NOON + hour * HOUR
        before = at_once.state()
        bars = at_once.take_hour([in_columns(library, data[:half]), in_columns(library, data[half:])], begin)
        if bars is None:  # nothing was touched
            assert at_once.state() == before or at_once.state() == _begun(before)
            at_once.take(columns)
        streamed.take(columns)
        (_, more), (_, expected) = at_once.advance(begin + HOUR) or (0, []), streamed.advance(begin + HOUR) or (0, [])
        assert [*(bars or ()), *more] == expected
        assert known(at_once.state()) == known(streamed.state())


def _begun(state: bytes) -> bytes:
    """A state to which a symbol of which nothing is known yet was added."""
    bars = HourBars.from_state(state)
    bars._begin(SYMBOL)
    return bars.state()


def test_a_plain_hour_is_made_at_once_and_one_in_which_the_feed_was_cut_is_not(library: ctypes.CDLL) -> None:
    data = "".join(map(line, Market().events(NOON, 40))).encode()
    columns = in_columns(library, data)
    bars = HourBars(0, 2 * HOUR).take_hour([columns], NOON)
    assert bars is not None and len(bars) == 40
    cut = HourBars(0, 2 * HOUR)
    cut.take([Feed("disconnected", NOON + 5, NOON + 5)])
    assert cut.take_hour([columns], NOON) is None


def test_an_hour_that_begins_with_an_id_of_before_goes_as_a_stream(library: ctypes.CDLL) -> None:
    market, bars = Market(), HourBars(0, 2 * HOUR)
    first, second = market.events(NOON, 20), market.events(NOON + HOUR, 20)
    assert bars.take_hour([in_columns(library, "".join(map(line, first)).encode())], NOON)
    bars.advance(NOON + HOUR)
    earliest = next(event for event in second if isinstance(event, Trade))
    for back in (1, 5000):  # held already, and never seen
        again = msgspec.structs.replace(earliest, trade_id=max(0, earliest.trade_id - back), ts=second[0].ts)
        columns = in_columns(library, "".join(map(line, [again, *second])).encode())
        assert bars.take_hour([columns], NOON + HOUR) is None
