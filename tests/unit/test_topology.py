"""The wiring: who reads what, what is wrong with it, and its picture."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from shared import topology
from shared.process import Setting
from shared.topology import Node, Pipeline


def pipeline(*nodes: Node) -> Pipeline:
    return Pipeline("/p.yml", "/lake", {node.name: node for node in nodes})


def source(name: str, **options: Any) -> Node:
    return Node(name, "sources", "ingest", (), options)


def bars(*inputs: str, name: str = "bars_1s") -> Node:
    return Node(name, "transforms", "aggregator", inputs)


def archive(*inputs: str, name: str = "archive") -> Node:
    return Node(name, "sinks", "archiver", inputs)


def parquet(*inputs: str, name: str = "parquet") -> Node:
    return Node(name, "sinks", "parquet_sink", inputs)


TWO = pipeline(
    source("spot", venue="binance"),
    source("perps", venue="binance_usdm"),
    bars("spot", "perps"),
    archive("spot", "perps"),
    parquet("bars_1s"),
)


def faults(*nodes: Node) -> list[str]:
    return [str(fault) for fault in topology.faults(pipeline(*nodes))]


def test_a_source_writes_one_journal_and_a_transform_one_for_each_that_it_reads() -> None:
    assert topology.journals(TWO, "spot") == ["spot"]
    assert topology.journals(TWO, "bars_1s") == ["bars_1s.spot", "bars_1s.perps"]
    assert topology.journals(TWO, "archive") == []


def test_an_edge_is_one_journal_read_by_one_consumer() -> None:
    assert [edge.name for edge in topology.inputs(TWO, "parquet")] == ["bars_1s.spot-parquet", "bars_1s.perps-parquet"]
    assert [edge.name for edge in topology.outputs(TWO, "spot")] == ["spot-bars_1s", "spot-archive"]
    assert len(topology.edges(TWO)) == 6


def test_who_is_waited_for_by_nobody_may_wait_and_a_stage_of_one_s_own_may_not() -> None:
    own = Node("alarm", "sinks", "my.alarm", ("binance",))
    found = pipeline(source("binance"), bars("binance"), archive("binance"), own, parquet("bars_1s"))
    archiver, others = 400, 150
    assert {name: node.patience_ms for name, node in found.nodes.items() if node.patience_ms} == {
        "archive": archiver,
        "parquet": others,
        "bars_1s": others,
    }
    lanes = dict[str, int]()

    def push(edge: str, patience_ms: int) -> None:
        lanes[edge] = patience_ms

    for name in ("binance", "bars_1s", "archive", "alarm"):
        setting: Any = SimpleNamespace(pipeline=found, name=name, bus=SimpleNamespace(push=push))
        for journal in topology.journals(found, name):
            Setting.lanes(setting, journal)
    assert lanes == {
        "binance-bars_1s": others,
        "binance-archive": archiver,
        "binance-alarm": 0,
        "bars_1s.binance-parquet": others,
    }


def test_a_journal_knows_its_venue_however_far_down() -> None:
    assert topology.venue_of(TWO, "perps") == "binance_usdm"
    assert topology.venue_of(TWO, "bars_1s.perps") == "binance_usdm"
    assert topology.venue_of(pipeline(source("kraken")), "kraken") == "kraken"


def test_downstream_puts_each_stage_behind_what_it_reads_and_sinks_last() -> None:
    assert topology.downstream(TWO) == ["spot", "perps", "bars_1s", "archive", "parquet"]
    chain = pipeline(source("a"), bars("c", name="d"), bars("a", name="c"), parquet("d"))
    assert topology.downstream(chain) == ["a", "c", "d", "parquet"]


def test_good_wiring_has_no_fault() -> None:
    assert topology.faults(TWO) == []


def test_an_unknown_input_is_named_with_the_nearest() -> None:
    assert faults(source("binance"), archive("binanse")) == [
        "sinks.archive.inputs[0]: there is no binanse - did you mean binance?"
    ]


def test_a_sink_gives_nothing_to_read() -> None:
    assert (
        "archive is one of the sinks and gives nothing to read"
        in faults(source("a"), archive("a"), parquet("archive"))[0]
    )


def test_a_stage_that_reads_nothing_or_the_same_twice_is_a_fault() -> None:
    assert "reads nothing" in faults(source("a"), archive())[0]
    assert "a is listed twice" in faults(source("a"), archive("a", "a"))[0]


def test_sources_and_batches_read_no_journal() -> None:
    assert "sources have no inputs" in faults(Node("a", "sources", "ingest", ("b",)), source("b"), archive("a", "b"))[0]


def test_a_circle_is_named_once_with_its_way() -> None:
    found = faults(source("s"), bars("y", name="x"), bars("x", name="y"), archive("s"))
    assert found == ["transforms.x.inputs: a circle: x reads y reads x"]
    assert faults(source("s"), bars("x", name="x"), archive("s")) == ["transforms.x.inputs: a circle: x reads x"]


def test_an_output_that_nobody_takes_is_a_fault() -> None:
    assert "sources.a: nobody takes what it gives" in faults(source("a"), source("b"), archive("b"))[0]


def test_nothing_to_record_is_a_fault() -> None:
    assert faults() == ["sources: there is no source, so there is nothing to record"]


def test_a_venue_has_one_source_whatever_the_case() -> None:
    found = faults(source("a", venue="binance"), source("b", venue="Binance"), archive("a"), parquet("b"))
    assert found == ["sources.b.venue: a records binance already: one source a venue, put the symbols together"]


def test_a_folder_has_one_writer() -> None:
    found = faults(source("a"), archive("a"), archive("a", name="again"))
    assert found == ["sinks.again.inputs: a and a would both write the archiver's folders of a"]
    assert faults(source("a"), source("b"), archive("a"), archive("b", name="other")) == []
    twice = faults(source("a"), bars("a"), bars("a", name="bars_b"), parquet("bars_1s", "bars_b"))
    assert twice == ["sinks.parquet.inputs: bars_b.a and bars_1s.a would both write the parquet_sink's folders of a"]


def test_a_batch_runs_once() -> None:
    batch = Node("compact", "batches", "compactor"), Node("again", "batches", "compactor")
    assert "batches.again.run" in faults(source("a"), archive("a"), *batch)[0]


@pytest.mark.parametrize("name", ["Binance", "9lives", "", "a-b", "../x", "a" * 33, "con", "lpt1", "nul", "é"])
def test_a_name_that_is_no_folder_everywhere_is_refused(name: str) -> None:
    assert topology.bad_name(name)


@pytest.mark.parametrize("name", ["staging", "rebuild", "compactor", "validator"])
def test_no_stage_takes_a_folder_that_others_work_in(name: str) -> None:
    assert faults(source("a"), archive("a", name=name)) == [
        f"sinks.{name}: a name that cannot be used: journal/{name}/ is kept for what is done to the lake afterwards"
    ]
    assert faults(source("a"), archive("a"), Node(name, "batches", "validator")) == []


def test_all_faults_are_found_at_once() -> None:
    found = faults(source("con"), archive("conn"), parquet(), bars("x", name="x"))
    assert len(found) == 4


def test_the_picture_shows_every_stage_and_edge() -> None:
    assert topology.picture(TWO) == (
        "spot (ingest) ─┬─▶ bars_1s (aggregator) ───▶ parquet (parquet_sink)\n"
        "               └─▶ archive (archiver)\n"
        "perps (ingest) ─┬─▶ bars_1s (aggregator) ───▶ parquet (parquet_sink)\n"
        "                └─▶ archive (archiver)\n"
    )


def test_branches_below_a_branch_stay_under_it() -> None:
    it = pipeline(source("a"), bars("a", name="b"), parquet("b", name="p"), parquet("b", name="q"), archive("a"))
    assert topology.picture(it) == (
        "a (ingest) ─┬─▶ b (aggregator) ─┬─▶ p (parquet_sink)\n"
        "            │                   └─▶ q (parquet_sink)\n"
        "            └─▶ archive (archiver)\n"
    )


def test_mermaid_draws_an_arrow_for_every_input() -> None:
    drawn = topology.mermaid(TWO)
    assert drawn.startswith("flowchart LR\n")
    for node in TWO.nodes.values():
        assert f'{node.name}["{node.name}<br/>{node.run}"]' in drawn
        assert all(f"    {producer} --> {node.name}\n" in drawn for producer in node.inputs)
