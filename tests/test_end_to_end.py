"""``zoo demo`` as a newcomer types it, once on Ray and once in one process: the same bytes, no noise, and nothing to do the second time."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.commands import Result, content, files, run, start

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STAGES = ("training", "fill", "scoring", "retraining", "evaluation", "report")
OURS = re.compile(rf"({'|'.join(STAGES)})( \.\.\.$|: )")
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
    *("Started a local Ray instance", "Tune", "UserWarning", "WARNING", "(pid=", "dashboard", "deprecated", "it/s]", "ray.init", "raylet"),
    "usage stats",
)


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("ray")
    return folder / "space", run(folder, "demo", "--scale", "smoke", "-w", folder / "space", seconds=300)


@pytest.fixture(scope="module")
def in_one_process(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("local")
    return folder / "space", run(folder, "demo", "--scale", "smoke", "-w", folder / "space", "--runner", "local", seconds=300)


def test_the_demo_says_what_it_did_and_where_the_report_is(on_ray: tuple[Path, Result]) -> None:
    """Counts, planted errors found, ten suspects, five arms, the report's path and the next command, all on stdout."""
    space, result = on_ray
    assert result.code == 0, result
    # smoke: 2 architectures x 2 halves = 4 trainings, 2 snapshots each; 5 arms of one seed.
    assert "8 classifiers from 4 trainings of 2 architectures on fashion-mini; 5 retrainings" in result.out
    assert re.search(r"precision 0\.\d{3} and recall 0\.\d{3} at the planted number \(250\), AUROC 0\.\d{4}", result.out)
    after = result.out.partition("The ten most suspicious training examples\n")[2].splitlines()
    assert len([line for line in after[2:12] if line.startswith("train-idx/")]) == 10
    for arm in ("baseline", "worst-dropped", "random-dropped", "suspects-relabelled", "oracle"):
        assert re.search(rf"^{arm} +1  0\.\d{{3}}", result.out, flags=re.MULTILINE), arm
    assert f"Report: {space}/report.html\n" in result.out
    assert result.out.rstrip().endswith(f"-w {space}")
    assert (space / "report.html").stat().st_size > 100_000


def test_ray_and_one_process_compute_the_same_bytes(on_ray: tuple[Path, Result], in_one_process: tuple[Path, Result]) -> None:
    """Checkpoints, answers, score tables and comparisons are byte-equal, whichever runner made them."""
    (ray, _), (local, result) = on_ray, in_one_process
    assert result.code == 0, result
    assert (ray / "results" / "scores-train.csv").read_bytes() == (local / "results" / "scores-train.csv").read_bytes()
    assert (ray / "results" / "scores-test.csv").read_bytes() == (local / "results" / "scores-test.csv").read_bytes()
    assert content(ray) == content(local)


def test_every_line_on_stderr_is_ours(on_ray: tuple[Path, Result], in_one_process: tuple[Path, Result]) -> None:
    """Stage lines and nothing else: not a word of Ray, no warning, no traceback; every stage begins and ends."""
    for _, result in (on_ray, in_one_process):
        lines = result.err.splitlines()
        assert [line for line in lines if not OURS.match(line)] == []
        assert [line.removesuffix(" ...") for line in lines if line.endswith(" ...")] == list(STAGES)
        assert [word for word in NOISE if word in result.err + result.out] == []


def test_the_second_time_there_is_nothing_to_do(on_ray: tuple[Path, Result], tmp_path: Path) -> None:
    """No Ray session is started, no stored file is touched, the same words are printed, within seconds."""
    space, first = on_ray
    before = files(space)
    began = time.monotonic()
    with start(tmp_path, "demo", "--scale", "smoke", "-w", space) as running:
        while running.process.poll() is None:
            assert not [line for line in running.family().values() if "raylet" in line or line.startswith("ray::")]
            time.sleep(0.05)
        result = running.finish()
    assert time.monotonic() - began < 15
    assert result.code == 0, result
    assert [line.removesuffix(" ...") for line in result.err.splitlines() if line.endswith(" ...")] == ["scoring", "report"]
    assert files(space) == before
    spent = re.compile(r"this run: .*")
    assert spent.sub("", result.out) == spent.sub("", first.out)
