"""S10: there is no dashboard and no API: nothing serves pages, so nothing can be asked from a web page.

What there is: ``quality/report.html``, a file without scripts, in which no name becomes markup; and the
emulated venue, for tests and the demo, which answers this machine's programs and no web page.
"""

from __future__ import annotations

import re
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest

from procs.validator.page import page
from tests.integration.emulators import ROOT, emulator

EVIL = "<script>alert(1)</script>'\"><img src=x onerror=alert(1)>&lt;javascript:x"
ROW = {
    "venue": EVIL, "symbol": EVIL, "date": date(2025, 10, 20), "verdict": "complete", "is_over": True, "wrong": EVIL,
    "notes": EVIL, "trades": 1, "missing": 0, "healed": 0, "seconds_with_trades": 1, "seconds_proven_empty": 0,
    "seconds_unknown": 0, "quotes_live_share": 0.5, "klines_compared": 0, "klines_different": 0,
    "certificate": f"quality/{EVIL}/x.json", "hours": "c" * 24, "status": EVIL, "reason": EVIL,
}  # fmt: skip


class Seen(HTMLParser):
    """Every element and attribute of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


class Any(dict):  # type: ignore[type-arg]
    """A row that has whatever else is asked for."""

    def __missing__(self, key: str) -> object:
        return EVIL if key in ("word", "kind") else 0


def test_no_name_becomes_markup_in_the_report() -> None:
    text = page([Any(ROW)], EVIL)
    seen = Seen()
    seen.feed(text)
    assert not seen.tags & {"script", "img", "iframe", "object", "link", "base", "form", "svg"}
    for name, value in seen.attributes:
        assert not name.startswith("on") and name != "src"
        if name == "href":
            assert not re.match(r"\s*[a-z]+:", value, re.I) and not value.startswith("//"), value
    assert "default-src 'none'" in text, "and a browser is told so"


def test_only_the_emulated_venue_serves_http() -> None:
    for folder in ("shared", "procs", "supervision"):
        for path in (ROOT / folder).rglob("*.py"):
            if "emulator" not in path.parts:
                text = path.read_text(encoding="utf-8")
                assert "aiohttp.web" not in text and "http.server" not in text and "import web" not in text, path


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Host": "localhost.evil.example"}, {"Origin": "https://evil.example"},
                {"Origin": "null"}, {"Host": "127.0.0.1.nip.io:80"}],
)  # fmt: skip
def test_the_emulated_venue_answers_no_web_page(emulated: str, headers: dict[str, str]) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", int(emulated.rpartition(":")[2]), timeout=10)
    try:
        for method in ("GET", "POST"):
            connection.request(method, "/emulator/faults", headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 403, (method, headers, answer.status)
    finally:
        connection.close()


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> object:
    folder: Path = tmp_path_factory.mktemp("venue")
    with emulator(folder, "--symbols", "SOLUSDT", "--rate", "1", "--port", "0") as venue:
        yield venue.rest_url
