"""procs.emulator.faults and ledger: what goes wrong is what was asked for, and it is counted."""

from __future__ import annotations

import pytest

from procs.emulator.faults import Fault, FaultError, Faults, convert, garbage, parse
from procs.emulator.ledger import Ledger
from procs.emulator.tape import Event


def event(ident: int, kind: str = "trade", symbol: str = "SOLUSDT") -> Event:
    return Event(ident, f"{symbol.lower()}@{kind}", kind, symbol, ident, b"{}")


def active(*faults: Fault) -> Faults:
    subject = Faults()
    for fault in faults:
        subject.add(fault, 0.0)
    subject.due(0.0, 0)
    return subject


def ids(events: list[Event]) -> list[int]:
    return [e.id for e in events]


def test_a_fault_is_written_in_one_word_and_its_numbers() -> None:
    assert parse("drop") == Fault(kind="drop")
    assert parse("skip:symbol=SOLUSDT,count=3,rest=true,p=0.5") == Fault(
        kind="skip", symbol="SOLUSDT", count=3, rest=True, p=0.5
    )
    assert convert({"kind": "status", "status": 418, "for_s": 5}) == Fault(kind="status", status=418, for_s=5)


@pytest.mark.parametrize("text", ["nonsense", "drop:when=1", "drop:at_s", "drop:at_s=soon", "drop:every_s=0"])
def test_a_fault_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(FaultError):
        parse(text)


def test_faults_come_when_they_are_due_and_again_if_so_told() -> None:
    subject = Faults()
    subject.add(parse("drop:at_s=5,every_s=10"), 100.0)
    subject.add(parse("stall:after=50"), 100.0)
    assert subject.due(104.9, 0) == []
    assert [f.kind for f in subject.due(105.0, 49)] == ["drop"]
    assert [f.kind for f in subject.due(106.0, 50)] == ["stall"]
    assert subject.due(114.9, 50) == []
    assert [f.kind for f in subject.due(115.0, 50)] == ["drop"]


def test_skipped_ids_are_withheld_and_remembered() -> None:
    subject = active(parse("skip:symbol=SOLUSDT,count=2,rest=true"))
    sent = subject.shape([event(1, symbol="ADAUSDT"), event(2, "bookTicker"), event(3), event(4), event(5)])
    assert ids(sent) == [1, 2, 5]
    assert subject.withheld == {("SOLUSDT", "trade"): [3, 4]}
    assert subject.hidden == {("SOLUSDT", "trade"): {3, 4}}
    assert subject.struck == {"skip": 2}


def test_withheld_from_the_websocket_alone_hides_nothing_from_rest() -> None:
    subject = active(parse("skip"))
    assert ids(subject.shape([event(1), event(2)])) == [2]
    assert subject.hidden == {}


def test_a_duplicate_is_sent_twice() -> None:
    assert ids(active(parse("duplicate:count=2")).shape([event(1), event(2), event(3)])) == [1, 1, 2, 2, 3]


def test_a_reordered_event_follows_the_next_of_its_stream_even_in_the_next_batch() -> None:
    subject = active(parse("reorder"))
    assert ids(subject.shape([event(1), event(2, symbol="ADAUSDT")])) == [2]
    assert subject.shaping
    assert ids(subject.shape([event(3), event(4)])) == [3, 1, 4]
    assert ids(active(parse("reorder")).shape([event(1), event(2), event(3)])) == [2, 1, 3]


def test_garbage_is_sent_beside_the_events_and_never_instead() -> None:
    sent = active(parse("garbage:count=5")).shape([event(n) for n in range(8)])
    assert ids([e for e in sent if e.id >= 0]) == list(range(8))
    assert sum(e.id < 0 for e in sent) == 5


def test_garbage_is_of_every_sort() -> None:
    from random import Random

    found = {(g.bare, g.body) for g in (garbage(event(1), Random(n)) for n in range(300)) if isinstance(g.body, bytes)}
    assert len(found) == 13


def test_a_fault_lasts_as_long_as_it_was_told() -> None:
    subject = Faults()
    subject.add(parse("refuse:for_s=5"), 0.0)
    subject.due(0.0, 0)
    assert subject.refuses()
    subject.due(5.0, 0)
    assert not subject.refuses()


def test_rest_faults_add_up_and_run_out() -> None:
    subject = active(
        parse("status:status=503,count=1"), parse("slow:delay_ms=20"), parse("truncate:rows=2,leave_out=1")
    )
    first, second = subject.rest(), subject.rest()
    assert (first.status, first.delay_ms, first.rows, first.leave_out) == (503, 20, 2, 1)
    assert second.status == 200


def test_chance_is_seeded() -> None:
    def run() -> list[int]:
        return ids(active(parse("duplicate:p=0.3,for_s=9")).shape([event(n) for n in range(200)]))

    assert run() == run()
    assert 20 < len(run()) - 200 < 100


def test_the_ledger_counts_ids_once_and_frames_as_often_as_they_left() -> None:
    ledger = Ledger()
    for ident in (5, 6, 7, 7, 9, 8, 12):
        ledger.sent(event(ident))
    ledger.sent(event(40, "bookTicker"))
    ledger.sent(event(47, "bookTicker"))
    told = ledger.as_json()["SOLUSDT"]
    assert told["trade"]["ranges"] == [(5, 9), (12, 12)]
    assert (told["trade"]["frames"], told["trade"]["distinct"]) == (7, 6)
    assert (told["trade"]["first"], told["trade"]["last"]) == (5, 12)
    assert told["bookTicker"] == {"frames": 2, "distinct": 2, "first": 40, "last": 47}
