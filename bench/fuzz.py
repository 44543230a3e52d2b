"""Every decoder, fed with so many examples: those of `tests/security` and `tests/property` whose names say so.

Random, mangled and well-formed but hostile bytes: websocket frames, REST answers, journal records, lane messages,
checkpoints, archive lines, configuration, control messages. A crash is any error but the decoder's own; a hang is an
example that takes more than a second, or a test that takes more than its share.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FORMS = {"shortest": 2000, "short": 20_000, "long": 1_000_000}
FILES = (
    "tests/security/test_s04_decoders.py",
    "tests/property/test_venue_fuzz.py",
    "tests/property/test_frames_in_bulk.py::test_what_is_found_plain_is_what_the_single_parser_finds",
)
SECONDS_AN_EXAMPLE = 0.05
"""A test that needs more than this for each hangs."""


def arguments(parser: argparse.ArgumentParser) -> None:
    forms = parser.add_mutually_exclusive_group()
    for form, count in FORMS.items():
        forms.add_argument(f"--{form}", dest="examples", action="store_const", const=count, help=f"{count:,} examples")
    forms.add_argument("--examples", type=int, help="so many of each decoder")
    parser.add_argument("--seed", type=int, default=None, help="the same examples again (default: new ones each time)")
    parser.set_defaults(run=fuzz)


def fuzz(options: argparse.Namespace) -> int:
    """Hostile bytes for every decoder: crashes and hangs."""
    examples = options.examples or FORMS["short"]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        found = Path(folder) / "found.xml"
        words = [sys.executable, "-m", "pytest", *FILES, "-q", "-p", "bench.fuzz_profile", f"--junitxml={found}"]
        words += ["--hypothesis-show-statistics", f"--timeout={max(60, int(examples * SECONDS_AN_EXAMPLE))}"]
        words += [f"--hypothesis-seed={options.seed}"] if options.seed is not None else []
        env = {**os.environ, "LAKE_FUZZ_EXAMPLES": str(examples)}
        ran = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        return _report(found, ran, examples)


def _report(found: Path, ran: subprocess.CompletedProcess[str], examples: int) -> int:
    if not found.exists():
        sys.stdout.write(ran.stdout[-3000:] + ran.stderr[-3000:] + "fuzz: WRONG: the tests did not run\n")
        return 1
    counted = _counted(ran.stdout)
    crashes = hangs = 0
    total = few = 0
    for case in ElementTree.parse(found).getroot().iter("testcase"):
        name, seconds = str(case.get("name")), float(case.get("time") or 0)
        tried = sum(count for test, count in counted.items() if test.split("::")[-1] == name)
        bad = [node for node in case if node.tag in ("failure", "error")]
        text = " ".join(f"{node.get('message')} {node.text}" for node in bad)
        is_hang = bool(bad) and ("DeadlineExceeded" in text or "Timeout" in text)
        hangs, crashes, total = hangs + is_hang, crashes + (bool(bad) and not is_hang), total + tried
        few += 0 < tried < examples
        if tried or bad:
            says = "HANGS" if is_hang else "CRASHES" if bad else "ok"
            sys.stdout.write(f"{name:75} {tried:9,} examples {seconds:7.1f} s  {says}\n")
        for node in bad:
            sys.stdout.write(f"    {str(node.get('message'))[:300]}\n")
    decoders = sum(count > 0 for count in counted.values())
    sys.stdout.write(f"fuzz: {decoders} tests of decoders, {total:,} examples, crashes {crashes}, hangs {hangs}")
    sys.stdout.write(f"; {few} of them saw fewer than {examples:,}\n" if few else "\n")
    if ran.returncode and not (crashes or hangs):
        sys.stdout.write(ran.stdout[-3000:])
    return 1 if crashes or hangs or ran.returncode or not decoders else 0


def _counted(text: str) -> dict[str, int]:
    """Examples that each test saw, as hypothesis says in the end."""
    found: dict[str, int] = {}
    test = ""
    for line in text.splitlines():
        if re.match(r"\S+::\S+:$", line):
            test = line[:-1]
        elif test and (match := re.search(r"(\d+) passing, (\d+) failing", line)):
            found[test] = found.get(test, 0) + int(match[1]) + int(match[2])
    return found
