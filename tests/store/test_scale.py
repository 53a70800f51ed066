"""What must not grow with a store: memory with N or E beyond a block and the result, work of a
commit with what is committed already."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from tools.bench.synthetic_store import (
    answers_pool,
    dataset_of,
    filled,
    names_of,
    population_of,
    with_members,
)
from zoo.fill.plan import plan_fill
from zoo.scores import from_store
from zoo.scores.accumulate import ScoreAccumulator, ScoreTable
from zoo.store import answers, commits, datasets, ledger
from zoo.store.answers import answer_parts, logits_blocks, logits_of, read_answers
from zoo.store.workspace import Workspace


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "SMALL_SHARD", 64)
    monkeypatch.setattr(answers, "LARGE_SHARD", 16)


def test_scores_by_blocks_equal_those_of_one_accumulator(
    tmp_path: Path, small_blocks: None
) -> None:
    """150 examples in blocks of 64, 64 and 22, seven classifiers: the table that one accumulator of
    all 150 gives, every column and row."""
    workspace = filled(tmp_path / "store", dataset_of({"train": 150}, 10), 7)
    population = population_of(workspace, 7)
    labels = datasets.examples_of(workspace, population.dataset, "train").column("label").to_numpy()
    whole: dict[str, list[pa.RecordBatch]] = {}
    for _, batches in read_answers(
        workspace, population.fingerprint, "train", population.classifiers
    ):
        for name, batch in batches:
            whole.setdefault(name, []).append(batch)
    accumulator = ScoreAccumulator(np.arange(150), labels, 10)
    for parts in whole.values():

        def column(name: str, parts: list[pa.RecordBatch] = parts) -> NDArray[np.generic]:
            return np.concatenate([p.column(name).to_numpy(zero_copy_only=False) for p in parts])

        lists = [
            np.concatenate([answers.list_values(p.column(name)) for p in parts])
            for name in ("top5", "top5_p")
        ]
        accumulator.add(
            *(column(name) for name in ("prediction", "p_label", "entropy", "margin")),
            *lists,
            column("in_train"),
        )
    expected = accumulator.finish().to_arrow(
        "train", [f"train/{i:08d}" for i in range(150)], population.class_names
    )
    found = from_store.score(workspace, population, "train")
    assert found.num_rows == 150
    assert found.equals(expected, check_metadata=True)


def test_float16_and_float64_probabilities_of_the_same_value_count_the_same() -> None:
    """The look-up tables of float16 against the arithmetic of float64: equal sums for every float16
    from 0 to 1, bit for bit."""
    values = np.arange(0x3C01, dtype=np.uint16).view(np.float16)
    rows = len(values)
    tables: list[ScoreTable] = []
    for top5_p in (
        values[:, None],
        values[:, None].astype(np.float64),
        np.where(values == 0, -values, values)[:, None],
    ):
        accumulator = ScoreAccumulator(np.arange(rows), np.zeros(rows, dtype=np.int64), 2)
        zeros = np.zeros(rows, dtype=np.float32)
        accumulator.add(
            np.zeros(rows, dtype=np.int16),
            zeros,
            zeros,
            zeros,
            np.zeros((rows, 1), dtype=np.int16),
            top5_p,
        )
        tables.append(accumulator.finish())
        assert (
            accumulator._probability.reshape(rows, 2)[:, 0].tolist()
            == np.rint(values.astype(float) * 2**32).tolist()
        )
    for other in tables[1:]:
        for name, column in tables[0].columns.items():
            np.testing.assert_array_equal(np.asarray(column), np.asarray(other.columns[name]))


def test_memory_of_scoring_does_not_grow_with_the_classifiers(tmp_path: Path) -> None:
    """Python's and numpy's memory at its highest: 60 classifiers take at most 1.3 times what 6
    take, where N x E would be ten times."""
    workspace = filled(tmp_path / "store", dataset_of({"train": 2048}, 10), 60)
    peaks = {}
    for count in (60, 6, 60):
        population = population_of(workspace, count)
        tracemalloc.start()
        from_store.score(workspace, population, "train")
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[60] <= 1.3 * peaks[6]
    cells = (
        sum(
            a.prediction.nbytes + a.top5.nbytes + a.top5_p.nbytes + 3 * a.entropy.nbytes
            for a in answers_pool(10, 2048)
        )
        / 16
        * 60
    )
    assert cells > 1.3 * peaks[6]  # the twin: answers that were kept would be seen


def test_a_record_is_read_once_per_command_and_a_commit_reads_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty members filled one by one, one to fill, all handed over: planning twice reads each
    record once, and none of the answers; what a commit reads is the one record it wrote."""
    dataset = dataset_of({"train": 100}, 10)
    trainings = with_members(tmp_path / "store", dataset, 20)
    workspace = Workspace.open(tmp_path / "store")
    read: list[str] = []
    parse = commits.Commits._parse
    monkeypatch.setattr(
        commits.Commits,
        "_parse",
        lambda self, name, data: (read.append(name), parse(self, name, data))[1],
    )
    for _ in range(2):
        plan = plan_fill(workspace, dataset, ledger.population(workspace), ["train"], "none")
    assert [task.unit.classifiers for task in plan.tasks] == [(f"{trainings[-1].id}-e0001",)]
    assert len(read) == len(set(read)) == 1 + 21 + 21 + 1  # plan, checkpoints, trainings, data set
    assert len(answer_parts(workspace, dataset.fingerprint, "train")) == 20
    fresh = Workspace.open(tmp_path / "store")
    read.clear()
    fresh.commits.publish("answers", "another", identity={}, facts={})
    assert read == ["commits/answers/another.g0001.json"]


@pytest.mark.parametrize("keep", ["none", None])
def test_a_fill_of_one_more_reads_as_much_whatever_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: Literal["none"] | None
) -> None:
    """Five or forty members: the data set, the new checkpoint, its training; and the plan, where it
    matters whether there are over 100."""
    read: list[str] = []
    parse = commits.Commits._parse
    monkeypatch.setattr(
        commits.Commits,
        "_parse",
        lambda self, name, data: (read.append(name), parse(self, name, data))[1],
    )
    dataset = dataset_of({"train": 100}, 10)
    found = {}
    for count in (5, 40):
        name = f"{with_members(tmp_path / str(count), dataset, count)[-1].id}-e0001"
        workspace = Workspace.open(tmp_path / str(count))
        read.clear()
        plan = plan_fill(workspace, dataset, None, ["train"], keep)
        assert [(unit.classifiers, unit.logits) for unit in plan.units] == [((name,), keep is None)]
        found[count] = [path.split("/")[1] for path in read]
        assert f"commits/checkpoint/{name}.g0001.json" in read
    assert (
        found[5]
        == found[40]
        == ["dataset", "checkpoint", "training", *(["plan"] if keep is None else [])]
    )


def test_logits_are_mapped_and_not_read(tmp_path: Path, small_blocks: None) -> None:
    """Blocks of one classifier are views of the mapped files: no array owns its bytes, and together
    they are ``logits_of``."""
    logits = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
    workspace = filled(tmp_path / "store", dataset_of({"train": 150}, 10), 3, logits=logits)
    allocated = pa.total_allocated_bytes()
    blocks = logits_blocks(workspace, names_of(3)[1], "train")
    assert pa.total_allocated_bytes() == allocated
    assert [len(block) for block in blocks] == [64, 64, 22]
    assert not any(block.flags.owndata or block.flags.writeable for block in blocks)
    centred = (logits - logits.max(axis=1, keepdims=True)).astype(np.float16)
    expected = np.concatenate([centred, centred, centred[:22]])
    np.testing.assert_array_equal(logits_of(workspace, names_of(3)[1], "train"), expected)
    np.testing.assert_array_equal(np.concatenate(blocks), expected)


def test_one_flipped_bit_of_a_record_is_found_wherever_it_is() -> None:
    """Every bit of a sealed record flipped in turn: all are found, also by the way that does not
    write the record out again."""
    sealed = commits.sealed_json(
        {"kind": "answers", "files": [{"path": "a/b", "bytes": 1, "sha256": "0" * 64}], "ü": "\n"}
    ).encode()
    assert commits.unsealed(sealed)["ü"] == "\n"
    last = commits.sealed_json({"a": 1, "kind": "answers"}).encode()
    assert commits.unsealed(last) == {"a": 1, "kind": "answers"}
    for text in (sealed, last):
        for place, bit in itertools.product(range(len(text)), range(8)):
            damaged = bytearray(text)
            damaged[place] ^= 1 << bit
            with pytest.raises(ValueError, match=r"sealed record|does not match"):
                commits.unsealed(bytes(damaged))
