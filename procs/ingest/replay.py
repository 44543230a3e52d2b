"""What the journal's last segment holds, taken as known by the life that begins: columns in runs, the rest singly."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from procs.ingest.symbols import Book
from shared.events import QUOTE, Batch, Columns, Feed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KnownBook = Callable[[str], Book]
"""The book of a symbol, also of one that is recorded no more."""


def replay(batch: Batch, known: KnownBook) -> None:
    """The same whether its events are columns or a list."""
    if isinstance(batch.events, Columns):
        _columns(batch.events, known)
        return
    for event in batch.events:
        symbols = event.symbols if isinstance(event, Feed) else [getattr(event, "symbol", "")]
        for symbol in filter(None, symbols):
            known(symbol).replay(event)


def _columns(columns: Columns, known: KnownBook) -> None:
    import numpy as np

    kinds, places = np.frombuffer(columns.kinds, np.uint8), np.frombuffer(columns.symbol, np.uint16)
    ids, ts = np.frombuffer(columns.ids, np.int64), np.frombuffer(columns.ts, np.int64)
    is_quote = kinds == QUOTE
    for place in np.unique(places).tolist():
        book, is_its = known(columns.symbols[place]), places == place
        is_trade = is_its & ~is_quote
        _trades(book, ids[is_trade].tolist(), ts[is_trade].tolist())
        _quotes(book, ids[is_its & is_quote])


def _trades(book: Book, ids: list[int], ts: list[int]) -> None:
    if not ids:
        return
    is_run = ids[-1] - ids[0] == len(ids) - 1 and all(one == ids[0] + at for at, one in enumerate(ids))
    if is_run and book.trades.take_run(ids[0], ids[-1], ts[-1]):
        return
    for one, when in zip(ids, ts, strict=True):
        book.trades.take(one, when)


def _quotes(book: Book, ids: NDArray[np.int64]) -> None:
    if not len(ids):
        return
    if bool((ids[1:] > ids[:-1]).all()) and book.take_quotes(int(ids[0]), int(ids[-1]), ids.tobytes()):
        return
    for one in ids.tolist():
        book.is_new_quote(one)
