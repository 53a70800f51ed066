"""The tool that kills an experiment in every stage: on a real one, and that it can find fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import killed


def test_an_experiment_killed_in_every_stage_ends_as_it_should(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the beginning of each stage; no file that was there at a kill is touched by what came
    after."""
    words = ["decomposition", "--scale", "smoke", "--runner", "local", "-w", str(tmp_path / "w")]
    assert killed.main([*words, "--after", "0"]) == 0
    said = capsys.readouterr().out.splitlines()
    kills = [line for line in said if line.startswith("killed in ")]
    assert [line.split(": ")[0] for line in kills][:3] == [
        "killed in training",
        "killed in fill",
        "killed in scoring",
    ]
    assert any("retraining" in line for line in kills)
    assert all(line.endswith(", 0 touched since") for line in kills)


def test_what_is_written_again_or_gone_is_touched(tmp_path: Path) -> None:
    """Same bytes in a new file, other bytes, and none."""
    folder = tmp_path / "answers"
    folder.mkdir()
    for name in ("same", "again", "other", "gone"):
        (folder / name).write_text(name)
    before = killed.files(tmp_path)
    (folder / "new").write_text("again")
    (folder / "new").replace(folder / "again")
    (folder / "other").write_text("OTHER")
    (folder / "gone").unlink()
    (folder / "more").write_text("more")
    assert killed.touched(before, killed.files(tmp_path)) == [
        "answers/again",
        "answers/gone",
        "answers/other",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["demo"], "required: -w/--workspace"),
        (["demo", "-w", "space", "--after"], "--after: expected one argument"),
        (["demo", "-w", "space", "--after", "soon"], "--after: invalid float value: 'soon'"),
    ],
)
def test_what_it_needs_is_said(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        killed.main(words)
    assert said in capsys.readouterr().err
