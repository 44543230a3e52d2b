"""The page over all certificates: nothing is loaded, everything is escaped, each cell leads to a certificate."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections import Counter
from datetime import date, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from procs.compactor import Config as CompactorConfig
from procs.compactor.work import compact
from procs.validator import Config
from procs.validator.page import MOST_CELLS, page
from procs.validator.work import validate
from shared import lake, paths
from shared.errand import Errand
from shared.files import Files
from shared.process import Lifeline
from tests.fixtures.small_lake import HOUR, MINUTE, Market, write_lake

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
DAY = date(2025, 10, 20)


class Seen(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: Counter[str] = Counter()
        self.classes: Counter[str] = Counter()
        self.open: list[str] = []
        self.unclosed: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        found = dict(attrs)
        if tag == "td" and "class" in found:
            self.classes.update((found["class"] or "").split())
        if "href" in found:
            self.links.append(str(found["href"]))
        assert not {"src", "onclick", "onload", "srcset", "action"} & found.keys()
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def row(symbol: str = "SOLUSDT", day: date = DAY, verdict: str = "complete", **more: Any) -> dict[str, Any]:
    numbers = dict.fromkeys(
        ("trades", "missing", "healed", "unhealable", "seconds_with_trades", "seconds_proven_empty", "seconds_unknown",
         "klines_compared", "klines_different"), 0
    )  # fmt: skip
    words = {
        "wrong": "",
        "notes": "",
        "hours": "c" * 24,
        "certificate": f"quality/binance/{paths.safe(symbol)}/{day}.json",
    }
    return {
        "venue": "binance", "symbol": symbol, "date": day, "verdict": verdict, "is_over": True,
        "quotes_live_share": 0.5, **numbers, **words, **more,
    }  # fmt: skip


def test_the_page_of_a_lake_leads_to_its_certificates(tmp_path: Path) -> None:
    disk = Files(tmp_path)
    start = paths.day_start("2025-10-20") + 22 * HOUR
    events = []
    for symbol in ("SOLUSDT", "CON", "币安人生USDT"):
        market = Market(symbol)
        events += [*market.events(start, 60), *market.events(start + 2 * HOUR, 60)]
    write_lake(disk, events, reached=start + 2 * HOUR + 3 * MINUTE)
    compact(Errand(disk, CompactorConfig(), None, None, False, Lifeline()))
    validate(Errand(disk, Config(), None, None, True, Lifeline()))
    seen = Seen(disk.read("quality/report.html").decode())
    assert seen.open == [] and set(seen.links) == {
        link for link in seen.links if (tmp_path / "quality" / unquote(link)).is_file()
    }
    assert len(set(seen.links)) == 6
    answer = lake.query(tmp_path, "SELECT symbol, date::VARCHAR, verdict, is_over FROM days ORDER BY ALL")
    assert {name for name, *_ in answer.rows} == {"SOLUSDT", "CON", "币安人生USDT"}
    assert [row for row in answer.rows if row[0] == "CON"] == [
        ("CON", "2025-10-20", "partial", True),
        ("CON", "2025-10-21", "unproven", False),
    ]


def test_nothing_is_loaded_and_nothing_runs() -> None:
    text = page([row()], "now")
    assert "default-src 'none'" in text and "<script" not in text
    assert not any(word in text for word in ("http://", "https://", "url(", "@import", "<img", "<link"))


def test_what_stands_in_a_lake_is_text_on_the_page() -> None:
    evil = "<script>alert(1)</script>'\"&"
    text = page([row(evil, wrong=evil, notes=evil, verdict=evil, hours="?" * 24)], evil)
    seen = Seen(text)
    assert seen.open == [] and seen.tags["script"] == 0
    assert all("<" not in link and "'" not in link for link in seen.links)


def test_each_day_and_hour_has_its_colour() -> None:
    rows = [
        row(),
        row("ADAUSDT", verdict="healed", hours="." * 10 + "h" * 13 + "P", wrong="1 trades missing", missing=1),
    ]
    seen = Seen(page(rows, "now"))
    # A cell a day, 24 for its hours; the last hour has something wrong, and so has the day.
    assert (seen.classes["complete"], seen.classes["healed"], seen.classes["partial"]) == (25, 14, 1)
    # Hours outside the record, and of two symbols the thirteen days before their first.
    assert (seen.classes["none"], seen.classes["wrong"]) == (10 + 26, 2)


def test_a_lake_of_years_makes_a_light_page() -> None:
    rows = [row(f"S{n}USDT", DAY + timedelta(days=d)) for n in range(60) for d in range(200)]
    text = page(rows, "now")
    assert Seen(text).tags["td"] < MOST_CELLS + 2 * 60 * 13 and len(text) < 3_000_000
    assert (DAY + timedelta(days=199)).isoformat() in text and "older ones are in days.parquet" in text


def test_an_empty_lake_has_a_page_too() -> None:
    assert "Nothing has been judged yet" in page([], "now")


def test_a_browser_shows_it(tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser is installed ({', '.join(BROWSERS)}): the page was not looked at")
    days = [DAY + timedelta(days=n) for n in range(40)]
    rows = [
        row(s, d, "partial" if n % 9 == 4 else "complete") for s in ("ADAUSDT", "SOLUSDT") for n, d in enumerate(days)
    ]
    (tmp_path / "report.html").write_text(page(rows, "now"), encoding="utf-8")
    shot = tmp_path / "report.png"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1200,800"]
    url = (tmp_path / "report.html").as_uri()
    done = subprocess.run(
        [*command, f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}", url],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert b"Refused" not in done.stderr and b"violates" not in done.stderr
    data = shot.read_bytes()
    assert data.startswith(b"\x89PNG") and struct.unpack(">II", data[16:24]) == (1200, 800)
    assert len(data) > 20_000  # a blank page packs to a tenth of it
