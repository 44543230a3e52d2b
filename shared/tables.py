"""The columns on disk, as words: names, order and types that users and tools rely on (types as DuckDB and Arrow know
them).
"""

from __future__ import annotations

SCHEMA_VERSION = 1
"""Of the lake as a whole, in ``lake.json``; another version is refused."""

BAR_COLUMNS: tuple[tuple[str, str], ...] = (
    ("symbol", "string"),
    ("window_start", "timestamp[us, UTC]"),
    ("open", "float64"),
    ("high", "float64"),
    ("low", "float64"),
    ("close", "float64"),
    ("volume_base", "float64"),
    ("volume_quote", "float64"),
    ("trade_count", "int64"),
    ("vwap", "float64"),
    ("bid", "float64"),
    ("ask", "float64"),
    ("spread", "float64"),
    ("bid_qty", "float64"),
    ("ask_qty", "float64"),
    ("quote_count", "int64"),
    ("spread_tw", "float64"),
    ("buy_volume_base", "float64"),
    ("buy_volume_quote", "float64"),
    ("buy_count", "int64"),
    ("first_trade_id", "int64"),
    ("last_trade_id", "int64"),
    ("trade_id_sum", "int64"),
    ("is_complete", "bool"),
    ("quotes_live_ms", "int16"),
    ("revision", "int32"),
    ("venue", "string"),
)
"""A bar. The list only ever grows at its end."""

RAW_COLUMNS: tuple[tuple[str, str], ...] = (
    ("symbol", "string"),
    ("ts_event", "int64"),
    ("ts_recv", "int64"),
    ("price", "decimal"),
    ("qty", "decimal"),
    ("side", "string"),
    ("bid", "decimal"),
    ("ask", "decimal"),
    ("stream", "string"),
    ("ts", "int64"),
    ("ts_sent", "int64"),
    ("trade_id", "int64"),
    ("source", "string"),
    ("trade_type", "string"),
    ("agg_id", "int64"),
    ("first_trade_id", "int64"),
    ("last_trade_id", "int64"),
    ("update_id", "int64"),
    ("bid_qty", "decimal"),
    ("ask_qty", "decimal"),
)
"""A raw line: the first nine keys always, the others where they apply; ``decimal`` is a JSON number with the venue's
digits.
"""
