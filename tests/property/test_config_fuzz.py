"""Whatever stands in a pipeline file: a pipeline or faults in words, never anything else."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import config, topology

NAMES = st.sampled_from(["a", "b", "binance", "bars_1s", "con", "A", "../x", "", "é", "a\n"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | NAMES
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ENTRY = st.dictionaries(
    st.sampled_from(["run", "inputs", "venue", "every"]), VALUES | st.lists(NAMES, max_size=3), max_size=4
)
SECTION = VALUES | st.dictionaries(NAMES, VALUES | ENTRY, max_size=4)
KEYS = st.sampled_from(["lake", "sources", "transforms", "sinks", "batches", "other"])
TREES = st.dictionaries(KEYS, SECTION, max_size=6)


def load(data: bytes) -> topology.Pipeline | list[topology.Fault]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.yml"
        path.write_bytes(data)
        try:
            return config.load(path)
        except config.ConfigError as error:
            return error.faults


@given(st.binary(max_size=300))
@settings(max_examples=200)
def test_any_bytes(data: bytes) -> None:
    assert load(data)


@given(TREES)
@settings(max_examples=150, deadline=None)
def test_any_tree(tree: dict[str, Any]) -> None:
    found = load(yaml.safe_dump(tree).encode())
    if isinstance(found, topology.Pipeline):
        assert topology.faults(found) == []
        assert len(topology.downstream(found)) == len(found.section("sources", "transforms", "sinks"))
        assert topology.picture(found) and topology.mermaid(found)
    else:
        assert found and all(fault.says for fault in found)


RUNS = st.sampled_from(["ingest", "archiver", "aggregator"])


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_faults_end_and_good_wiring_can_be_walked(data: st.DataObject) -> None:
    names = [f"n{number}" for number in range(data.draw(st.integers(1, 6)))]
    nodes = {}
    for name in names:
        section = data.draw(st.sampled_from(topology.SECTIONS))
        inputs = data.draw(st.lists(st.sampled_from([*names, "nobody"]), max_size=3))
        nodes[name] = topology.Node(name, section, data.draw(RUNS), tuple(inputs))
    it = topology.Pipeline("/p", "/l", nodes)
    if topology.faults(it):
        return
    for edge in topology.edges(it):
        assert edge in topology.inputs(it, edge.consumer)
        assert topology.venue_of(it, edge.journal) in nodes
    order = topology.downstream(it)
    assert all(order.index(producer) < order.index(name) for name in order for producer in nodes[name].inputs)
