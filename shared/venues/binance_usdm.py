"""Binance USD-M futures: what differs from spot. Facts as of November 2026.

* Since March 2026 the websocket has routes; an unrouted connection acknowledges everything and then stays silent on
  what it does not serve. One connection, one route. Raw trades are on no official list: evidence says ``public``, so
  that comes first and the first data decide. Servers of one's own often know no routes, hence the empty one at the end.
* Every event has the matching time ``T``. Times are milliseconds; there is no other unit.
* ``X`` of a trade is MARKET, or INSURANCE_FUND, ADL or NA for what was no execution in the book. Those consume ids.
* Raw trade ids have holes at the venue itself, and raw history needs a key: aggregates prove and heal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from shared.venues import KINDS, KLINE, ColumnReader, Daily, Limits, Newest, Request
from shared.venues import binance as spot
from shared.venues._binance_rest import daily_of


class Venue(spot.Venue):
    """USD-M. See :class:`shared.venues.Adapter`."""

    name: ClassVar[str] = "binance_usdm"
    ws_url: ClassVar[str] = "wss://fstream.binance.com"
    rest_url: ClassVar[str] = "https://fapi.binance.com"
    public_urls: ClassVar[dict[str, str]] = {}
    # The page has said both 200 and 1,024 streams: 200 is safe.
    limits: ClassVar[Limits] = Limits(
        streams_per_connection=200, messages_per_s=5, connects_per_5min=240, lifetime_s=86_400, weight_per_min=2400
    )
    ids_have_holes: ClassVar[bool] = True
    kline_s: ClassVar[int] = 60
    daily: ClassVar[Daily | None] = daily_of("futures/um")
    headers: ClassVar[dict[str, str]] = {}
    _url_suffix: ClassVar[str] = ""
    _api: ClassVar[str] = "/fapi/v1"
    _weights: ClassVar[dict[str, int]] = {
        "exchangeInfo": 1,
        "aggTrades": 20,
        "trades": 5,
        "klines": 10,
        "ticker/24hr": 40,
    }
    _kline: ClassVar[tuple[str, int]] = ("1m", 1500)

    def __init__(self, symbols: Iterable[str] = (), streams: Sequence[str] = KINDS) -> None:
        super().__init__(symbols, streams)
        self._has_aggregates = "agg_trade" in streams

    def routes(self, kind: str) -> tuple[str, ...]:
        return ("market", "public", "") if kind in ("agg_trade", KLINE) else ("public", "market", "")

    def columns(self) -> ColumnReader | None:
        return None  # their quotes have times of their own, for which columns have no place

    def ask_instruments(self, symbols: Sequence[str] = ()) -> Request:
        return self._ask("exchangeInfo", max_bytes=64 << 20)

    def ask_newest(self, symbol: str) -> Request:
        # A trade costs a quarter of what an aggregate does, but does not say the aggregate's id.
        what = "aggTrades" if self._has_aggregates else "trades"
        return self._ask(what, ("symbol", symbol), ("limit", 1))

    def parse_newest(self, body: bytes, symbol: str) -> Newest | None:
        if self._has_aggregates:
            return super().parse_newest(body, symbol)
        rows = self.parse_trades(body, symbol, 0)
        last = max(rows, key=lambda row: row.trade_id, default=None)
        return None if last is None else Newest(last.trade_id, None, last.ts)

    def ask_newest_ids(self, symbols: Sequence[str] = ()) -> Request | None:
        return self._ask("ticker/24hr")  # one symbol or all: no list of them is understood

    def ask_trades(self, symbol: str, first_id: int, most: int) -> Request | None:
        return None

    def ask_recent(self, symbol: str) -> Request | None:
        return self._ask("trades", ("symbol", symbol), ("limit", 1000))
