"""Study 2 at its smallest, on Ray as a user runs it, all experiments in one workspace: what they
share is done once, verdicts of other data decide nothing, the tables are enough to judge again."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.commands import Result, run
from zoo.store import ledger
from zoo.store.workspace import Workspace
from zoo.studies.findings import stored_results
from zoo.studies.load import judge_of, load, names
from zoo.studies.populations import SCORING, words

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]

EXPERIMENTS = (
    "population",
    "perplexity",
    "cleaning",
    "decomposition",
    "relabelling",
    "reweighting",
)
JUDGED = EXPERIMENTS[1:]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, dict[str, Result]]:
    """Each experiment's run, one after the other."""
    folder = tmp_path_factory.mktemp("second")
    results = {
        name: run(folder, "run", name, "--scale", "smoke", "-w", folder / "space", seconds=600)
        for name in EXPERIMENTS
    }
    return Workspace.open(folder / "space"), results


def test_they_are_all_there() -> None:
    assert set(EXPERIMENTS) <= set(names())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_ends_well(runs: tuple[Workspace, dict[str, Result]], name: str) -> None:
    assert runs[1][name].code == 0, runs[1][name]


def test_the_population_is_trained_once(runs: tuple[Workspace, dict[str, Result]]) -> None:
    """Networks x sets x parts, by whichever experiment comes first; the others find it."""
    space, results = runs
    frame = ledger.trainings_frame(space)
    population = frame[frame["role"] == "population"]
    assert len(population) == len(SCORING["smoke"]) * 4 * len(words("smoke"))
    assert (population["status"] == "done").all()
    for name in JUDGED:
        said = [line for line in results[name].err.splitlines() if line.startswith("training:")]
        assert not said, name


@pytest.mark.parametrize("name", JUDGED)
def test_a_verdict_on_other_data_is_not_applicable(
    runs: tuple[Workspace, dict[str, Result]], name: str
) -> None:
    """Every claim was measured or says why not, and none is decided by pictures of clothes; judged
    again from the stored tables, as far as they go, it is the same."""
    space, _ = runs
    experiment = load(name, "smoke")
    judge = judge_of(experiment)
    assert judge is not None
    results = stored_results(space, experiment)
    verdicts = judge.verdicts(results)
    assert len(verdicts)
    assert set(verdicts["verdict"]) == {"not applicable"}
    for table in results.tables.values():
        assert set(table["part"]) <= set(words("smoke"))
    for chart in judge.charts(results):
        assert len(chart.table), chart.name


def test_csv_tables_judge_alike(runs: tuple[Workspace, dict[str, Result]], tmp_path: Path) -> None:
    """As a page's folder keeps them: six digits are enough."""
    from tools.make_study import open_results, store_tables, stored_study

    study = open_results(str(runs[0].root), "cleaning", "smoke")
    store_tables(study, tmp_path)
    again = stored_study(tmp_path)
    columns = ["claim", "verdict", "measured", "note"]
    pd.testing.assert_frame_equal(again.verdicts[columns], study.verdicts[columns])


def test_a_page_is_the_same_with_its_workspace_and_without(
    runs: tuple[Workspace, dict[str, Result]], tmp_path: Path
) -> None:
    """What stands beside the page is enough to write it again, to the byte."""
    from tools.make_study import main, open_results

    things = ["run", "verdicts"]
    things += [c.name for c in open_results(str(runs[0].root), "relabelling", "smoke").charts]
    page = tmp_path / "study.md"
    page.write_text("\n".join(f"<!-- made: relabelling {x} -->\n<!-- end -->" for x in things))
    assert main([str(page), f"relabelling={runs[0].root}:smoke"]) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(before) > len(things)
    assert main([str(page)]) == 0
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_no_pixel_of_a_data_set_is_put_beside_a_page(
    runs: tuple[Workspace, dict[str, Result]], tmp_path: Path
) -> None:
    """The examples that a figure shows are there by key, label and scores."""
    from tools.make_study import open_results, store_tables

    study = open_results(str(runs[0].root), "perplexity", "smoke")
    assert "picture" in study.evidence.tables["shown"]
    store_tables(study, tmp_path)
    shown = pd.read_csv(tmp_path / "table-shown.csv")
    assert "picture" not in shown
    assert {"key", "label_name", "c", "x"} <= set(shown)
