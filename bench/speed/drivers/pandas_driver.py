# mypy: ignore-errors
"""pandas as the seed uses it, on files: `transform` makes bars of a symbol-day of raw lines, `resample` of ticks."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pandas as pd


def transform(raw, out):
    """Every line of the day into one frame, bars by second, one Parquet file."""
    frame = pd.concat([pd.read_json(path, lines=True) for path in sorted(Path(raw).glob("*.jsonl"))])
    frame["second"] = pd.to_datetime(frame["ts_event"], unit="ms", utc=True).dt.floor("s")
    frame["quote"] = frame["price"] * frame["qty"]
    bars = (
        frame[frame["stream"] == "trade"]
        .groupby("second")
        .agg(
            open=("price", "first"),
            high=("price", "max"),
            low=("price", "min"),
            close=("price", "last"),
            volume=("qty", "sum"),
            quote_volume=("quote", "sum"),
            count=("price", "count"),
        )
    )
    bars["vwap"] = bars["quote_volume"] / bars["volume"]
    quotes = frame[frame["stream"] == "bookTicker"].groupby("second").agg(bid=("bid", "last"), ask=("ask", "last"))
    bars = bars.join(quotes).reset_index()
    bars.to_parquet(out, compression="snappy")
    return int(bars["count"].sum())


def resample(folder, out):
    """Each symbol's ticks, float prices in Parquet, resampled to seconds."""
    rows = 0
    for path in sorted(Path(folder).glob("*.parquet")):
        frame = pd.read_parquet(path).set_index("ts")
        frame["quote"] = frame["price"] * frame["qty"]
        by_second = frame.resample("1s")
        bars = by_second["price"].ohlc()
        bars["volume"] = by_second["qty"].sum()
        bars["quote_volume"] = by_second["quote"].sum()
        bars["count"] = by_second["price"].count()
        rows += int(bars["count"].sum())
    return rows


began = time.perf_counter()
found = {"transform": transform, "resample": resample}[sys.argv[1]](sys.argv[2], sys.argv[3])
sys.stdout.write(json.dumps({"seconds": time.perf_counter() - began, "trades": found}) + "\n")
