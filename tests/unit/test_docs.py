"""The README says of every setting what its code says, and every command and stage of it exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTIONS = {
    "ingest": ("sources", ROOT / "procs/ingest/config.py"),
    "aggregator": ("transforms", ROOT / "procs/aggregator.py"),
    "archiver": ("sinks", ROOT / "procs/archiver.py"),
    "parquet_sink": ("sinks", ROOT / "procs/parquet_sink.py"),
    "validator": ("batches", ROOT / "procs/validator/__init__.py"),
    "backfill": ("batches", ROOT / "procs/backfill/__init__.py"),
}


def settings(path: Path) -> list[tuple[str, str, str]]:
    """Name, default and docstring of each field of a module's Config."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Config")
    found = []
    for field, says in zip(body, [*body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = says.value.value if isinstance(says, ast.Expr) and isinstance(says.value, ast.Constant) else ""
            found.append((field.target.id, _default(field.value), " ".join(str(text).split())))
    return found


def _default(node: ast.expr | None) -> str:
    if node is None:
        return "must be written"
    if ast.unparse(node) == "None":
        return "none"
    source = ast.unparse(node)
    if source.startswith("msgspec.field"):
        source = source.partition("lambda: ")[2].rstrip(")")
    value = eval(source, {"__builtins__": {}})  # a literal of ours, such as 2 << 30
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else "empty"


def table() -> str:
    """The README's list of keys, as the code has it."""
    lines = ["| key | default | what it means |", "|---|---|---|"]
    for run, (section, path) in SECTIONS.items():
        lines.append(f"| **{section}, `run: {run}`** | | |")
        for name, default, says in settings(path):
            lines.append(f"| `{name}` | {default} | {says.replace('``', '`')} |")
    return "\n".join(lines)


def test_every_setting_is_explained_in_its_code() -> None:
    for run, (_, path) in SECTIONS.items():
        assert all(says for _, _, says in settings(path)), run


def test_the_readme_lists_every_key_as_the_code_explains_it() -> None:
    assert table() in README, f"the README should hold:\n\n{table()}"


def test_the_readme_shows_the_pipeline_file() -> None:
    assert (ROOT / "pipeline.yml").read_text(encoding="utf-8").strip() in README


def test_every_process_is_in_the_readme() -> None:
    for path in (ROOT / "procs").iterdir():
        if path.name not in ("__init__.py", "__pycache__"):
            assert f"procs/{path.name}" in README


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#][^)]*)\)", README))))
def test_every_link_leads_to_a_file(link: str) -> None:
    assert link.startswith("https://") or (ROOT / link).exists()


def test_every_place_named_in_contents_exists() -> None:
    headings = {
        re.sub(r"[^\w -]", "", line[3:]).lower().replace(" ", "-") for line in re.findall(r"^## .*", README, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", README)) <= headings


def test_no_placeholder_is_left() -> None:
    assert not re.findall(r"^@[A-Z]+@$", README, re.M)
