"""Aggregator: trades and quotes become one-second bars, while they arrive or, by hand, once more from the archive.

With --date D the bars of that day are made again from the archive and left in journal/staging/, where the compactor
finds them and puts them in place of what the lake holds of those hours.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from loguru import logger

from shared import archive, compiled, config, paths, staging, topology
from shared.bars import Bars
from shared.checkpoint import Checkpoint
from shared.config import StageConfig
from shared.events import Bar, Batch, Columns, Feed
from shared.files import Disk, Files
from shared.locks import Held, Lock
from shared.plain import plain
from shared.process import EXIT_ASKED, EXIT_CONFIG, EXIT_CRASHED, command_line
from shared.rebuild import Rebuild, stage
from shared.runner import Context, main

MOST_BARS = 4096
"""Bars in one record; one time record seldom closes or revises more."""
STATE_BYTES_PER_S = 1 << 20
"""Bytes of state written to checkpoints per second of record time: a large state is stored less often."""
QUOTE_BYTES = 48
"""Of a quote whose second is open."""


class Config(StageConfig, kw_only=True, frozen=True):
    lateness_ms: int = 2000
    """Record time a second stays open after its end, for what was overtaken on its way."""
    revise_s: int = 600
    """Record time after which a closed second is no more revised; a trade healed later is in the archive, and its hour
    is made again from there.
    """

    def __post_init__(self) -> None:
        if not 0 <= self.lateness_ms <= 60_000:
            raise ValueError(f"lateness_ms: {self.lateness_ms} is not between 0 and 60000")
        if not 0 <= self.revise_s <= 3600:
            raise ValueError(f"revise_s: {self.revise_s} is not between 0 and 3600")


class Aggregator:
    """The bars of one source's journal."""

    def __init__(self, context: Context, config: Config) -> None:
        self._checkpoint = Checkpoint(context.disk, context.checkpoint)
        self._settings = (
            config.lateness_ms * 1_000_000,
            config.revise_s * paths.SECOND,
            only_aggregates(context.streams),
        )
        self._bars = Bars(*self._settings)
        self._position = 0
        self._ts = 0
        self._ended = False
        self._floor: int | None = None
        """Bars of seconds before are not given: they were, or only a part of them could be told."""
        self._resumes = False
        """The next record follows none that was taken."""
        self._stored_at: int | None = None  # or the first record of this life
        self._state_bytes = 0  # of the last checkpoint, but for open quotes
        self.given = 0
        self.counters = self._bars.counters

    def open(self) -> int:
        import shared.tally  # noqa: F401 - numpy: a tenth of a second, which the first busy moment has not

        stored = self._checkpoint.load()
        if stored is not None:
            saved = msgspec.msgpack.decode(stored)
            self._position, self._ts, self._ended = saved["position"], saved["ts"], saved["ended"]
            self.given = saved["out_seq"]
            self._floor = saved.get("floor")
            self._bars = Bars.from_state(saved["state"], *self._settings)
            self.counters = self._bars.counters
        return self._position

    def resume(self, given: int, until: int) -> None:
        """In the middle of its source, without what lies before: what stood is held against the archive later."""
        logger.error(
            "the journal does not reach back to where the bars stood: they go on where it does; earlier ones are made "
            "again from the archive"
        )
        self.given, self._floor, self._resumes = given, until, True
        self._bars = Bars(*self._settings)
        self.counters = self._bars.counters

    def _told(self, bars: list[Bar], ts: int) -> list[Bar]:
        """Those that can be told whole and were not told before."""
        if self._floor is None:
            return bars
        if self._resumes:  # the second of the first record has begun before it
            self._resumes = False
            self._floor = max(self._floor, ts - ts % paths.SECOND + 2 * paths.SECOND)
        floor = self._floor
        return [bar for bar in bars if bar.window_start >= floor]

    def handle(self, batch: Batch) -> Iterable[Batch]:
        before = self._bars.closed_until
        self._bars.take(batch.events)
        given = self._bars.advance(batch.ts)
        one_by_one = () if isinstance(batch.events, Columns) else batch.events  # no feed event stands in columns
        ended = [event for event in one_by_one if isinstance(event, Feed) and event.kind == "ended"]
        if batch.events:
            self._ended = bool(ended)
        bars = self._told(given[1] if given else [], batch.ts)
        self._position, self._ts = batch.last, batch.ts
        if self._stored_at is None:
            self._stored_at = batch.ts
        until = self._bars.closed_until
        if until is None or (given is None and not ended):
            return []
        return self._outputs(bars, before or until, until, ended[-1:])

    def _outputs(self, bars: list[Bar], before: int, until: int, ended: list[Feed]) -> list[Batch]:
        """Numbered records. Where bars fill several, only the last one says that all of them are given."""
        outputs = []
        for at in range(0, len(bars) or 1, MOST_BARS):
            events: list[Bar | Feed] = [*bars[at : at + MOST_BARS]]
            is_last = at + MOST_BARS >= len(bars)
            batch = Batch(self.given + 1, until if is_last else before, [*events, *(ended if is_last else [])])
            self.given = batch.last
            outputs.append(batch)
        return outputs

    def commit(self, final: bool = False) -> None:
        """Stores the checkpoint, unless one stored lately makes a restart short enough: what follows it is replayed."""
        quotes = QUOTE_BYTES * self._bars.open_quotes
        wait = (self._state_bytes + quotes) * paths.SECOND // STATE_BYTES_PER_S
        if not (final or self._ended) and self._stored_at is not None and self._ts < self._stored_at + wait:
            return
        state = self._bars.state()
        saved = {
            "position": self._position,
            "ts": self._ts,
            "ended": self._ended,
            "out_seq": self.given,
            "floor": self._floor,
            "state": state,
        }
        self._checkpoint.store(msgspec.msgpack.encode(saved))
        self._stored_at, self._state_bytes = self._ts, len(state) - quotes

    def close(self) -> None:
        """Holds nothing open."""


def only_aggregates(streams: Sequence[str]) -> bool:
    """Whether a source that records these gives no raw trades, so that its aggregates make the bars."""
    return bool(streams) and "trade" not in streams


# --- by hand, from the archive ---


def again(argv: Sequence[str]) -> int:
    """Makes the bars of a day again from the archive; the exit code."""
    parser = command_line(__doc__ or "")
    parser.add_argument("--date", required=True, help="the day, such as 2025-10-20 (UTC)")
    parser.add_argument("--symbol", action="append", help="only this one; may be given several times")
    parser.add_argument("--config", default="pipeline.yml", help="the pipeline file (default: %(default)s)")
    parser.add_argument("--lake", help="the lake's folder, instead of a pipeline file")
    args = parser.parse_args(argv)
    try:
        paths.day_start(args.date)
        lake, streams = _sources(args.config, args.lake)
        lock = Lock(lake / paths.REBUILD_LOCK, what="bars are being made again")
    except (config.ConfigError, ValueError, Held) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CRASHED if isinstance(error, Held) else EXIT_CONFIG
    try:
        return _again(Files(lake), args.date, set(args.symbol or ()), streams)
    finally:
        lock.close()


def _sources(config_path: str, lake: str | None) -> tuple[Path, dict[str, Sequence[str]]]:
    """The lake, and what is recorded of each venue where a pipeline file says it."""
    if lake is not None:
        if not (Path(lake) / "raw").is_dir():
            raise ValueError(f"{lake}: there is no archive (raw/) in it")
        return Path(lake), {}
    pipeline = config.load(config_path)
    sources = pipeline.section("sources")
    streams = {topology.venue_of(pipeline, node.name): node.options.get("streams", ()) for node in sources}
    return Path(pipeline.lake), streams


def _again(disk: Disk, date: str, wanted: set[str], streams: dict[str, Sequence[str]]) -> int:
    found = 0
    compiled.load()
    for venue, symbol in archive.symbols(disk):
        if wanted and symbol not in wanted:
            continue
        use_agg = only_aggregates(streams[venue]) if streams.get(venue) else None
        rebuild = Rebuild(disk, venue, symbol, use_agg)
        parts = archive.parts(disk, paths.raw_dir(venue, symbol, date))
        still_open = {part.hour for part in parts if part.is_open}
        hours = sorted({part.hour for part in parts} - still_open)
        if not hours:
            continue
        bars = list(rebuild.hours(date, hours))
        stage(disk, venue, symbol, date, hours, bars)
        found += 1
        says = f"{venue} {symbol} {date}: {sum(map(len, bars))} bars of {len(hours)} hours"
        says += f", {len(still_open)} still being recorded" if still_open else ""
        sys.stdout.write(f"{plain(says)} -> {staging.folder(venue, symbol, date)}\n")
        for problem in rebuild.problems:
            sys.stderr.write(plain(f"{problem.path}:{problem.line}: {problem.reason}") + "\n")
    if not found:
        sys.stderr.write(
            f"the archive holds no closed hour of {date}{' for ' + ', '.join(sorted(wanted)) if wanted else ''}\n"
        )
    return EXIT_ASKED if found else EXIT_CRASHED


if __name__ == "__main__":
    if any(word == "--date" or word.startswith("--date=") for word in sys.argv[1:]):
        sys.exit(again(sys.argv[1:]))
    main("aggregator", Aggregator, Config, __doc__ or "")
