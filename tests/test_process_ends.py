"""How the command's own process meets its surroundings: standard streams that are closed, full,
read no further or poor in letters; no home."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from factories import Tiny

from tests.commands import ZOO, environment, zoo
from zoo.cli import main

DASHES = "cannot write to stdout: "


def shell(line: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A line of bash, in which ``zoo`` is ours and a pipe ends with the code of its first
    command."""
    script = f'zoo() {{ {shlex.quote(str(ZOO))} "$@"; }}\n{line}\n'
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=environment() | env,
    )


@pytest.fixture(scope="module")
def folder(trained: Tiny) -> Path:
    """A folder with a workspace called ``space``."""
    return trained.root.parent


@pytest.fixture(autouse=True)
def _named(trained: Tiny, folder: Path) -> None:
    if not (folder / "space").exists():
        (folder / "space").symlink_to(trained.root)


@pytest.mark.parametrize(
    "command",
    [
        "zoo status -w space",
        "zoo --help",
        'zoo query "select * from metrics, range(20000)" --format csv -w space',
    ],
)
def test_a_reader_that_goes_early_is_no_failure(folder: Path, command: str) -> None:
    """``zoo ... | true``, with a little to print and with more than a pipe holds: exit 0 and not a
    word."""
    result = shell(f"{command} | true; exit ${{PIPESTATUS[0]}}", folder)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("command", ["zoo status -w space", "zoo --help"])
@pytest.mark.parametrize(
    ("to", "why"), [("> /dev/full", "No space left on device"), (">&-", "it is closed")]
)
def test_an_output_that_cannot_be_written_is_one_line_and_a_failure(
    folder: Path, command: str, to: str, why: str
) -> None:
    result = shell(f"{command} {to}", folder)
    assert result.returncode == 1, result
    assert (
        result.stderr
        == f"zoo: {DASHES}{why}. What the command has done is kept; run it again with its output"
        " going elsewhere, such as > FILE.\n"
    )


def test_the_same_command_with_room_to_print_succeeds(folder: Path) -> None:
    """Twin of the above."""
    result = shell("zoo status -w space > /dev/null", folder)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_failure_keeps_its_own_code_whatever_becomes_of_its_output(folder: Path) -> None:
    """No workspace: exit 4, also where nothing can be printed; with stderr closed its words do not
    go to stdout, where data go."""
    assert shell("zoo status -w nowhere > /dev/full", folder).returncode == 4
    assert shell("zoo status -w nowhere | true; exit ${PIPESTATUS[0]}", folder).returncode == 4
    result = shell("zoo status -w nowhere 2>&-", folder)
    assert (result.returncode, result.stdout) == (4, "")


def test_a_closed_stdout_is_no_place_for_files(tmp_path: Path, trained: Tiny) -> None:
    """With descriptors 0 to 2 closed the files of a workspace do not get their numbers: the work is
    done, and fsck finds it whole."""
    line = (
        f"zoo train --data {shlex.quote(trained.dataset.uri)} --archs softmax --epochs 1 --runner"
        " local -w new"
    )
    # what it would have printed is lost
    assert shell(f"{line} <&- >&- 2>&-", tmp_path).returncode == 1
    assert "1 training done, 1 classifier in" in shell(line, tmp_path).stdout
    assert shell("zoo fsck --semantic -w new", tmp_path).returncode == 0


NAMED = "select 'naïve — 日本' as name"
COMMANDS = (
    ("--help",), ("plan", "demo"), ("schema",), ("data", "treatments"), ("data", "ls"), ("status", "-w", "SPACE"), ("query", NAMED, "-w", "SPACE"),  # noqa: E501
    ("query", NAMED, "--format", "csv", "-w", "SPACE"), ("status", "-w", "naïve"), ("trian",), ("train", "--archs", "naïve"),  # noqa: E501
)  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_output_without_some_letters_is_no_error(
    monkeypatch: pytest.MonkeyPatch, trained: Tiny, command: tuple[str, ...], encoding: str
) -> None:
    """On a terminal or pipe of ASCII every command says what it says elsewhere, letters that are
    missing there escaped."""
    texts = [str(trained.root) if part == "SPACE" else part for part in command]
    said: dict[str, list[str]] = {}
    for name in (encoding, "utf-8"):
        out, err = (
            main._Output(io.BytesIO(), encoding=name, errors="backslashreplace") for _ in range(2)
        )
        monkeypatch.setattr(sys, "argv", ["zoo", *texts])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main._run()
        out.flush(), err.flush()
        said[name] = [str(code), *(stream.buffer.getvalue().decode(name) for stream in (out, err))]  # type: ignore[attr-defined]
    poor, rich = said[encoding], said["utf-8"]
    assert poor[0] == rich[0]
    assert "UnicodeEncodeError" not in poor[2]
    assert [len(text.splitlines()) for text in poor] == [len(text.splitlines()) for text in rich]


def test_the_streams_of_the_command_are_such(folder: Path) -> None:
    """What the test above gives the commands is what the command gives itself, on stdout and on
    stderr."""
    result = shell(f"zoo query {shlex.quote(NAMED)} -w space", folder, PYTHONIOENCODING="ascii")
    assert "na\\xefve \\u2014 \\u65e5\\u672c" in result.stdout
    result = shell("zoo status -w naïve", folder, PYTHONIOENCODING="ascii")
    assert (result.returncode, "na\\xefve" in result.stderr) == (4, True)


def test_json_stays_json_on_an_output_without_some_letters(tmp_path: Path, folder: Path) -> None:
    """Escaped as JSON escapes: what is read back is the same text."""
    found = shell(
        "zoo query \"select 'naïve — 日本' as name\" --format json -w space",
        folder,
        PYTHONIOENCODING="ascii",
    )
    assert json.loads(found.stdout) == [{"name": "naïve — 日本"}]
    space = tmp_path / "naïve"
    space.symlink_to(folder / "space")
    found = shell(
        f"zoo status --json -w {shlex.quote(str(space))}", folder, PYTHONIOENCODING="ascii"
    )
    assert json.loads(found.stdout)["workspace"] == str(space)


def test_python_m_zoo_is_the_command(tmp_path: Path) -> None:
    """With a ``torch.py`` and a ``typer.py`` of the user's in the current folder, which are not
    ours to import."""
    for name in ("torch", "typer", "numpy"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} of the current folder')")
    result = subprocess.run(
        [sys.executable, "-m", "zoo", "data", "ls"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert result.returncode == 0, result
    assert "fashion-mini" in result.stdout


NO_HOME = """
import os, pwd, sys
os.environ.pop("HOME", None)
def unknown(uid): raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = unknown
sys.argv = ["zoo", *sys.argv[1:]]
from zoo.cli.main import main
main()
"""


@pytest.mark.parametrize("arguments", ["data ls", "plan demo"])
def test_an_account_without_a_home_is_no_obstacle(folder: Path, arguments: str) -> None:
    """A uid that no passwd entry names, and no HOME, as a container may be run: commands work, and
    leave no folder behind."""
    scratch = folder / "tmp"
    scratch.mkdir(exist_ok=True)
    env = {
        name: value
        for name, value in environment().items()
        if not name.startswith(("HOME", "XDG_"))
    } | {"TMPDIR": str(scratch)}
    result = subprocess.run(
        [sys.executable, "-c", NO_HOME, *arguments.split()],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )
    assert result.returncode == 0, result
    assert result.stderr == ""
    assert os.listdir(scratch) == []  # noqa: PTH208


def test_without_a_home_data_sets_are_still_found_by_the_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Called from Python nothing sets a HOME: the embedded data open, and the user's own folder is
    passed over."""
    import pwd

    from zoo.data import open_dataset

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_DATA_HOME", "ZOO_DATA"):
        monkeypatch.delenv(name, raising=False)
    assert open_dataset("fashion-mini").name == "fashion-mini"
    result = zoo("data", "ls")
    assert result.code == 0, result


_AT_ITS_END = """
import atexit, os, sys, threading, time
import zoo.cli.main

class Torn:
    def __del__(self, write=os.write):
        write(1, b"torn down\\n")

kept = Torn()
zoo.cli.main.kept = kept
atexit.register(print, "registered")
def late():
    time.sleep(.3)
    print("waited for")
threading.Thread(target=late).start()
sys.argv = ["zoo", "status", "-w", "nowhere"]
zoo.cli.main.{entry}()
"""


@pytest.mark.parametrize(("entry", "torn"), [("program", []), ("main", ["torn down"])])
def test_the_program_ends_without_the_interpreter_s_teardown(
    tmp_path: Path, entry: str, torn: list[str]
) -> None:
    """Where threads of pyarrow's are ended in a way that aborts the process (twin: ``main`` alone
    goes there). Before that threads are waited for, what is registered runs, what was printed is
    written, and the exit code is the command's."""
    result = subprocess.run(
        [sys.executable, "-c", _AT_ITS_END.format(entry=entry)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert result.returncode == 4
    assert result.stderr.startswith("zoo: ")
    assert result.stdout.splitlines() == ["waited for", "registered", *torn]
