"""S8: a pipeline file is data: nothing in it runs, fills itself in, or grows without end; what is unknown is refused.

More of it stands in tests/unit/test_config.py and tests/property/test_config_fuzz.py.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from shared import config, topology

MERGES = "\n".join(
    ["a0: &a0 {x: 1, y: 2}"] + [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)]
)
ALIASES = "\n".join(["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)])
HOSTILE = {
    "python/object/apply": 'lake: !!python/object/apply:os.mkdir ["{folder}/ran"]',
    "python/object/new": "lake: !!python/object/new:pathlib.Path [x]",
    "python/name": "lake: !!python/name:os.system",
    "python/module": "lake: !!python/module:antigravity",
    "a tag of its own": "lake: !run [x]",
    "merges that multiply": MERGES,
    "aliases that multiply": ALIASES,
    "an alias of itself": "lake: &a [*a]",
    "nested lists": "lake: " + "[" * 60_000,
    "nested maps": "{a: " * 16_000,
    "nested questions": "? " * 30_000,
    "nested dashes": "- " * 30_000,
    "a number of 60,000 digits": "lake: " + "9" * 60_000,
    "a float beyond floats": "lake: " + "1:" * 20_000 + "1.5",
    "a date that is none": "lake: 2001-99-99",
    "the same key twice": "lake: a\nlake: b",
    "two documents": "lake: a\n---\nlake: b",
    "a zero byte in the path": 'lake: "a\\0b"',
    "the environment in the path": "lake: $HOME/data",
    "the home in the path": "lake: ~/data",
    "64 KB and one": "#" * (64 * 1024 + 1),
    "an unknown section": "lake: a\nplugins: {x: {run: ingest}}",
    "no text": "\x00\x01",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_words_and_at_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / "pipeline.yml"
    path.write_text(HOSTILE[name].replace("{folder}", str(tmp_path)))
    begun = time.monotonic()
    with pytest.raises(config.ConfigError) as refused:
        config.load(path)
    assert refused.value.faults and all(len(fault.says) < 1000 for fault in refused.value.faults)
    assert time.monotonic() - begun < 5
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["pipeline.yml"], "nothing ran"


def test_an_endless_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("no endless file here")
    with pytest.raises(config.ConfigError, match="longer than 64 KB"):
        config.load("/dev/zero")


def test_what_merges_within_reason_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "p.yml"
    path.write_text(
        "lake: ./lake\nsources:\n  one: &one {run: ingest, venue: binance, symbols: [A]}\n"
        "  two: {<<: *one, venue: binance_usdm}\nsinks:\n  a: {run: archiver, inputs: [one, two]}\n"
    )
    assert config.load(path).nodes["two"].options["symbols"] == ["A"]


RUNS = [
    "os",
    "../../x",
    "ingest; id",
    "__import__",
    "shared.config",
    "ingest\n",
    "procs.ingest",
    "",
    "a" * 10_000,
    "lambda",
]


@pytest.mark.parametrize("run", RUNS)
def test_only_a_process_of_ours_can_be_named(tmp_path: Path, run: str) -> None:
    nodes = {"x": topology.Node("x", "sources", run, (), {})}
    found = config.check(topology.Pipeline(str(tmp_path / "p.yml"), str(tmp_path), nodes))
    assert [fault for fault in found if fault.path.startswith("sources.x")]


@pytest.mark.parametrize("value", ["${HOME}", "$(id)", "`id`", "{{ 1 + 1 }}", "%PATH%", "!!python/none"])
def test_nothing_is_evaluated_in_a_value(tmp_path: Path, value: str) -> None:
    path = tmp_path / "p.yml"
    path.write_text(
        f"lake: ./lake\nsources:\n  a: {{run: ingest, venue: '{value}', symbols: [X]}}\n"
        "sinks:\n  s: {run: archiver, inputs: [a]}\n"
    )
    assert config.load(path).nodes["a"].options["venue"] == value
    assert any("there is no" in fault.says for fault in config.check(config.load(path)))
    assert os.environ.get("HOME", "") not in str(config.load(path).nodes["a"].options)
