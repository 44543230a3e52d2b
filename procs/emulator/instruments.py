"""The symbols the synthetic market knows, with plausible prices and steps; any other name is given some."""

from __future__ import annotations

from hashlib import blake2b

from procs.emulator.tape import Instrument

# base: price, decimals of a price step, decimals of a quantity step, how busy
_KNOWN = {
    "BTC": (108_000.0, 2, 5, 9.0),
    "ETH": (3_900.0, 2, 4, 7.0),
    "SOL": (187.0, 2, 3, 5.0),
    "BNB": (1_090.0, 2, 3, 3.0),
    "XRP": (2.45, 4, 1, 4.0),
    "DOGE": (0.196, 5, 0, 3.0),
    "SUI": (2.52, 4, 1, 2.0),
    "ADA": (0.648, 4, 1, 2.0),
    "PEPE": (0.00000712, 8, 0, 2.0),
    "TRX": (0.322, 4, 1, 1.2),
    "AVAX": (20.3, 2, 2, 1.5),
    "LINK": (17.6, 2, 2, 1.5),
    "LTC": (95.4, 2, 3, 1.2),
    "BCH": (479.0, 1, 3, 0.8),
    "DOT": (3.02, 3, 2, 0.8),
    "NEAR": (2.24, 3, 1, 0.8),
    "UNI": (6.35, 3, 2, 0.7),
    "AAVE": (226.0, 2, 3, 0.7),
    "APT": (3.28, 3, 2, 0.6),
    "ARB": (0.3172, 4, 1, 0.6),
    "OP": (0.4461, 4, 2, 0.5),
    "INJ": (8.71, 3, 2, 0.5),
    "XLM": (0.3189, 4, 0, 0.5),
    "HBAR": (0.17152, 5, 0, 0.5),
    "SHIB": (0.00001012, 8, 0, 0.5),
    "FIL": (1.561, 3, 2, 0.4),
    "ATOM": (3.214, 3, 2, 0.4),
    "ICP": (3.117, 3, 2, 0.3),
    "ETC": (15.92, 2, 2, 0.3),
    "TIA": (1.0214, 4, 2, 0.3),
}
_QUOTES = ("FDUSD", "USDT", "USDC", "TUSD", "EUR", "TRY", "BTC", "ETH", "BNB")

DEFAULT = tuple(f"{base}USDT" for base in _KNOWN)
"""Every known symbol, the busiest among them."""


def split(symbol: str) -> tuple[str, str]:
    """Base and quote asset of a symbol, as far as its name tells."""
    for quote in _QUOTES:
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol.removesuffix(quote), quote
    return symbol, "USDT"


def instrument(symbol: str) -> Instrument:
    """What is known of a symbol; an unknown one gets a price and steps that depend on its name alone."""
    base, quote = split(symbol)
    known = _KNOWN.get(base)
    if known is not None and quote in ("USDT", "USDC", "FDUSD"):
        return Instrument(symbol, base, quote, *known)
    digest = blake2b(symbol.encode(), digest_size=8).digest()
    whole = digest[0] % 4  # digits before the decimal point
    price = (100 + int.from_bytes(digest[1:3], "big") % 900) / 100 * 10**whole / 10
    return Instrument(symbol, base, quote, price, tick_digits=4 - whole, step_digits=whole, rhythm=0.5)
