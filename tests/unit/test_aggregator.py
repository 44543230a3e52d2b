"""The aggregator as the runner drives it: batches in, numbered batches of bars out, a checkpoint in between."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from procs.aggregator import QUOTE_BYTES, STATE_BYTES_PER_S, Aggregator, Config
from shared import kernels
from shared.checkpoint import peek
from shared.events import Bar, Batch, Columns, Event, Feed, Quote, Trade
from shared.files import Files
from shared.runner import Context, Stage
from tests.columns import columns_of
from tests.fixtures.loops import library as library

S = 1_000_000_000
T = 1_700_000_000 * S


def trade(ts: int, one: int, symbol: str = "AAA") -> Trade:
    return Trade(symbol, ts, ts, ts, 0, "187.42000000", "3.10000000", "buy", one)


def batches(*contents: tuple[int, Sequence[Event]]) -> list[Batch]:
    found, first = [], 1
    for ts, events in contents:
        found.append(Batch(first, ts, list(events)))
        first += len(events) + 1
    return found


def begin(tmp_path: Path, streams: tuple[str, ...] = ("trade", "quote"), **options: int) -> tuple[Aggregator, int]:
    stage = Aggregator(Context("bars_1s", "binance", "binance", Files(tmp_path), streams), Config(**options))
    as_the_runner_sees_it: Stage = stage
    return stage, as_the_runner_sees_it.open()


def bars(outputs: list[Batch]) -> list[Bar]:
    return [event for batch in outputs for event in batch.events if isinstance(event, Bar)]


def test_a_second_closes_at_the_first_time_past_its_end_and_the_lateness(tmp_path: Path) -> None:
    stage, _ = begin(tmp_path)
    given = [
        (batch.last, [(out.ts, len(out.events)) for out in stage.handle(batch)])
        for batch in batches((T + 10, [trade(T, 1)]), (T + 3 * S - 1, []), (T + 3 * S, []), (T + 3 * S + 1, []))
    ]
    assert given == [(2, [(T - 2 * S, 0)]), (3, [(T, 0)]), (4, [(T + S, 1)]), (5, [])]


def test_time_flows_on_without_bars_and_outputs_are_numbered_without_holes(tmp_path: Path) -> None:
    stage, _ = begin(tmp_path)
    out = [b for batch in batches(*((T + i * S // 2, []) for i in range(20))) for b in stage.handle(batch)]
    assert [b.ts for b in out] == [T + i * S for i in range(-2, 8)]
    assert [b.first for b in out] == list(range(1, 11))
    assert stage.given == out[-1].last


def test_a_batch_of_columns_gives_what_its_events_give_and_never_becomes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [trade(T + i * S // 10, i) for i in range(1, 40)]
    one_by_one, _ = begin(tmp_path / "events")
    in_columns, _ = begin(tmp_path / "columns")
    (batch,) = batches((T + 9 * S, events))
    expected = list(one_by_one.handle(batch))
    monkeypatch.setattr(Columns, "__iter__", None)
    assert list(in_columns.handle(msgspec.structs.replace(batch, events=columns_of(events)))) == expected
    assert [bar.trade_count for bar in bars(expected)] == [9, 10, 10, 10]


def test_columns_after_the_end_of_a_recording_are_a_recording_that_goes_on(tmp_path: Path) -> None:
    stage, _ = begin(tmp_path)
    list(stage.handle(Batch(1, T + S, [trade(T, 1), Feed("ended", T + S, 0)])))
    assert stage._ended
    list(stage.handle(Batch(4, T + 2 * S, columns_of([trade(T + 2 * S, 2)]))))
    assert not stage._ended


def test_a_kill_at_any_batch_repeats_the_same_outputs(tmp_path: Path) -> None:
    contents = batches(*((T + i * S // 3, [trade(T + i * S // 3 - S, i)]) for i in range(1, 40)))
    whole, _ = begin(tmp_path / "whole")
    expected = [out for batch in contents for out in whole.handle(batch)]
    for kill in range(0, 39, 7):
        root = tmp_path / str(kill)
        stage, position = begin(root)
        written: dict[int, Batch] = {}
        for number, batch in enumerate(contents):
            written |= {out.first: out for out in stage.handle(batch)}
            if number == kill // 2:
                stage.commit()
            if number == kill:
                stage, position = begin(root)
                for again in contents:
                    if again.last > position and again.last <= batch.last:
                        for out in stage.handle(again):
                            assert written.get(out.first, out) == out
                            written[out.first] = out
        assert [written[first] for first in sorted(written)] == expected


def test_the_checkpoint_says_where_it_stands_and_is_final_on_a_stop(tmp_path: Path) -> None:
    stage, position = begin(tmp_path)
    assert position == 0
    for batch in batches((T, [trade(T, 1), trade(T, 2)]), (T + 5 * S, [])):
        list(stage.handle(batch))
    stage.commit(final=True)
    stage.close()
    found = peek(Files(tmp_path), "journal/bars_1s/ckpt-binance")
    assert (found["position"], found["ts"], found["ended"]) == (4, T + 5 * S, False)
    again, position = begin(tmp_path)
    assert position == 4
    assert again.given == stage.given


def quotes(ts: int, count: int) -> list[Event]:
    return [Quote("AAA", ts + i, None, None, 0, "1.0", "1.0", "1.1", "1.0", i) for i in range(count)]


def stored(root: Path) -> int:
    """What the checkpoint knows of: a number of the journal, 0 where there is none."""
    found: int = peek(Files(root), "journal/bars_1s/ckpt-binance").get("position", 0)
    return found


def test_a_large_state_is_stored_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "loops", None)
    stage, _ = begin(tmp_path)
    for batch in batches((T + S, quotes(T, 100_000)), (T + S + S // 10, []), (T + 20 * S, [])):
        list(stage.handle(batch))
        stage.commit()
        if batch.first == 1:
            assert stored(tmp_path) == batch.last
    assert stored(tmp_path) == 100_003


def test_while_seconds_with_many_quotes_are_open_the_state_waits_for_their_end(
    tmp_path: Path, library: ctypes.CDLL
) -> None:
    stage, _ = begin(tmp_path)
    told = []
    for batch in batches((T, []), (T + S, quotes(T, 100_000)), (T + S + S // 2, []), (T + 4 * S, []), (T + 9 * S, [])):
        list(stage.handle(batch))
        stage.commit()
        told.append(stored(tmp_path))
    assert told == [1, 1, 1, 100_004, 100_005]


def test_the_first_record_of_a_life_may_be_a_busy_moments(tmp_path: Path, library: ctypes.CDLL) -> None:
    stage, _ = begin(tmp_path)
    told = []
    for batch in batches((T + S, quotes(T, 100_000)), (T + 9 * S, [])):
        list(stage.handle(batch))
        stage.commit()
        told.append(stored(tmp_path))
    assert told == [0, 100_002]


def test_a_state_that_waits_waits_no_longer_than_its_size_is_worth(tmp_path: Path, library: ctypes.CDLL) -> None:
    stage, _ = begin(tmp_path, lateness_ms=60_000)
    worth = QUOTE_BYTES * 100_000 * S // STATE_BYTES_PER_S
    for batch in batches((T, []), (T + worth - 1, quotes(T, 100_000)), (T + worth + S // 10, [])):
        list(stage.handle(batch))
        stage.commit()
        assert stored(tmp_path) == (batch.last if batch.ts != T + worth - 1 else 1)


def test_ended_closes_everything_and_travels_on(tmp_path: Path) -> None:
    stage, _ = begin(tmp_path)
    ended = Feed("ended", T + S // 2, 0)
    (out,) = [o for batch in batches((T + S // 2, [trade(T, 1), ended])) for o in stage.handle(batch)]
    assert out.ts == T + S
    assert [type(event) for event in out.events] == [Bar, Feed]
    stage.commit()
    assert peek(Files(tmp_path), "journal/bars_1s/ckpt-binance")["ended"] is True


def test_many_bars_at_once_fill_several_records_and_the_last_one_alone_moves_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procs.aggregator.MOST_BARS", 4)
    stage, _ = begin(tmp_path)
    out = list(stage.handle(Batch(1, T, [])))
    out += stage.handle(Batch(2, T + 5 * S, [trade(T, i, f"S{i}") for i in range(10)]))
    assert [(len(o.events), o.ts) for o in out] == [(0, T - 2 * S), (4, T - 2 * S), (4, T - 2 * S), (2, T + 3 * S)]
    assert [o.first for o in out] == [1, 2, 7, 12]


def test_only_where_no_raw_trades_are_recorded_live_aggregates_make_bars(tmp_path: Path) -> None:
    agg = msgspec.convert([2, "AAA", T, T, T, 0, "1.5", "2.0", "buy", 7, 10, 12, "ws"], Event)
    for streams, counted in ((("trade", "agg_trade"), 0), (("agg_trade", "quote"), 3), ((), 0)):
        stage, _ = begin(tmp_path / str(len(streams)), streams)
        out = [o for batch in batches((T, [agg]), (T + 5 * S, [])) for o in stage.handle(batch)]
        assert sum(bar.trade_count for bar in bars(out)) == counted


@pytest.mark.parametrize("wrong", [{"lateness_ms": -1}, {"lateness_ms": 60_001}, {"revise_s": -1}, {"revise_s": 3601}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="is not between"):
        Config(**wrong)
