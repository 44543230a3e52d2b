"""What was received, and rotted in the journal before it was archived: what can be had again is asked for again.

The archiver notes in its checkpoint which records it never had. Which trades were in them nobody can read any more; but
once it has taken all that stood in the journal at some moment, what was held then and is not archived was in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from loguru import logger

from shared.ids import Ids

if TYPE_CHECKING:
    from procs.ingest.core import Ingest

LOOK_NS: Final = 2_000_000_000
REASON: Final = "damaged in the journal before it was archived"
NAMES: Final = {"trade": "ids", "agg_trade": "agg_ids"}
"""Of what is archived, in the archiver's checkpoint."""

Held = dict[tuple[str, str], list[list[int]]]
"""By symbol and stream, the ids as intervals."""


class Losses:
    """Of one source's journal."""

    def __init__(self, ingest: Ingest, counters: dict[str, int]) -> None:
        self._ingest = ingest
        self._counters = counters
        self._looked = 0
        self._heard: dict[str, list[list[int]]] = {}
        self._then: dict[str, tuple[int, Held]] = {}
        """The last record there was when a loss was heard of, and what was held then."""

    def turn(self, mono: int) -> None:
        """Looks into the archiver's checkpoint where it is time to, and all that is held is written."""
        recorder = self._ingest.recorder
        if mono - self._looked < LOOK_NS or not recorder.is_empty:
            return
        self._looked = mono
        for base, said in recorder.writer.told().items():
            lost = said.get("lost", [])
            if lost and lost != self._heard.get(base):
                self._then[base] = recorder.writer.last, self._held()
            self._heard[base] = lost
            if base in self._then and said["position"] >= self._then[base][0]:
                self._ask_again(lost, self._then.pop(base)[1], said)

    def _held(self) -> Held:
        books = self._ingest.books.values()
        return {(book.symbol, kind): t.held.intervals for book in books for kind, t in book.trackers.items()}

    def _ask_again(self, lost: list[list[int]], held: Held, said: dict[str, Any]) -> None:
        start, end = min(one[2] for one in lost), max(one[3] for one in lost)
        found = 0
        for (symbol, kind), intervals in held.items():
            archived = Ids.from_intervals(said.get(NAMES[kind], {}).get(symbol, []))
            low = archived.lowest or 0  # the oldest may have been forgotten there
            for first, last in intervals:
                for begin, until in archived.missing(max(first, low), last):
                    self._lose(symbol, kind, (begin, until), (start, end))
                    found += until - begin + 1
        quoted = list(self._ingest.books)
        for first, last, before, _ in lost:  # when the archiver has this, it forgets them
            self._counters["records_damaged"] += last - first + 1
            self._ingest.feed("stale", quoted, {"reason": REASON, "records": [first, last]}, ts=before or None)
            logger.error(f"records {first} to {last} were {REASON}: {found} trades are fetched again, quotes are lost")

    def _lose(self, symbol: str, kind: str, ids: tuple[int, int], span: tuple[int, int]) -> None:
        self._ingest.books[symbol].trackers[kind].lose(*ids, *span)
        detail = {"stream": kind, "first_id": ids[0], "last_id": ids[1], "missing": ids[1] - ids[0] + 1}
        self._ingest.feed("gap", [symbol], {**detail, "from_ts": span[0], "to_ts": span[1], "reason": REASON})
