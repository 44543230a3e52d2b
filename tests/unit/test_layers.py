"""The layers hold: imports point down, each package has its door, the pure part opens nothing, names are nouns."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LEVELS = [
    {"events", "tables"},
    {
        "backoff",
        "barcolumns",
        "bars",
        "frames",
        "holdings",
        "hourbars",
        "ids",
        "inbox",
        "kernels",
        "klines",
        "lifecycle",
        "linecolumns",
        "linegroups",
        "lineruns",
        "lines",
        "numbers",
        "paths",
        "plain",
        "quality",
        "quoteruns",
        "room",
        "rowbars",
        "rows",
        "schedule",
        "seconds",
        "series",
        "tally",
        "topology",
        "tradesums",
        "venues",
    },
    {
        "archive",
        "appender",
        "aside",
        "barfiles",
        "barstore",
        "begun",
        "caution",
        "checkpoint",
        "clock",
        "compiled",
        "config",
        "dailyfiles",
        "edges",
        "enquiry",
        "files",
        "hidden",
        "holdings",
        "journal",
        "klinestore",
        "lake",
        "locks",
        "logs",
        "manifests",
        "openfile",
        "quarantine",
        "rebuild",
        "rest",
        "sealing",
        "seals",
        "staging",
        "tickbars",
        "tickfiles",
        "wire",
        "ws",
        "wscut",
    },
    {"errand", "process", "runner"},
]
"""What is known (``shared/``): words, pure rules, edges to the outside, the loop. A new module is put in its place."""
PROCS, SUPERVISION = len(LEVELS), len(LEVELS) + 1

DOORS = {
    "yaml": {"shared/config.py"},
    "zmq": {"shared/wire.py"},
    "filelock": {"shared/locks.py"},
    "websockets": {"shared/ws.py", "shared/wscut.py"},
    "aiofastnet": {"shared/ws.py"},
    "aiohttp": {"shared/rest.py", "procs/emulator/"},
    "duckdb": {"shared/lake.py", "supervision/questions.py"},
    "pyarrow": {
        "shared/files.py",
        "shared/barfiles.py",
        "shared/barstore.py",
        "shared/tickbars.py",
        "shared/tickfiles.py",
        "procs/compactor/",
        "procs/backfill/",
        "procs/validator/",
    },
    "polars": {"shared/lake.py", "procs/compactor/", "procs/validator/"},
    "zstandard": {"shared/archive.py", "procs/emulator/", "procs/compactor/", "procs/backfill/"},
    "psutil": {"supervision/"},
    "rich": {"supervision/", "procs/validator/", "procs/backfill/"},
}
"""The only modules that may import a package."""

TESTED_WITH = {
    "shared.seconds": "shared.bars",
    "shared.series": "shared.bars",
    "shared.venues._binance_rest": "shared.venues.binance",
}
"""Parts of a module that is tested as a whole."""

FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "base", "manager", "misc", "tools"}
OUTSIDE = {
    "asyncio",
    "io",
    "logging",
    "loguru",
    "os",
    "pathlib",
    "random",
    "secrets",
    "select",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "uuid",
}
"""What levels 0 and 1 may not import: they open nothing and ask nothing."""
MOST_LINES = 460
MOST_FUNCTION_LINES = 62


def modules() -> list[Path]:
    found = [ROOT / "supervisor.py"]
    for folder in ("shared", "procs", "supervision"):
        found += sorted((ROOT / folder).rglob("*.py"))
    return found


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """Every module a file needs, inside functions too; ``from shared import paths`` is ``shared.paths``."""
    only_names = {
        id(node)
        for branch in ast.walk(tree(path))
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree(path)):
        if id(node) in only_names:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}: imports are absolute"
            within = [f"{node.module}.{alias.name}" for alias in node.names]
            is_package = node.module in ("shared", "procs", "supervision", "shared.venues")
            yield from within if is_package else [str(node.module)]


def level(module: str) -> int | None:
    """The level of a dotted module of ours; None for anybody else's."""
    parts = module.split(".")
    if parts[0] in ("supervisor", "supervision"):
        return SUPERVISION
    if parts[0] == "procs":
        return PROCS
    if parts[0] != "shared" or len(parts) == 1:
        return None
    return next((number for number, names in enumerate(LEVELS) if parts[1] in names), None)


def dotted(path: Path) -> str:
    return name(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def test_every_module_stands_on_a_level() -> None:
    known = {
        path.relative_to(ROOT / "shared").parts[0].removesuffix(".py") for path in modules() if "shared" in path.parts
    }
    assert known - {"__init__"} == set().union(*LEVELS)


def test_imports_point_down() -> None:
    wrong = []
    for path in modules():
        own = level(dotted(path))
        for module in imports(path):
            other = level(module)
            if own is not None and other is not None and other > own:
                wrong.append(f"{name(path)} (level {own}) imports {module} (level {other})")
    assert wrong == []


def test_no_process_imports_another() -> None:
    wrong = []
    for path in modules():
        own = dotted(path).split(".")
        if own[0] == "procs":
            others = [module.split(".") for module in imports(path)]
            wrong += [f"{name(path)} imports {other}" for other in others if other[0] == "procs" and other[1] != own[1]]
    assert wrong == []


def test_no_two_modules_need_each_other() -> None:
    graph = {dotted(path): {module for module in imports(path) if level(module) is not None} for path in modules()}
    TopologicalSorter(graph).prepare()


def test_each_package_has_its_door() -> None:
    wrong = []
    for path in modules():
        for module in imports(path):
            doors = DOORS.get(module.split(".")[0])
            if doors is not None and not name(path).startswith(tuple(doors)):
                wrong.append(f"{name(path)} imports {module}")
    assert wrong == []


def test_the_pure_part_opens_nothing_and_asks_nothing() -> None:
    # shared.venues itself finds the adapters by their file names
    pure = [path for path in modules() if level(dotted(path)) in (0, 1) and dotted(path) != "shared.venues"]
    wrong = [
        f"{name(path)} imports {module}" for path in pure for module in imports(path) if module.split(".")[0] in OUTSIDE
    ]
    assert wrong == []


def test_modules_are_nouns_of_readable_size() -> None:
    wrong = []
    for path in modules():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if path.stem in FORBIDDEN_NAMES or lines > MOST_LINES:
            wrong.append(f"{name(path)}: {lines} lines")
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MOST_FUNCTION_LINES:
                    wrong.append(f"{name(path)}: {node.name} has {lines} lines")
    assert wrong == []


def test_every_module_says_what_it_is() -> None:
    assert [name(path) for path in modules() if not ast.get_docstring(tree(path))] == []


def test_every_module_and_every_process_is_named_by_a_test() -> None:
    """Packages of several files in ``procs/`` are tested as wholes too, so there the process counts."""
    named: set[str] = set()
    text = ""
    for test in (ROOT / "tests").rglob("*.py"):
        named |= set(imports(test))
        text += test.read_text(encoding="utf-8")
    wanted = set()
    for path in modules():
        parts = dotted(path).split(".")
        if path.stem not in ("__init__", "__main__"):
            wanted.add(".".join(parts[:2]) if parts[0] == "procs" else ".".join(parts))
    wanted = {TESTED_WITH.get(module, module) for module in wanted - {"supervisor"}}
    missing = {module for module in wanted - named if module not in text}
    assert sorted(missing) == []


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("supervisor", {"pyarrow", "polars", "duckdb", "aiohttp", "rich", "numpy", "pandas"}),
        ("procs.ingest", {"pyarrow", "polars", "duckdb", "rich", "numpy", "pandas"}),
        ("procs.archiver", {"pyarrow", "polars", "duckdb", "aiohttp", "rich", "numpy", "pandas"}),
        ("shared.runner", {"pyarrow", "polars", "duckdb", "aiohttp", "rich", "numpy", "pandas"}),
    ],
)
def test_heavy_packages_are_not_loaded_where_they_are_not_used(module: str, absent: set[str]) -> None:
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert not absent.intersection(done.stdout.split())
