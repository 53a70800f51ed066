"""Decisions that people wrote: stored, settled, applied, exported, read again and trained on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import done, png, zoo
from factories import block_pictures
from hypothesis import given
from hypothesis import strategies as st

from zoo.data import check_dataset, open_dataset
from zoo.manifest import Manifest
from zoo.statistics import kappa
from zoo.store.decisions import Decision, decisions_of, settle
from zoo.store.fsck import check
from zoo.store.selections import manifest_named
from zoo.store.workspace import Workspace

CLASSES = ("ant", "bee", "cat")
LOCAL = ("--runner", "local")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three class folders with four pictures each, 00.png to 11.png; ids in the order of the
    names."""
    root = tmp_path / "photos"
    images = block_pictures([i // 4 for i in range(12)], side=12)
    for number, image in enumerate(images):
        file = root / CLASSES[number // 4] / f"{number:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(image[..., 0]))
    return root


def write(folder: Path, rows: str, name: str = "decisions.csv") -> Path:
    file = folder / name
    file.write_text(rows, encoding="utf-8")
    return file


def decide(photos: Path, *files: Path, name: str = "corrected", more: Sequence[str] = ()) -> Any:
    """What ``zoo relabel --from`` says, as JSON."""
    chosen = [word for file in files for word in ("--from", file)]
    here = ("--data", photos, "-w", photos.parent / "w")
    return json.loads(done("relabel", *chosen, "-o", name, "--json", *more, *here))


def made(photos: Path, name: str = "corrected") -> Manifest:
    return manifest_named(Workspace.open(photos.parent / "w"), name)


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


# ---------------------------------------------------------------- one reviewer


def test_decisions_become_a_selection(tmp_path: Path, photos: Path) -> None:
    """By key and by id, class by name and by number: two labels change, one example goes, all else
    stays. No classifier is needed."""
    file = write(
        tmp_path,
        "key,example_id,decision,label,reviewer,note\n"
        "ant/00.png,,relabel,bee,ann,has stripes\n"
        ",11,relabel,0,ann,\n"
        "bee/05.png,5,drop,,ann,\n"
        "bee/06.png,,keep,,ann,\n"
        "cat/08.png,,unsure,,ann,\n"
        "cat/09.png,,,,,\n",
    )
    said = decide(photos, file)
    told = ("n", "keep", "relabel", "drop", "changed", "unsure", "superseded", "disputed")
    assert {name: said[name] for name in told} == {
        "n": 11,
        "keep": 1,
        "relabel": 2,
        "drop": 1,
        "changed": 2,
        "unsure": 1,
        "superseded": 0,
        "disputed": [],
    }
    assert said["notes"] == ["1 rows without a decision were passed over."]
    manifest = made(photos)
    assert manifest.example_ids.tolist() == [i for i in range(12) if i != 5]
    assert manifest.labels.tolist() == [1, 0, 0, 0, 1, 1, 1, 2, 2, 2, 0]
    assert manifest.reasons is not None
    assert {
        int(i): str(r) for i, r in zip(manifest.example_ids, manifest.reasons, strict=True) if r
    } == {0: "relabel by ann: has stripes", 6: "keep by ann", 11: "relabel by ann"}
    query = "select example_id, key, decision, label_name, reviewer from decisions order by all"
    rows = json.loads(done("query", query, "--format", "json", "-w", tmp_path / "w"))
    assert [tuple(row.values()) for row in rows] == [
        (0, "ant/00.png", "relabel", "bee", "ann"),
        (5, "bee/05.png", "drop", None, "ann"),
        (6, "bee/06.png", "keep", None, "ann"),
        (8, "cat/08.png", "unsure", None, "ann"),
        (11, "cat/11.png", "relabel", "ant", "ann"),
    ]
    assert not check(Workspace.open(tmp_path / "w"), "semantic")


def test_the_same_file_twice_changes_nothing(tmp_path: Path, photos: Path) -> None:
    file = write(tmp_path, "key,decision,time\nant/00.png,drop,2026-01-02\n")
    first, second = decide(photos, file), decide(photos, file)
    assert first == second
    dataset = open_dataset(str(photos)).fingerprint
    assert len(decisions_of(Workspace.open(tmp_path / "w"), dataset, "train")) == 1


def test_a_later_decision_of_the_same_reviewer_counts(tmp_path: Path, photos: Path) -> None:
    """By its time, whatever the order of the files; the earlier stays on record."""
    late = write(
        tmp_path, "key,decision,label,time\nant/00.png,relabel,cat,2026-03-01T10:00\n", "a.csv"
    )
    early = write(tmp_path, "key,decision,time\nant/00.png,drop,2026-03-01 11:00+02:00\n", "b.csv")
    said = decide(photos, late, early)
    assert (said["relabel"], said["drop"], said["superseded"]) == (1, 0, 1)
    assert made(photos).labels.tolist()[0] == 2
    dataset = open_dataset(str(photos)).fingerprint
    kept = decisions_of(Workspace.open(tmp_path / "w"), dataset, "train")
    assert [decision.decision for decision in kept] == ["drop", "relabel"]


def test_digests_tell_moved_and_changed_pictures(tmp_path: Path, photos: Path) -> None:
    """A picture that was renamed since is found again; one that was edited is left out, and said;
    an unknown one without a digest too."""
    moved, edited = digest(photos / "ant/00.png"), digest(photos / "bee/04.png")
    (photos / "ant/00.png").rename(photos / "ant/zz.png")
    (photos / "bee/04.png").write_bytes(png(np.full((12, 12), 9, dtype=np.uint8)))
    same = digest(photos / "cat/08.png")[:8].upper()
    file = write(
        tmp_path,
        "key,decision,label,digest\n"
        f"ant/00.png,relabel,cat,{moved}\n"
        f"bee/04.png,drop,,{edited}\n"
        f"cat/08.png,relabel,bee,{same}\n"
        "nowhere.png,drop,,\n",
    )
    said = decide(photos, file)
    assert (said["n"], said["relabel"], said["drop"]) == (12, 2, 0)
    assert said["notes"] == [
        (
            "2 rows left out: row 3: the picture of 'bee/04.png' has changed since; row 5: no"
            " example 'nowhere.png'."
        ),
        "1 pictures were found under another key, by their digest.",
    ]
    assert made(photos).labels.tolist() == [0, 0, 0, 2, 1, 1, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            "key,decision\nant/00.png,delete\n",
            "row 2: decision 'delete'; allowed are keep,",
        ),
        ("key,decision,label\nant/00.png,relabel,\n", "row 2: relabel without a label"),
        ("key,decision,label\nant/00.png,relabel,3\n", "row 2: label 3; allowed are 0 to 2, or a"),
        ("key,decision,label\nant/00.png,relabel,cta\n", "Did you mean 'cat'?"),
        (
            "key,example_id,decision\nant/00.png,1,drop\n",
            "'ant/00.png' is example 0, example_id",
        ),
        ("example_id,decision\none,drop\n", "row 2: example_id 'one' is no number"),
        ("key,decision,time\nant/00.png,drop,soon\n", "row 2: time 'soon'; write it as 2026-01-31"),
        ("key,decision,digest\nant/00.png,drop,12\n", "row 2: digest '12'; allowed are 8 to 64"),
        (
            "key,verdict\nant/00.png,drop\n",
            "its columns are key, verdict. Needed: decision,",
        ),
    ],
)
def test_what_a_row_says_wrongly_is_refused_before_anything_is_stored(
    tmp_path: Path, photos: Path, rows: str, said: str
) -> None:
    file = write(tmp_path, rows)
    here = ("--data", photos, "-w", tmp_path / "w")
    result = zoo("relabel", "--from", file, "-o", "x", *here)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert not Workspace.open(tmp_path / "w").commits.keys("decisions")


def test_a_file_about_other_data_is_nothing_found(tmp_path: Path, photos: Path) -> None:
    file = write(tmp_path, "key,decision\nelsewhere.png,drop\n")
    result = zoo("relabel", "--from", file, "-o", "x", "--data", photos, "-w", tmp_path / "w")
    assert result.code == 4
    assert "no decision about an example of photos train" in result.err


# ---------------------------------------------------------------- several reviewers


def test_reviewers_who_differ_change_nothing(tmp_path: Path, photos: Path) -> None:
    """Agreed: relabelled. One unsure: the other's word. Differing: as it was, and named. Kappa of
    four both judged, three alike: by hand 0.6."""
    ann = write(
        tmp_path,
        "key,decision,label,reviewer\nant/00.png,relabel,bee,ann\nant/01.png,relabel,bee,ann\n"
        "bee/04.png,drop,,ann\nbee/05.png,drop,,ann\n",
        "ann.csv",
    )
    bob = write(
        tmp_path,
        "key,decision,label,reviewer\nant/00.png,relabel,bee,bob\nant/01.png,unsure,,bob\n"
        "bee/04.png,drop,,bob\nbee/05.png,drop,,bob\ncat/08.png,drop,,bob\n",
        "bob.csv",
    )
    said = decide(photos, ann)
    assert said["agreement"] == []
    said = decide(photos, bob, more=["--replace"])
    # observed 3/4; by chance (1/2 * 1/4 + 0 + 1/2 * 1/2) = 3/8
    assert said["agreement"] == [
        {
            "reviewers": ["ann", "bob"],
            "examples": 4,
            "kappa": pytest.approx(0.6),
        }
    ]
    assert (said["relabel"], said["drop"], said["disputed"]) == (2, 3, [])
    file = write(tmp_path, "key,decision,reviewer\ncat/08.png,keep,ann\n", "more.csv")
    said = decide(photos, file, more=["--replace"])
    assert said["disputed"] == ["cat/08.png"]
    assert 8 in made(photos).example_ids


def test_kappa_by_hand() -> None:
    """Cohen's own measure of 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: 0.4. All alike: not
    defined."""
    one = ["y"] * 25 + ["n"] * 25
    other = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    assert kappa(one, other) == pytest.approx(0.4)
    assert np.isnan(kappa(["y"], ["y"]))
    assert np.isnan(kappa([], []))
    assert kappa(["y", "n"], ["n", "y"]) == pytest.approx(-1)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab"), st.integers(0, 2)), max_size=12)
)
def test_every_example_with_a_decision_has_one_outcome(rows: list[tuple[int, str, int]]) -> None:
    """Chosen, unsure or disputed, never two of them; every decision counts or is superseded."""
    words = ("keep", "drop", "unsure")
    decisions = [Decision(e, words[w], None, by) for e, by, w in rows]  # type: ignore[arg-type]
    found = settle(decisions)
    parts = [set(found.chosen), set(found.unsure), set(found.disputed)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len({e for e, _, _ in rows})
    assert len(decisions) - found.superseded == len({(e, by) for e, by, _ in rows})


# ---------------------------------------------------------------- lists


def test_lists_are_kept_or_dropped(tmp_path: Path, photos: Path) -> None:
    """A key a line, or a table by id; what is not there is said."""
    here = ("--data", photos, "-w", tmp_path / "w", "--json")
    keys = write(tmp_path, "ant/00.png\nbee/05.png\nelsewhere.png\n", "keys.txt")
    said = json.loads(done("select", "--drop", keys, "-o", "fewer", *here))
    assert (said["n"], said["notes"]) == (10, ["1 row passed over: no example 'elsewhere.png'."])
    ids = write(tmp_path, "example_id,x\n0,1\n5,2\n", "ids.csv")
    assert json.loads(done("select", "--keep", ids, "-o", "two", *here))["n"] == 2
    assert made(photos, "two").example_ids.tolist() == [0, 5]
    assert sorted(set(range(12)) - set(made(photos, "fewer").example_ids.tolist())) == [0, 5]
    for words, said in (
        (("--keep", write(tmp_path, "nothing\n", "n.txt")), "none of it is here"),
        (("--keep", keys, "--worst", "0.1"), "one of them"),
    ):
        result = zoo("select", *words, "-o", "z", *here[:-1])
        assert result.code == 2
        assert said in result.err


# ---------------------------------------------------------------- and back again


def corrected(tmp_path: Path, photos: Path) -> tuple[str, Path]:
    """A selection with a relabelled and a dropped example; its workspace as options."""
    file = write(
        tmp_path, "key,decision,label,note\nant/00.png,relabel,bee,=wrong\nbee/05.png,drop,,\n"
    )
    decide(photos, file)
    return "-w", tmp_path / "w"


FORMS = ("imagefolder", "hf", "csv", "parquet")


@pytest.mark.parametrize("form", FORMS)
def test_every_export_is_a_data_set_again_and_trains(
    tmp_path: Path, photos: Path, form: str
) -> None:
    """Checked, the same eleven pictures with their new labels, and a training of it, wherever the
    exported folder is moved to."""
    here = corrected(tmp_path, photos)
    suffix = f".{form}" if form in ("csv", "parquet") else ""
    out = tmp_path / f"made{suffix}"
    done("export", "selection", "--selection", "corrected", "--to", form, "-o", out, *here)
    moved = out.rename(tmp_path / f"moved{suffix}")
    assert done("data", "check", moved).splitlines()[-1] == "ok"
    opened, before = open_dataset(str(moved)), open_dataset(str(photos))
    split = opened.splits["train"]
    assert {CLASSES[int(c)] if c.isdigit() else c for c in opened.class_names} == set(CLASSES)
    wanted = made(photos)
    contents = {
        before.splits["train"].source.encoded(np.array([i]))[0]: CLASSES[label]  # type: ignore[union-attr]
        for i, label in zip(wanted.example_ids.tolist(), wanted.labels.tolist(), strict=True)
    }
    found = {
        split.source.encoded(np.array([i]))[0]: opened.class_names[label]  # type: ignore[union-attr]
        for i, label in enumerate(split.labels.tolist())
    }
    named = {k: CLASSES[int(v)] if v.isdigit() else v for k, v in found.items()}
    assert named == contents
    assert check_dataset(opened).trainable
    trained = done(
        "train",
        "--data",
        moved,
        "--archs",
        "softmax",
        "--epochs",
        "1",
        *LOCAL,
        "-w",
        tmp_path / "v",
    )
    assert trained.startswith("1 training done, 1 classifier")


def test_a_keep_list_comes_back_as_a_selection(tmp_path: Path, photos: Path) -> None:
    here = corrected(tmp_path, photos)
    out = tmp_path / "kept.txt"
    done("export", "selection", "--selection", "corrected", "--to", "keep-list", "-o", out, *here)
    done("select", "--keep", out, "-o", "again", "--data", photos, *here)
    assert made(photos, "again").example_ids.tolist() == made(photos).example_ids.tolist()


def test_an_exported_folder_holds_real_files_under_their_own_names(
    tmp_path: Path, photos: Path
) -> None:
    """No link; the corrected picture lies in its new class; two of one name are told apart; the
    manifest gives the reason, not as a formula."""
    shutil.copy(photos / "cat/08.png", photos / "bee/00.png")
    here = corrected(tmp_path, photos)
    out = tmp_path / "out"
    done("export", "selection", "--selection", "corrected", "--to", "imagefolder", "-o", out, *here)
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
    bee = ["00-4.png", "00.png", "04.png", "06.png", "07.png"]
    assert [file for file in files if "/bee/" in file] == [f"train/bee/{name}" for name in bee]
    assert not any(path.is_symlink() for path in out.rglob("*"))
    manifest = pd.read_csv(out / "manifest.csv").set_index("file")
    assert manifest.loc["train/bee/00.png", "reason"] == "relabel: =wrong"
    assert manifest.loc["train/bee/00.png", "key"] == "ant/00.png"
    assert manifest["reason"].notna().sum() == 1


# ---------------------------------------------------------------- manifests of before


def test_reasons_count_only_where_there_are_some() -> None:
    """The digest of a manifest without reasons is what it was before there were any; in any
    order."""
    ids, ones = np.arange(3), np.ones(3, dtype=np.int64)
    plain = Manifest(ids, np.array([0, 1, 2]), ones, ones.astype(np.float32))
    assert plain.digest == "51af3e779494070e"
    empty = Manifest(ids, plain.labels, ones, plain.weights, np.array(["", "", ""]))
    assert empty.digest == plain.digest
    assert "reason" not in empty.frame()
    some = Manifest(ids, plain.labels, ones, plain.weights, np.array(["", "why", ""]))
    assert some.digest != plain.digest
    assert some.take(np.array([2, 1, 0])).digest == some.digest
    assert some.frame()["reason"].tolist() == ["", "why", ""]


def test_the_exported_table_is_what_comes_back(tmp_path: Path, photos: Path) -> None:
    """Of a trained population: every suspect with its digest, to be filled in; unfilled it decides
    nothing, filled in it does, though a picture was renamed meanwhile."""
    here = ("-w", tmp_path / "w")
    quick = ("--archs", "softmax", "--epochs", "1", "--folds", "2")
    done("train", "--data", photos, *quick, *LOCAL, *here)
    done("fill", *LOCAL, *here)
    done("score", *here)
    out = tmp_path / "decisions.csv"
    done("export", "scores", "--to", "decisions", "-o", out, *here)
    frame = pd.read_csv(out, keep_default_na=False)
    assert len(frame) >= 2
    first = frame.iloc[0]
    assert first["digest"] == digest(photos / first["key"])
    assert first["given"] == first["key"].partition("/")[0] != first["suggested"]
    result = zoo("relabel", "--from", out, "-o", "none", *here)
    assert result.code == 4
    assert f"{len(frame)} rows without a decision" in result.err
    frame.loc[0, ["decision", "label", "reviewer"]] = "relabel", first["suggested"], "ann"
    frame.iloc[:1].to_csv(out, index=False)
    said = json.loads(done("relabel", "--from", out, "-o", "some", "--json", *here))
    assert (said["relabel"], said["changed"], said["n"]) == (1, 1, 12)
