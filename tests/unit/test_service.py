"""The service files name this machine's own paths, and no path can break out of its place."""

from __future__ import annotations

import plistlib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from supervision.service import KINDS, here, unit

ODD = Path('/home/a "b" & <c> 100%/lake')


@pytest.mark.parametrize("kind", KINDS)
def test_a_unit_names_interpreter_script_and_configuration(kind: str) -> None:
    text = unit(kind, Path("/etc/lake/pipeline.yml"), Path("/opt/lake"), "/usr/bin/python3")
    for word in ("/usr/bin/python3", "/opt/lake/supervisor.py", "/etc/lake/pipeline.yml"):
        assert word in text


def test_launchd_reads_back_what_was_meant() -> None:
    read = plistlib.loads(unit("launchd", ODD / "pipeline.yml", ODD, "/usr/bin/python3").encode())
    assert read["ProgramArguments"] == ["/usr/bin/python3", f"{ODD}/supervisor.py", "--config", f"{ODD}/pipeline.yml"]
    assert read["WorkingDirectory"] == str(ODD)


def test_the_windows_task_is_sound_xml_whatever_the_path() -> None:
    text = unit("windows", ODD / "pipeline.yml", ODD, "python.exe").partition("?>")[2]
    space = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
    assert ElementTree.fromstring(text).findtext(f".//{space}WorkingDirectory") == str(ODD)


def test_systemd_specifiers_and_quotes_in_a_path_stay_letters() -> None:
    line = next(
        x for x in unit("systemd", ODD / "p.yml", ODD, "/usr/bin/python3").splitlines() if x.startswith("ExecStart")
    )
    assert '100%%/lake/supervisor.py"' in line and '\\"b\\"' in line


def test_some_kind_fits_this_machine() -> None:
    assert here() in KINDS
