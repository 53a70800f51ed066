"""``zoo audit``: one command from a folder, or from predictions, to suspects and their number."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import done, png, zoo
from factories import block_pictures

import zoo as library
from zoo import auditing as audit
from zoo.data import open_dataset
from zoo.errors import UsageError
from zoo.scores.audited import count_in_words

CLASSES = ("ant", "bee", "cat")
LOCAL = ("--runner", "local")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three class folders with sixteen pictures each, the first of each of the class after it; a
    damaged file, and one picture twice under two labels."""
    root = tmp_path / "photos"
    truth = [i // 16 for i in range(48)]
    for label in range(3):
        truth[label * 16] = (label + 1) % 3
    for number, image in enumerate(block_pictures(truth, side=12)):
        file = root / CLASSES[number // 16] / f"{number:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(image[..., 0]))
    (root / "ant" / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (root / "cat" / "copy.png").write_bytes((root / "bee" / "20.png").read_bytes())
    return root


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that train at once, on few pictures too."""
    monkeypatch.setattr(audit, "_FEW_WITHOUT_WEIGHTS", 0)
    monkeypatch.setattr(audit, "at_hand", list)
    monkeypatch.setattr(audit, "ARCHS", ("softmax", "mlp", "lenet5"))
    monkeypatch.setattr(audit, "_EPOCHS", (12, 12))


@pytest.mark.usefixtures("small")
def test_one_command_finds_what_is_wrong_with_a_folder(tmp_path: Path, photos: Path) -> None:
    """All of it in the text: files, classifiers, the number with its interval, the suspects by
    file name, the page, what to do next. Done again it trains nothing and says the same."""
    here = ("-w", tmp_path / "w", "--budget", "5s")
    first = zoo("audit", photos, *LOCAL, *here)
    assert first.code == 0, first
    for said in (
        "photos: 50 pictures, 3 classes",
        "damaged files: 1 (ant/damaged.png)",
        "the same picture more than once: 1 group, 1 with different labels (bee/20.png = cat/copy",
        "50 classifiers: softmax, mlp, lenet5 at 12 x 12 pixels (their own size), 12 epochs, and ",
        "and head_softmax and head_mlp on features of hog, 12 epochs, on 5 folds shared out 2",
        "each picture was held out by 10 or more of them; by none: 0",
        "estimated number of wrong labels: ",
        "wrong among the first, to expect: ",
        "ant/00.png    ant -> bee",
        f"Page: {tmp_path / 'w' / 'report.html'}",
        "Next: zoo export scores --to decisions -o decisions.csv",
    ):
        assert said in first.out
    assert "training softmax, mlp, lenet5 at 12 x 12 pixels" in first.err
    assert "on 1 core, start-up not counted\n" in first.err
    assert "no split 'test'" not in first.err
    again = zoo("audit", photos, *LOCAL, *here)
    assert again.out == first.out
    assert "training: " not in again.err
    assert "shared out 2 times: done before\n" in again.err
    found = json.loads(done("audit", photos, *LOCAL, *here, "--json"))
    # three planted, the copy under a wrong label and its original
    assert {row["key"] for row in found["suspects"][:4]} >= {
        "ant/00.png",
        "bee/16.png",
        "cat/32.png",
    }
    assert found["suspects"][0]["of"] == 10
    wrong = found["wrong_labels"]
    assert wrong["wrong_low"] <= wrong["wrong"] <= wrong["wrong_high"]
    assert wrong["examples"] == 49
    assert found["cuts"][-1]["first"] == round(wrong["wrong"])
    assert library.open(str(tmp_path / "w")).summary() in first.out
    page = (tmp_path / "w" / "report.html").read_text()
    assert "<h1>Audit of photos</h1>" in page
    assert page.index("What was found</h2>") < page.index("Suspects</h2>") < page.index("<svg ")
    for said in ("ant/<wbr>00.png</span>", "10 of 10 held out</span>", "ant \u2192 bee</span>"):
        assert said in page
    assert ">ant/damaged.png</th>" in page
    assert ">bee/20.png = cat/copy.png</th>" in page
    assert "N = 50 classifiers" in page
    assert "There is no test split, so no test accuracy." in page
    drawn = {path.name for path in (tmp_path / "w" / "figures").glob("population*")}
    assert drawn == {"population.csv"}
    assert f"zoo train --data {photos} --archs softmax,mlp,lenet5 --folds 5x2" in page
    heads = "--archs head_softmax,head_mlp --folds 5x2 --recipe onecycle:lr=0.002,weight_decay=0.1"
    assert f"zoo train --data {photos} {heads},epochs=12 --seeds 0 --features hog-" in page
    assert "Left out" not in page
    assert "planted" not in page
    decisions = tmp_path / "decisions.csv"
    decisions.write_text("key,decision,label\nant/00.png,relabel,bee\nant/01.png,keep,\n")
    here_too = ("-w", tmp_path / "w", "-o", "corrected")
    assert "What is left: of 2 reviewed 1 were wrong; about" in done(
        "relabel", "--from", decisions, *here_too
    )
    said = library.open(str(tmp_path / "w")).summary()
    assert "  what is left: of 2 reviewed 1 were wrong; about" in said


@pytest.mark.usefixtures("small")
def test_what_was_decided_is_audited_again_in_the_same_place(tmp_path: Path, photos: Path) -> None:
    """A table that nobody filled in says so; each command names the next one with its place; the
    folder that comes out holds nothing unknown, and its audit beside the first says of which data
    set the next commands are."""
    at = ("-w", tmp_path / "w")
    library.audit(photos, workspace=str(tmp_path / "w"), budget=0.1, runner="local")
    decisions = tmp_path / "decisions.csv"
    done("export", "scores", "--to", "decisions", "-o", decisions, *at)
    empty = zoo("relabel", "--from", decisions, "-o", "corrected", *at)
    assert empty.code == 4
    assert "Fill in the column decision: keep, relabel (with a label), drop or unsure." in empty.err
    foreign = tmp_path / "foreign.csv"
    foreign.write_text("key,decision\nelsewhere.png,keep\n")
    assert "Give the file that was made from this data set" in (
        zoo("relabel", "--from", foreign, "-o", "corrected", *at).err
    )
    table = pd.read_csv(decisions, dtype=str, keep_default_na=False)
    table.loc[table["key"] == "ant/00.png", ["decision", "label"]] = ("relabel", "bee")
    table.loc[table["key"] == "ant/01.png", "decision"] = "keep"
    table.to_csv(decisions, index=False)
    said = zoo("relabel", "--from", decisions, "-o", "corrected", *at)
    export = f"zoo export selection corrected --to imagefolder -o ./corrected -w {tmp_path / 'w'}"
    assert said.out.splitlines()[-1] == f"Next: {export}"
    assert "no split 'test'" not in said.err
    out = tmp_path / "corrected"
    done("export", "selection", "corrected", "--to", "imagefolder", "--out", out, *at)
    assert (out / "train" / "bee" / "00.png").is_file()
    check = zoo("data", "check", out)
    assert "has no split 'test'" in check.err
    assert check.err.splitlines() == [f"note: corrected: {open_dataset(str(out)).notes[0].text}"]
    again = zoo("audit", out, *LOCAL, *at, "--budget", "0.1s", "--features", "hog")
    assert again.code == 0, again
    assert re.search(r"; the training alone [1-9]s, more than the budget of 0s\n", again.err)
    assert again.out.startswith("corrected: 49 pictures, 3 classes\n")
    asked = f" --data corrected -w {tmp_path / 'w'}\n"
    assert f"Next: zoo export scores --to decisions -o decisions.csv{asked}" in again.out
    assert f"zoo relabel --from decisions.csv -o corrected{asked}" in again.out


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"features": "none", "most": True}, "try heads on features (--features hog; with"),
        ({"features": "none", "most": False}, "zoo models fetch), more time (--budget) or more"),
        ({"features": "hog", "most": True}, "try pretrained weights (zoo models fetch) or more"),
        ({"features": "x", "most": True}, "try another backbone (--features) or more pictures"),
        ({"features": None, "most": None}, "give predictions of stronger classifiers"),
        ({}, "give more time (--budget) or more pictures"),
    ],
)
def test_a_weak_population_is_told_what_may_help(facts: dict[str, object], said: str) -> None:
    """More time only where it would be used; no option of a training to who brought predictions;
    the old words of an audit that did not record what it trained."""
    counts = {"strength": "weak", "heldout_accuracy": 0.4, "chance": 0.1}
    wrong = {**counts, "wrong": 1.0, "wrong_low": 0.0, "wrong_high": 2.0}
    first = count_in_words({**facts, "wrong_labels": wrong})[0]
    assert first.startswith("held-out accuracy 0.400 (the commonest class alone: 0.100), too weak")
    assert said in first
    assert ("more time" in first) == (facts.get("most") is False or not facts)
    strong = count_in_words({**facts, "wrong_labels": {**wrong, "strength": "strong"}})[0]
    assert strong.endswith("strong enough to trust the order")


@pytest.mark.usefixtures("small")
def test_in_python(tmp_path: Path, photos: Path) -> None:
    """The workspace, with suspects and a summary: of these data, where it has others."""
    fewer = tmp_path / "fewer"
    shutil.copytree(photos, fewer)
    (fewer / "ant" / "damaged.png").unlink()
    where = str(tmp_path / "w")
    library.audit(fewer, workspace=where, budget=1, features="hog", runner="local")
    made = library.audit(photos, workspace=where, budget=1, features="hog", runner="local")
    assert made.summary().startswith("photos: 50 pictures, 3 classes\n")
    assert len(made.suspects(3)) == 3
    assert made.report().is_file()
    with pytest.raises(UsageError, match="Scores are per data set"):
        library.open(where).suspects(3)


def test_predictions_need_no_pictures(tmp_path: Path) -> None:
    """Two classifiers that are sure: the one label they deny is the suspect."""
    p = np.full((2, 20, 2), 0.02)
    p[:, np.arange(20), np.arange(20) % 2] = 0.98
    labels = np.arange(20) % 2
    labels[6] = 1
    for name, values in (("a", p[0]), ("b", p[1]), ("labels", labels)):
        np.save(tmp_path / f"{name}.npy", values)
    files = [w for n in "ab" for w in ("--predictions", tmp_path / f"{n}.npy")]
    asked = ("--labels", tmp_path / "labels.npy", "--json")
    found = json.loads(done("audit", *files, *asked, "-w", tmp_path / "w"))
    listed = ("--predictions", tmp_path / "a.npy", tmp_path / "b.npy")
    again = json.loads(done("audit", *listed, *asked, "-w", tmp_path / "listed"))
    assert {**again, "report": ""} == {**found, "report": ""}
    assert [row["key"] for row in found["suspects"]] == ["6"]
    assert found["wrong_labels"]["wrong"] == pytest.approx(1, abs=0.5)
    assert found["not_held_out"] is None


def test_predictions_of_pictures_name_them(tmp_path: Path, photos: Path) -> None:
    """By class, then file name, labels of the folders: the three planted errors come first by
    their files, damaged and double files are named, the page shows pictures. Rows that do not
    match, and labels that are others, are refused."""
    keys = list(open_dataset(str(photos)).splits["train"].keys)
    truth = np.array([(int(key[4:6]) // 16 if key[4:6].isdigit() else 0) for key in keys])
    planted = [keys.index(key) for key in ("ant/00.png", "bee/16.png", "cat/32.png")]
    truth[planted] = (truth[planted] + 1) % 3
    p = np.full((2, len(keys), 3), 0.01)
    p[:, np.arange(len(keys)), truth] = 0.98
    for name, values in (("a", p[0]), ("b", p[1]), ("short", p[0, 1:]), ("other", truth)):
        np.save(tmp_path / f"{name}.npy", values)
    files = [w for n in "ab" for w in ("--predictions", tmp_path / f"{n}.npy")]
    here = ("--pictures", photos, "-w", tmp_path / "w")
    found = json.loads(done("audit", *files, *here, "--json"))
    assert {row["key"] for row in found["suspects"]} >= {"ant/00.png", "bee/16.png", "cat/32.png"}
    assert found["damaged"] == ["ant/damaged.png"]
    assert found["conflicting"] == [["bee/20.png", "cat/copy.png"]]
    assert "<img" in Path(found["report"]).read_text()
    short = zoo("audit", "--predictions", tmp_path / "short.npy", *here)
    assert (short.code, "have 49 examples, the labels 50" in short.err) == (1, True), short
    other = zoo("audit", *files, "--labels", tmp_path / "other.npy", *here)
    assert other.code == 1
    assert "other labels: example" in other.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "audit needs pictures or --predictions, one of them"),
        (("x", "--predictions", "p.npy"), 2, "one of them"),
        (("{photos}", "{texts}"), 2, "pictures of one place"),
        (("--predictions", "p.npy"), 2, "--predictions needs --labels FILE"),
        (("{photos}", "--pictures", "{photos}"), 2, "it belongs to --predictions"),
        (("{photos}", "--budget", "soon"), 2, "--budget 'soon': write it as 90s, 10m or 2h"),
        (("{photos}/ant",), 1, "no data set of a known form"),
        (("{alone}",), 1, "all 17 training examples are of one class (ant)"),
        (("{texts}",), 1, "no data set of a known form"),
    ],
)
def test_what_cannot_be_audited_is_refused_before_a_workspace_is_made(
    tmp_path: Path, photos: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    for name in ("ant", "bee"):
        (tmp_path / "texts" / name).mkdir(parents=True)
        (tmp_path / "texts" / name / "list.txt").write_text("no picture")
    shutil.copytree(photos / "ant", tmp_path / "alone" / "ant")
    places = {"photos": photos, "alone": tmp_path / "alone", "texts": tmp_path / "texts"}
    asked = [word.format(**places) for word in words]
    result = zoo("audit", *asked, *LOCAL, "-w", tmp_path / "w")
    assert result.code == code, result
    assert said in result.err
    assert not (tmp_path / "w").exists()


def test_the_rule_of_what_is_trained(photos: Path) -> None:
    """More time, more architectures, two at least; more epochs for fewer pictures; the input is the
    pictures' own up to 64 pixels."""
    dataset = open_dataset(str(photos))
    few, many = audit.choose(dataset, 0.1, 1, "none"), audit.choose(dataset, 1e6, 1, "none")
    assert few.grids[0].sweep.archs == audit.ARCHS[:2]
    assert "budget" not in few.why
    assert many.grids[0].sweep.archs == audit.ARCHS
    assert (few.most, many.most) == (False, True)
    assert (few.grids[0].sweep.input_size, few.grids[0].sweep.recipe.epochs) == (12, 40)
    assert len(few.grids[0].sweep.treatments) == 10
    larger = open_dataset("fashion-mini")
    assert audit.choose(larger, 1, 1).grids[0].sweep.recipe.epochs == 16  # 1,000 steps, 63 an epoch
    assert audit.choose(dataset, 1e6, 4, "none").seconds == pytest.approx(many.seconds / 4)
