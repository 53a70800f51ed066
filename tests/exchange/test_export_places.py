"""Where ``zoo export`` writes, and combinations that it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import done, zoo

from tests.exchange.exported import two_classifiers
from zoo.exchange import exporting, places


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("scores", "--to", "hf", "-o", "x"),
            (
                "cannot export scores as hf. Possible are scores: csv, parquet, perplexity,"
                " cleanlab, decisions;"
            ),
        ),
        (("logits", "--to", "csv", "-o", "x"), "logits: npy, parquet;"),
        (("logits", "--to", "npy"), "needs a place"),
        (("scores", "--to", "parquet"), "needs a place"),
        (
            ("selection", "--to", "csv"),
            "needs its name. Give one with --selection NAME; there are: none",
        ),
        (("scores", "--to", "csv", "--selection", "x"), "--selection has no meaning"),
        (
            ("selection", "--to", "csv", "--selection", "baseline", "--where", "true"),
            "--where has no meaning",
        ),
        (("scores", "--to", "csv", "--probabilities"), "--probabilities has no meaning"),
        (("scores", "--to", "csv", "--json"), "--json says where"),
        (("scores", "--to", "csv", "--split", "none"), "unknown split 'none'"),
    ],
)
def test_combinations_without_sense_are_refused(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    """Exit code 2, and what is possible instead."""
    result = zoo("export", *arguments, "-w", two_classifiers(tmp_path))
    assert result.code == 2, result
    assert message in result.err


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    """A file is replaced only with --replace (or its other name, --force); a folder only if an
    export made it; a link never."""
    w = two_classifiers(tmp_path)
    file, folder, link = tmp_path / "a" / "s.csv", tmp_path / "l", tmp_path / "link.csv"
    arguments = ("export", "scores", "--to", "csv", "-w", w, "-o")
    done(*arguments, file)
    file.write_text("mine")
    assert "exists already" in zoo(*arguments, file).err
    assert file.read_text() == "mine"
    done(*arguments, file, "--replace")
    assert file.read_text() == done("export", "scores", "--to", "csv", "-w", w)
    link.symlink_to(file)
    assert "is a link" in zoo(*arguments, link, "--force").err
    logits = ("export", "logits", "--to", "npy", "-w", w, "-o", folder)
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    assert "that no export made" in zoo(*logits, "--force").err
    assert (folder / "thesis.txt").read_text() == "mine"
    (folder / "thesis.txt").unlink()
    folder.rmdir()
    done(*logits)
    first = json.loads((folder / places.EXPORTED).read_text())
    assert (first["what"], first["to"]) == ("logits", "npy")
    assert "exists already" in zoo(*logits).err
    done(*logits, "--force")
    assert not [
        path
        for path in (*tmp_path.iterdir(), *file.parent.iterdir())
        if path.name.startswith((".tmp-", ".old-"))
    ]


def test_a_broken_off_export_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When writing fails, what was there before is untouched and no temporary file remains."""
    w = two_classifiers(tmp_path)
    out = tmp_path / "out"
    done("export", "logits", "--to", "npy", "-o", out, "-w", w)
    before = sorted(path.name for path in out.iterdir())

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting.np, "save", full)
    result = zoo("export", "logits", "--to", "npy", "-o", out, "--force", "-w", w)
    assert result.code == 1
    assert "No space left on device" in result.err
    assert sorted(path.name for path in out.iterdir()) == before
    assert not list(tmp_path.glob(".*"))


def test_every_form_says_how_it_is_written() -> None:
    """The forms a user is told of are those that exist."""
    for what, to in exporting.FORMATS:
        assert to in exporting.formats_text().split(f"{what}: ")[1].split(";")[0]
