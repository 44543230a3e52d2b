"""S9: the venue's daily zips are verified before they are opened, and read as a stream of one expected member.

How a hostile zip is met (a bomb, a lying size, a name that leads elsewhere, two members, a damaged or encrypted one, a
wrong checksum) is tried in tests/unit/test_dailyfiles.py, and what a backfill makes of it in
tests/integration/test_backfill.py. Here: that no other way to unpack exists.
"""

from __future__ import annotations

from tests.integration.emulators import ROOT


def test_nothing_is_ever_unpacked_onto_the_disk() -> None:
    for folder in ("shared", "procs", "supervision"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            for word in ("extractall", ".extract(", "unpack_archive", "tarfile", "gzip.open"):
                assert word not in text or "emulator" in path.parts, f"{word} in {path}"


def test_zips_are_opened_at_one_place_only() -> None:
    found = [
        path.relative_to(ROOT).as_posix()
        for folder in ("shared", "procs", "supervision")
        for path in (ROOT / folder).rglob("*.py")
        if "import zipfile" in path.read_text(encoding="utf-8") and "emulator" not in path.parts
    ]
    assert found == ["shared/dailyfiles.py"]
