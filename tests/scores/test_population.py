"""Which classifiers may be scored together: sub-populations equal stores of their own, class lists
are never mixed, conditions are conditions."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from factories import dataset_folder, tiny_dataset

from tests.commands import done, zoo
from zoo.data import Dataset, Split, open_dataset
from zoo.errors import NotFoundError, StoreError, UsageError
from zoo.scores.from_store import score
from zoo.scores.outputs import answers_from_logits
from zoo.scores.population import choose_population, population_of
from zoo.spec import SAMPLING, Op, Recipe, Training, classifier_id, content_id
from zoo.store import answers, ledger
from zoo.store.answers import AnswerUnit, commit_unit, shards, write_part
from zoo.store.datasets import commit_dataset
from zoo.store.ledger import classifiers_frame, commit_training, record_plan
from zoo.store.schema import SCHEMA
from zoo.store.workspace import Workspace
from zoo.trainsets.on_rows import Rows
from zoo.trainsets.treatments import TREATMENTS, op

EXAMPLES = 100
ANIMALS, DIGITS = ("cat", "dog", "emu"), ("zero", "one")
Member = tuple[Training, int]


class NoPictures:
    def encoded(self, example_ids: np.ndarray) -> list[bytes]:
        return [b""] * len(example_ids)

    def content_digest(self) -> bytes:
        return b""


def dataset(
    name: str = "animals", classes: Sequence[str] = ANIMALS, fingerprint: str = "a" * 16
) -> Dataset:
    labels = np.arange(EXAMPLES, dtype=np.int64) % len(classes)
    split = Split("train", labels, None, [str(i) for i in range(EXAMPLES)], NoPictures())
    return Dataset(
        "nowhere/" + name, name, tuple(classes), {"train": split}, 1, (8, 8), fingerprint
    )


def members(data: Dataset) -> list[Member]:
    """3 architectures x 2 shares of the training set x 2 seeds x 2 epochs: 24 classifiers."""
    return [
        (
            Training(
                arch=arch,
                dataset=data.ref,
                recipe=Recipe(epochs=2),
                seed=seed,
                treatment=treatment,
                snapshots=(1, 2),
            ),
            epoch,
        )
        for arch in ("lenet5", "vgg11", "vgg16")
        for treatment in ((), (op("subsample", fraction=0.25, replica=1),))
        for seed in (0, 1)
        for epoch in (1, 2)
    ]


GREY: dict[str, Any] = {"size": 28, "channels": 1, "fit": "pad", "mean": [0.25], "std": [0.5]}
"""A ``zoo.spec.Preprocessing`` as a checkpoint records it."""


def as_grey(training: Training) -> dict[str, Any]:
    return GREY


def write(
    space: Workspace,
    data: Dataset,
    chosen: Sequence[Member],
    groups: int,
    *,
    classes: str = "",
    given: Callable[[Training], dict[str, Any]] = as_grey,
    recorded: bool = True,
) -> Workspace:
    """A store with exactly these classifiers, their answers in so many units. Answers depend on the
    classifier's name and nothing else.

    Args:
        given: preprocessing of a training's checkpoints.
        recorded: whether the records of the answers hold it too.
    """
    listed = classes or content_id(list(data.class_names))
    commit_dataset(space, data, {})
    trainings = list({training.id: training for training, _ in chosen}.values())
    record_plan(space, "by hand", "population", trainings)
    for training in trainings:
        facts = {"status": "done", "epochs": 2, "metrics": [], "stop_reason": "all epochs"}
        commit_training(space, training, facts, np.ones(EXAMPLES, dtype=np.uint16))
    names, ways = [], {}
    for training, epoch in chosen:
        names.append(classifier_id(training.id, epoch))
        ways[names[-1]] = given(training)
        about = {"arch": training.arch, "preprocessing": ways[names[-1]]}
        identity = {
            "training_id": training.id,
            "epoch": epoch,
            "dataset": data.fingerprint,
            "classes": listed,
            **about,
        }
        space.commits.publish(
            "checkpoint",
            names[-1],
            identity=identity,
            facts={**identity, "train_acc1": 0.5, "test_acc1": 0.1 * epoch, "test_acc5": 1.0},
        )
    names.sort(key=lambda name: name[::-1])  # the order of the store is not the order of names
    for group in np.array_split(np.array(names), groups):
        unit = AnswerUnit(
            data.fingerprint, "train", tuple(group.tolist()), len(data.class_names), listed, False
        )
        receipts = [_part(space, unit, shard, data) for shard in shards(EXAMPLES, 64)]
        commit_unit(space, unit, EXAMPLES, EXAMPLES, receipts, ways if recorded else None)
    return space


def _part(
    space: Workspace, unit: AnswerUnit, shard: answers.Shard, data: Dataset
) -> answers.Receipt:
    labels = data.splits["train"].labels[shard.start : shard.stop]
    numbers = [np.random.default_rng(int(content_id([name]), 16)) for name in unit.classifiers]
    every = [rng.normal(size=(EXAMPLES, unit.num_classes)).astype(np.float32) for rng in numbers]
    seen = np.stack([rng.random(EXAMPLES) < 0.5 for rng in numbers])
    own = slice(shard.start, shard.stop)
    found = [answers_from_logits(logits[own], labels) for logits in every]
    return write_part(
        space.files,
        unit,
        shard,
        found,
        np.zeros(len(labels), dtype=bool),
        labels,
        seen[:, own],
        None,
    )


def new(folder: Path) -> Workspace:
    return Workspace.open(folder, create=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """24 classifiers in 5 units of two shards each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "SMALL_SHARD", 64)
        return write(
            new(tmp_path_factory.mktemp("whole") / "zoo"), dataset(), members(dataset()), 5
        )


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "SMALL_SHARD", 64)


# ---------------------------------------------------------------- sub-populations


def train_scores(space: Workspace, where: str | None = None) -> pa.Table:
    return score(space, choose_population(space, where), "train")


CONDITIONS = {
    "fraction <= 0.25 and arch not like 'vgg%'": (
        lambda t, epoch: bool(t.treatment) and t.arch == "lenet5"
    ),
    "arch in ('vgg11', 'vgg16')": lambda t, epoch: t.arch != "lenet5",
    "epoch = 2 or seed = 1": lambda t, epoch: epoch == 2 or t.seed == 1,
    "arch = 'vgg11' and fraction = 1 and seed = 0 and epoch = 1": lambda t, epoch: (
        (t.arch, t.treatment, t.seed, epoch) == ("vgg11", (), 0, 1)
    ),
    "not (fraction < 1)": lambda t, epoch: not t.treatment,
    "treatment = 'none'": lambda t, epoch: not t.treatment,
    "test_acc1 > (select avg(test_acc1) from classifiers)": lambda t, epoch: epoch == 2,
    "classifier_id is not null": lambda t, epoch: True,
}


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("groups", [1, 3])
def test_a_sub_population_is_a_store_with_only_those(
    whole: Workspace, tmp_path: Path, condition: str, groups: int
) -> None:
    """The whole table, every column of it, bit for bit, however the answers are grouped in either
    store."""
    chosen = [member for member in members(dataset()) if CONDITIONS[condition](*member)]
    alone = write(new(tmp_path / "zoo"), dataset(), chosen, min(groups, len(chosen)))
    assert choose_population(whole, condition).classifiers == choose_population(alone).classifiers
    assert len(choose_population(alone).classifiers) == len(chosen)
    assert train_scores(whole, condition).equals(train_scores(alone))


def test_another_sub_population_has_another_table(whole: Workspace) -> None:
    """Twin: equality of tables can fail, by one classifier of 24."""
    one = choose_population(whole).classifiers[0]
    assert not train_scores(whole, f"classifier_id <> '{one}'").equals(train_scores(whole))


def test_no_classifier_left_ends_with_4(whole: Workspace) -> None:
    """Nothing to work on: the command says so, and writes no table."""
    ended = zoo("score", "-w", whole.root, "--where", "fraction > 1")
    assert (ended.code, ended.out) == (4, "")
    assert "no classifier in" in ended.err
    assert not whole.results.exists()
    with pytest.raises(NotFoundError, match="resnet18"):
        choose_population(whole, "arch = 'resnet18'")


HOSTILE = {
    "closing and opening": "1=1) or (select true",
    "closing and opening with a subquery": "1=1) or exists (select 1 from classifiers",
    "second statement": "true; drop table classifiers",
    "second statement behind brackets": "true); drop table classifiers; select (true",
    "comment over the bracket": "true) --",
    "open comment": "true /*",
    "open bracket": "(epoch = 1",
    "closed bracket": "epoch = 1)",
    "open quote": "arch = 'vgg",
    "union": "true union all select * from classifiers",
    "union behind brackets": "true) union all (select * from classifiers where true",
    "order": "true order by epoch",
    "limit": "true limit 1",
    "group": "true group by all",
    "two expressions": "true, false",
    "another table": "epoch in (select epoch from metrics)",
    "a system table": "exists (select * from information_schema.tables)",
    "a system table by a short name": "exists (from sqlite_master)",
    "a common table over another": "exists (with t as (from duckdb_tables) from t)",
    "a quoted name": 'exists (from "information_schema.tables")',
    "a settings function": "exists (select * from duckdb_settings())",
    "a file": "exists (from '/etc/hostname')",
    "a file reader": "exists (from read_text('/etc/hostname'))",
    "a common table that writes": "exists (with t as (copy (select 1) to '/dev/null') from t)",
    "description": "exists (from (describe classifiers))",
    "python variable": "exists (from frame)",
    "unknown column": "colour = 'red'",
    "no expression": "fraction <",
    "nothing": "",
    "only a comment": "-- true",
    "not a truth": "'maybe'",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_condition_is_refused_with_the_columns(whole: Workspace, name: str) -> None:
    """What is no single expression over the classifiers table is refused, with the names that a
    condition can use."""
    with pytest.raises(UsageError) as caught:
        choose_population(whole, HOSTILE[name])
    message = str(caught.value)
    assert message.startswith(f"--where {HOSTILE[name]!r} was refused: ")
    assert message.endswith(f"Columns: {', '.join(SCHEMA['classifiers'].columns)}.")
    assert len(classifiers_frame(whole)) == 24


@pytest.mark.parametrize(
    "condition",
    [
        "(true) or (false)",
        "arch = ')' or true -- ) a comment",
        "exists (with t as (from classifiers) from t where t.epoch = 2)",
        "epoch in (select unnest([1, 2]))",
        "epoch <= (select max(epoch) from Classifiers)",
        "case when arch like 'vgg%' then true else true end",
    ],
)
def test_unusual_conditions_are_conditions(whole: Workspace, condition: str) -> None:
    """Twin: brackets, comments and subqueries on the table itself are no crime; all of these hold
    for all 24."""
    assert len(choose_population(whole, condition).classifiers) == 24


# ---------------------------------------------------------------- class lists


@pytest.fixture
def both(tmp_path: Path) -> Workspace:
    """Two data sets with different class lists in one workspace, 24 classifiers each."""
    space = new(tmp_path / "zoo")
    for data in (dataset(), dataset("digits", DIGITS, "d" * 16)):
        write(space, data, members(data), 2)
    return space


def test_class_lists_are_not_mixed(both: Workspace) -> None:
    """Without --data the score is refused, naming both data sets, their classes and a classifier of
    each; with it, each has its own."""
    pattern = (
        r"^the classifiers belong to 2 data sets: animals \(a{16}; 3 classes: cat, dog, emu;"
        r" classifier \S+\); "
        r"digits \(d{16}; 2 classes: zero, one; classifier \S+\)\. Scores are per data set: choose"
        r" one with --data\.$"
    )
    for condition in (None, "arch = 'lenet5'"):
        with pytest.raises(UsageError, match=pattern):
            choose_population(both, condition)
    refused = zoo("score", "-w", both.root)
    assert refused.code == 2
    assert "animals" in refused.err
    assert "digits" in refused.err
    assert "100 examples of train by 24 classifiers" in done(
        "score", "-w", both.root, "--data", "digits", "--top", "0"
    )
    assert choose_population(both, dataset="a" * 16).class_names == ANIMALS
    assert choose_population(both, dataset="d" * 16).class_names == DIGITS


def test_each_data_set_scores_as_if_it_were_alone(both: Workspace, whole: Workspace) -> None:
    """The neighbour changes no bit."""
    assert score(both, choose_population(both, dataset="a" * 16), "train").equals(
        train_scores(whole)
    )


def test_classifiers_named_one_by_one_are_not_mixed_either(both: Workspace) -> None:
    """One classifier of digits among those of animals: refused with both names."""
    animals, digits = (choose_population(both, dataset=key * 16).classifiers for key in "ad")
    assert population_of(both, "a" * 16, animals[:2]).classifiers == animals[:2]
    with pytest.raises(
        UsageError,
        match=(
            r"animals \(a+; 3 classes\) and digits \(d+; 2 classes: zero, one; classifier"
            rf" {digits[0]}\)"
        ),
    ):
        population_of(both, "a" * 16, [animals[0], digits[0]])


def test_a_recorded_class_list_has_to_be_the_data_sets(tmp_path: Path) -> None:
    """A classifier whose record names other classes than its data set is refused by name (no writer
    makes one; a foreign one may)."""
    data = dataset()
    space = write(
        new(tmp_path / "zoo"), data, members(data)[:1], 1, classes=content_id(["dog", "cat", "emu"])
    )
    with pytest.raises(
        UsageError, match=r"animals \(a+; 3 classes\) and another class list \(classifier \S+\)"
    ):
        choose_population(space)


def test_no_two_class_lists_share_a_fingerprint(tmp_path: Path) -> None:
    """The same pictures and labels under other class names, or names in another order, are another
    data set; the same again is the same."""
    import json

    import pyarrow.parquet as pq

    def renamed(folder: str, names: Sequence[str]) -> Dataset:
        path = dataset_folder(tmp_path / folder)
        for file in path.glob("*.parquet"):
            table = pq.read_table(file)
            about: dict[str, Any] = json.loads(table.schema.metadata[b"huggingface"])
            about["info"]["features"]["label"]["names"] = list(names)
            pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(about)}), file)
        return open_dataset(str(path))

    found = [
        tiny_dataset(tmp_path / "as is"),
        renamed("1", ["a", "b", "c"]),
        renamed("2", ["b", "a", "c"]),
        renamed("3", ["a", "b", "c"]),
    ]
    assert len({data.fingerprint for data in found}) == 3
    assert found[1].fingerprint == found[3].fingerprint


# ---------------------------------------------------------------- preprocessing


def seed_1_as(**changed: Any) -> Callable[[Training], dict[str, Any]]:
    """The vgg11s of seed 1 with other values of these fields, everything else as ``GREY``."""
    return lambda training: (
        {**GREY, **changed} if (training.arch, training.seed) == ("vgg11", 1) else GREY
    )


@pytest.mark.parametrize(
    ("field", "value"), [("channels", 3), ("fit", "resize"), ("mean", [0.250001]), ("std", [0.25])]
)
def test_one_architecture_and_size_is_given_its_pictures_in_one_way(
    tmp_path: Path, field: str, value: object
) -> None:
    """One field of Preprocessing differs, be it in the sixth digit: refused with a classifier of
    either way, the field and both values."""
    data = dataset()
    space = write(new(tmp_path / "zoo"), data, members(data), 3, given=seed_1_as(**{field: value}))
    ways = {
        classifier_id(t.id, epoch): (GREY[field], value)[t.seed]
        for t, epoch in members(data)
        if t.arch == "vgg11"
    }
    pattern = (
        r"^classifiers (\S+) and (\S+), both vgg11 at 28 x 28 pixels, were given their pictures in"
        r" different ways: (.*)\. A score takes"
    )
    with pytest.raises(UsageError, match=pattern) as caught:
        choose_population(space)
    found = re.match(pattern, str(caught.value))
    assert found is not None
    assert found[3] == f"{field} {ways[found[1]]} and {ways[found[2]]}"
    assert ways[found[1]] != ways[found[2]]
    # Twin: either way alone is a population, and so is a mixture without that architecture.
    for condition, count in (
        ("arch = 'vgg11' and seed = 0", 4),
        ("arch = 'vgg11' and seed = 1", 4),
        ("arch <> 'vgg11'", 16),
    ):
        assert len(choose_population(space, condition).classifiers) == count


def test_all_fields_that_differ_are_named(tmp_path: Path) -> None:
    """fit, mean and std differ, size and channels do not."""
    data = dataset()
    chosen = members(data)
    space = write(
        new(tmp_path / "zoo"), data, chosen, 1, given=seed_1_as(fit="resize", mean=[0.0], std=[1.0])
    )
    with pytest.raises(
        UsageError, match=r"ways: fit \S+ and \S+, mean \S+ and \S+, std \S+ and \S+\. A score"
    ):
        choose_population(space)


def test_architectures_and_sizes_are_mixed(tmp_path: Path) -> None:
    """Sizes 224, 260 and 299, statistics of their own for each, and two sizes of one architecture:
    one population of 24."""
    sizes = {
        ("lenet5", 0): 224,
        ("lenet5", 1): 260,
        ("vgg11", 0): 224,
        ("vgg11", 1): 299,
        ("vgg16", 0): 299,
        ("vgg16", 1): 299,
    }

    def given(training: Training) -> dict[str, Any]:
        size = sizes[training.arch, training.seed]
        fit = "pad" if training.arch == "vgg16" else "resize"
        return {
            "size": size,
            "channels": 3,
            "fit": fit,
            "mean": [size / 1000, 0.5, 0.5],
            "std": [0.25] * 3,
        }

    space = write(new(tmp_path / "zoo"), dataset(), members(dataset()), 2, given=given)
    assert len(choose_population(space).classifiers) == 24


def test_zoo_score_refuses_mixed_preprocessing_and_writes_nothing(tmp_path: Path) -> None:
    """Exit 2, both names, nothing on stdout, no table; the condition that the message gives, for
    all of that way, makes the score."""
    data = dataset()
    space = write(new(tmp_path / "zoo"), data, members(data), 2, given=seed_1_as(fit="resize"))
    ended = zoo("score", "-w", space.root)
    assert (ended.code, ended.out) == (2, "")
    found = re.search(
        r"classifiers (\S+) and (\S+), both vgg11.*: fit \w+ and \w+\. .*--where \"classifier_id <>"
        r" '(\S+)'\"",
        ended.err,
        re.DOTALL,
    )
    assert found is not None, ended.err
    assert found[2] == found[3]
    assert {found[1], found[2]} <= set(ledger.population(space))
    assert not space.results.exists()
    assert "100 examples of train by 20 classifiers" in done(
        "score", "-w", space.root, "--where", "arch <> 'vgg11' or seed <> 1", "--top", "0"
    )


def test_imported_classifiers_are_compared_with_nothing(tmp_path: Path) -> None:
    """No preprocessing is known of them: they join any population, also several of one name."""
    data = dataset()
    space = write(new(tmp_path / "zoo"), data, members(data)[:2], 1)
    facts = {
        "name": "vgg11",
        "dataset": data.fingerprint,
        "classes": content_id(list(ANIMALS)),
        "splits": {},
    }
    for key in ("imported-1", "imported-2"):
        space.commits.publish("member", key, identity={"classes": facts["classes"]}, facts=facts)
    assert len(choose_population(space).classifiers) == 4


@pytest.mark.parametrize("split_of_other", ["train", "test"])
def test_answers_are_made_as_the_checkpoint_says(tmp_path: Path, split_of_other: str) -> None:
    """A checkpoint was replaced by one with another mean: its old answers are refused, on whatever
    split, until they are moved away."""
    data, chosen = dataset(), members(dataset())[:4]
    space = write(
        new(tmp_path / "zoo"), data, chosen, 4, given=lambda training: {**GREY, "mean": [0.75]}
    )
    names = choose_population(space).classifiers
    stale = AnswerUnit(
        data.fingerprint, split_of_other, names[:1], 3, content_id(list(ANIMALS)), logits=True
    )
    receipts = [_part(space, stale, shard, data) for shard in shards(EXAMPLES, 64)]
    # Where two fills met, the second unit may be the one whose logits are read.
    commit_unit(
        space,
        replace(stale, logits=False, source="second"),
        EXAMPLES,
        EXAMPLES,
        receipts,
        {names[0]: GREY},
    )
    key = replace(stale, logits=False, source="second").key
    ended = zoo("score", "-w", space.root)
    assert (ended.code, ended.out) == (1, "")
    assert (
        f"the answers of classifier {names[0]} on {split_of_other} were made in another way than"
        " its checkpoint says: " in ended.err
    )
    assert "mean [0.25] and [0.75]. Both have to be the same: leave it out, such as" in ended.err
    assert not space.results.exists()
    with pytest.raises(
        StoreError,
        match=(
            rf"answers/{key}\.g0001\.json and {space.root}/answers/{key} elsewhere and run 'zoo"
            r" fill'\.$"
        ),
    ):
        population_of(space, data.fingerprint, names)
    assert population_of(space, data.fingerprint, names[1:]).classifiers == names[1:]
    shutil.move(space.root / f"commits/answers/{key}.g0001.json", tmp_path)
    assert "by 4 classifiers" in done("score", "-w", space.root, "--top", "0")


def test_answers_that_record_no_preprocessing_are_taken(tmp_path: Path) -> None:
    """Records of an earlier zoo: the same table as with it."""
    data = dataset()
    tables = [
        train_scores(
            write(new(tmp_path / str(recorded)), data, members(data)[:3], 1, recorded=recorded)
        )
        for recorded in (True, False)
    ]
    assert tables[0].equals(tables[1])


# ---------------------------------------------------------------- damaged training sets

DAMAGED = (
    (op("label_noise", fraction=0.2, seed=0),),
    (op("take", count=50), op("gaussian_noise", sigma=8.0, seed=0)),
)


def trained_on(treatment: tuple[Op, ...], seed: int = 0) -> Member:
    return (
        Training(
            arch="lenet5",
            dataset=dataset().ref,
            recipe=Recipe(epochs=2),
            seed=seed,
            treatment=treatment,
            snapshots=(2,),
        ),
        2,
    )


@pytest.mark.parametrize("treatment", DAMAGED)
def test_classifiers_of_damaged_data_do_not_score_unless_asked(
    tmp_path: Path, treatment: tuple[Op, ...]
) -> None:
    """The scores are those of a store without them, and one line says so; with a condition they
    score wherever it holds."""
    given = [
        trained_on(()),
        trained_on((op("subsample", fraction=0.25, replica=1),)),
        trained_on((op("take", count=50),), seed=1),
    ]
    mixed = write(new(tmp_path / "mixed"), dataset(), [*given, trained_on(treatment)], 2)
    alone = write(new(tmp_path / "alone"), dataset(), given, 1)
    said: list[str] = []
    chosen = choose_population(mixed, say=said.append)
    assert chosen.classifiers == choose_population(alone).classifiers
    assert len(said) == 1
    assert said[0].startswith("1 of 4 classifiers were trained on damaged or changed data (")
    assert treatment[-1].text in said[0]
    assert len(choose_population(mixed, "true", say=said.append).classifiers) == 4
    assert (
        len(choose_population(mixed, f"treatment like '%{treatment[-1].name}%'").classifiers) == 1
    )
    choose_population(alone, say=said.append)
    assert len(said) == 1


def test_where_all_data_are_damaged_all_score_and_it_is_said(tmp_path: Path) -> None:
    space = write(
        new(tmp_path / "zoo"),
        dataset(),
        [trained_on(DAMAGED[0]), trained_on(DAMAGED[0], seed=1)],
        1,
    )
    said: list[str] = []
    assert len(choose_population(space, say=said.append).classifiers) == 2
    assert said == [
        (
            f"All 2 classifiers were trained on damaged or changed data ({DAMAGED[0][0].text}, ...):"  # noqa: E501
            " there are no others to score with."
        )
    ]


def test_score_and_export_say_whom_they_left_out(tmp_path: Path) -> None:
    """On stderr, so that what is piped stays data; nothing is said where nobody was."""
    space = write(new(tmp_path / "zoo"), dataset(), [trained_on(()), trained_on(DAMAGED[0])], 1)
    for command in (("score", "--json", "--top", 0), ("export", "predictions", "--to", "csv")):
        result = zoo(*command, "-w", space.root)
        assert result.code == 0, result
        assert "1 of 2 classifiers were trained on damaged or changed data" in result.err
        assert "damaged" not in result.out
        assert "damaged" not in zoo(*command, "-w", space.root, "--where", "true").err


EXAMPLE_OF = {
    "subsample": {"fraction": 0.5},
    "take": {"count": 20},
    "fold": {"index": 1},
    "delete_fraction": {"fraction": 0.5},
    "label_noise": {"fraction": 0.5},
    "delete_class": {"label": 1},
    "relabel": {"label": 1, "to": 0},
}


@pytest.mark.parametrize("name", TREATMENTS)
def test_a_sampling_treatment_changes_nothing_that_it_keeps(name: str) -> None:
    """Each treatment of rows that counts as sampling keeps labels and weights of what it keeps, of
    all classes; every other one does not, or changes pictures, or is a selection."""
    treatment = TREATMENTS[name]
    if treatment.on_rows is None or treatment.needs_manifests:
        assert name not in SAMPLING
        return
    rows = Rows(np.arange(100), np.arange(100) % 3, np.ones(100, dtype=np.float32), 3)
    kept = treatment.on_rows(rows, **op(name, **EXAMPLE_OF[name]).params)
    same = (
        np.array_equal(kept.labels, rows.labels[kept.example_ids])
        and set(kept.labels) == {0, 1, 2}
        and (kept.weights == 1).all()
    )
    assert same == (name in SAMPLING)
