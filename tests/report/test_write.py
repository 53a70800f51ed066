"""From a workspace to its page: what is shown comes from what is stored, and what has not changed
is not drawn again."""

from __future__ import annotations

import re
import shlex
import shutil
from html import unescape
from pathlib import Path

import pytest

from tests import commands
from zoo.data import catalog


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a workspace that ``zoo run experiments/tiny.py`` has made to its report."""
    folder = tmp_path_factory.mktemp("made")
    commands.done(
        "run", commands.tiny_experiment(folder), "-w", folder / "space", "--runner", "local"
    )
    return folder


def states(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file: size and time of its last change."""
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def page_commands(page: Path) -> list[str]:
    """What stands under "How to rerun"."""
    section = page.read_text(encoding="utf-8").partition('id="rerun"')[2].partition("</section>")[0]
    return [
        unescape(line)
        for block in re.findall(r"<pre><code>(.*?)</code></pre>", section, flags=re.S)
        for line in block.splitlines()
    ]


def test_a_second_run_touches_nothing(made: Path) -> None:
    """No file of the workspace changes: nothing is trained, filled, scored anew or drawn; the
    report is kept."""
    before = states(made / "space")
    commands.done("run", made / "tiny.py", "-w", made / "space", "--runner", "local")
    after = states(made / "space")
    assert {path for path in before | after if after.get(path) != before.get(path)} == set()


def test_a_report_of_other_facts_or_with_a_damaged_figure_is_drawn_again(
    made: Path, tmp_path: Path
) -> None:
    """Twin: a lost figure comes back, a changed score is drawn."""
    space = tmp_path / "space"
    shutil.copytree(made / "space", space)
    commands.done("report", "-w", space)
    (space / "figures" / "xc_plane.png").unlink()
    commands.done("report", "-w", space)
    assert (space / "figures" / "xc_plane.png").exists()
    drawn = (space / "figures" / "xc_plane.csv").read_bytes()
    table = space / "results" / "scores-train.parquet"
    import pyarrow.parquet as pq

    whole = pq.read_table(table)
    half = whole.set_column(
        whole.schema.get_field_index("x_perplexity"),
        "x_perplexity",
        whole.column("c_perplexity").cast("float64"),
    )
    pq.write_table(half, table)
    commands.done("report", "-w", space)
    assert (space / "figures" / "xc_plane.csv").read_bytes() != drawn


def test_the_report_of_an_experiment_by_path_outlives_its_file(made: Path, tmp_path: Path) -> None:
    """``zoo report`` needs what is stored alone: the file may be gone. What it says to rerun names
    the file, and a copy of it is there."""
    space, own = tmp_path / "space", tmp_path / "mine.py"
    shutil.copytree(made / "space", space)
    shutil.copytree(made / "corners", tmp_path / "corners")
    own.write_text((made / "tiny.py").read_text())
    commands.done("run", own, "-w", space, "--runner", "local")
    text = own.read_text()
    assert page_commands(space / "report.html") == [f"zoo run {own} --scale tiny"]
    own.unlink()
    (space / "report.html").unlink()
    commands.done("report", "-w", space)
    assert page_commands(space / "report.html") == [f"zoo run {own} --scale tiny"]
    assert (space / "results" / "experiment.py").read_text() == text
    refused = commands.zoo("report", own, "-w", space)
    assert refused.code == 2
    again = shlex.split(page_commands(space / "report.html")[0])
    own.write_text(text)
    commands.done(*again[1:], "-w", space, "--runner", "local")


def test_a_report_of_data_that_are_gone_is_written_from_what_is_stored(tmp_path: Path) -> None:
    """Everything but the pictures, whose absence is said once; when the data are back, so are they.
    Changed data are still refused."""
    data, space = commands.corners(tmp_path / "corners"), tmp_path / "space"
    commands.done(
        "train", "--data", data, "--archs", "mlp", "--epochs", "1", "-w", space, "--runner", "local"
    )
    commands.done("fill", "-w", space, "--runner", "local")
    commands.done("score", "-w", space)

    def page() -> str:
        catalog._OPENED.clear()  # as in a process of its own
        commands.done("report", "-w", space)
        return (space / "report.html").read_text()

    whole = page()
    assert "contact_sheet.svg" in whole

    data.rename(tmp_path / "moved")
    catalog._OPENED.clear()
    assert "cannot be opened" in commands.zoo("report", "-w", space).err
    gone = page()
    assert "contact_sheet.svg" not in gone
    assert gone.count("No picture is shown: the data are not at") == 1
    assert not re.search(r"no\s*picture", gone)
    assert re.findall('<h2 id="([a-z_-]+)"', gone) == re.findall('<h2 id="([a-z_-]+)"', whole)

    (tmp_path / "moved").rename(data)
    assert page() == whole

    commands.corners(tmp_path / "other", wrong=9)
    data.rename(tmp_path / "moved")
    (tmp_path / "other").rename(data)
    catalog._OPENED.clear()
    refused = commands.zoo("report", "-w", space)
    assert refused.code != 0
    assert "has changed since it was recorded" in refused.err


def test_a_workspace_made_step_by_step_says_its_commands(tmp_path: Path) -> None:
    """Not ``zoo run train``, which nobody can run."""
    data, space = commands.corners(tmp_path / "corners"), tmp_path / "space"
    commands.done(
        "train", "--data", data, "--archs", "mlp", "--epochs", "1", "-w", space, "--runner", "local"
    )
    commands.done("fill", "-w", space, "--runner", "local")
    commands.done("score", "-w", space)
    commands.done("report", "-w", space)
    said = page_commands(space / "report.html")
    assert [shlex.split(line)[1] for line in said] == ["train", "fill", "score"]
    for line in said:
        words = shlex.split(line)[1:]
        commands.done(*words, "-w", space, *(["--runner", "local"] if words[0] != "score" else []))
