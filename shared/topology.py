"""The wiring of a mesh: which stage reads which journal, what is wrong with it, and its picture.

A source writes one journal of its own name. Everything behind it writes one journal per journal it reads, named
``<stage>.<input journal>``, so that nothing ever depends on how two inputs interleave.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from shared.plain import plain

SECTIONS = ("sources", "transforms", "sinks", "batches")
"""In the order of the data; batches look at the lake and belong to no edge."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
_TAKEN = {"staging", "rebuild", "compactor", "validator"}
"""Folders in ``journal/`` that are no stage's; batches have none there, and may be called so."""


class Node(msgspec.Struct, frozen=True):
    """One entry of the pipeline file: one process."""

    name: str
    section: str
    run: str
    """The module in ``procs``, or a dotted module path of one's own."""
    inputs: tuple[str, ...] = ()
    options: dict[str, Any] = {}
    """The other keys, as written."""

    @property
    def patience_ms(self) -> int:
        """How much later than at once is soon enough, for each message wakes it: nobody waits for who only keeps what
        comes, nor does it matter much to who waits for seconds to be over.
        """
        return {"archiver": 400, "aggregator": 150, "parquet_sink": 150}.get(self.run, 0)

    @property
    def module(self) -> str:
        return self.run if "." in self.run else f"procs.{self.run}"


class Pipeline(msgspec.Struct, frozen=True):
    """A whole file."""

    path: str
    """Absolute path of the file."""
    lake: str
    """Absolute path of the lake."""
    nodes: dict[str, Node]

    def section(self, *names: str) -> list[Node]:
        return [node for node in self.nodes.values() if node.section in names]


class Edge(msgspec.Struct, frozen=True):
    """One journal read by one consumer."""

    journal: str
    producer: str
    consumer: str

    @property
    def name(self) -> str:
        return f"{self.journal}-{self.consumer}"


class Fault(msgspec.Struct, frozen=True):
    """Something wrong in the file: where, and what to write instead."""

    path: str
    says: str

    def __str__(self) -> str:
        return plain(f"{self.path}: {self.says}" if self.path else self.says)


def nearest(word: str, known: Iterable[str]) -> str:
    """A suggestion to end a message with: `` - did you mean X?``, the choice if it is short, or nothing."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f" - did you mean {close[0]}?"
    return f" - known: {', '.join(known)}" if 0 < len(known) <= 12 else ""


# --- who reads what (for a pipeline without faults) ---


def journals(pipeline: Pipeline, name: str) -> list[str]:
    """The journals a stage writes."""
    node = pipeline.nodes[name]
    if node.section == "sources":
        return [name]
    if node.section != "transforms":
        return []
    return [f"{name}.{edge.journal}" for edge in inputs(pipeline, name)]


def inputs(pipeline: Pipeline, name: str) -> list[Edge]:
    """One edge for each journal a stage reads."""
    return [
        Edge(journal, producer, name)
        for producer in pipeline.nodes[name].inputs
        for journal in journals(pipeline, producer)
    ]


def consumers(pipeline: Pipeline, name: str) -> list[str]:
    return [node.name for node in pipeline.nodes.values() if name in node.inputs]


def outputs(pipeline: Pipeline, name: str) -> list[Edge]:
    """One edge for each journal a stage writes and each stage that reads it."""
    return [
        Edge(journal, name, consumer) for journal in journals(pipeline, name) for consumer in consumers(pipeline, name)
    ]


def edges(pipeline: Pipeline) -> list[Edge]:
    return [edge for name in pipeline.nodes for edge in outputs(pipeline, name)]


def source_of(pipeline: Pipeline, journal: str) -> Node:
    """The source at the root of a journal."""
    return pipeline.nodes[journal.rpartition(".")[2]]


def venue_of(pipeline: Pipeline, journal: str) -> str:
    """The venue of the source at the root of a journal; a source that names none is its own."""
    source = source_of(pipeline, journal)
    return str(source.options.get("venue", source.name))


def downstream(pipeline: Pipeline) -> list[str]:
    """All stages but batches, each after those it reads: the order in which they drain."""
    ordered: list[str] = [node.name for node in pipeline.section("sources")]
    waiting = pipeline.section("transforms", "sinks")
    while waiting:
        ready = [node for node in waiting if set(node.inputs) <= set(ordered)]
        if not ready:
            raise ValueError(f"circle among {', '.join(node.name for node in waiting)}")
        # Transforms first: a sink reads them, never the other way round.
        ready.sort(key=lambda node: SECTIONS.index(node.section))
        ordered += [node.name for node in ready]
        waiting = [node for node in waiting if node not in ready]
    return ordered


# --- what is wrong ---


def faults(pipeline: Pipeline) -> list[Fault]:
    """Everything wrong with the wiring, all at once."""
    found = _names(pipeline) + _inputs(pipeline) + _circles(pipeline)
    if not pipeline.section("sources"):
        found.append(Fault("sources", "there is no source, so there is nothing to record"))
    if not found:  # what follows walks the edges, which must exist
        found = _unused(pipeline) + _venues(pipeline) + _folders(pipeline)
    return found


def bad_name(name: str, section: str = "sources") -> str:
    """Why an entry of this section cannot be called so, or nothing."""
    if not _NAME.fullmatch(name):
        return "a name is a small letter, then up to 31 small letters, digits or _"
    if name in _TAKEN and section != "batches":
        return f"a name that cannot be used: journal/{name}/ is kept for what is done to the lake afterwards"
    return "a name that Windows reserves for a device" if name in _RESERVED else ""


def _names(pipeline: Pipeline) -> list[Fault]:
    return [
        Fault(f"{node.section}.{node.name}", why)
        for node in pipeline.nodes.values()
        if (why := bad_name(node.name, node.section))
    ]


def _inputs(pipeline: Pipeline) -> list[Fault]:
    found = []
    producers = [node.name for node in pipeline.section("sources", "transforms")]
    for node in pipeline.nodes.values():
        where = f"{node.section}.{node.name}.inputs"
        reads = node.section in ("transforms", "sinks")
        if reads and not node.inputs:
            found.append(Fault(where, f"reads nothing{nearest('', producers)}"))
        if not reads and node.inputs:
            found.append(Fault(where, f"{node.section} have no inputs"))
        for number, name in enumerate(node.inputs if reads else ()):
            if name not in pipeline.nodes:
                found.append(Fault(f"{where}[{number}]", f"there is no {name}{nearest(name, producers)}"))
            elif name not in producers:
                section = pipeline.nodes[name].section
                found.append(Fault(f"{where}[{number}]", f"{name} is one of the {section} and gives nothing to read"))
            elif name in node.inputs[:number]:
                found.append(Fault(f"{where}[{number}]", f"{name} is listed twice"))
    return found


def _circles(pipeline: Pipeline) -> list[Fault]:
    """Stages that wait for each other, each circle named once."""
    found: list[Fault] = []
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> None:
        if name in way:
            circle = way[way.index(name) :]
            if not done.intersection(circle):
                says = f"a circle: {' reads '.join([*circle, name])}"
                found.append(Fault(f"{pipeline.nodes[name].section}.{name}.inputs", says))
            done.update(circle)
        elif name not in done and name in pipeline.nodes:
            for producer in pipeline.nodes[name].inputs:
                walk(producer, [*way, name])
            done.add(name)

    for name in pipeline.nodes:
        walk(name, [])
    return found


def _unused(pipeline: Pipeline) -> list[Fault]:
    return [
        Fault(f"{node.section}.{node.name}", "nobody takes what it gives: list it in the inputs of a sink or drop it")
        for node in pipeline.section("sources", "transforms")
        if not consumers(pipeline, node.name)
    ]


def _venues(pipeline: Pipeline) -> list[Fault]:
    """A venue's folders have one writer, so one source."""
    found = []
    first: dict[str, str] = {}
    for node in pipeline.section("sources"):
        venue = venue_of(pipeline, node.name).lower()
        if venue in first:
            says = f"{first[venue]} records {venue} already: one source a venue, put the symbols together"
            found.append(Fault(f"sources.{node.name}.venue", says))
        first.setdefault(venue, node.name)
    return found


def _folders(pipeline: Pipeline) -> list[Fault]:
    """No folder has two writers: of one kind of sink or batch there is one for each venue."""
    found = []
    first: dict[tuple[str, str], str] = {}
    for node in pipeline.section("sinks", "batches"):
        where = f"{node.section}.{node.name}"
        if node.section == "batches":
            kept = [((node.run, ""), f"{where}.run", node.name)]
        else:
            kept = [
                ((node.run, venue_of(pipeline, edge.journal)), f"{where}.inputs", edge.journal)
                for edge in inputs(pipeline, node.name)
            ]
        for key, path, what in kept:
            if key in first:
                of = f" of {key[1]}" if key[1] else ""
                found.append(Fault(path, f"{what} and {first[key]} would both write the {key[0]}'s folders{of}"))
            first.setdefault(key, what)
    return found


# --- the picture ---


def mermaid(pipeline: Pipeline) -> str:
    """The graph as Mermaid, which GitHub draws."""
    lines = ["flowchart LR"]
    lines += [f'    {name}["{name}<br/>{node.run}"]' for name, node in pipeline.nodes.items()]
    for name in pipeline.nodes:
        lines += [f"    {name} --> {consumer}" for consumer in consumers(pipeline, name)]
    lake = pipeline.section("batches")
    lines += ["    lake[(lake)]"] if lake else []
    lines += [f"    {node.name} --> lake" for node in pipeline.section("sinks")] if lake else []
    lines += [f'    {node.name} -. "{_timer(node)}" .-> lake' for node in lake]
    return "\n".join(lines) + "\n"


def picture(pipeline: Pipeline) -> str:
    """The graph as text, one tree for each source."""
    lines: list[str] = []
    for source in pipeline.section("sources"):
        lines += _tree(pipeline, source.name)
    lines += [f"{_label(node)} {_timer(node)}" for node in pipeline.section("batches")]
    return "\n".join(lines) + "\n"


def _label(node: Node) -> str:
    return f"{node.name} ({node.run})"


def _timer(node: Node) -> str:
    said = [f"every {node.options['every']}"] if "every" in node.options else []
    said += [f"daily at {node.options['daily_at']} UTC"] if "daily_at" in node.options else []
    return ", ".join(said)


def _tree(pipeline: Pipeline, name: str) -> list[str]:
    label = _label(pipeline.nodes[name])
    below = [_tree(pipeline, consumer) for consumer in consumers(pipeline, name)]
    if not below:
        return [label]
    lines = []
    for number, branch in enumerate(below):
        first, last = number == 0, number == len(below) - 1
        joint = "───▶ " if first and last else "─┬─▶ " if first else " └─▶ " if last else " ├─▶ "
        lines.append((label + " " if first else " " * (len(label) + 1)) + joint + branch[0])
        stem = " " * (len(label) + 1) + ("     " if last else " │   ")
        lines += [stem + line for line in branch[1:]]
    return lines
