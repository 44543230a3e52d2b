"""What `supervisor.py` answers: to people in sentences, to programs in JSON, with exit codes that mean something."""

from __future__ import annotations

import json
import plistlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shared import config, topology
from supervision.children import ROOT
from tests.integration.meshes import FakeMesh, answer, command

BAD = """
lake: ./lake
sorces: {}
sources:
  a: {run: tests.integration.fake_stage, venue: x, fials: crash, after_s: soon}
sinks:
  b: {run: tests.integration.fake_stag, inputs: [a]}
batches:
  c: {run: tests.integration.fake_batch, every: 5 minutes}
"""


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.yml"
    path.write_text(BAD.replace("sorces: {}\n", ""))
    return path


def test_check_says_every_fault_at_once_with_its_path_and_a_suggestion(bad: Path) -> None:
    done = command("check", "--config", str(bad))
    assert done.returncode == 2 and done.stdout == ""
    head, *faults = done.stderr.splitlines()
    assert head == f"{bad}: 4 faults"
    assert faults[0] == "  sources.a.fials: unknown - did you mean fails?"
    assert faults[1] == "  sources.a.after_s: expected `float`, got `str`"
    assert faults[2].startswith("  sinks.b.run: there is no tests.integration.fake_stag")
    assert faults[3] == "  batches.c.every: '5 minutes' is no duration; write 90s, 5m, 2h or 1d"


def test_check_answers_programs_in_json(bad: Path) -> None:
    done = command("check", "--json", "--config", str(bad))
    said = answer(done)
    assert done.returncode == 2 and not said["ok"]
    assert {"path": "sources.a.fials", "says": "unknown - did you mean fails?"} in said["faults"]


def test_an_unknown_key_is_refused_before_anything_runs(tmp_path: Path) -> None:
    path = tmp_path / "bad.yml"
    path.write_text(BAD)
    done = command("--config", str(path))
    assert done.returncode == 2
    assert "sorces: unknown - did you mean sources?" in done.stderr
    assert not (tmp_path / "lake").exists()


def test_wrong_settings_are_refused_before_anything_runs(bad: Path) -> None:
    done = command("--config", str(bad))
    assert done.returncode == 2 and "sources.a.fials: unknown - did you mean fails?" in done.stderr
    assert not (bad.parent / "lake" / "logs").exists()
    assert not (bad.parent / "lake" / "run" / "mesh.json").exists()


def test_a_good_file_is_told_what_to_expect(tmp_path: Path) -> None:
    it = FakeMesh(tmp_path)
    said = answer(it.cli("check", "--json"))
    assert said["ok"] and said["lake"] == str(it.lake) and "files_a_day" in said["expected"]
    text = it.cli("check").stdout
    assert "no fault found" in text and "files a day" in text and "feed (tests.integration.fake_stage)" in text


def test_graph_draws_the_default_pipeline_both_ways() -> None:
    said = answer(command("graph", "--json"))
    pipeline = config.load(ROOT / "pipeline.yml")
    assert said == {"picture": topology.picture(pipeline), "mermaid": topology.mermaid(pipeline)}
    assert command("graph").stdout == f"{said['picture']}\n{said['mermaid']}"


def test_a_file_that_is_not_there_is_one_sentence() -> None:
    done = command("status", "--config", "/nowhere/p.yml")
    assert done.returncode == 2
    assert done.stderr == "/nowhere/p.yml: one fault\n  /nowhere/p.yml: cannot be read: No such file or directory\n"


def test_an_unknown_command_is_a_usage_message() -> None:
    done = command("strat")
    assert done.returncode == 2 and "invalid choice: 'strat'" in done.stderr


@pytest.mark.parametrize("broken", ['{"schema": 2}', '{"schema": null}'])
def test_a_lake_of_another_schema_is_refused_in_one_sentence(tmp_path: Path, broken: str) -> None:
    it = FakeMesh(tmp_path)
    it.lake.mkdir()
    (it.lake / "lake.json").write_text(broken)
    done = it.cli("run")
    assert done.returncode == 1
    assert "this program writes 1: not touched" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (it.lake / "logs").exists()


def test_a_demo_begins_a_fresh_lake(tmp_path: Path) -> None:
    """What `supervision.demo` refuses is one sentence."""
    (tmp_path / "mine.txt").touch()
    done = command("demo", "--lake", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path} is not empty: the demo begins a fresh lake\n"


# --- questions ---


@pytest.fixture
def lake(tmp_path: Path) -> FakeMesh:
    """One day of one symbol, two bars."""
    it = FakeMesh(tmp_path)
    it.lake.mkdir()
    return it


def test_sql_answers_in_a_table_and_in_json_lines(lake: FakeMesh) -> None:
    done = lake.cli("sql", "select 1 as one, 'x' as letter, null as nothing")
    assert done.stdout == "one  letter  nothing\n  1  x             -\n"
    rows = lake.cli("sql", "--json", "select range as n, now() as t from range(2)").stdout.splitlines()
    assert [json.loads(row)["n"] for row in rows] == [0, 1]


@pytest.mark.parametrize(
    "statement",
    ["copy (select 1) to 'x.csv'", "create table t (a int)", "attach 'x.db'", "select 1; select 2", "selec 1", ""],
)
def test_sql_answers_questions_only(lake: FakeMesh, statement: str) -> None:
    done = (
        lake.cli("sql", statement) if statement else lake.cli("sql", "--json", "select * from read_csv('/etc/passwd')")
    )
    assert done.returncode == 1 and (done.stderr or "error" in answer(done))


def test_sql_reads_questions_from_a_pipe(lake: FakeMesh) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "supervisor.py"), "sql", "--config", str(lake.config)],
        input="select 1\n as one;\nselect 2 as two",
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0 and done.stdout.split() == ["one", "1", "two", "2"]


def test_report_without_a_validator_s_word_says_so(lake: FakeMesh) -> None:
    done = lake.cli("report")
    assert done.returncode == 1 and "has said nothing yet" in done.stdout


def test_report_shows_the_newest_certificates_and_fails_with_them(lake: FakeMesh) -> None:
    folder = lake.lake / "quality" / "binance" / "SOLUSDT"
    folder.mkdir(parents=True)
    (folder / "2025-10-19.json").write_text(json.dumps({"verdict": "partial", "wrong": ["2 trades missing"]}))
    (folder / "2025-10-20.json").write_text(json.dumps({"verdict": "healed", "trades": 3, "is_over": True}))
    done = lake.cli("report")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].split()[:5] == ["binance", "SOLUSDT", "2025-10-20", "healed", "3"]
    assert "SOLUSDT  !+" in done.stdout
    done = lake.cli("report", "--date", "2025-10-19")
    assert done.returncode == 1 and "2 trades missing" in done.stdout
    assert lake.cli("report", "--date", "2025-10-20", "--json").returncode == 0
    assert lake.cli("report", "--date", "yesterday").returncode == 1
    assert lake.cli("report", "--date", "soon").returncode == 2
    (folder / "2025-10-20.json").write_text(json.dumps({"verdict": "unproven", "wrong": ["1 broken lines"]}))
    said = lake.cli("report", "--json")
    assert said.returncode == 1 and not answer(said)["good"]


@pytest.mark.parametrize("kind", ["systemd", "launchd", "windows"])
def test_service_prints_a_file_for_each_system(kind: str, tmp_path: Path) -> None:
    done = command("service", kind, "--config", str(tmp_path / "p.yml"))
    assert (
        done.returncode == 0 and str(ROOT / "supervisor.py") in done.stdout and str(tmp_path / "p.yml") in done.stdout
    )
    if kind == "launchd":
        assert plistlib.loads(done.stdout.encode())


def test_the_repository_may_stand_under_any_path(tmp_path: Path) -> None:
    """With a space and a quote in it, and asked from elsewhere."""
    root = tmp_path / "it's a repository"
    root.mkdir()
    for name in ("supervisor.py", "supervision", "shared", "procs", "tests", "lake.sql"):
        source = ROOT / name
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, root / name, ignore=ignore) if source.is_dir() else shutil.copy(source, root / name)
    config_path = FakeMesh(tmp_path, feed="replay: true, fails: end, after_s: 0.5").config
    done = subprocess.run(
        [sys.executable, str(root / "supervisor.py"), "--config", str(config_path)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert "feed has come to its end" in done.stderr
