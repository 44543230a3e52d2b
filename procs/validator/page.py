"""``quality/report.html``: every day and hour of every symbol as a coloured cell that leads to its certificate.

One file without scripts, fonts or pictures, which may be mailed or opened from a disk: nothing is loaded, and a browser
is told to refuse if something were.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date as Date
from datetime import timedelta
from html import escape
from typing import Any
from urllib.parse import quote

from procs.validator.account import LETTERS

MOST_CELLS = 12_000
"""Days and hours are left out, the oldest first, before the page gets heavy."""
LEAST_DAYS, MOST_DAYS, MOST_HOUR_DAYS = 14, 92, 14
WORDS = {
    "complete": "every trade is held, as it was received",
    "healed": "every trade is held, some were fetched again",
    "partial": "trades are known to be missing, or the record does not cover it all",
    "unproven": "not known, or a check failed",
}
_NAMES = {letter: name for name, letter in LETTERS.items()}
_SIGNS = {"complete": "", "healed": "+", "partial": "&minus;", "unproven": "?"}

Rows = Sequence[dict[str, Any]]


def page(rows: Rows, made: str) -> str:
    """The page over the rows of ``days.parquet``; `made` says when, as text."""
    body = [_head(rows, made), _legend()]
    if rows:
        body += [_days(rows), _details(rows), _hours(rows)]
    else:
        body.append("<p>Nothing has been judged yet.</p>")
    return f"{_TOP}{''.join(body)}</body></html>\n"


def _head(rows: Rows, made: str) -> str:
    over = [row for row in rows if row["is_over"]]
    counts = {name: sum(row["verdict"] == name for row in over) for name in WORDS}
    said = " &middot; ".join(f"<b>{number:,}</b> {name}" for name, number in counts.items() if number)
    open_days = len(rows) - len(over)
    still = f"{' &middot; ' if said else ''}{open_days:,} still open" if open_days else ""
    missing = sum(row["missing"] for row in rows)
    wrong = sum(bool(row["wrong"]) for row in rows)
    return (
        "<h1>What this lake holds, and what is proven of it</h1>"
        f"<p class=sub>Symbol-days: {said}{still}. Trades missing: <b>{missing:,}</b>. "
        f"Symbol-days with something wrong: <b>{wrong:,}</b>. Made {escape(made)}; days and hours are UTC.</p>"
    )


def _legend() -> str:
    cells = "".join(
        f"<span><i class='c {name}'>{_SIGNS[name]}</i> <b>{name}</b> {words}</span>" for name, words in WORDS.items()
    )
    more = (
        "<span><i class='c complete open'></i> the day is still open: so far</span>"
        "<span><i class='c unproven wrong'>?</i> a check failed: its certificate says which</span>"
        "<span><i class='c none'></i> nothing recorded</span>"
    )
    return f"<div class=legend>{cells}{more}</div>"


# --- symbol and day ---


def _days(rows: Rows) -> str:
    last = max(row["date"] for row in rows)
    first = min(row["date"] for row in rows)
    symbols = _symbols(rows)
    most = max(7, min(MOST_DAYS, MOST_CELLS // 2 // len(symbols)))
    first = max(min(first, last - timedelta(days=LEAST_DAYS - 1)), last - timedelta(days=most - 1))
    dates = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    found = {(row["venue"], row["symbol"], row["date"]): row for row in rows}
    lines = [
        _line(venue, symbol, (_day_cell(found.get((venue, symbol, date)), date) for date in dates))
        for venue, symbol in symbols
    ]
    heads = "".join(f"<th{_new_month(date, n)}>{date.day}</th>" for n, date in enumerate(dates))
    months = _months(dates)
    left = (
        f"<p class=sub>The last {len(dates)} days; older ones are in days.parquet.</p>" if _older(rows, first) else ""
    )
    return _section(
        "Days", f"<tr><th class=s></th>{months}</tr><tr><th class=s></th>{heads}</tr>{''.join(lines)}", left
    )


def _new_month(date: Date, number: int) -> str:
    return " class=m" if date.day == 1 and number else ""


def _months(dates: Sequence[Date]) -> str:
    cells: list[tuple[str, int]] = []
    for date in dates:
        name = date.strftime("%Y-%m")
        if cells and cells[-1][0] == name:
            cells[-1] = (name, cells[-1][1] + 1)
        else:
            cells.append((name, 1))
    # A month of which two days are shown has no room for its name.
    return "".join(f"<th class=month colspan={n}>{name if n > 2 else ''}</th>" for name, n in cells)


def _older(rows: Rows, first: Date) -> bool:
    return any(row["date"] < first for row in rows)


def _day_cell(row: dict[str, Any] | None, date: Date) -> str:
    if row is None:
        return _cell(None, "none", f"{date}: nothing recorded")
    return _cell(_link(row), _classes(_observed(row), bool(row["wrong"]), not row["is_over"]), _tip(row))


def _tip(row: dict[str, Any]) -> str:
    so_far = "" if row["is_over"] else " so far"
    facts = [f"{row['symbol']} {row['date']}: {_observed(row)}{so_far}", f"{row['trades']:,} trades"]
    facts += [f"{row[key]:,} {key}" for key in ("missing", "healed", "unhealable") if row[key]]
    if row["quotes_live_share"] is not None:
        facts.append(f"quotes {row['quotes_live_share']:.2%}")
    return ", ".join([*facts, *filter(None, [row["wrong"], row["notes"]])])


# --- symbol and hour ---


def _hours(rows: Rows) -> str:
    symbols = _symbols(rows)
    dates = sorted({row["date"] for row in rows}, reverse=True)
    most = max(1, min(MOST_HOUR_DAYS, MOST_CELLS // 2 // (24 * len(symbols))))
    parts = []
    for number, date in enumerate(dates[:most]):
        heads = "".join(f"<th>{hour:02d}</th>" for hour in range(24))
        of_day = [row for row in rows if row["date"] == date]
        lines = [
            _line(
                row["venue"], row["symbol"], (_hour_cell(row, hour, letter) for hour, letter in enumerate(row["hours"]))
            )
            for row in of_day
        ]
        table = f"<div class=scroll><table><tr><th class=s></th>{heads}</tr>{''.join(lines)}</table></div>"
        parts.append(f"<details{' open' if number < 2 else ''}><summary>{date}</summary>{table}</details>")
    return f"<section><h2>Hours</h2>{''.join(parts)}</section>"


def _hour_cell(row: dict[str, Any], hour: int, letter: str) -> str:
    name = _NAMES.get(letter.lower(), "unproven")
    when = f"{row['symbol']} {row['date']} {hour:02d}h"
    if not name:
        return _cell(None, "none", f"{when}: outside the record")
    is_wrong = letter.isupper()
    words = f"{when}: {name}{', something is wrong' if is_wrong else ''}"
    return _cell(_link(row), _classes(name, is_wrong, False), words)


# --- in figures ---


def _details(rows: Rows) -> str:
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        newest[row["venue"], row["symbol"]] = row
    names = (
        "symbol",
        "day",
        "verdict",
        "trades",
        "missing",
        "healed",
        "with trades",
        "empty",
        "unknown",
        "quotes stood",
    )
    texts = "".join(f"<th>{name}</th>" for name in names[:3])
    heads = texts + "".join(f"<th class=n>{name}</th>" for name in (*names[3:], "klines compared", "different"))
    lines = "".join(_detail(row) for row in newest.values())
    return _section("The newest day of each symbol", f"<tr>{heads}</tr>{lines}", "", "figures")


def _detail(row: dict[str, Any]) -> str:
    share = "" if row["quotes_live_share"] is None else f"{row['quotes_live_share']:.2%}"
    numbers = [
        *(f"{row[key]:,}" for key in ("trades", "missing", "healed")),
        *(f"{row[key]:,}" for key in ("seconds_with_trades", "seconds_proven_empty", "seconds_unknown")),
        share,
        *(f"{row[key]:,}" if row["klines_compared"] else "&ndash;" for key in ("klines_compared", "klines_different")),
    ]
    verdict = escape(row["verdict"] if row["is_over"] else f"{_observed(row)} so far")
    mark = f"<i class='c {_classes(_observed(row), bool(row['wrong']), not row['is_over'])}'></i> "
    cells = "".join(f"<td class=n>{number}</td>" for number in numbers)
    said = "; ".join(filter(None, [row["wrong"], row["notes"]]))
    more = f"<tr><td class=said></td><td colspan=11 class=said>{escape(said)}</td></tr>" if said else ""
    link = f"<a href='{_link(row)}'>{row['date']}</a>"
    return f"<tr><th class=s>{escape(row['symbol'])}</th><td>{link}</td><td>{mark}{verdict}</td>{cells}</tr>{more}"


# --- pieces ---


def _symbols(rows: Rows) -> list[tuple[str, str]]:
    return sorted({(row["venue"], row["symbol"]) for row in rows})


def _line(venue: str, symbol: str, cells: Iterable[str]) -> str:
    return f"<tr><th class=s title='{escape(venue)}'>{escape(symbol)}</th>{''.join(cells)}</tr>"


def _cell(link: str | None, classes: str, tip: str) -> str:
    sign = _SIGNS.get(classes.split()[0], "")
    inside = f"<a href='{link}'>{sign}</a>" if link else ""
    return f"<td class='c {classes}' title='{escape(tip)}'>{inside}</td>"


def _observed(row: dict[str, Any]) -> str:
    return str(row["verdict"] if row["is_over"] else row["so_far"])


def _classes(verdict: str, is_wrong: bool, is_open: bool) -> str:
    known = verdict if verdict in WORDS else "unproven"
    return f"{known}{' wrong' if is_wrong else ''}{' open' if is_open else ''}"


def _link(row: dict[str, Any]) -> str:
    """From where the page lies; a folder's name may hold a percent sign, which a browser would take for its own."""
    return escape(quote(str(row["certificate"]).removeprefix("quality/")))


def _section(title: str, table: str, below: str, kind: str = "") -> str:
    name = f" class={kind}" if kind else ""
    scroll = "'scroll plain'" if kind else "scroll"
    return f"<section><h2>{title}</h2><div class={scroll}><table{name}>{table}</table></div>{below}</section>"


_TOP = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>Lake report</title>
<style>
:root{--bg:#fff;--ink:#1c2430;--dim:#667085;--line:#e4e7ec;--none:#f2f4f7;--complete:#2e9e5b;--healed:#2f7ed8;--partial:#e8912d;
--unproven:#98a2b3;--wrong:#d92d20}
@media(prefers-color-scheme:dark){:root{--bg:#12161c;--ink:#e6eaf0;--dim:#98a2b3;--line:#2a313c;--none:#1c222b;--complete:#3fae6c;
--healed:#4a94e6;--partial:#eda04b;--unproven:#667085;--wrong:#f97066}}
*{box-sizing:border-box}
body{margin:0 auto;padding:28px 32px 48px;max-width:1400px;background:var(--bg);color:var(--ink);
font:14px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
h1{font-size:22px;margin:0 0 4px}h2{font-size:16px;margin:0 0 10px}section{margin:28px 0}
.sub{color:var(--dim);margin:4px 0 14px}
.legend{display:flex;flex-wrap:wrap;gap:6px 22px;color:var(--dim)}
.legend b{color:var(--ink)}.legend span{display:inline-flex;gap:6px;align-items:center;white-space:nowrap}
/* from right to left, so that what is cut off is the oldest */
.scroll{overflow-x:auto;padding:2px 2px 4px;direction:rtl}
.scroll table{direction:ltr;margin-right:auto}.scroll.plain{direction:ltr}
table{border-collapse:separate;border-spacing:2px;font-variant-numeric:tabular-nums}
th{font-weight:400;color:var(--dim);font-size:11px;padding:0 1px;text-align:center}
th.s{position:sticky;left:0;z-index:1;box-shadow:-3px 0 var(--bg);background:var(--bg);text-align:left;
color:var(--ink);font-size:13px;
padding-right:12px;white-space:nowrap}
th.month{text-align:left;border-bottom:1px solid var(--line)}
.c{width:20px;min-width:20px;height:20px;border-radius:4px;padding:0;text-align:center;
font:600 12px/20px system-ui,sans-serif;color:#fff}
i.c{display:inline-block;vertical-align:-5px}
td.c a{display:block;height:20px;color:inherit;text-decoration:none;border-radius:4px}
td.c a:hover,td.c a:focus-visible{outline:2px solid var(--ink);outline-offset:1px}
.none{background:var(--none)}.complete{background:var(--complete)}.healed{background:var(--healed)}.partial{background:var(--partial)}
.unproven{background:var(--unproven)}.wrong{box-shadow:inset 0 0 0 2px var(--wrong)}
.open{background-image:repeating-linear-gradient(135deg,#fff5 0 3px,#fff0 3px 6px)}
details{margin:6px 0}details:not([open]){display:inline-block;margin-right:18px}summary{cursor:pointer;padding:2px 0}
.figures{border-spacing:0}.figures th,.figures td{padding:5px 12px 5px 0;
border-top:1px solid var(--line);text-align:left;white-space:nowrap}
.figures tr:first-child th{border-top:0}.figures th.n,.figures .n{text-align:right}
.figures .said{border-top:0;padding-top:0;color:var(--dim);white-space:normal}
.figures a{color:var(--healed)}
</style></head><body>
"""
