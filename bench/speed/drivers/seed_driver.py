# mypy: ignore-errors
"""The seed's way of working, in a few lines: one asyncio loop, websockets, json, one write an event; pandas later.

Its collector normalises each message into a record and appends it to the file of its symbol and minute; a transformer
reads those files afterwards, makes bars with pandas and writes a Parquet dataset. `--work receive` is only the former.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import pandas as pd
import websockets
from work import arguments

args = arguments()
RAW = Path(args.folder) / "raw"


class Files:
    """An open file a symbol, another one each minute of event time."""

    def __init__(self):
        self._open = {}

    def write(self, record):
        symbol, minute = record["symbol"], record["ts_event"] // 60_000
        at, file = self._open.get(symbol, (None, None))
        if at != minute:
            if file is not None:
                file.close()
            folder = RAW / symbol
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / f"part_{minute}.jsonl").open("a", encoding="utf-8")
            self._open[symbol] = minute, file
        file.write(json.dumps(record) + "\n")

    def close(self):
        for _, file in self._open.values():
            file.close()


def normalise(data, newest):
    if data.get("e") == "trade":
        return {
            "symbol": data["s"], "ts_event": data["T"], "ts_recv": int(time.time() * 1000), "price": float(data["p"]),
            "qty": float(data["q"]), "side": "sell" if data["m"] else "buy", "bid": None, "ask": None,
            "stream": "trade", "trade_id": data["t"],
        }  # fmt: skip
    return {
        "symbol": data["s"], "ts_event": newest, "ts_recv": int(time.time() * 1000), "price": None, "qty": None,
        "side": None, "bid": float(data["b"]), "ask": float(data["a"]), "stream": "bookTicker", "trade_id": None,
    }  # fmt: skip


async def collect():
    files, seen, newest = Files(), 0, 0
    streams = "/".join(f"{symbol.lower()}@{kind}" for symbol in args.symbols for kind in ("trade", "bookTicker"))
    async with websockets.connect(f"{args.ws}/stream?streams={streams}", compression=None, max_queue=1024) as socket:
        try:
            async for text in socket:
                data = json.loads(text)["data"]
                newest = data.get("T", newest)
                files.write(normalise(data, newest))
                seen += 1
                if seen == args.events:
                    break
        finally:
            files.close()
            collected = time.time_ns()
    return seen, collected


def transform():
    """Bars of one second, a Parquet file a symbol."""
    files = 0
    for folder in sorted(RAW.iterdir()) if RAW.exists() else ():
        frame = pd.concat([pd.read_json(path, lines=True) for path in sorted(folder.glob("*.jsonl"))])
        frame["second"] = pd.to_datetime(frame["ts_event"], unit="ms", utc=True).dt.floor("s")
        frame["quote"] = frame["price"] * frame["qty"]
        trades = frame[frame["stream"] == "trade"]
        bars = trades.groupby("second").agg(
            open=("price", "first"), high=("price", "max"), low=("price", "min"), close=("price", "last"),
            volume=("qty", "sum"), quote_volume=("quote", "sum"), count=("price", "count"),
        )  # fmt: skip
        bars["vwap"] = bars["quote_volume"] / bars["volume"]
        quotes = frame[frame["stream"] == "bookTicker"].groupby("second").agg(bid=("bid", "last"), ask=("ask", "last"))
        bars = bars.join(quotes).reset_index()
        bars["symbol"] = folder.name
        bars.to_parquet(Path(args.folder) / f"bars-{folder.name}.parquet", compression="snappy")
        files += 1
    return files


def main():
    seen, collected = asyncio.run(collect())
    used = time.process_time()
    files = transform() if args.work == "full" else 0
    said = {"events": seen, "done_ns": time.time_ns(), "files": files, "collected_ns": collected,
            "collector_cpu": used}  # fmt: skip
    sys.stdout.write(json.dumps(said) + "\n")


main()
