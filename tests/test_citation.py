"""CITATION.cff: what a citation needs is there and is that of the package."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def test_the_citation_is_that_of_the_package() -> None:
    """The keys that the format requires, the package's version and licence, and three papers, two
    of them with a place to read them."""
    said = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= said.keys()
    assert (said["version"], said["license"]) == (package["version"], package["license"])
    assert [paper["title"] for paper in said["references"]] == [
        "Example perplexity and class label cleaning",
        "Example Perplexity",
        "From Data Quality to Model Quality: an Exploratory Study on Deep Learning",
    ]
    assert sum("url" in paper for paper in said["references"]) == 2
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(paper["url"] in readme for paper in said["references"] if "url" in paper)
