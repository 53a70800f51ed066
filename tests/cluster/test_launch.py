"""Commands on a cluster's head, with a shell of this machine in the head's place; the token; what
'zoo up' waits for. (On several hosts: tests/multihost.)"""

from __future__ import annotations

import os
import subprocess
import time
from itertools import chain, count, repeat
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands import HANGS, zoo
from zoo.cluster import launch
from zoo.errors import NotFoundError, UsageError, ZooError

ROOT = Path(__file__).parents[2]

OUT_OF_REACH = launch.out_of_reach


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster's file, and a home where what is run on its head runs: 'zoo' there says its words
    and ends with 3."""
    home = tmp_path / "head"
    (home / "bin").mkdir(parents=True)
    (home / "bin/zoo").write_text('#!/bin/sh\nsleep 0.3\necho "did $*"\nexit 3\n')
    (home / "bin/zoo").chmod(0o755)

    def ray(
        what: str, _cache: str, file: str, command: str = "", *, capture: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Ray repeats what it is asked to run, in lines of its own before and after, and what it
        runs has a terminal there."""
        assert (what, capture) == ("exec", True)
        assert Path(file).exists()
        done = subprocess.run(
            ["bash", "-c", command],
            env=os.environ | {"HOME": str(home), "PATH": f"{home}/bin:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        noise = f"VINFO -- Running `{command}`\n" * next(lines)
        said = done.stdout.replace("\n", "\r\n")
        done.stdout = f"{noise}{said}Shared connection closed.\n{noise}"
        return done

    lines = count(1)
    monkeypatch.setattr(launch, "_ray", ray)
    monkeypatch.setattr(launch, "out_of_reach", lambda config: [])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "cluster.yaml"
    path.write_text(with_key(tmp_path))
    return path


def with_key(folder: Path) -> str:
    """The example with a key that is there."""
    (folder / "key").touch()
    example = (ROOT / "cluster/local.yaml").read_text()
    return example.replace("~/.ssh/id_ed25519", str(folder / "key"))


def test_a_submitted_command_runs_apart_and_its_words_and_code_come_back(head: Path) -> None:
    """``submit`` returns while it runs; ``logs`` says so, then shows what it wrote, in full and as
    it was typed, and ends with its exit code."""
    result = zoo("submit", head, "train", "--where", "a < 1 and b = 'x y'", "--address", "auto")
    assert result.code == 0, result
    job = result.out.split(":")[0]
    until = time.monotonic() + HANGS
    while launch.logs(head, job)[2] is None:
        assert time.monotonic() < until
        time.sleep(0.05)
    result = zoo("logs", head)
    assert result.code == 3, result
    assert result.out == "did train --where a < 1 and b = 'x y' --address auto\n"
    assert result.err == f"{job}: ended with 3\n"
    assert zoo("logs", head, job, "--follow").code == 3


def test_a_command_that_has_not_begun_is_no_unknown_one(head: Path, tmp_path: Path) -> None:
    """A head that is slow to start it: it is running, and has said nothing."""
    (tmp_path / "head/bin/setsid").write_text("#!/bin/sh\n")
    (tmp_path / "head/bin/setsid").chmod(0o755)
    job = launch.submit(head, ["train"])
    assert launch.logs(head, job) == (job, "", None)


def test_where_nothing_was_submitted_there_is_nothing_to_show(head: Path) -> None:
    with pytest.raises(NotFoundError, match="no submitted command"):
        launch.logs(head)
    with pytest.raises(UsageError, match="names look like"):
        launch.logs(head, "$(rm -rf ~)")


def test_a_head_that_is_not_reached_is_no_command_that_started(
    head: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray repeats the line it could not run: no part of that is taken for an answer."""

    def refused(*words: str, capture: bool) -> subprocess.CompletedProcess[str]:
        text = f"Running `{words[-1]}`\nssh: connect to host 10.77.0.10: No route to host\n"
        text += "2026-11-27 15:03:48,757\tINFO updater.py:333 -- SSH still not available\n"
        return subprocess.CompletedProcess(words, 1, text)

    monkeypatch.setattr(launch, "_ray", refused)
    with pytest.raises(ZooError, match="did not start on cluster zoo-local: ssh: connect to host"):
        launch.submit(head, ["train"])
    with pytest.raises(ZooError, match="zoo-local does not answer: ssh: connect to host"):
        launch.logs(head)
    assert launch._nodes(head) == []


def test_machines_that_cannot_be_used_are_named_before_anything_is_started(
    head: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that ssh does not reach, one without zoo; where set-up commands bring zoo, it need not be
    there before."""

    def ssh(config: dict[str, Any], host: str, command: str) -> str:
        if host == "10.77.0.11":
            raise ZooError(f"cannot reach {host} by ssh: Permission denied (publickey)")
        return "/usr/bin/ray\n" + "/usr/bin/zoo\n" * (host == "10.77.0.10")

    monkeypatch.setattr(launch, "_ssh", ssh)
    monkeypatch.setattr(launch, "out_of_reach", OUT_OF_REACH)
    result = zoo("up", head)
    assert result.code == 1, result
    assert "10.77.0.11 by ssh: Permission denied (publickey) (as zoo)\n" in result.err
    assert "10.77.0.12 has no zoo on the PATH of a login shell" in result.err
    assert "10.77.0.10" not in result.err
    assert asked == []
    config = yaml.safe_load(head.read_text())
    assert len(launch.out_of_reach(config)) == 2
    assert len(launch.out_of_reach(config | {"setup_commands": ["pip install x"]})) == 1


def test_the_token_is_made_once_and_for_this_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 hex digits, mode 0600, kept; one that was readable by all is so no more."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = launch.token()
    made = path.read_text()
    assert path == tmp_path / ".ray/auth_token"
    assert len(made) == 64
    assert int(made, 16) >= 0
    path.chmod(0o644)
    assert launch.token().read_text() == made
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("config", "count"),
    [
        ({"provider": {"type": "local", "worker_ips": ["a", "b"]}}, 3),
        ({"provider": {"type": "local", "worker_ips": ["a", "b"]}, "min_workers": 1}, 2),
        (
            {
                "provider": {"type": "aws"},
                "head_node_type": "head",
                "available_node_types": {"head": {}, "gpu": {"min_workers": 2}, "cpu": {}},
            },
            3,
        ),
    ],
)
def test_a_cluster_is_up_with_its_head_and_every_min_worker(
    config: dict[str, Any], count: int
) -> None:
    assert launch.expected_nodes(config) == count


@pytest.fixture
def asked(head: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands of Ray's that are given, none of which is run."""
    commands: list[str] = []

    def ray(*arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
        commands.append(arguments[0])
        return subprocess.CompletedProcess(arguments, 0, "", "")

    monkeypatch.setattr(launch, "_ray", ray)
    monkeypatch.setattr(launch, "token", lambda: None)
    monkeypatch.setattr(launch, "_POLL_SECONDS", 0.0)
    return commands


def test_a_living_cluster_is_left_as_it_is(
    head: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three nodes answer: 'ray up' is not called. Twin: with --restart it is."""
    monkeypatch.setattr(launch, "_nodes", lambda file: ["a", "b", "c"])
    result = zoo("up", head)
    assert result.code == 0, result
    assert "is up already and is left as it is" in result.err
    assert asked == []
    result = zoo("up", head, "--restart")
    assert "restarting cluster zoo-local: 3 nodes, and all that runs on them." in result.err
    assert asked == ["up"]


def test_a_node_that_does_not_come_is_said_with_the_head_s_log(
    head: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray reports success once the head has started; one of two workers fails in its set-up."""
    answers = chain([[]], repeat(["a", "b"]))
    monkeypatch.setattr(launch, "_nodes", lambda file: next(answers))
    monkeypatch.setattr(launch, "_WAIT_SECONDS", 0.0005)
    said = "10.77.0.12: pip: no space left on device\n"
    monkeypatch.setattr(launch, "on_head", lambda file, command: (0, said))
    with pytest.raises(ZooError, match=r"of 3 nodes answer after [^:]*cost money: zoo down ends"):
        launch.up(head)
    assert asked == ["up"]


def test_an_interrupted_start_says_what_still_costs(
    head: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(file: Path) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "_nodes", interrupted)
    result = zoo("up", head)
    assert result.code == 130, result
    assert f"costs money. zoo down {head} ends it" in result.err


def test_what_is_copied_to_the_nodes_has_to_be_there(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = yaml.safe_load((ROOT / "cluster/local.yaml").read_text())
    config["file_mounts"]["~/classifier-zoo"] = str(tmp_path / "nowhere")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    result = zoo("up", tmp_path / "mine.yaml")
    assert result.code == 2, result
    assert "nowhere', which is not there" in result.err
    assert asked == []


def test_doctor_names_what_is_wrong_with_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example as it stands is in the way, and so is a file that is none, or one whose key is
    not here; one that is right is not."""
    monkeypatch.setattr(launch, "out_of_reach", lambda config: [])
    result = zoo("doctor", ROOT / "cluster.yaml")
    assert result.code == 1, result
    assert "fault: the address 203.0.113.1/32 is an example: put your own" in result.out
    (tmp_path / "bad.yaml").write_text("cluster_name: x\n")
    result = zoo("doctor", tmp_path / "bad.yaml")
    assert result.code == 1, result
    assert "is no cluster file of Ray's" in result.out
    (tmp_path / "mine.yaml").write_text(with_key(tmp_path))
    (tmp_path / "lost.yaml").write_text(with_key(tmp_path).replace("/key", "/no-key"))
    result = zoo("doctor", tmp_path / "lost.yaml")
    assert result.code == 1, result
    assert "/no-key', which is not there" in result.out
    monkeypatch.setattr(launch, "out_of_reach", lambda config: ["10.77.0.11 has no ray"])
    assert "fault: 10.77.0.11 has no ray" in zoo("doctor", tmp_path / "mine.yaml").out
    monkeypatch.setattr(launch, "out_of_reach", lambda config: [])
    result = zoo("doctor", tmp_path / "mine.yaml", "--json")
    assert '"faults": []' in result.out or "has no rsync" in result.out, result
