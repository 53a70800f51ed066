"""``zoo demo`` as a newcomer types it, once on Ray and once in one process: the same bytes, no
noise, true numbers, and nothing to do the second time; and what its population is worth at the
scale that the README shows."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.commands import Result, content, files, run, start
from zoo.store.query import query
from zoo.store.results import read_table
from zoo.store.workspace import Workspace

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STARTING = "starting Ray"
STAGES = ("training", "fill", "scoring", "retraining", "evaluation", "report")
OURS = re.compile(rf"({'|'.join((STARTING, *STAGES))})( \.\.\.$|: )")
ARMS = (
    "baseline",
    "worst-dropped",
    "suspects-relabelled",
    "random-dropped",
    "hardest-half",
    "oracle",
)
NOISE = (
    *(
        "AIR_",
        "DeprecationWarning",
        "Execution plan",
        "FutureWarning",
        "INFO ",
        "RAY_",
        "Running Dataset",
        "SIGTERM",
        "Traceback",
        "Trial ",
    ),
    *(
        "Started a local Ray instance",
        "Tune",
        "UserWarning",
        "WARNING",
        "(pid=",
        "dashboard",
        "deprecated",
        "it/s]",
        "ray.init",
        "raylet",
    ),
    "usage stats",
)


def page(space: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of the report and of every figure."""
    paths = (space / "report.html", *sorted((space / "figures").iterdir()))
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("ray")
    return folder / "space", run(
        folder, "demo", "--scale", "smoke", "-w", folder / "space", seconds=1500
    )


@pytest.fixture(scope="module")
def in_one_process(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("local")
    return folder / "space", run(
        folder,
        "demo",
        "--scale",
        "smoke",
        "-w",
        folder / "space",
        "--runner",
        "local",
        seconds=1500,
    )


def test_the_demo_says_what_it_did_and_where_the_report_is(on_ray: tuple[Path, Result]) -> None:
    """Counts, planted errors found, ten suspects, six arms, the report's path and the next command,
    all on stdout."""
    space, result = on_ray
    assert result.code == 0, result
    # smoke: 2 architectures x 2 halves = 4 trainings, 2 snapshots each; 6 arms of two seeds.
    assert (
        "8 classifiers from 4 trainings of 2 architectures on fashion-mini; 12 retrainings"
        in result.out
    )
    assert re.search(
        r"precision 0\.\d{3} and recall 0\.\d{3} at the planted number \(250\), AUROC 0\.\d{4}",
        result.out,
    )
    after = result.out.partition("The ten most suspicious training examples\n")[2].splitlines()
    assert len([line for line in after[2:12] if line.startswith("train-idx/")]) == 10
    for arm in ARMS:
        assert re.search(rf"^{arm} +2  0\.\d{{3}}", result.out, flags=re.MULTILINE), arm
    assert f"Report: {space}/report.html\n" in result.out
    assert result.out.rstrip().endswith(f"-w {space}")
    assert (space / "report.html").stat().st_size > 100_000


def test_the_numbers_of_the_demo_are_those_of_its_answers(on_ray: tuple[Path, Result]) -> None:
    """Mean X is the share of wrong answers that are in the store, counted by SQL; what is printed
    is what is in the tables; every arm took the same steps on the same number of examples of each
    class, drawn anew by each seed; the arms' accuracies are counted again."""
    space = Workspace.open(on_ray[0])
    wrong = query(
        space,
        "select avg((a.prediction != e.label)::int) as x from answers a join examples e using"
        " (split, example_id) join classifiers c using (classifier_id) where a.split = 'train' and"
        " c.role = 'population'",
    ).to_pylist()[0]["x"]
    assert read_table(space, "scores-train")["x_perplexity"].mean() == pytest.approx(
        wrong, abs=1e-9
    )
    found = read_table(space, "detection").set_index("score").loc["label_quality"]
    assert (
        f"AUROC {found['auroc']:.4f}, average precision {found['average_precision']:.3f}"
        in on_ray[1].out
    )
    assert found["auroc"] > 0.94
    assert found["average_precision"] > 0.7

    arms = read_table(space, "arms")
    full = arms[arms["on"] == "full"]
    assert set(zip(full["steps"], full["n_train"], strict=True)) == {(32, 1950)}
    draws = query(
        space,
        "select name, draw, count(distinct label) as classes, sum(copies) as n from selections"
        " where name = 'drawn' group by all",
    )
    assert [(row["classes"], row["n"]) for row in draws.to_pylist()] == [(10, 1950), (10, 1950)]
    both = query(
        space,
        "select count(*) as n from (select example_id from selections where name = 'drawn' group by"
        " all having count(*) = 2)",
    )
    assert 0 < both.to_pylist()[0]["n"] < 1950
    right = query(
        space,
        "select c.seed, avg((a.prediction = e.label)::int) as acc1 from answers a join examples e"
        " using (split, example_id) join classifiers c using (classifier_id) where a.split = 'test'"
        " and c.role = 'retraining' group by all",
    ).to_pandas()
    by_seed = full.groupby("seed")["acc1"].mean()
    assert right.set_index("seed")["acc1"].sort_index().tolist() == pytest.approx(
        by_seed.tolist(), abs=1e-9
    )
    means = full.groupby("arm")["acc1"].mean()
    assert means["baseline"] > 0.65
    assert means["hardest-half"] < means["baseline"] - 0.02


@pytest.mark.long
def test_the_population_that_the_readme_shows_finds_the_planted_errors(tmp_path: Path) -> None:
    """Scale laptop, up to the scores: 75 classifiers; AUROC at least .975, average precision .85,
    precision .75 at the planted number."""
    result = run(
        tmp_path,
        "run",
        "demo",
        "--scale",
        "laptop",
        "--until",
        "score",
        "-w",
        tmp_path / "space",
        seconds=1500,
    )
    assert result.code == 0, result
    space = Workspace.open(tmp_path / "space")
    found = read_table(space, "detection").set_index("score").loc["label_quality"]
    assert read_table(space, "scores-train")["n"].eq(75).all()
    assert found["n_errors"] == 250
    assert found["auroc"] >= 0.975
    assert found["average_precision"] >= 0.85
    assert found["precision_at_n"] >= 0.75


def test_ray_and_one_process_compute_the_same_bytes(
    on_ray: tuple[Path, Result], in_one_process: tuple[Path, Result]
) -> None:
    """Checkpoints, answers, score tables and comparisons are byte-equal, whichever runner made
    them."""
    (ray, _), (local, result) = on_ray, in_one_process
    assert result.code == 0, result
    assert (ray / "results" / "scores-train.csv").read_bytes() == (
        local / "results" / "scores-train.csv"
    ).read_bytes()
    assert (ray / "results" / "scores-test.csv").read_bytes() == (
        local / "results" / "scores-test.csv"
    ).read_bytes()
    assert content(ray) == content(local)


def test_every_line_on_stderr_is_ours(
    on_ray: tuple[Path, Result], in_one_process: tuple[Path, Result]
) -> None:
    """Stage lines and nothing else: not a word of Ray, no warning, no traceback; every stage begins
    and ends."""
    for (_, result), first in ((on_ray, [STARTING]), (in_one_process, [])):
        lines = result.err.splitlines()
        assert [line for line in lines if not OURS.match(line)] == []
        assert [line.removesuffix(" ...") for line in lines if line.endswith(" ...")] == [
            *first,
            *STAGES,
        ]
        assert [word for word in NOISE if word in result.err + result.out] == []


def test_the_second_time_there_is_nothing_to_do(
    on_ray: tuple[Path, Result], tmp_path: Path
) -> None:
    """No Ray session is started, no stored file is touched, no figure is drawn again, the same
    words are printed."""
    space, first = on_ray
    before, drawn = files(space), page(space)
    assert len(drawn) > 10
    tables = {path.name: path.read_bytes() for path in sorted((space / "results").glob("*.csv"))}
    with start(tmp_path, "demo", "--scale", "smoke", "-w", space) as running:
        while running.process.poll() is None:
            assert not [
                line
                for line in running.family().values()
                if "raylet" in line or line.startswith("ray::")
            ]
            time.sleep(0.05)
        result = running.finish()
    assert result.code == 0, result
    assert {
        path.name: path.read_bytes() for path in sorted((space / "results").glob("*.csv"))
    } == tables
    assert [
        line.removesuffix(" ...") for line in result.err.splitlines() if line.endswith(" ...")
    ] == ["scoring", "report"]
    assert files(space) == before
    assert page(space) == drawn
    spent = re.compile(r"this run: .*")
    assert spent.sub("", result.out) == spent.sub("", first.out)
