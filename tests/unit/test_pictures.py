"""The picture in `pipeline.yml` and in the README is the one that ``supervisor.py graph`` draws."""

from __future__ import annotations

import pytest

from shared import config, topology
from supervision.children import ROOT

PIPELINE = config.load(ROOT / "pipeline.yml")


def test_the_comment_in_the_pipeline_file_is_its_picture() -> None:
    comments = [
        line.removeprefix("#   ")
        for line in (ROOT / "pipeline.yml").read_text().splitlines()
        if line.startswith("#   ")
    ]
    assert "\n".join(comments) + "\n" == topology.picture(PIPELINE)


@pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="no README yet")
def test_the_readme_shows_the_picture() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert topology.picture(PIPELINE) in readme
    if "```mermaid" in readme:
        assert topology.mermaid(PIPELINE) in readme
