"""The pipeline file: what is read, and what is said of one that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared import config
from shared.config import ConfigError, StageConfig
from shared.topology import Node, Pipeline

GOOD = """
lake: ./data
sources:
  binance: {run: ingest, venue: binance, symbols: [SOLUSDT]}
sinks:
  archive: {run: archiver, inputs: [binance], rotate_every_s: 60}
"""


class Settings(StageConfig, kw_only=True, frozen=True):
    symbols: list[str]
    lateness_ms: int = 2000
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.lateness_ms < 0:
            raise ValueError("lateness_ms: below 0")


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "pipeline.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(folder: Path, text: str | bytes) -> list[str]:
    with pytest.raises(ConfigError) as error:
        config.load(written(folder, text))
    return [str(fault) for fault in error.value.faults]


def node(section: str = "transforms", **options: Any) -> Pipeline:
    return Pipeline("/p.yml", "/lake", {"it": Node("it", section, "x", (), options)})


def converted(section: str = "transforms", **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as error:
        config.convert(node(section, **options), "it", Settings)
    return [str(fault) for fault in error.value.faults]


# --- reading ---


def test_a_relative_lake_is_relative_to_the_file_that_names_it(tmp_path: Path) -> None:
    pipeline = config.load(written(tmp_path, GOOD))
    assert Path(pipeline.lake) == tmp_path / "data"
    assert pipeline.path == str(tmp_path / "pipeline.yml")
    assert pipeline.nodes["archive"] == Node("archive", "sinks", "archiver", ("binance",), {"rotate_every_s": 60})


def test_an_absolute_lake_is_taken_as_it_is(tmp_path: Path) -> None:
    lake = tmp_path / "elsewhere"
    assert Path(config.load(written(tmp_path, GOOD.replace("./data", str(lake)))).lake) == lake


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        config.load(tmp_path / "none.yml")


def test_all_faults_are_said_at_once_each_with_its_path(tmp_path: Path) -> None:
    found = refused(
        tmp_path,
        """
        lak: ./data
        sources:
          Bad-Name: {run: ingest}
          binance: {run: 3}
        sinks:
          archive: archiver
          parquet: {run: parquet_sink, inputs: bars}
        transforms: [a]
        """,
    )
    assert [fault.partition(":")[0] for fault in found] == [
        "lak",
        "lake",
        "sources.Bad-Name",
        "sources.binance.run",
        "transforms",
        "sinks.archive",
        "sinks.parquet.inputs",
    ]
    assert "did you mean lake?" in found[0]


def test_a_name_in_two_sections_is_a_fault(tmp_path: Path) -> None:
    found = refused(tmp_path, GOOD + "batches:\n  archive: {run: validator, every: 5m}\n")
    assert found == ["batches.archive: archive stands under sinks already"]


def test_the_same_key_twice_is_a_fault(tmp_path: Path) -> None:
    assert "'lake' stands twice (line 2)" in refused(tmp_path, "lake: a\nlake: b\n")[0]


def test_wiring_faults_come_with_the_rest(tmp_path: Path) -> None:
    assert "did you mean binance?" in refused(tmp_path, GOOD.replace("[binance]", "[binanc]"))[0]


@pytest.mark.parametrize("lake", ["~/data", "$HOME/data", "%USERPROFILE%/data"])
def test_nothing_is_filled_into_a_path(tmp_path: Path, lake: str) -> None:
    assert "nothing is filled in here" in refused(tmp_path, GOOD.replace("./data", f'"{lake}"'))[0]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"- a\n- b\n",
        b"just text",
        b"a: [",
        b"\xff\xfe\x00",
        b"a: \x00",
        b"!!python/object/apply:os.system ['true']",
        b"lake: !!python/name:os.system",
        b"? [a, b]\n: c",
        b"{" * 5000,
        b"a: &a [*a]",
        b"lake: 2025-13-45",
        b"<<: 3",
    ],
)
def test_anything_else_is_refused_in_words(tmp_path: Path, text: bytes) -> None:
    assert refused(tmp_path, text)


def test_a_file_beyond_64_kb_is_not_parsed(tmp_path: Path) -> None:
    assert "longer than 64 KB" in refused(tmp_path, GOOD + "#" * 65536)[0]


def test_an_alias_bomb_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "too many values" in refused(tmp_path, "\n".join(lines))[0]


# --- typing ---


def test_options_become_the_stage_s_own_type() -> None:
    found = config.convert(node(symbols=["A"], share=1), "it", Settings)
    assert found == Settings(symbols=["A"], lateness_ms=2000, share=1.0)


def test_every_wrong_setting_is_named_with_path_and_suggestion() -> None:
    found = converted(symbols="SOLUSDT", latenes_ms=5, share="half")
    assert found == [
        "transforms.it.symbols: expected `array`, got `str`",
        "transforms.it.latenes_ms: unknown - did you mean lateness_ms?",
        "transforms.it.share: expected `float`, got `str`",
    ]


def test_a_place_inside_a_value_is_named() -> None:
    assert converted(symbols=["A", 3]) == ["transforms.it.symbols: [1]: expected `str`, got `int`"]


def test_a_missing_setting_is_named() -> None:
    assert converted() == ["transforms.it.symbols: missing"]


def test_a_rule_over_settings_speaks_for_itself() -> None:
    assert converted(symbols=[], lateness_ms=-1) == ["transforms.it: lateness_ms: below 0"]


def test_timers_belong_to_the_supervisor_not_to_the_batch() -> None:
    assert config.convert(node("batches", symbols=[], every="5m", daily_at="01:30"), "it", Settings).symbols == []
    assert converted("sinks", symbols=[], every="5m")[0].startswith("sinks.it.every: unknown")


# --- checking ---


def checked(*nodes: Node) -> list[str]:
    return [str(fault) for fault in config.check(Pipeline("/p.yml", "/lake", {one.name: one for one in nodes}))]


FAKE = "tests.integration.fake_stage"


def pair(**options: Any) -> tuple[Node, Node]:
    return Node("a", "sources", FAKE, (), options), Node("b", "sinks", FAKE, ("a",))


def test_a_good_pipeline_has_no_fault() -> None:
    assert checked(*pair()) == []


def test_a_process_that_is_none_is_named_with_the_nearest() -> None:
    found = checked(Node("a", "sources", "archivr"), Node("b", "sinks", FAKE, ("a",)))
    assert found == ["sources.a.run: there is no procs.archivr - did you mean archiver?"]


def test_a_module_without_settings_is_no_stage() -> None:
    assert "is no stage" in checked(Node("a", "sources", "os.path"), Node("b", "sinks", FAKE, ("a",)))[0]
    assert "there is no" in checked(Node("a", "sources", "nowhere.at.all"), Node("b", "sinks", FAKE, ("a",)))[0]


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("ws_url", "ws://example.com", "is not encrypted: write wss://"),
        ("rest_url", "http://10.0.0.1:80", "is not encrypted: write https://"),
        ("ws_url", "https://example.com", "should begin with wss://"),
        ("rest_url", "file:///etc/passwd", "should begin with https://"),
        ("ws_url", "wss://me:secret@example.com", "only public data is recorded"),
        ("ws_url", "wss://[::1", "is no address"),
        ("ws_url", "ws://127.0.0.1.example.com", "is not encrypted"),
        ("ws_url", "ws://localhost@example.com", "is not encrypted"),
    ],
)
def test_an_address_is_encrypted_or_on_this_machine(key: str, value: str, says: str) -> None:
    assert any(says in fault for fault in checked(*pair(**{key: value})))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ws_url", "wss://stream.binance.com:9443"),
        ("ws_url", "ws://127.0.0.1:8080"),
        ("ws_url", "ws://[::1]:8080"),
        ("rest_url", "http://localhost:80"),
    ],
)
def test_these_addresses_are_fine(key: str, value: str) -> None:
    assert [fault for fault in checked(*pair(**{key: value})) if "unknown" not in fault] == []


def test_timers_are_checked() -> None:
    batches = [
        Node("x", "batches", "tests.integration.fake_batch", (), {"every": "5 minutes"}),
        Node("y", "batches", FAKE, (), {"daily_at": 690}),
        Node("z", "batches", "nothing", (), {}),
    ]
    found = checked(*pair(), *batches)
    assert "batches.x.every: '5 minutes' is no duration; write 90s, 5m, 2h or 1d" in found
    assert 'batches.y.daily_at: put the time in quotes: "11:30"' in found
    assert 'batches.z: never runs: write every: 5m or daily_at: "01:30"' in found


def test_the_processes_are_those_in_their_folder() -> None:
    assert "archiver" in config.processes()
