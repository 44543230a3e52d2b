"""The pipeline file: read it, type it, and say everything that is wrong with it at once."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import yaml

from shared import topology
from shared.schedule import Schedule, duration, time_of_day
from shared.topology import SECTIONS, Fault, Node, Pipeline, nearest

MAX_BYTES = 64 * 1024
"""A pipeline file is written by hand; anything longer is a mistake or an attack."""
MAX_VALUES = 20_000
"""Values after aliases are followed, which a few lines can multiply without end."""
MAX_MERGED = 1000
"""Keys that ``<<`` may bring together."""
TIMER_KEYS = ("every", "daily_at")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

T = TypeVar("T", bound="StageConfig")


class ConfigError(Exception):
    """The file cannot be used. Holds every fault found."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


class StageConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Base of every stage's settings. A field is a key in the pipeline file, its docstring the explanation."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses what YAML silently accepts: the same key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key.value, str) and key.value in seen:
                line = key.start_mark.line + 1
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice (line {line})")
            if isinstance(key.value, str):
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """``<<`` copies what it names, so that a few lines of it multiply without end."""
        merges = any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value)
        super().flatten_mapping(node)
        if merges and len(node.value) > MAX_MERGED:
            raise yaml.constructor.ConstructorError(None, None, f"more than {MAX_MERGED} keys merged into one")


# --- reading ---


def load(path: str | Path) -> Pipeline:
    """The pipeline in a file, wiring checked; ConfigError with all faults otherwise."""
    path = Path(path).absolute()
    tree = _tree(path)
    faults = [Fault(str(key), f"unknown{nearest(str(key), ('lake', *SECTIONS))}") for key in tree if key not in _KEYS]
    lake = tree.get("lake")
    if not isinstance(lake, str) or not lake.strip():
        faults.append(Fault("lake", "missing: the folder to write to, such as ./data"))
        lake = "data"
    elif "\0" in lake:
        faults.append(Fault("lake", "is no path: a zero byte stands in it"))
        lake = "data"
    elif lake.startswith("~") or "$" in lake or "%" in lake:
        faults.append(Fault("lake", f"{lake}: nothing is filled in here, write the folder itself"))
    nodes: dict[str, Node] = {}
    for section in SECTIONS:
        for name, entry in _entries(section, tree.get(section), faults):
            node = _node(section, name, entry, faults)
            if name in nodes:
                faults.append(Fault(f"{section}.{name}", f"{name} stands under {nodes[name].section} already"))
            elif node is not None:
                nodes[name] = node
    pipeline = Pipeline(str(path), str((path.parent / lake).absolute()), nodes)
    # An entry that could not be read would show up again as an unknown input.
    faults += topology.faults(pipeline) if not faults else []
    if faults:
        raise ConfigError([*faults, *_settings(pipeline)])
    return pipeline


_KEYS = ("lake", *SECTIONS)


def _tree(path: Path) -> dict[Any, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([Fault(str(path), f"cannot be read: {error.strerror}")]) from None
    if len(data) > MAX_BYTES:
        raise ConfigError([Fault(str(path), f"longer than {MAX_BYTES // 1024} KB")])
    try:
        tree = yaml.load(data, Loader=_Loader)
        if _count(tree, MAX_VALUES) <= 0:
            raise ConfigError([Fault(str(path), "too many values, or nested without end")])
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, ArithmeticError, RecursionError) as error:
        says = " ".join(str(error).split())
        raise ConfigError([Fault(str(path), f"is no YAML: {says[:300]}")]) from None
    if not isinstance(tree, dict):
        raise ConfigError([Fault(str(path), "is empty: it should name a lake and sources")])
    return tree


def _count(value: Any, budget: int, depth: int = 0) -> int:
    """What is left of the budget after this value; aliases count each time."""
    budget -= 1
    if depth > 20 or budget <= 0:
        return 0
    if isinstance(value, dict):
        children: list[Any] = [*value.keys(), *value.values()]
    elif isinstance(value, list):
        children = value
    else:
        return budget
    for child in children:
        budget = _count(child, budget, depth + 1)
        if budget <= 0:
            return 0
    return budget


def _entries(section: str, entries: Any, faults: list[Fault]) -> list[tuple[str, dict[str, Any]]]:
    if entries is None:
        return []
    if not isinstance(entries, dict):
        faults.append(Fault(section, "should be names, each with its settings below it"))
        return []
    found = []
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            faults.append(Fault(f"{section}.{name}", "should have settings below it, run: first"))
        elif why := topology.bad_name(str(name), section):
            faults.append(Fault(f"{section}.{name}", why))
        else:
            found.append((str(name), {str(key): value for key, value in entry.items()}))
    return found


def _node(section: str, name: str, entry: dict[str, Any], faults: list[Fault]) -> Node | None:
    where = f"{section}.{name}"
    run, inputs = entry.pop("run", None), entry.pop("inputs", [])
    if not isinstance(run, str) or not all(part.isidentifier() for part in run.split(".")):
        faults.append(Fault(f"{where}.run", f"should name a process in procs/{nearest(str(run), processes())}"))
        return None
    if not isinstance(inputs, list) or not all(isinstance(item, str) for item in inputs):
        faults.append(Fault(f"{where}.inputs", "should be a list of names, such as [binance]"))
        return None
    return Node(name, section, run, tuple(inputs), entry)


# --- typing ---


def convert(pipeline: Pipeline, name: str, kind: type[T]) -> T:
    """The settings of one stage as its own type; ConfigError with all faults otherwise."""
    node = pipeline.nodes[name]
    where = f"{node.section}.{name}"
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    options = {key: value for key, value in node.options.items() if key in fields or not _is_timer(node, key)}
    faults = []
    for key, value in options.items():
        field = fields.get(key)
        if field is None:
            faults.append(Fault(f"{where}.{key}", f"unknown{nearest(key, ('run', 'inputs', *fields))}"))
            continue
        try:
            msgspec.convert(value, field.type)
        except msgspec.ValidationError as error:
            faults.append(Fault(f"{where}.{key}", _message(error)))
    faults += [
        Fault(f"{where}.{key}", "missing") for key, field in fields.items() if field.required and key not in options
    ]
    if not faults:
        try:
            return msgspec.convert(options, kind)
        except msgspec.ValidationError as error:  # __post_init__: rules over more than one key
            faults.append(Fault(where, _message(error)))
    raise ConfigError(faults)


def _is_timer(node: Node, key: str) -> bool:
    return node.section == "batches" and key in TIMER_KEYS


def _message(error: msgspec.ValidationError) -> str:
    """msgspec's words with our place: ``Expected `int`, got `str` - at `$[0]` `` becomes ``[0]: expected ...``."""
    text, _, place = str(error).partition(" - at `$")
    text = text[:1].lower() + text[1:]
    place = place.rstrip("`").strip()
    return f"{place}: {text}" if place else text


def schedule(node: Node) -> Schedule:
    """The timers of a batch; ConfigError when they cannot be read."""
    times: dict[str, int | None] = {"every": None, "daily_at": None}
    faults = []
    for key, read in (("every", duration), ("daily_at", time_of_day)):
        if key in node.options:
            try:
                times[key] = read(node.options[key])
            except ValueError as error:
                faults.append(Fault(f"{node.section}.{node.name}.{key}", str(error)))
    if not faults and not any(times.values()):
        faults.append(Fault(f"{node.section}.{node.name}", 'never runs: write every: 5m or daily_at: "01:30"'))
    if faults:
        raise ConfigError(faults)
    return Schedule(times["every"], times["daily_at"])


# --- checking all of it ---


def check(pipeline: Pipeline) -> list[Fault]:
    """Every fault that can be found without starting anything: settings, processes, timers, addresses."""
    return [*topology.faults(pipeline), *_settings(pipeline)]


def _settings(pipeline: Pipeline) -> list[Fault]:
    found: list[Fault] = []
    for node in pipeline.nodes.values():
        found += _checked(pipeline, node)
        found += addresses(node)
    return found


def _checked(pipeline: Pipeline, node: Node) -> list[Fault]:
    found: list[Fault] = []
    if node.section == "batches":
        try:
            schedule(node)
        except ConfigError as error:
            found += error.faults
    kind = config_of(node)
    if isinstance(kind, Fault):
        return [*found, kind]
    try:
        convert(pipeline, node.name, kind)
    except ConfigError as error:
        found += error.faults
    return found


def config_of(node: Node) -> type[StageConfig] | Fault:
    """The settings type of the process a node runs."""
    where = f"{node.section}.{node.name}.run"
    try:
        if importlib.util.find_spec(node.module) is None:
            return Fault(where, f"there is no {node.module}{nearest(node.run, processes())}")
        kind = getattr(importlib.import_module(node.module), "Config", None)
    except ModuleNotFoundError as error:
        if error.name and node.module.startswith(error.name):
            return Fault(where, f"there is no {node.module}{nearest(node.run, processes())}")
        return Fault(where, f"{node.module} needs {error.name}: pip install -r requirements.txt")
    except ImportError as error:
        return Fault(where, f"{node.module} cannot be loaded: {error}")
    if not (isinstance(kind, type) and issubclass(kind, StageConfig)):
        return Fault(where, f"{node.module} is no stage: it has no Config")
    return kind


def processes() -> list[str]:
    """The processes there are in ``procs/``."""
    folder = Path(__file__).resolve().parent.parent / "procs"
    return sorted(module.name for module in pkgutil.iter_modules([str(folder)]))


def addresses(node: Node) -> list[Fault]:
    """Encrypted, or on this machine: nothing in between."""
    found = []
    for key, value in node.options.items():
        if not key.endswith("_url") or not isinstance(value, str):
            continue
        where = f"{node.section}.{node.name}.{key}"
        try:
            url = urlsplit(value)
            host, _ = url.hostname, url.port
        except ValueError as error:
            found.append(Fault(where, f"{value} is no address: {error}"))
            continue
        secure, plain = ("wss", "ws") if key.startswith("ws") else ("https", "http")
        if url.scheme not in (secure, plain) or not host:
            found.append(Fault(where, f"{value} should begin with {secure}://"))
        elif url.scheme == plain and host not in _LOOPBACK:
            found.append(Fault(where, f"{value} is not encrypted: write {secure}:// ({plain}:// is for this machine)"))
        elif url.username or url.password:
            found.append(Fault(where, "holds a name or password: only public data is recorded, none is needed"))
    return found
