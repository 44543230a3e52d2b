"""What the venue says of itself and of its symbols (``exchangeInfo``)."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from procs.emulator.tape import Instrument, Market


def listing(instruments: Iterable[Instrument], market: Market, weight_limit: int, now: int) -> dict[str, Any]:
    """The whole answer; ``now`` in whatever unit was asked for."""
    limits = [("REQUEST_WEIGHT", "MINUTE", 1, weight_limit)]
    if market == "spot":
        limits += [("ORDERS", "SECOND", 10, 100), ("ORDERS", "DAY", 1, 200_000)]
        limits += [("RAW_REQUESTS", "MINUTE", 5, 300_000)]
    names = ("rateLimitType", "interval", "intervalNum", "limit")
    describe = _spot_symbol if market == "spot" else _usdm_symbol
    return {
        "timezone": "UTC",
        "serverTime": now,
        "rateLimits": [dict(zip(names, limit, strict=True)) for limit in limits],
        "exchangeFilters": [],
        "symbols": [describe(instrument) for instrument in instruments],
    }


def _step(digits: int, padded: bool) -> str:
    return f"{Decimal(1).scaleb(-digits):.{8 if padded else digits}f}"


def _spot_symbol(i: Instrument) -> dict[str, Any]:
    tick, step = _step(i.tick_digits, True), _step(i.step_digits, True)
    return {
        "symbol": i.symbol,
        "status": "TRADING",
        "baseAsset": i.base,
        "baseAssetPrecision": 8,
        "quoteAsset": i.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000000.00000000", "stepSize": step},
            {"filterType": "NOTIONAL", "minNotional": "5.00000000", "maxNotional": "9000000.00000000"},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }


def _usdm_symbol(i: Instrument) -> dict[str, Any]:
    tick, step = _step(i.tick_digits, False), _step(i.step_digits, False)
    return {
        "symbol": i.symbol,
        "pair": i.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": 4_133_404_800_000,
        "onboardDate": 1_569_398_400_000,
        "status": "TRADING",
        "baseAsset": i.base,
        "quoteAsset": i.quote,
        "marginAsset": i.quote,
        "pricePrecision": i.tick_digits,
        "quantityPrecision": i.step_digits,
        "underlyingType": "COIN",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "1000", "stepSize": step},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
        ],
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }
