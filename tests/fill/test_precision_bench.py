"""The benchmark of answers in bf16, on the tiny workspace."""

from __future__ import annotations

import pytest
from factories import Tiny

from tools.bench import precision


def test_each_training_is_asked_at_its_last_epoch_one_architecture_after_the_other(
    trained: Tiny,
) -> None:
    """Three trainings of each of two architectures, two snapshots each: of four classifiers two of
    each; of none at least one."""
    for asked, each in ((4, 2), (0, 1)):
        found = precision.chosen(trained.workspace, asked)
        assert {arch: len(commits) for arch, commits in found.items()} == {
            "nin_mini": each,
            "softmax": each,
        }
        last = max(job.recipe.epochs for job in trained.trainings)
        for commits in found.values():
            assert {commit.identity["epoch"] for commit in commits} == {last}


def test_it_says_what_bf16_moves(trained: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    """Softmax regressions are their last layer alone, which stays float32: no prediction of theirs
    differs, and few of any."""
    words = ["--classifiers", "6", "--pictures", "20", "--rounds", "1"]
    assert precision.main([str(trained.root), *words]) == 0
    said = capsys.readouterr().out
    (softmax,) = (line for line in said.splitlines() if line.startswith("softmax"))
    assert " 0.000% " in softmax
    assert softmax.endswith("0, 0 of 0")
    assert [line.split("-")[0] for line in said.splitlines() if "-perplexity" in line] == ["X", "C"]
