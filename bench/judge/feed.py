"""What was announced of gaps is what happened."""

from __future__ import annotations

import json
from collections import defaultdict

from bench.judge.archive import Archive
from bench.judge.events import covered, ranges
from bench.judge.report import Report


def judge_feed(archive: Archive, report: Report) -> None:
    """What was announced of gaps is what happened: healed once each, with the source its trades really have."""
    seen: set[str] = set()
    healed: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for entry in archive.feed:
        text = json.dumps(entry)
        if text in seen:
            report.fault("feed: a line twice", text)
        seen.add(text)
        if entry["kind"] == "healed" and entry.get("stream", "trade") == "trade":
            healed[entry["symbols"][0]].append((entry["first_id"], entry["last_id"], entry["source"]))
    for name, spans in healed.items():
        high = -1
        for first, last, source in sorted(spans):
            if first <= high:
                report.fault("feed: ids healed twice", f"{name} {first}..{last}")
            high = max(high, last)
            stand_in = covered(archive, name)
            lines = [archive.trades[name].get(n) for n in range(first, last + 1) if n not in stand_in]
            if stand_in.intersection(range(first, last + 1)):
                continue
            if None in lines:
                report.fault("feed: healed and not held", f"{name} {first}..{last}")
            elif source not in {line["source"] for line in lines if line is not None}:
                report.fault("feed: healed by another source than it says", f"{name} {first}..{last}: {source}")
        claimed = {n for first, last, _ in spans for n in range(first, last + 1)}
        fetched = {n for n, line in archive.trades[name].items() if line["source"] != "ws"}
        if fetched - claimed:
            report.fault("feed: fetched and never announced", f"{name}: {ranges(fetched - claimed)[:5]}")
