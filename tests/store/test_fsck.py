"""The checker finds every kind of damage, and repair makes room for a rerun that heals it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tests.store.story import CLASSES, EXAMPLES, tell
from zoo.cli.main import app
from zoo.errors import StoreError, UsageError
from zoo.store import fsck
from zoo.store.answers import AnswerUnit
from zoo.store.commits import COMMIT_FORMAT, sealed_json
from zoo.store.workspace import MARKER, Workspace

FOLDERS = ("answers", "checkpoints", "commits", "datasets", "selections", "trainings")


def _files(workspace: Workspace) -> list[Path]:
    found = sorted(
        path
        for folder in FOLDERS
        for path in (workspace.root / folder).rglob("*")
        if path.is_file()
    )
    return [*found, workspace.root / MARKER]


def _one(workspace: Workspace, pattern: str) -> Path:
    return next(path for path in _files(workspace) if path.match(pattern))


def _check(workspace: Workspace, level: fsck.Level = "full") -> list[fsck.Damage]:
    return fsck.check(Workspace.open(workspace.root, verify=False), level)


def test_a_sound_store_is_clean_at_every_depth(told: Workspace) -> None:
    """No finding where nothing is wrong."""
    for level in ("quick", "full", "semantic"):
        assert _check(told, level) == []  # type: ignore[arg-type]


def test_every_one_of_240_flipped_bits_is_found(told: Workspace) -> None:
    """A random bit of a random file of every kind, one at a time: fsck --full finds each."""
    files, draw = _files(told), np.random.default_rng(20)
    kinds = sorted({path.parts[len(told.root.parts)] for path in files})
    assert len(kinds) == len(FOLDERS) + 1
    for flip in range(240):
        kind = kinds[flip % len(kinds)]
        mine = [path for path in files if path.parts[len(told.root.parts)] == kind]
        path = mine[int(draw.integers(len(mine)))]
        sound = path.read_bytes()
        data, bit = bytearray(sound), int(draw.integers(len(sound) * 8))
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(data))
        assert _check(told), f"bit {bit} of {path.name} was missed"
        path.write_bytes(sound)
    assert _check(told) == []


@pytest.mark.parametrize(
    "pattern", ["*.parquet", "*.arrow", "checkpoints/*/*", "trainings/*/*", "commits/*/*.json"]
)
@pytest.mark.parametrize("damage", ["truncated", "empty", "swapped", "missing"])
def test_a_file_that_is_truncated_empty_swapped_or_gone_is_set_aside_and_made_again(
    told: Workspace, pattern: str, damage: str
) -> None:
    """Quick finds it (a swap of equal size needs full); repair moves it with its record; the same
    commands then make the same store."""
    victim = _one(told, pattern)
    sound = victim.read_bytes()
    if damage == "missing":
        victim.unlink()
        if "commits" in victim.parts:
            # without a record there is no unit: not damage, just not done
            assert _check(told) == []
            tell(Workspace.open(told.root))
            return
    elif damage == "swapped":
        same = [
            path
            for path in _files(told)
            if path.suffix == victim.suffix
            and path.parent.name == victim.parent.name
            and path != victim
        ]
        victim.write_bytes(
            (same or [_one(told, "*.parquet")])[0].read_bytes() if same else sound[::-1]
        )
    else:
        victim.write_bytes(sound[: len(sound) // 2] if damage == "truncated" else b"")
    findings = _check(told)
    assert findings, f"{damage} {victim} was missed"
    workspace = Workspace.open(told.root)
    moved = fsck.repair(workspace, findings)
    assert all((workspace.root / "quarantine" / path).exists() for path in moved)
    assert all(
        json.loads((workspace.root / "quarantine" / f"{path}.reason.json").read_text())["reasons"]
        for path in moved
    )
    assert _check(told) == []
    tell(Workspace.open(told.root))
    assert _check(told, "semantic") == []
    assert victim.exists()
    if "commits" not in victim.parts:
        assert victim.read_bytes() == sound


def _rewrite(told: Workspace, change: str) -> None:
    """Write answers that are sound files with wrong content, and a record that names them."""
    commit = next(iter(told.commits.all("answers").values()))
    unit = AnswerUnit.from_identity(commit.identity)
    ref = next(ref for ref in commit.files if ref.path.endswith(".parquet"))
    file = pq.ParquetFile(told.files.local(ref.path))
    groups = [file.read_row_group(i) for i in range(file.num_row_groups)]

    def column(name: str, values: np.ndarray) -> None:
        index = groups[0].schema.get_field_index(name)
        groups[0] = groups[0].set_column(index, groups[0].schema.field(index), [values])

    n = groups[0].num_rows
    if change == "ids":
        column("example_id", np.zeros(n, dtype=np.int32))
    elif change == "class":
        column("prediction", np.full(n, CLASSES, dtype=np.int16))
    elif change == "entropy":
        column("entropy", np.full(n, np.nan, dtype=np.float32))
    elif change == "accuracy":
        column("prediction", np.zeros(n, dtype=np.int16))
    else:
        groups.pop()

    def write(path: Path) -> None:
        with pq.ParquetWriter(path, file.schema_arrow) as writer:
            for group in groups:
                writer.write_table(group)

    new = told.files.seal(unit.folder, Path(ref.path).name.rsplit("-", 1)[0], ".parquet", write)
    files = [new if old == ref else old for old in commit.files]
    told.commits.publish(
        "answers",
        commit.key,
        identity=commit.identity,
        facts=commit.facts,
        files=files,
        generation=2,
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("ids", "is not"),
        ("class", "predicts a class outside"),
        ("entropy", "entropy"),
        ("accuracy", "its record says"),
        ("rows", "row groups instead of"),
    ],
)
def test_sound_files_that_say_wrong_things_are_found_by_semantic_alone(
    told: Workspace, change: str, problem: str
) -> None:
    """Ids doubled, classes and entropies out of range, another accuracy than recorded, a classifier
    missing."""
    _rewrite(told, change)
    assert _check(told, "full") == []
    assert problem in " ".join(finding.problem for finding in _check(told, "semantic"))


def test_a_newer_format_is_refused_by_the_version_it_needs(told: Workspace) -> None:
    """A record of the next format, and a workspace of the next version, are not damage: they are
    refused, naming the version."""
    name = next(path for path in told.files.names("commits/plan"))
    path = told.root / "commits/plan" / name
    body = json.loads(path.read_text())
    body.pop("sha256")
    path.write_text(sealed_json({**body, "format": COMMIT_FORMAT + 1}))
    with pytest.raises(
        StoreError,
        match=(
            rf"has format {COMMIT_FORMAT + 1}, this zoo reads up to {COMMIT_FORMAT}\. Use a"
            r" newer zoo"
        ),
    ):
        Workspace.open(told.root).commits.all("plan")
    (told.root / MARKER).write_text(
        sealed_json({"format": "zoo-workspace", "version": 9, "min_reader": 9})
    )
    with pytest.raises(StoreError, match="needs a zoo that reads workspace version 9"):
        Workspace.open(told.root)
    with pytest.raises(StoreError, match="workspace version 9"):
        _check(told)


def test_fields_that_this_version_does_not_know_survive(told: Workspace) -> None:
    """A record with more facts than this version writes is read, and its facts are kept."""
    told.commits.publish(
        "plan",
        "later",
        identity={"a": 1},
        facts={"a": 1, "specs": [], "role": "population", "experiment": "x", "new": [1]},
    )
    record = Workspace.open(told.root).commits.get("plan", "later")
    assert record is not None
    assert record.facts["new"] == [1]
    assert _check(told) == []


def test_the_command_says_what_it_found_and_ends_with_0_1_or_2(
    told: Workspace, tmp_path: Path
) -> None:
    """0 clean, 1 what a rerun makes again, 2 what only the user can bring back; --json is one
    object."""
    run = CliRunner().invoke
    root = str(told.root)
    assert run(app, ["fsck", "-w", root], standalone_mode=True).exit_code == 0
    _one(told, "*.arrow").write_bytes(b"")
    found = run(app, ["fsck", "-w", root, "--json"])
    assert found.exit_code == 1
    assert [f["kind"] for f in json.loads(found.stdout)["findings"]] == ["answers"]
    assert run(app, ["fsck", "--repair", "-w", root]).exit_code == 1
    assert run(app, ["fsck", "-w", root]).exit_code == 0
    next((told.root / "selections").rglob("*.parquet")).write_bytes(b"")
    lost = run(app, ["fsck", "-w", root])
    assert lost.exit_code == 2
    assert "lost: manifest" in lost.stdout


def test_a_snapshot_shows_the_store_as_it_was(told: Workspace) -> None:
    """After a snapshot, newer records exist for the present and not for the past; unknown snapshots
    list the known."""
    count = told.snapshot("then")
    told.commits.publish("plan", "later", identity={"a": 1}, facts={"a": 1})
    now = Workspace.open(told.root)
    assert "later" in now.commits.all("plan")
    assert "later" not in now.at("then").commits.all("plan")
    assert now.at("then").commits.get("plan", "later") is None
    assert len(now.at("then").commits.all("checkpoint")) == 2
    assert (
        count
        == sum(
            len(list((told.root / "commits" / kind).iterdir()))
            for kind in (
                "dataset",
                "plan",
                "checkpoint",
                "training",
                "answers",
                "manifest",
                "selection",
            )
        )
        - 1
    )
    with pytest.raises(
        UsageError,
        match=(
            r"snapshot 'then' of .* exists and stands for what was there on .*Choose another name"
        ),
    ):
        now.snapshot("then")
    with pytest.raises(Exception, match=r"no snapshot 'never'.*There are: then"):
        now.at("never")


def test_the_story_has_the_size_the_tests_believe(told: Workspace) -> None:
    """Two shards of answers and of logits."""
    commit = next(iter(told.commits.all("answers").values()))
    assert len(commit.files) == 4
    assert commit.facts["rows"] == 2 * EXAMPLES
    shutil.rmtree(told.root / "results")
    assert _check(told) == []
