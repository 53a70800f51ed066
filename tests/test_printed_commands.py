"""Every command that the project prints is one: those of its pages are carried out, those of its
messages are taken apart.

A page is carried out in an empty folder of its own, command after command, as a reader types them:
in this process, with ``--runner local``
where a command has it, on 120 of the pictures that a data set's name stands for. What is not
carried out to its end, and how far it goes:

- ``zoo demo`` and ``zoo run`` take minutes to hours: the experiment is loaded at its scale, its
  data are opened, and everything it asks for is counted (``zoo plan`` of the same words).
  ``tests/test_end_to_end.py`` runs the demo itself.
- ``zoo audit`` trains for minutes, ``zoo pretrained`` and ``zoo data prepare`` need data that
  are not here, and a cluster needs hosts: their words are taken apart, tests of their own run them.
- ``zoo data fetch`` downloads: its words are taken apart, and the name is one that can be fetched.
- ``make`` targets are expanded (``make -n``), benchmarks are looked up with their options, test
  files are there, and a ``pip`` command names this clone and an extra it has.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests import commands
from tests.factories import block_pictures
from tests.test_docs import blocks, parse
from tools.bench.__main__ import NAMES
from tools.bench.__main__ import commands as bench_commands
from zoo.data import catalog
from zoo.data.embedded_sets import EMBEDDED, embedded_path

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "tools" / "bench" / "README.md"]
)
EXAMPLES = {"train": 120, "test": 60}
ELSEWHERE = ("audit", "pretrained", "doctor", "up", "submit", "logs", "down")


# ---------------------------------------------------------------- what the pages say


def typed(page: Path) -> list[str]:
    """What a reader types: the lines of console blocks after their prompt."""
    found = [
        line
        for block in blocks(page.read_text(encoding="utf-8"), "console")
        for line in block.splitlines()
    ]
    return [line.removeprefix("$ ") for line in found if line.startswith("$ ")]


def named(page: Path) -> list[str]:
    """Commands inside sentences and tables, between backticks, and those of blocks that are no
    console."""
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = [
        " ".join(words.split()) for _, words in re.findall(r"(`+)(.+?)\1", prose, flags=re.DOTALL)
    ]
    plain = [
        line.partition("   #")[0].strip()
        for block in re.findall(r"^```\n(.*?)^```$", text, flags=re.M | re.S)
        for line in block.splitlines()
    ]
    indented = [line.strip() for line in text.splitlines() if re.match(r"    zoo [a-z]", line)]
    return [
        words
        for words in (*spans, *plain, *indented)
        if re.match(r"(zoo|make|python|pip|pytest|\.venv/bin/\w+) [\w.'-]", words)
    ]


TYPED = [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in PAGES if typed(page)]
NAMED = [
    pytest.param(line, id=f"{page.relative_to(ROOT).as_posix()}: {line[:40]}")
    for page in PAGES
    for line in dict.fromkeys(named(page))
]


# ---------------------------------------------------------------- a place to carry them out


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of data sets: the first pictures of fashion-mini, under its own name and under those
    of sets that are not here."""
    folder = tmp_path_factory.mktemp("places")
    for name in ("fashion-mini", "mnist", "cifar10"):
        (folder / name).mkdir()
        for split, count in EXAMPLES.items():
            table = pq.read_table(embedded_path("fashion-mini") / f"{split}.parquet")
            pq.write_table(table.slice(0, count), folder / name / f"{split}.parquet")
    return folder


@pytest.fixture
def here(places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to type in, with pictures and predictions of one's own beside it under the
    names that examples use."""
    monkeypatch.setattr(catalog, "EMBEDDED", {})
    monkeypatch.setenv("ZOO_DATA", str(places))
    monkeypatch.delenv("ZOO_WORKSPACE", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    catalog._OPENED.clear()
    monkeypatch.chdir(tmp_path)
    pictures = block_pictures([0, 1] * 12)
    for at, picture in enumerate(pictures):
        target = Path("pictures") / ("train" if at < 16 else "test") / ("cat", "dog")[at % 2]
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{at}.png").write_bytes(commands.png(picture[:, :, 0]))
    rng = np.random.default_rng(0)
    for name in ("resnet", "vgg"):
        np.save(f"{name}.npy", rng.dirichlet(np.ones(10), 60).astype(np.float32))
    Path("labels.csv").write_text("label\n" + "\n".join(str(at % 10) for at in range(60)) + "\n")
    return tmp_path


def carried_out(line: str) -> str:
    """Carry a typed command out, as far as the module says; its stdout. An AssertionError says what
    was wrong."""
    words = shlex.split(line)
    if words[0] != "zoo":
        looked_up(words)
        return ""
    parameters = parse(line)
    if words[1] in ("demo", "run"):
        scale = ["--scale", parameters["scale"]] if parameters["scale"] else []
        with mock.patch.dict(os.environ), mock.patch.object(catalog, "EMBEDDED", EMBEDDED):
            # whole data sets, or their published shapes: an experiment asks for more than 120
            # pictures
            del os.environ["ZOO_DATA"]
            return commands.done("plan", parameters.get("experiment", "demo"), *scale)
    if words[1] in ELSEWHERE or words[1:3] == ["data", "prepare"]:
        return ""  # its words were taken apart above
    if words[1:3] == ["data", "fetch"]:
        assert parameters["name"] in ("mnist", "cifar10")
        return ""
    runner = ["--runner", "local"] if "runner" in parameters else []
    result = commands.zoo(*words[1:], *runner)
    # Thresholds of a page are for its data; of so few weakly learned pictures they may leave none,
    # at all, or none of a class, which is the command's own answer.
    nothing = result.code == 4 and "left none of" in result.err
    class_gone = (
        result.code == 2 and words[1] == "select" and "per_class: no example of class" in result.err
    )
    assert result.code == 0 or nothing or class_gone, result
    return result.out


def looked_up(words: list[str]) -> None:
    """What is no command of zoo: a target, a benchmark, a tool, a test file, an installation."""
    if words[0] == "make":
        done = subprocess.run(
            ["make", "-n", "-C", ROOT, *words[1:]], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    elif words[:3] == ["python", "-m", "tools.bench"]:
        assert bench_commands(["imports" if word == "NAME" else word for word in words[3:]])
    elif words[:2] == ["python", "-m"]:
        assert (ROOT / f"{words[2].replace('.', '/')}.py").exists(), words
        assert all((ROOT / word).exists() for word in words[3:] if word.endswith(".md"))
    elif words[0] == "pytest":
        named = [word for word in words[1:] if "/" in word]
        assert named, words
        assert all((ROOT / word).exists() for word in named), words
    elif words[0] in ("pip", ".venv/bin/pip", ".venv/bin/python"):
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
            "optional-dependencies"
        ]
        what = next(word for word in reversed(words) if not word.startswith("-"))
        assert re.fullmatch(r"\.(\[[a-z,]+\])?", what), (
            f"{what!r}: no distribution of that name exists; it is installed from a clone"
        )
        assert set(re.findall(r"[a-z]+", what)) <= set(extras)
    elif words[0] in ("source", "."):
        assert words[1] == ".venv/bin/activate"
    else:
        raise AssertionError(f"{shlex.join(words)}: nothing here carries out such a command")


# ---------------------------------------------------------------- typed commands


def tour(page: Path) -> Iterator[str]:
    """The commands of a page in the order of the page; of the reference, whose examples stand
    alone, after what they need."""
    lines = typed(page)
    if page.name == "commands.md":
        yield (
            "zoo train --data fashion-mini --archs lenet5,mlp --fractions 0.5x2,1 --epochs 2"
            " --snapshots 1,2"
        )
        yield "zoo fill"
        yield from ("zoo score", "zoo score --split test")
        yield "zoo select --worst 0.05 -o cleaned"
        yield "zoo retrain baseline cleaned --arch lenet5"
    if page.name == "queries.md":
        yield "zoo train --archs mlp --epochs 1 -w zoo-workspace"
    for line in lines:
        # Predictions of other data go into a workspace of their own.
        yield f"{line} -w imported" if line.startswith("zoo import") else line


@pytest.mark.parametrize("page", TYPED)
def test_what_a_page_tells_to_type_runs(page: Path, here: Path) -> None:
    """In the order of the page; and so does every command that an answer names as the next one."""
    for line in tour(page):
        for said in re.findall(r"Next: (zoo .*)", carried_out(line)):
            assert parse(said) is not None


@pytest.mark.parametrize("line", NAMED)
def test_what_a_page_names_exists(line: str) -> None:
    """The command, its options and their values; what a reader has to fill in stands in
    capitals."""
    understood(line)


@pytest.mark.parametrize(
    "line",
    [
        "zoo trian",
        "zoo train --nope",
        "zoo run",
        "python -m tools.bench nothing",
        "python -m tools.bench training --turns 3",
        "make nothing",
    ],
)
def test_a_command_that_does_not_run_is_found(line: str, here: Path) -> None:
    """Twin: unknown commands, options, targets and benchmarks fail."""
    with pytest.raises((Exception, SystemExit)):
        carried_out(line)


@pytest.mark.parametrize(
    "line",
    [
        "pip install 'classifier-zoo[cleanlab]'",
        "pip install '.[nothing]'",
        "pytest tests/nothing.py",
    ],
)
def test_an_installation_or_a_test_that_is_not_there_is_found(line: str) -> None:
    """Twin: a distribution that no index has, an extra that the project has not, a file that is not
    there."""
    with pytest.raises(AssertionError):
        looked_up(shlex.split(line))


def test_the_benchmarks_of_the_log_run_by_their_words() -> None:
    """Each first cell of the log's tables that begins with a benchmark's name is what stands after
    ``python -m tools.bench``."""
    text = (ROOT / "docs" / "LOG.md").read_text(encoding="utf-8")
    said = [
        words
        for words in re.findall(r"^\| `([^`]+)`", text, flags=re.MULTILINE)
        if words.split()[0] in NAMES
    ]
    assert len(said) > 5
    for words in said:
        assert len(bench_commands(shlex.split(words))) == 1


# ---------------------------------------------------------------- commands in messages

FILLED = {
    "experiment": "demo",
    "name": "cleaned",
    "split": "train",
    "data": "fashion-mini",
    "uri": "fashion-mini",
    "options": "--arch lenet5",
    "scale": "laptop",
    "condition": "true",
    "path": ".",
    "dir": ".",
    "file": "demo",
    "workspace": ".",
    "command": "status",
    "place": ".",
    "sql": "'select 1'",
    "table": "scores",
    "what": "scores",
}
"""What stands for a word that a message or a page leaves to be filled in, by the last part of its
name."""


def understood(line: str) -> None:
    """A command as far as it is written: it exists, takes these options and values; what it still
    needs may be missing."""
    line = re.sub(r"\{[^{}]*?(\w+)\W*\}", lambda gap: FILLED.get(gap[1], "x"), line)
    line = line.replace(" ...", "").replace(" [OPTIONS]", "")
    if not line.startswith("zoo "):
        return looked_up(shlex.split(line))
    words = shlex.split(
        re.sub(r"\[?\b([A-Z]{3,})\b\]?", lambda gap: FILLED.get(gap[1].lower(), gap[1]), line)
    )
    if words[1] in ("up", "down", "submit", "doctor", "browse"):
        pytest.skip("said to be not built; tests/test_docs.py looks at that")
    if words[1] not in ("--help", "--version", "--debug"):
        try:
            parse(shlex.join(words))
        except Exception as error:
            if "Missing" not in type(error).__name__ + str(
                error
            ) and "requires an argument" not in str(error):
                raise AssertionError(f"{line!r}: {error}") from error
    return None


def messages() -> Iterator[tuple[str, str]]:
    """(place, command) of every command in a text of the program that a user may read, gaps in
    braces. Docstrings count too."""
    for path in sorted([*(ROOT / "zoo").rglob("*.py"), *(ROOT / "experiments").glob("*.py")]):
        for line, text in strings(ast.parse(path.read_text(encoding="utf-8"))):
            place = f"{path.relative_to(ROOT).as_posix()}:{line}"
            for quote, command in re.findall(r"('|``|`|\")(zoo (?:[a-z]|--)[^\n]*?)\1(?!\w)", text):
                if not (quote == '"' and "\\" in command):
                    yield place, command
            for command in re.findall(
                r"(?:Next|Example|Command|with|which|them): (zoo [a-z].*?)(?:\.?$|\. |, or |\n)",
                text,
            ):
                yield place, command


def strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    inner = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [
                (
                    part.value
                    if isinstance(part, ast.Constant)
                    else f"{{{ast.unparse(part)[2:-2].replace('{', '')}}}"
                )
                for part in node.values
            ]
            yield node.lineno, "".join(str(part) for part in parts)
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner
        ):
            yield node.lineno, node.value


MESSAGES = list(dict.fromkeys(messages()))


@pytest.mark.parametrize(
    ("place", "command"), MESSAGES, ids=[f"{place} {command[:40]}" for place, command in MESSAGES]
)
def test_a_command_in_a_message_exists(place: str, command: str) -> None:
    """The command and its options; what a message fills in is filled in."""
    understood(command)


def test_messages_are_found() -> None:
    """Twin: a name in quotes, the end of a sentence, an f-string."""
    assert len(MESSAGES) > 60
    assert ("zoo/store/workspace.py" in {place.partition(":")[0] for place, _ in MESSAGES}) or (
        ROOT / "zoo" / "store" / "workspace.py"
    ).exists()
    for wrong in ("zoo trian", "zoo train --nope", "zoo score --split {split} --wher x"):
        with pytest.raises(AssertionError):
            understood(wrong)
