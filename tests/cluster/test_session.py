"""Around Ray's start: places that are too long or missing, limits, files of the user's with the
names of modules. Nothing ends without a word."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import ZOO, environment, finished, run
from zoo.cluster import session as sessions
from zoo.cluster.session import in_words, known_cause, last_words
from zoo.cluster.watch import tail
from zoo.errors import StoreError, ZooError

LONG = "a-folder-of-forty-characters-and-not-less/" * 3


# ---------------------------------------------------------------- folders


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)


def test_the_folder_for_ray_is_ours_and_gone_afterwards(places: None) -> None:
    """Private, empty, short enough for the name of a socket below it."""
    with sessions._short_folder() as folder:
        socket = f"{folder}/session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store"
        assert len(socket) <= 107
        assert Path(folder).stat().st_mode & 0o777 == 0o700
        assert list(Path(folder).iterdir()) == []
    assert not Path(folder).exists()


def test_a_place_that_is_too_long_or_not_writable_is_passed_over(
    places: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """TMPDIR of 130 characters, RAY_TMPDIR that does not exist: another place is taken."""
    long = tmp_path / LONG
    long.mkdir(parents=True)
    monkeypatch.setattr(sessions.tempfile, "gettempdir", lambda: str(long))
    monkeypatch.setenv("RAY_TMPDIR", "/nowhere")
    with sessions._short_folder() as folder:
        assert not folder.startswith((str(long), "/nowhere"))


def test_without_any_place_the_message_names_those_tried(
    places: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be written: each place with its reason, and what to do."""

    def refused(prefix: str, dir: Path) -> str:  # noqa: A002
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sessions.tempfile, "gettempdir", lambda: f"/tmp/{LONG}")
    monkeypatch.setattr(sessions.tempfile, "mkdtemp", refused)
    with pytest.raises(
        ZooError,
        match=(
            r"Tried: /tmp/a-folder.* \(too long\), /tmp \(Permission denied\).*Name one with"
            r" TMPDIR, or run without Ray"
        ),
    ):
        sessions._short_folder().__enter__()


def test_a_system_without_a_temporary_folder_is_no_error_by_itself(
    places: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``tempfile`` finds none: the places that are always looked at are."""

    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(sessions.tempfile, "gettempdir", none)
    with sessions._short_folder() as folder:
        assert Path(folder).is_dir()


def test_the_current_folder_is_left_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the old one was removed meanwhile, and where it had been removed before."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with sessions._elsewhere("/"):
        assert Path.cwd() == Path("/")
    assert Path.cwd() == here
    here.rmdir()
    with sessions._elsewhere("/"):
        assert Path.cwd() == Path("/")


# ---------------------------------------------------------------- errors in words


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError("AF_UNIX path length cannot exceed 107 bytes: /x"),
            "cannot start Ray on this machine: OSError: AF_UNIX path length",
        ),
        (MemoryError(), "cannot start Ray on this machine: MemoryError: no more memory."),
        (RuntimeError("can't start new thread"), "RuntimeError: can't start new thread."),
        (ImportError("libx.so: failed to map segment from shared object"), "failed to map segment"),
        (KeyError("getpwuid(): uid not found: 4242"), "uid not found"),
        (
            RuntimeError("Could not determine home directory."),
            "Could not determine home directory.",
        ),
        (AssertionError(), "AssertionError."),
    ],
)
def test_whatever_ray_s_start_raises_is_an_error_of_the_surroundings(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    """Any kind, on this machine: one sentence with what it said, and the way without Ray; never "a
    bug in zoo"."""
    import ray

    def broken(**settings: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", broken)
    with pytest.raises(ZooError) as caught, sessions.session():
        pass
    assert said in str(caught.value)
    assert "--runner local" in str(caught.value)
    assert type(caught.value) is ZooError


def test_limits_are_named_where_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "limits", lambda: "3,000,000 kB of address space (ulimit -v)")
    assert (
        "This process is limited to 3,000,000 kB of address space (ulimit -v);"
        in sessions._cannot_start(None, MemoryError(), "")
    )
    monkeypatch.setattr(sessions, "limits", lambda: "")
    assert "limited" not in sessions._cannot_start(None, MemoryError(), "")


def test_an_error_in_words() -> None:
    """The first line with its kind; ours as it is; the last line where a worker's traceback comes
    with it."""
    assert in_words(ValueError("one\ntwo")) == "ValueError: one"
    assert in_words(ZooError("a sentence.")) == "a sentence"
    assert (
        last_words(RuntimeError("ray::f()\n  File x\nModuleNotFoundError: No module named 'y'\n"))
        == "ModuleNotFoundError: No module named 'y'"
    )
    assert last_words(RuntimeError("")) == "RuntimeError"


def test_an_error_of_ours_is_found_inside_those_of_ray() -> None:
    """As a cause, or as the attribute in which Ray keeps it, however deep; another one is not."""
    inner = StoreError("the disk is full")
    wrapped = RuntimeError("task failed")
    wrapped.cause = inner  # type: ignore[attr-defined]
    outer = ValueError("user code failed")
    outer.__cause__ = wrapped
    assert known_cause(outer) is inner
    assert known_cause(RuntimeError("x")) is None


# --------------------------------------------------------------- a process that ends without a word


def child(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    """A process whose descriptor 2 is diverted as in a session, and whose own words go
    elsewhere."""
    code = f"""
        import os, sys
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
        from zoo.cluster.session import _Diverted
        with _Diverted({str(tmp_path / "scratch")!r}) as diverted:
            os.write(2, b"first line\\nray: mmap failed: out of memory\\n*** StackTrace Information ***\\nlib.so(+0x1) [0x7f]\\n")
            {body}
    """  # noqa: E501
    (tmp_path / "scratch").mkdir()
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("end", ["os._exit(1)", "os.abort()", "os.kill(os.getpid(), 9)"])
def test_the_end_of_what_ray_wrote_is_shown_where_the_process_ends_without_a_word(
    tmp_path: Path, end: str
) -> None:
    """Its C++ side ends the process, or the system does: the last lines, without the stack trace,
    and what to do. Its scratch is removed."""
    result = child(tmp_path, end)
    assert result.returncode != 0
    lines = result.stderr.splitlines()
    assert lines[0].startswith("zoo: the process ended without a word of its own.")
    assert "--runner local does without Ray" in lines[0]
    assert lines[1:] == ["first line", "ray: mmap failed: out of memory"]
    assert not (tmp_path / "scratch").exists()


@pytest.mark.parametrize(
    "end",
    [
        "pass",
        "raise SystemExit(3)",
        "raise KeyboardInterrupt",
        "diverted.ends_well(); os._exit(143)",
    ],
)
def test_nothing_is_shown_where_it_says_itself_how_it_ends(tmp_path: Path, end: str) -> None:
    """Twin: ends that have words of their own."""
    assert "without a word" not in child(tmp_path, end).stderr


def test_the_tail_of_a_long_output_is_its_last_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"line {i}\n" for i in range(20_000)))
    with path.open("rb") as file:
        assert tail(file.fileno()).splitlines() == [f"line {i}" for i in range(19_988, 20_000)]


# ---------------------------------------------------------------- with Ray


@pytest.mark.ray
@pytest.mark.slow
def test_odd_surroundings_are_no_obstacle(tmp_path: Path) -> None:
    """A TMPDIR of 130 characters, one CPU of the machine's, files called zoo.py, torch.py and
    ray.py in the current folder: trained and filled."""
    long = tmp_path / LONG
    long.mkdir(parents=True)
    for name in ("zoo", "torch", "ray", "numpy"):
        (tmp_path / f"{name}.py").write_text(
            f"raise RuntimeError('{name}.py of the current folder')\n"
        )
    code = (
        "import os, sys; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        " os.chdir(sys.argv[1]); os.execv(sys.argv[2], sys.argv[2:])"
    )
    space = tmp_path / "space"
    for arguments in (("train", "--archs", "softmax", "--epochs", "1"), ("fill",)):
        result = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), str(ZOO), *arguments, "-w", str(space)],
            capture_output=True,
            text=True,
            check=False,
            env=environment() | {"TMPDIR": str(long)},
        )
        assert result.returncode == 0, result
        assert result.stderr.splitlines()[0] == "starting Ray ..."
    assert finished(space, "answers") == 2


@pytest.mark.ray
@pytest.mark.slow
def test_a_driver_that_dies_in_ray_leaves_its_last_words(tmp_path: Path) -> None:
    """Too little address space: Ray's C++ side ends the process, or Python has no more memory;
    either way the limit is named, and the reason."""
    line = f"ulimit -v 3000000; exec {ZOO} train --archs softmax --epochs 1 -w {tmp_path / 'space'}"
    result = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False, env=environment()
    )
    assert result.returncode != 0
    assert "3,000,000 kB of address space (ulimit -v)" in result.stderr
    assert "--runner local" in result.stderr
    assert "bug" not in result.stderr


@pytest.mark.ray
@pytest.mark.slow
def test_a_trial_that_fails_before_the_loop_says_why(tmp_path: Path) -> None:
    """In the workers alone, torch cannot be imported: each training is named with that very error,
    exit 3, and status keeps it."""
    (tmp_path / "broken" / "torch").mkdir(parents=True)
    (tmp_path / "broken" / "torch" / "__init__.py").write_text(
        "raise ImportError('this torch is broken')\n"
    )
    code = (
        "import os, sys, torch; sys.argv[0] = 'zoo'; os.environ['PYTHONPATH'] = sys.argv.pop(1);"
        " from zoo.cli.main import main; main()"
    )
    space = tmp_path / "space"
    arguments = ("train", "--archs", "softmax", "--epochs", "1", "-w", str(space))
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "broken"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert result.returncode == 3, result
    assert "ImportError: this torch is broken" in result.stderr
    assert "without a word" not in result.stderr
    failures = json.loads(run(tmp_path, "status", "--json", "-w", space).out)["failures"]
    assert [failure["stop_reason"] for failure in failures] == ["ImportError: this torch is broken"]


@pytest.mark.ray
@pytest.mark.slow
def test_a_process_that_has_used_ray_gets_a_session_and_its_own_token_back(tmp_path: Path) -> None:
    """A notebook that has used Ray with the token of its home folder, then zoo, then Ray again: Ray
    reads a token once in the life of a process, and ours is another one."""
    code = (
        "import os, ray, tempfile\n"
        "from zoo.cluster.session import authenticate_again, session\n"
        "options = dict(num_cpus=1, include_dashboard=False, object_store_memory=80_000_000)\n"
        "for turn in range(2):\n"
        "    with tempfile.TemporaryDirectory(dir='/tmp') as folder:\n"
        "        ray.init(address='local', _temp_dir=folder, **options)\n"
        "        ray.shutdown()\n"
        "    with session(cpus=1):\n"
        "        assert os.environ['RAY_AUTH_TOKEN']\n"
        "        seen = ray.get(ray.put(turn))\n"
        "    assert 'RAY_AUTH_TOKEN' not in os.environ\n"
        "    print(seen)\n"
        "    authenticate_again()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=environment() | {"HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "0\n1\n"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """A cluster of one node with one CPU and no GPU; its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    code = "import sys; from ray.scripts.scripts import main; sys.argv[0] = 'ray'; main()"
    with sessions._short_folder() as folder, (tmp_path / "log").open("w") as log:
        options = (
            "--head",
            "--block",
            f"--port={port}",
            "--num-cpus=1",
            "--num-gpus=0",
            "--include-dashboard=false",
            f"--temp-dir={folder}",
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, "start", *options, "--object-store-memory=100000000"],
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment() | {"RAY_AUTH_MODE": "disabled"},
        )
        try:
            while "Ray runtime started" not in (said := (tmp_path / "log").read_text()):
                assert process.poll() is None, said
                time.sleep(0.1)
            yield f"127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_grants_what_it_has_and_refuses_what_it_never_will(
    cluster: str, tmp_path: Path
) -> None:
    """One node, one CPU: a GPU is refused with exit 2 and no workspace is made; the same command
    without it trains there."""
    space = tmp_path / "space"
    line = ("train", "--archs", "softmax", "--epochs", "1", "--address", cluster, "-w", space)
    refused = run(tmp_path, *line, "--gpus", "0.5")
    assert refused.code == 2, refused
    assert f"the cluster at '{cluster}' has CPU 1, GPU 0" in refused.err
    assert not space.exists()
    result = run(tmp_path, *line)
    assert result.code == 0, result
    assert finished(space, "training") == 1
    told = run(tmp_path, "status", "--address", cluster, "--json")
    assert told.code == 0, told
    there = json.loads(told.out)
    (node,) = there["cluster"]["nodes"]
    assert (node["total"]["CPU"], node["free"]["CPU"]) == (1.0, 1.0)
    assert node["host"] == socket.gethostname()
    assert there["cluster"]["waiting"] == []
    assert "workspace" not in there
