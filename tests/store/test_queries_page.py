"""docs/queries.md: every query runs on a small finished workspace and gives the columns that stand
under it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from factories import QUIET, Tiny, trained_workspace

from zoo import pipeline
from zoo.errors import UsageError
from zoo.scores import from_store
from zoo.scores.population import choose_population
from zoo.spec import Op, SelectionRule
from zoo.store.query import query
from zoo.trainsets.rules import parse

PAGE = (Path(__file__).parents[2] / "docs" / "queries.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Recipe:
    """A section of the page: its heading, the sentence under it, its query, the columns it
    promises."""

    title: str
    sentence: str
    sql: str
    columns: list[str]


def recipes(page: str) -> list[Recipe]:
    found = []
    for section in re.split(r"^### ", page, flags=re.MULTILINE)[1:]:
        title, _, rest = section.partition("\n")
        match = re.match(
            r"\n(.+?)\n\n```sql\n(.*?)^```\n\nColumns: ([^\n]+)\n",
            rest,
            flags=re.MULTILINE | re.DOTALL,
        )
        assert match is not None, (
            f"{title}: a sentence, one sql block and a line of columns are expected"
        )
        found.append(Recipe(title, match[1], match[2], re.findall(r"`([^`]+)`", match[3])))
    return found


RECIPES = recipes(PAGE)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """12 classifiers of 60 + 30 pictures, scored on both splits, and two selections."""
    tiny = trained_workspace(tmp_path_factory.mktemp("queries"))
    space = tiny.workspace
    population = choose_population(space)
    scores = pipeline.score_splits(space, population, ("train", "test"), QUIET)
    for name, text in (
        ("fewer", "worst:share=0.1,by=label_quality"),
        ("halves", "worst:share=0.5,by=label_quality"),
    ):
        rules = tuple(Op(name=rule, params=params) for rule, params in parse(text))
        pipeline.select(
            space,
            SelectionRule(name=name, rules=rules),
            scores["train"],
            population.origin("train"),
            tiny.dataset.class_names,
        )
    return tiny


def rows(finished: Tiny, title: str) -> list[dict[str, object]]:
    return query(
        finished.workspace, next(recipe.sql for recipe in RECIPES if recipe.title == title)
    ).to_pylist()


def test_the_page_has_ten_queries_and_none_beside_them() -> None:
    """At least ten, each in a section of its own; no sql block escapes this test."""
    assert len(RECIPES) >= 10
    assert len(RECIPES) == PAGE.count("```sql") == PAGE.count("\n### ")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.title)
def test_a_query_runs_and_gives_its_columns(finished: Tiny, recipe: Recipe) -> None:
    """Rows come back, in the columns named; a sentence says what they are."""
    found = query(finished.workspace, recipe.sql)
    assert found.column_names == recipe.columns
    assert found.num_rows > 0
    assert recipe.sentence.endswith((".", "`."))


def test_a_wrong_section_is_noticed(finished: Tiny) -> None:
    """Twin: a section without its line of columns, and a query about a column that is not there."""
    with pytest.raises(
        AssertionError,
        match=r"^Broken: a sentence, one sql block and a line of columns are expected",
    ):
        recipes("### Broken\n\nWords.\n\n```sql\nselect 1\n```\n\nNo columns.\n")
    (broken,) = recipes(
        "### Broken\n\nWords.\n\n```sql\nselect colour from scores\n```\n\nColumns: `colour`\n"
    )
    with pytest.raises(UsageError, match="colour"):
        query(finished.workspace, broken.sql)


def test_what_the_queries_say_is_so(finished: Tiny) -> None:
    """Counts made by hand: 60 examples, 6 planted errors; selections of 52 and 29 of 58 readable
    examples; every curve once."""
    noise = rows(finished, "Label noise per class")
    assert (
        sum(int(str(row["examples"])) for row in noise),
        sum(int(str(row["known_errors"])) for row in noise),
    ) == (60, 6)
    balance = rows(finished, "Class balance of selections")
    for name, size in (("fewer", 52), ("halves", 29)):
        mine = [row for row in balance if row["selection"] == name]
        assert sum(int(str(row["rows"])) for row in mine) == size
        assert sum(float(str(row["share"])) for row in mine) == pytest.approx(1.0)
    assert len(rows(finished, "Learning curves")) == 2 * 2 * 3  # architectures x fractions x epochs
    assert len(rows(finished, "Accuracy by share of the training set")) == 2 * 2 * 2  # x snapshots
    assert len(rows(finished, "Classifiers that disagree with the rest")) == 12


def test_x_by_architecture_is_that_of_the_sub_populations(finished: Tiny) -> None:
    """The query's mean X is the mean of ``zoo score --where`` on each architecture."""
    space = finished.workspace
    for row in rows(finished, "X by architecture"):
        alone = from_store.score(
            space, choose_population(space, f"arch = '{row['arch']}'"), "train"
        ).to_pandas()
        assert row["mean_x"] == pytest.approx(alone["x_perplexity"].mean(), abs=1e-12)


def test_suspects_are_those_of_the_scores(finished: Tiny) -> None:
    """Lowest quality first, and never the class that the label says."""
    found = rows(finished, "Suspects with class names")
    quality = [float(str(row["label_quality"])) for row in found]
    assert quality == sorted(quality)
    assert all(row["label"] != row["votes_for"] for row in found)
