"""The parts that grow with classifiers x examples: what is written comes back, what is whole is
committed, what is damaged is redone."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import Tiny
from factories import workspace as new_workspace
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from zoo.data import Dataset, Split
from zoo.errors import StoreError
from zoo.scores.outputs import answers_from_logits
from zoo.spec import content_id
from zoo.store import answers as module
from zoo.store import fsck, ledger
from zoo.store.answers import (
    ANSWER_SCHEMA,
    Answers,
    AnswerUnit,
    Receipt,
    Shard,
    answer_parts,
    answered,
    commit_unit,
    find_receipt,
    logits_of,
    read_answers,
    shards,
    write_part,
)
from zoo.store.commits import Commits
from zoo.store.datasets import commit_dataset
from zoo.store.workspace import Workspace

NAMES = ("aaaa-e0001", "bbbb-e0001", "cccc-e0002")
CLASSES = 7
SMALL = 28 * 28
"""Bytes per example that make small shards of 2,048."""


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return new_workspace(tmp_path)


def unit_of(
    names: tuple[str, ...] = NAMES,
    *,
    logits: bool = True,
    split: str = "train",
    classes: int = CLASSES,
) -> AnswerUnit:
    return AnswerUnit("fingerprint", split, names, classes, "classes", logits)


def logits_for(
    name: str, examples: int, classes: int = CLASSES, scale: float = 4.0
) -> NDArray[np.float32]:
    """Logits float32 [E, M] that depend on the classifier's name alone."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return (rng.normal(size=(examples, classes)) * scale).astype(np.float32)


def labels_for(examples: int) -> NDArray[np.int64]:
    """0, 1, ..., 6, 0, ...; every tenth unknown."""
    labels = np.arange(examples) % CLASSES
    labels[9::10] = -1
    return labels


def unreadable_for(examples: int) -> NDArray[np.bool_]:
    """Every example whose id ends in 5."""
    return np.arange(examples) % 10 == 5


def written(space: Workspace, unit: AnswerUnit, shard: Shard, examples: int) -> Receipt:
    """One part by the makers above; classifier i was trained on examples with id % 3 == i."""
    part = slice(shard.start, shard.stop)
    logits = [logits_for(name, examples, unit.num_classes)[part] for name in unit.classifiers]
    labels, unreadable = labels_for(examples)[part], unreadable_for(examples)[part]
    answers = [answers_from_logits(values, labels) for values in logits]
    in_train = np.stack([np.arange(examples)[part] % 3 == i for i in range(len(logits))])
    return write_part(
        space.files,
        unit,
        shard,
        answers,
        unreadable,
        labels,
        in_train,
        logits if unit.logits else None,
    )


def filled(
    space: Workspace, unit: AnswerUnit, examples: int, bytes_per_example: int = SMALL
) -> list[Receipt]:
    receipts = [
        written(space, unit, shard, examples) for shard in shards(examples, bytes_per_example)
    ]
    commit_unit(space, unit, examples, int((labels_for(examples) >= 0).sum()), receipts)
    return receipts


def answers_by_name(
    space: Workspace, names: tuple[str, ...], split: str = "train"
) -> dict[str, pa.Table]:
    """All answers of each classifier, blocks joined."""
    found: dict[str, list[pa.RecordBatch]] = {}
    for _, batches in read_answers(space, "fingerprint", split, names):
        for name, batch in batches:
            found.setdefault(name, []).append(batch)
    return {name: pa.Table.from_batches(batches) for name, batches in found.items()}


# ---------------------------------------------------------------- shards


@pytest.mark.parametrize(
    ("examples", "bytes_per_example", "ranges"),
    [
        (60, SMALL, [(0, 60)]),
        (2048, SMALL, [(0, 2048)]),
        (2049, SMALL, [(0, 2048), (2048, 2049)]),
        (600, 224 * 224 * 3, [(0, 512), (512, 600)]),
        (600, 64 * 64 * 3, [(0, 600)]),
        (600, 64 * 64 * 3 + 1, [(0, 512), (512, 600)]),
        (0, SMALL, []),
    ],
)
def test_a_split_is_cut_into_fixed_ranges(
    examples: int, bytes_per_example: int, ranges: list[tuple[int, int]]
) -> None:
    """2,048 small pictures a shard (up to 64 x 64 RGB), 512 large ones; the last is short."""
    cut = shards(examples, bytes_per_example)
    assert [(shard.start, shard.stop) for shard in cut] == ranges
    assert [(shard.index, shard.count) for shard in cut] == [
        (i, len(ranges)) for i in range(len(ranges))
    ]


@given(examples=st.integers(0, 20_000), large=st.booleans())
def test_shards_cover_a_split_once_and_both_kinds_align(examples: int, large: bool) -> None:
    """Ids 0..E-1 once, in order; every border of small shards is a border of large ones, so blocks
    can be read across both."""
    cut = shards(examples, 10**6 if large else 1)
    ids = np.concatenate([shard.example_ids for shard in cut]) if cut else np.array([])
    assert ids.tolist() == list(range(examples))
    borders = {shard.start for shard in shards(examples, 1)}
    assert borders <= {shard.start for shard in shards(examples, 10**6)}


def test_a_shards_name_says_which_of_how_many() -> None:
    assert shards(5000, SMALL)[1].stem == "shard-00001-of-00003"


# ---------------------------------------------------------------- round trip


def test_answers_come_back_as_they_were(space: Workspace) -> None:
    """Each column of each classifier: float32 and int16 exactly, float16 as it was; in the order of
    example ids."""
    filled(space, unit_of(), 60)
    unreadable, labels = unreadable_for(60), labels_for(60)
    for index, (name, table) in enumerate(sorted(answers_by_name(space, NAMES).items())):
        expected = answers_from_logits(logits_for(name, 60), labels)
        rows = table.to_pydict()
        assert rows["example_id"] == list(range(60))
        assert set(rows["classifier_id"]) == {name}
        assert rows["in_train"] == [i % 3 == index for i in range(60)]
        for i in range(60):
            if unreadable[i]:
                assert {rows[c][i] for c in ("prediction", "p_label", "entropy", "margin")} == {
                    None
                }
                assert (rows["top5"][i], rows["top5_p"][i]) == (None, None)
                continue
            assert rows["prediction"][i] == expected.prediction[i]
            assert rows["entropy"][i] == expected.entropy[i]
            assert rows["top5"][i] == expected.top5[i].tolist()
            assert rows["top5_p"][i] == expected.top5_p[i].tolist()
            known = labels[i] >= 0
            assert rows["p_label"][i] == (expected.p_label[i] if known else None)
            assert rows["margin"][i] == (expected.margin[i] if known else None)


def test_a_part_has_the_declared_columns_and_a_row_group_per_classifier(space: Workspace) -> None:
    """So one classifier is one range of bytes: three row groups of 60 rows, schema as
    ``ANSWER_SCHEMA``."""
    (receipt,) = filled(space, unit_of(), 60)
    file = pq.ParquetFile(space.files.local(receipt.answers.path))
    assert file.schema_arrow.remove_metadata().equals(ANSWER_SCHEMA)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [60, 60, 60]


def test_a_receipt_counts_rows_losses_and_hits(space: Workspace) -> None:
    """60 examples, 6 unreadable, 3 classifiers; hits are right predictions on readable, labelled
    examples, counted by hand."""
    (receipt,) = filled(space, unit_of(), 60)
    assert (receipt.shard, receipt.rows, receipt.unreadable) == (0, 180, 6)
    readable = ~unreadable_for(60)
    hits = tuple(
        int(((logits_for(name, 60).argmax(1) == labels_for(60)) & readable).sum()) for name in NAMES
    )
    assert receipt.hits == hits
    (commit,) = space.commits.all("answers").values()
    assert commit.facts["hits"] == dict(zip(NAMES, hits, strict=True))
    assert (
        commit.facts["examples"],
        commit.facts["rows"],
        commit.facts["unreadable"],
        commit.facts["labelled"],
    ) == (60, 180, 6, 54)
    assert commit.files == (receipt.answers, receipt.logits)


def test_unreadable_rows_may_hold_anything(space: Workspace) -> None:
    """A network may answer a black picture with NaN: the row is null all the same. On a readable
    picture NaN is refused by name."""
    unit, shard = unit_of(NAMES[:1]), shards(10, SMALL)[0]
    logits = logits_for(NAMES[0], 10)
    logits[5] = np.nan
    labels, no_train = labels_for(10), np.zeros((1, 10), dtype=bool)
    answers = [answers_from_logits(logits, labels)]
    receipt = write_part(
        space.files, unit, shard, answers, unreadable_for(10), labels, no_train, [logits]
    )
    commit_unit(space, unit, 10, 9, [receipt])
    assert answers_by_name(space, NAMES[:1])[NAMES[0]].column("entropy").to_pylist()[5] is None
    with pytest.raises(
        StoreError,
        match=r"^classifier aaaa-e0001 gives logits that are not finite on train\. Leave it out",
    ):
        write_part(
            space.files, unit, shard, answers, np.zeros(10, dtype=bool), labels, no_train, [logits]
        )


def kept_and_original(
    space: Workspace, members: int, classes: int, scale: float
) -> list[tuple[NDArray[np.float16], NDArray[np.float32]]]:
    """Stored and original logits of some classifiers on 100 examples."""
    names = tuple(f"{i:04x}-e0001" for i in range(members))
    unit, (shard,) = unit_of(names, classes=classes), shards(100, SMALL)
    originals = [logits_for(name, 100, classes, scale) for name in names]
    answers = [answers_from_logits(values) for values in originals]
    nothing = np.zeros(100, dtype=bool)
    labels = np.full(100, -1)
    receipt = write_part(
        space.files,
        unit,
        shard,
        answers,
        nothing,
        labels,
        np.zeros((members, 100), dtype=bool),
        originals,
    )
    commit_unit(space, unit, 100, 0, [receipt])
    return [
        (logits_of(space, name, "train"), original)
        for name, original in zip(names, originals, strict=True)
    ]


@pytest.mark.parametrize("scale", [0.01, 4.0, 100.0])
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_kept_logits_keep_every_prediction_and_the_entropy(
    space: Workspace, classes: int, scale: float
) -> None:
    """Centred in float16 the largest is exactly 0 and stays alone; entropy moves by no more than
    the roundings allow.

    A rounding of logit j by d_j <= 2**-11 |z_j| moves the entropy by -sum p_j (ln p_j + H) d_j
    nats, to first order.
    """
    for kept, original in kept_and_original(space, 4, classes, scale):
        assert (kept.dtype, kept.shape) == (np.float16, (100, classes))
        assert (kept == 0).sum(axis=1).tolist() == [1] * 100
        np.testing.assert_array_equal(kept.argmax(axis=1), original.argmax(axis=1))
        z = (original - original.max(axis=1, keepdims=True)).astype(np.float64)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        entropy = -(np.exp(log_p) * log_p).sum(axis=1, keepdims=True)
        rounding = np.maximum(2.0**-11 * np.abs(z), 2.0**-25)
        allowed = (np.exp(log_p) * np.abs(log_p + entropy) * rounding).sum(axis=1) / np.log(2)
        moved = answers_from_logits(kept.astype(np.float32)).entropy.astype(np.float64) - entropy[
            :, 0
        ] / np.log(2)
        assert (np.abs(moved) <= 1.05 * allowed + 1e-6).all()


@pytest.mark.parametrize("classes", [2, 10])
def test_kept_logits_give_c_to_four_digits(space: Workspace, classes: int) -> None:
    """Over 500 classifiers the roundings average out: C from kept logits is within 3.6e-5 of C from
    the originals."""
    pairs = kept_and_original(space, 500, classes, 4.0)
    bits = np.mean(
        [answers_from_logits(original).entropy for _, original in pairs], axis=0, dtype=np.float64
    )
    bits_kept = np.mean(
        [answers_from_logits(kept.astype(np.float32)).entropy for kept, _ in pairs],
        axis=0,
        dtype=np.float64,
    )
    assert np.abs(2**bits_kept / 2**bits - 1).max() < 3.6e-5


def test_logits_plus_their_maximum_are_the_original(space: Workspace) -> None:
    """The maximum lies beside them in float32: together they are the logits, to the precision of
    float16."""
    (receipt,) = filled(space, unit_of(), 60)
    assert receipt.logits is not None
    reader = pa.ipc.open_file(pa.memory_map(str(space.files.local(receipt.logits.path))))
    assert reader.num_record_batches == len(NAMES)
    for index, name in enumerate(NAMES):
        batch = reader.get_batch(index)
        centred = (
            batch.column("logits").flatten().to_numpy().reshape(60, CLASSES).astype(np.float32)
        )
        original = logits_for(name, 60)
        assert batch.column("max").to_numpy().tolist() == original.max(axis=1).tolist()
        np.testing.assert_allclose(
            centred + batch.column("max").to_numpy()[:, None], original, atol=0.02
        )


def test_logits_of_one_shard_are_mapped_not_copied(space: Workspace) -> None:
    """One shard: the array's memory is the file's map, read-only. Several shards: joined in
    order."""
    filled(space, unit_of(), 60)
    kept = logits_of(space, NAMES[1], "train")
    assert not kept.flags.owndata
    assert not kept.flags.writeable
    filled(space, unit_of(split="test"), 1100, bytes_per_example=10**6)
    joined = logits_of(space, NAMES[1], "test")
    assert joined.shape == (1100, CLASSES)
    np.testing.assert_array_equal(joined.argmax(axis=1), logits_for(NAMES[1], 1100).argmax(axis=1))


def test_logits_that_were_not_kept_are_said_to_be_so(space: Workspace) -> None:
    filled(space, unit_of(logits=False), 60)
    with pytest.raises(
        StoreError,
        match=r"^no logits of aaaa-e0001 on train are kept\. Fill with --keep-logits all\.$",
    ):
        logits_of(space, NAMES[0], "train")


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    examples=st.integers(1, 30),
    classes=st.integers(1, 12),
    members=st.integers(1, 3),
)
def test_any_answers_come_back(
    tmp_path_factory: pytest.TempPathFactory, seed: int, examples: int, classes: int, members: int
) -> None:
    """Whatever shape, labels and unreadable rows: what is read equals what was written."""
    space, rng = new_workspace(tmp_path_factory.mktemp("any")), np.random.default_rng(seed)
    unit, (shard,) = unit_of(NAMES[:members], classes=classes), shards(examples, SMALL)
    labels, unreadable = rng.integers(-1, classes, examples), rng.random(examples) < 0.2
    logits = [rng.normal(size=(examples, classes)).astype(np.float32) for _ in range(members)]
    answers = [answers_from_logits(values, labels) for values in logits]
    in_train = rng.random((members, examples)) < 0.5
    receipt = write_part(space.files, unit, shard, answers, unreadable, labels, in_train, logits)
    commit_unit(space, unit, examples, int((labels >= 0).sum()), [receipt])
    for index, (name, table) in enumerate(sorted(answers_by_name(space, unit.classifiers).items())):
        assert name == NAMES[index]
        expected = answers[index]
        assert table.column("prediction").to_pylist() == [
            None if u else int(p) for u, p in zip(unreadable, expected.prediction, strict=True)
        ]
        known = [not u and label >= 0 for u, label in zip(unreadable, labels, strict=True)]
        assert table.column("p_label").to_pylist() == [
            float(p) if k else None for k, p in zip(known, expected.p_label, strict=True)
        ]
        assert table.column("in_train").to_pylist() == in_train[index].tolist()


# ---------------------------------------------------------------- receipts after a kill


def test_a_part_without_a_commit_is_invisible_and_found_again(space: Workspace) -> None:
    """Killed after writing, before the commit: no reader sees anything, and the receipt is found by
    name and hash."""
    unit, (shard,) = unit_of(), shards(60, SMALL)
    receipt = written(space, unit, shard, 60)
    assert answer_parts(space) == []
    with pytest.raises(
        StoreError,
        match=(
            r"3 classifiers have no answers on train, first aaaa-e0001\. Run 'zoo fill --splits"
            r" train'"
        ),
    ):
        list(read_answers(space, "fingerprint", "train", NAMES))
    assert find_receipt(space.files, unit, shard) == receipt


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize(
    "damage", ["flip first", "flip middle", "flip last", "cut", "empty", "missing"]
)
def test_a_damaged_part_is_not_used_again(space: Workspace, suffix: str, damage: str) -> None:
    """A flipped byte, a cut or a missing file of answers or logits: no receipt, so the shard is
    done again, and then found."""
    unit, (shard,) = unit_of(), shards(60, SMALL)
    receipt = written(space, unit, shard, 60)
    ref = receipt.answers if suffix == ".parquet" else receipt.logits
    assert ref is not None
    path = space.files.local(ref.path)
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        if damage.startswith("flip"):
            data[
                {"first": 0, "middle": len(data) // 2, "last": len(data) - 1}[damage.split()[1]]
            ] ^= 4
        path.write_bytes(
            bytes(data)
            if damage.startswith("flip")
            else bytes(data[:50])
            if damage == "cut"
            else b""
        )
    assert find_receipt(space.files, unit, shard) is None
    assert written(space, unit, shard, 60) == receipt
    assert find_receipt(space.files, unit, shard) == receipt


def test_answers_alone_are_enough_where_no_logits_are_kept(space: Workspace) -> None:
    """A unit without logits needs no Arrow file; one with logits does."""
    plain, (shard,) = unit_of(logits=False), shards(60, SMALL)
    receipt = written(space, plain, shard, 60)
    assert receipt.logits is None
    assert find_receipt(space.files, plain, shard) == receipt


def test_another_shard_or_a_temporary_file_is_no_receipt(space: Workspace) -> None:
    unit, (first, second) = unit_of(), shards(600, 10**6)
    written(space, unit, first, 600)
    space.files.local(f"{unit.folder}/.tmp-{second.stem}.parquet").write_bytes(b"half")
    space.files.local(f"{unit.folder}/{second.stem}-notahash.parquet").write_bytes(b"?")
    assert find_receipt(space.files, unit, first) is not None
    assert find_receipt(space.files, unit, second) is None


# ---------------------------------------------------------------- commits


def test_a_unit_is_committed_only_whole(space: Workspace) -> None:
    """A shard missing, doubled, of another number or short of rows: refused, naming what is there,
    and nothing becomes visible."""
    unit, cut = unit_of(), shards(1100, 10**6)
    receipts = [written(space, unit, shard, 1100) for shard in cut]
    wrong = {
        "missing": receipts[:2],
        "first missing": receipts[1:],
        "doubled": [*receipts, receipts[1]],
        "doubled for missing": [receipts[0], receipts[1], receipts[1]],
        "short of rows": [
            receipts[0],
            replace(receipts[1], rows=receipts[1].rows - 1),
            receipts[2],
        ],
        "none": [],
    }
    for name, given_ in wrong.items():
        with pytest.raises(
            StoreError,
            match=(
                r"^fill of train is incomplete: shards \[.*\], \d+ rows instead of 3300\. Run the"
                r" same command"
            ),
        ):
            commit_unit(space, unit, 1100, 990, given_)
        assert answer_parts(space) == [], name
    # Twin: in any order, all three are the whole.
    commit_unit(space, unit, 1100, 990, receipts[::-1])
    assert [mine for _, mine in answer_parts(space)] == [NAMES]
    assert answers_by_name(space, NAMES)[NAMES[0]].column("example_id").to_pylist() == list(
        range(1100)
    )


def test_committing_twice_is_the_same_commit(space: Workspace) -> None:
    receipts = filled(space, unit_of(), 60)
    (before,) = space.commits.all("answers").values()
    assert commit_unit(space, unit_of(), 60, 54, receipts) == before


def test_units_that_overlap_are_read_once(space: Workspace) -> None:
    """Two fills met: {a, b} and {b, c}. Each classifier has its answers once, those of either unit,
    and the split is separate."""
    filled(space, unit_of(NAMES[:2]), 60)
    filled(space, unit_of(NAMES[1:]), 60)
    filled(space, unit_of(NAMES[:1], split="test"), 60)
    parts = answer_parts(space, "fingerprint", "train")
    assert sorted(name for _, mine in parts for name in mine) == sorted(NAMES)
    found = answers_by_name(space, NAMES)
    assert {name: len(table) for name, table in found.items()} == dict.fromkeys(NAMES, 60)
    for name in NAMES:
        expected = answers_from_logits(logits_for(name, 60), labels_for(60))
        assert [
            p for p in found[name].column("prediction").to_pylist() if p is not None
        ] == expected.prediction[~unreadable_for(60)].tolist()


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Kind of every record that is read from now on."""
    kinds: list[str] = []
    parse = Commits._parse
    monkeypatch.setattr(
        Commits,
        "_parse",
        lambda self, name, data: (kinds.append(name.split("/")[1]), parse(self, name, data))[1],
    )
    return kinds


def known(space: Workspace) -> AnswerUnit:
    """Record a data set of two splits and the checkpoints of ``NAMES``; a unit of them, whose class
    list is the data set's."""
    labels = np.zeros(60, dtype=np.int64)
    splits = {
        s: Split(s, labels, None, [str(i) for i in range(60)], NoPictures())
        for s in ("train", "test")
    }
    names = tuple("abcdefg")
    commit_dataset(space, Dataset("nowhere", "none", names, splits, 1, None, "fingerprint"), {})
    for name in NAMES:
        space.commits.publish("checkpoint", name, identity={}, facts={})
    return replace(unit_of(), classes=content_id(list(names)))


class NoPictures:
    def encoded(self, example_ids: np.ndarray) -> list[bytes]:
        return [b""] * len(example_ids)

    def content_digest(self) -> bytes:
        return b""


@given(
    names=st.lists(st.text("0123456789abcdef-e", min_size=1, max_size=24), unique=True),
    logits=st.booleans(),
)
def test_the_key_of_a_unit_of_one_is_found_without_making_the_unit(
    names: list[str], logits: bool
) -> None:
    """The text with the name put in hashes to ``AnswerUnit.key``, whatever the identity holds
    besides."""
    unit = AnswerUnit(
        '["any classifier"]', "any classifier", ("any classifier",), 7, "classes", logits
    )
    assert module._keys_alone(unit, names) == {
        replace(unit, classifiers=(name,)).key: name for name in names
    }


def test_units_of_one_are_known_by_name_and_others_by_their_records(
    space: Workspace, read: list[str]
) -> None:
    """A unit of one per classifier, with logits or without: no record of answers is read. A group,
    an import, another data set: theirs is."""
    unit = known(space)
    for name, logits in zip(NAMES, (True, False, True), strict=True):
        filled(space, replace(unit, classifiers=(name,), logits=logits), 60)
    read.clear()
    assert answered(Workspace.open(space.root)) == {
        ("fingerprint", "train"): set(NAMES),
        ("fingerprint", "test"): set(),
    }
    assert read == ["dataset"]
    filled(space, replace(unit, classifiers=NAMES[1:], split="test"), 60)
    filled(space, replace(unit, classifiers=("imported",), source="file"), 60)
    filled(space, replace(unit, classifiers=("there",), dataset="another"), 60)
    read.clear()
    assert answered(Workspace.open(space.root)) == {
        ("fingerprint", "train"): {*NAMES, "imported"},
        ("fingerprint", "test"): set(NAMES[1:]),
        ("another", "train"): {"there"},
    }
    assert read == ["dataset", "answers", "answers", "answers"]


@pytest.mark.parametrize("group", [NAMES[:1], NAMES])
def test_what_was_set_aside_is_not_answered_and_a_new_generation_is(
    space: Workspace, group: tuple[str, ...]
) -> None:
    """A unit of one and of three: gone from quarantine on, there again after its second generation,
    and the same as the readers see."""
    unit = replace(known(space), classifiers=group)

    def seen() -> set[str]:
        fresh = Workspace.open(space.root)
        found = answered(fresh).get(("fingerprint", "train"), set())
        assert found == {
            name for _, mine in answer_parts(fresh, "fingerprint", "train") for name in mine
        }
        return found

    assert seen() == set()
    filled(space, unit, 60)
    assert seen() == set(group)
    (commit,) = space.commits.all("answers").values()
    space.files.move(commit.name, f"quarantine/{commit.name}")
    assert seen() == set()
    again = Workspace.open(space.root)
    again.commits.publish(
        "answers",
        unit.key,
        identity=commit.identity,
        facts=commit.facts,
        files=commit.files,
        generation=2,
    )
    assert seen() == set(group)


def test_a_snapshot_knows_only_its_own_answers(space: Workspace) -> None:
    """Filled after the snapshot: not answered for it."""
    unit = known(space)
    filled(space, replace(unit, classifiers=NAMES[:1]), 60)
    space.snapshot("then")
    filled(space, replace(unit, classifiers=NAMES[1:2]), 60)
    assert answered(space.at("then"))["fingerprint", "train"] == {NAMES[0]}
    assert answered(space)["fingerprint", "train"] == set(NAMES[:2])


def test_units_of_large_and_small_shards_are_read_in_one_pass(space: Workspace) -> None:
    """One unit in shards of 512, one in shards of 2,048, 4,200 examples: blocks of 2,048 with both,
    ids in order."""
    filled(space, unit_of(NAMES[:1], logits=False), 4200, bytes_per_example=10**6)
    filled(space, unit_of(NAMES[1:2], logits=False), 4200)
    blocks = [
        (
            block.start,
            block.stop,
            {name: batch.column("example_id").to_pylist() for name, batch in batches},
        )
        for block, batches in read_answers(space, "fingerprint", "train", NAMES[:2])
    ]
    assert [(start, stop) for start, stop, _ in blocks] == [(0, 2048), (2048, 4096), (4096, 4200)]
    for start, stop, ids in blocks:
        assert ids == {name: list(range(start, stop)) for name in NAMES[:2]}


def test_a_part_of_the_classifiers_is_read_alone(space: Workspace) -> None:
    """Asked for one of three: one comes, with its own answers."""
    filled(space, unit_of(), 60)
    found = answers_by_name(space, NAMES[2:])
    assert list(found) == [NAMES[2]]
    assert found[NAMES[2]].equals(answers_by_name(space, NAMES)[NAMES[2]])


def test_a_unit_is_keyed_by_all_of_its_identity() -> None:
    """Another split, group, class list, number of classes or choice of logits is another unit;
    identity and key survive JSON."""
    unit = unit_of()
    others = [
        unit_of(split="test"),
        unit_of(NAMES[:2]),
        unit_of(logits=False),
        unit_of(classes=8),
        replace(unit, classes="x"),
        replace(unit, dataset="x"),
    ]
    assert len({unit.key, *(other.key for other in others)}) == 7
    assert AnswerUnit.from_identity(unit.identity) == unit


def test_the_store_of_a_real_fill_answers_for_every_classifier(trained: Tiny) -> None:
    """12 classifiers x 60 and x 30 examples, with logits on both splits."""
    space = trained.workspace
    names = tuple(ledger.population(space))
    assert len(names) == 12
    for split, examples in (("train", 60), ("test", 30)):
        rows = 0
        for block, batches in read_answers(space, trained.dataset.fingerprint, split, names):
            rows += sum(len(batch) for _, batch in batches)
            assert (block.start, block.stop) == (0, examples)
        assert rows == 12 * examples
        assert all(logits_of(space, name, split).shape == (examples, 3) for name in names)


def test_predictions_agree_with_the_kept_logits(trained: Tiny) -> None:
    """What answers say and what logits say is the same class, for every classifier and readable
    example."""
    space = trained.workspace
    for name in ledger.population(space):
        for _, batches in read_answers(space, trained.dataset.fingerprint, "train", [name]):
            for _, batch in batches:
                kept = logits_of(space, name, "train")
                said = batch.column("prediction").to_pylist()
                assert [a for a in said if a is not None] == [
                    int(k) for a, k in zip(said, kept.argmax(1), strict=True) if a is not None
                ]


def test_answers_are_narrow() -> None:
    """At most 64 bytes a cell before compression; 20 after it is what a study of billions of cells
    can afford."""
    widths = [
        (
            field.type.list_size * field.type.value_type.bit_width / 8
            if pa.types.is_fixed_size_list(field.type)
            else 4
        )
        for field in ANSWER_SCHEMA
    ]
    assert sum(widths) <= 64
    assert isinstance(module.ANSWER_SCHEMA, pa.Schema)
    assert {f for f in Answers.__dataclass_fields__ if f != "finite"} <= set(ANSWER_SCHEMA.names)


# ---------------------------------------------------------------- pairs


def attempt(space: Workspace, unit: AnswerUnit, shard: Shard, seed: int) -> Receipt:
    """One attempt at a part; each seed gives other logits, as other hardware would."""
    rng = np.random.default_rng(seed)
    logits = [
        rng.normal(size=(shard.stop - shard.start, CLASSES)).astype(np.float32)
        for _ in unit.classifiers
    ]
    labels, none = (
        labels_for(60)[shard.start : shard.stop],
        np.zeros(shard.stop - shard.start, dtype=bool),
    )
    answers = [answers_from_logits(values, labels) for values in logits]
    return write_part(space.files, unit, shard, answers, none, labels, None, logits)


def test_a_receipt_that_is_found_is_of_one_attempt(space: Workspace) -> None:
    """Of twenty attempts that lie side by side, whichever is found: its logits are those of its
    answers, as the attempt itself said."""
    unit, (shard,) = unit_of(), shards(60, SMALL)
    made = [attempt(space, unit, shard, seed) for seed in range(20)]
    found = find_receipt(space.files, unit, shard)
    assert found in made
    assert found is not None
    commit_unit(space, unit, 60, 54, [found])
    assert [damage for damage in fsck.check(space, "semantic") if damage.kind == "answers"] == []


def test_halves_of_two_attempts_are_no_pair(space: Workspace) -> None:
    """The answers of one and the logits of another: neither is used, the part is done again."""
    unit, (shard,) = unit_of(), shards(60, SMALL)
    one, two = (attempt(space, unit, shard, seed) for seed in (1, 2))
    assert one.logits is not None
    space.files.remove(one.logits.path)
    space.files.remove(two.answers.path)
    assert find_receipt(space.files, unit, shard) is None


def test_a_unit_of_mixed_attempts_is_found_by_its_logits(space: Workspace) -> None:
    """As an earlier zoo could commit it: every file is sound, sizes and hashes agree; some answers
    computed again do not."""
    unit, (shard,) = unit_of(), shards(60, SMALL)
    one, two = (attempt(space, unit, shard, seed) for seed in (1, 2))
    commit_unit(space, unit, 60, 54, [replace(one, logits=two.logits)])
    assert [damage for damage in fsck.check(space, "full") if damage.kind == "answers"] == []
    (damage,) = (damage for damage in fsck.check(space, "semantic") if damage.kind == "answers")
    assert re.search(
        r"are not of one computation: aaaa-e0001 predicts \d in row \d+, its logits say \d",
        damage.problem,
    )


def test_answers_whose_entropy_is_not_that_of_their_logits_are_found(space: Workspace) -> None:
    """The same classes in the same order, all twice as certain: predictions agree, entropies do
    not."""
    unit, (shard,) = unit_of(), shards(60, SMALL)
    logits = [logits_for(name, 60) for name in unit.classifiers]
    labels, none = labels_for(60), np.zeros(60, dtype=bool)
    parts = [
        write_part(
            space.files,
            unit,
            shard,
            [answers_from_logits(v * scale, labels) for v in logits],
            none,
            labels,
            None,
            [v * scale for v in logits],
        )
        for scale in (np.float32(0.25), np.float32(0.5))
    ]
    commit_unit(space, unit, 60, 54, [replace(parts[0], logits=parts[1].logits)])
    (damage,) = (damage for damage in fsck.check(space, "semantic") if damage.kind == "answers")
    assert "has an entropy of" in damage.problem
