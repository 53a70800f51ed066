"""What the documents say is true: commands exist, numbers are those of the plan, examples run,
links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tools.make_reference import (
    COMMANDS_PAGE,
    RULES_PAGE,
    TREATMENTS_PAGE,
    command_tree,
    commands,
    main,
    reference,
    rules_page,
    treatments_page,
)
from zoo.trainsets.rules import RULES
from zoo.trainsets.steps import Step
from zoo.trainsets.treatments import TREATMENTS

if TYPE_CHECKING:
    from factories import Tiny

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")],
    key=lambda path: path.as_posix(),
)
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Contents of the fenced code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def console_commands(text: str) -> list[str]:
    """Lines of console blocks that a user types, without the prompt."""
    return [
        line.removeprefix("$ ")
        for block in blocks(text, "console")
        for line in block.splitlines()
        if line.startswith("$ ")
    ]


# ---------------------------------------------------------------- the command reference


def test_the_reference_is_what_the_command_line_says() -> None:
    """docs/commands.md equals a fresh generation; if not: make docs."""
    assert COMMANDS_PAGE.read_text(encoding="utf-8") == reference()


def test_every_command_is_documented_with_an_example() -> None:
    """Each has a section, a sentence, and an example that begins with its own name."""
    page = COMMANDS_PAGE.read_text(encoding="utf-8")
    names = [name for name, _ in commands()]
    assert {"zoo demo", "zoo train", "zoo data check"} <= set(names)
    for name, command in commands():
        section = re.search(
            rf"^### {name}\n(.*?)(?=^###? |\Z)", page, flags=re.MULTILINE | re.DOTALL
        )
        assert section is not None, name
        assert command.help, name
        assert any(example.startswith(name) for example in console_commands(section[1])), name


def test_the_list_of_treatments_is_what_the_table_says() -> None:
    """docs/treatments.md equals a fresh generation, and has a section with the usage and every
    parameter of each; if not: make docs."""
    page = TREATMENTS_PAGE.read_text(encoding="utf-8")
    assert page == treatments_page(page)
    check_sections(page, TREATMENTS.values())


def test_the_list_of_rules_is_what_the_table_says() -> None:
    """docs/rules.md, likewise."""
    page = RULES_PAGE.read_text(encoding="utf-8")
    assert page == rules_page(page)
    check_sections(page, RULES.values())


def check_sections(page: str, steps: Iterable[Step]) -> None:
    """Each step has its section: usage, and a line for each parameter in order."""
    for step in steps:
        section = re.search(
            rf"^### {step.name}\n(.*?)(?=^### |\Z)", page, flags=re.MULTILINE | re.DOTALL
        )
        assert section is not None, step.name
        assert f"    {step.usage}\n" in section[1]
        assert re.findall(r"^\| `(\w+)` \|", section[1], flags=re.MULTILINE) == list(
            step.parameters
        )


def test_an_old_list_of_treatments_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twin: a treatment that is new in the table ends the check with 1; what is written by hand
    above the list stays when it is made anew."""
    page = tmp_path / "treatments.md"
    monkeypatch.setattr("tools.make_reference.TREATMENTS_PAGE", page)
    page.write_text("# Mine\n\nMy words.\n\n## All treatments\nold\n", encoding="utf-8")
    assert main(["--check"]) == 1
    assert (
        "treatments.md is not what the program says. Write it again with: make docs"
        in capsys.readouterr().err
    )
    page.write_text(treatments_page(page.read_text(encoding="utf-8")), encoding="utf-8")
    assert main(["--check"]) == 0
    assert page.read_text(encoding="utf-8").startswith("# Mine\n\nMy words.\n\n## All treatments\n")
    monkeypatch.setitem(TREATMENTS._entries, "brand_new", TREATMENTS["gamma"])
    assert main(["--check"]) == 1
    with pytest.raises(ValueError, match="has no heading '## All treatments'"):
        treatments_page("# Nothing\n")


def test_every_option_is_explained() -> None:
    """No argument or option of any command is without words."""
    silent = [
        f"{name} {parameter.opts}"
        for name, command in commands()
        for parameter in command.params
        if not parameter.help
    ]
    assert silent == []


def test_an_old_reference_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twin: one changed word, or no file, ends the check with 1; writing it anew ends it with 0."""
    page = tmp_path / "commands.md"
    monkeypatch.setattr("tools.make_reference.COMMANDS_PAGE", page)
    assert main(["--check"]) == 1
    page.write_text(reference().replace("Train", "Drain", 1), encoding="utf-8")
    assert main(["--check"]) == 1
    assert "make docs" in capsys.readouterr().err
    assert main([]) == 0
    assert main(["--check"]) == 0


# ---------------------------------------------------------------- commands in the documents


def parse(line: str) -> dict[str, Any]:
    """Parameters of a zoo command line as typer reads them; nothing is run.

    Raises:
        typer.TyperException: if typer refuses it.
    """
    words = shlex.split(line)
    assert words[0] == "zoo", line
    command, rest = command_tree(), words[1:]
    context = None
    while hasattr(command, "commands"):
        while rest and rest[0] == "--debug":
            rest = rest[1:]
        if rest[0] not in command.commands:
            raise UnknownCommandError(f"{line!r}: there is no command {rest[0]!r}")
        command, rest = command.commands[rest[0]], rest[1:]
    context = command.make_context("zoo", rest)
    parameters: dict[str, Any] = context.params
    return parameters


class UnknownCommandError(Exception):
    """A document names a command that is not there."""


DOCUMENTED = [
    pytest.param(line, id=f"{page.name}-{number}")
    for page in PAGES
    for number, line in enumerate(console_commands(page.read_text(encoding="utf-8")))
    if line.startswith("zoo ")
]


@pytest.mark.parametrize("line", DOCUMENTED)
def test_a_documented_command_parses(line: str) -> None:
    """Every zoo command in a console block has options that exist and values they take."""
    assert isinstance(parse(line), dict)


@pytest.mark.parametrize(
    "line",
    [
        "zoo trian",
        "zoo train --nope 1",
        "zoo train --epochs many",
        "zoo fill --keep-logits some",
        "zoo query",
    ],
)
def test_a_wrong_command_does_not_parse(line: str) -> None:
    """Twin: an unknown command or option, a wrong value, a missing argument are refused."""
    with pytest.raises(
        Exception,
        match=(
            r"no command|No such option|not a valid|is not one of|Missing parameter|valid integer"
        ),
    ):
        parse(line)


def test_the_next_commands_of_the_program_parse() -> None:
    """What ``zoo demo`` tells the user to type next is a command."""
    from zoo.studies import load

    for name in load.names():
        assert parse(load.load(name).next_command)


def test_what_is_said_to_be_absent_is_absent() -> None:
    """Commands under "Not built yet" are no commands; everything else the page names in `zoo ...`
    form is one."""
    missing = README.partition("Not built yet:")[2].partition("\n\n")[0]
    absent = set(re.findall(r"`zoo ([a-z]+)`", missing))
    there = set(command_tree().commands)
    assert absent
    assert sorted(absent & there) == [], "they are built: take them out of the list in README.md"
    named = set(re.findall(r"`zoo ([a-z]+)[ `]", README)) - absent
    assert named <= there


def test_make_targets_named_exist() -> None:
    """``make X`` in a document is a target of the Makefile."""
    targets = set(
        re.findall(
            r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE
        )
    )
    named = {
        word
        for page in PAGES
        for word in re.findall(
            r"`make ([a-z]+)`|^\$ make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    assert {"demo", "test", "lint", "docs", "bench"} <= targets
    assert {first or second for first, second in named} <= targets


# ---------------------------------------------------------------- numbers at your scale


def scale_rows() -> list[tuple[str, list[str]]]:
    """(command, cells) of each row of "At your scale"; commands stand below the table in the order
    of the rows."""
    part = README.partition("## At your scale")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in part.splitlines()
        if line.startswith("|")
    ][2:]
    lines = console_commands(part)
    assert len(rows) == len(lines)
    return list(zip(lines, rows, strict=True))


@pytest.mark.parametrize(
    ("line", "cells"), scale_rows(), ids=["demo", "small networks", "two networks", "imagenet"]
)
def test_a_row_at_your_scale_is_what_the_plan_says(
    line: str, cells: list[str], tmp_path: Path
) -> None:
    """Every number of a row is in the output of its command, with one network after the other."""
    one_by_one = {"ZOO_TRAINER": "single", "ZOO_PROGRAM": "single"}
    environment = {**os.environ, "ZOO_WORKSPACE": str(tmp_path / "none"), **one_by_one}
    found = subprocess.run(
        [*zoo_program(), *shlex.split(line)[1:]],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    facts = dict(
        row.strip().split(maxsplit=1)
        for row in found.stdout.replace("image passes", "passes").splitlines()[1:]
    )
    _, trainings, classifiers, passes, answers, time, cost, checkpoints, store = cells
    assert facts["trainings"].startswith(f"{trainings} planned")
    assert facts["classifiers"].startswith(f"{classifiers} planned")
    assert facts["passes"] == f"{passes} in training, {answers} in the fill"
    assert facts["time"].startswith(f"about {time} on ")
    assert facts["cost"] == (f"about {cost}" if cost else "not asked; give --gpu-price")
    assert facts["disk"] == f"{checkpoints} checkpoints, {store} answers and logits"


def zoo_program() -> list[str]:
    return [sys.executable, "-c", "from zoo.cli.main import main; main()"]


# ---------------------------------------------------------------- files, links, pictures


def tree() -> Iterator[tuple[str, str]]:
    """(path, words) of each line of README's file tree."""
    block = blocks(README.partition("## Files")[2], "text")[0]
    folder = ""
    for line in block.splitlines():
        name, _, words = line.strip().partition(" ")
        if line.startswith(" "):
            yield folder + name, words.strip()
        else:
            folder = name
            yield name, words.strip()


def test_the_file_tree_is_the_repository() -> None:
    """Every path of the tree exists and has words; every module and folder of zoo/ is in it."""
    listed = dict(tree())
    assert [path for path in listed if not (ROOT / path).exists()] == []
    assert all(words for path, words in listed.items() if path != "zoo/")
    modules = {f"zoo/{path.name}" for path in (ROOT / "zoo").glob("[!_]*.py")}
    folders = {
        f"zoo/{path.name}/"
        for path in (ROOT / "zoo").iterdir()
        if path.is_dir() and not path.name.startswith((".", "__"))
    }
    assert sorted((modules | folders) - set(listed)) == [], "add them to the tree of README.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    """Files and pictures that a page links to exist, and so do the headings it points at."""
    text = page.read_text(encoding="utf-8")
    for target in re.findall(
        r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    ):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(
                r"^#+ (.+)$", linked.read_text(encoding="utf-8"), flags=re.MULTILINE
            )
            assert anchor in {
                re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")
                for heading in headings
            }, target


def test_pages_name_no_place_of_one_machine() -> None:
    """No page and no tool setting holds an absolute path of a home or work folder."""
    files = [
        *PAGES,
        *(
            ROOT / name
            for name in (
                "Makefile",
                "constraints.txt",
                "cluster.yaml",
                ".pre-commit-config.yaml",
                ".ci/run",
            )
        ),
    ]
    found = [
        path.name
        for path in files
        if re.search(r"(?<![\w~.])/(?:work|root|home|Users|opt)/", path.read_text(encoding="utf-8"))
    ]
    assert found == []


# ---------------------------------------------------------------- examples that run


@pytest.mark.parametrize("number", [0, 1], ids=["X-perplexity", "logits"])
def test_the_store_can_be_read_without_zoo(trained: Tiny, tmp_path: Path, number: int) -> None:
    """The examples of docs/store.md, run in a process that cannot import zoo, give zoo's own
    numbers."""
    import zoo

    code = blocks((ROOT / "docs" / "store.md").read_text(encoding="utf-8"), "python")[number]
    (tmp_path / "zoo-workspace").symlink_to(trained.root)
    alone = f"import sys\nsys.modules['zoo'] = None\n{code}"
    lines = subprocess.run(
        [sys.executable, "-c", alone], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    study = zoo.open(trained.root)
    if number == 0:
        scores = study.scores("train").dropna(subset=["x_perplexity"])
        assert lines == [
            f"{i} {x}" for i, x in zip(scores["example_id"], scores["x_perplexity"], strict=True)
        ]
    else:
        classifier, split, shape = re.fullmatch(r"(\S+) (\S+) (\(.*\)) 0.0", lines[0]).groups()  # type: ignore[union-attr]
        assert shape == str(study.logits(classifier, split).shape)


EDIT = re.compile(
    r"(?P<how>At the end of|New file|In) `(?P<path>[^`]+)`(?:, (?P<where>above|below)"
    r" `(?P<anchor>[^`]+)`)?[^\n`]*:\n\n```python\n(?P<text>.*?)^```$",
    flags=re.MULTILINE | re.DOTALL,
)


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A copy of the sources with every example of CONTRIBUTING.md put where it says, and the paths
    it touched, one per block."""
    root = tmp_path_factory.mktemp("contributed")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("zoo", "tests", "tools", "experiments"):
        shutil.copytree(ROOT / name, root / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", root)
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    edits = list(EDIT.finditer(text))
    assert len(edits) == len(blocks(text, "python")), "an example without a place"
    for edit in edits:
        path = root / edit["path"]
        if edit["how"] == "New file":
            assert not path.exists()
            path.write_text(edit["text"], encoding="utf-8")
            continue
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        at = len(lines)
        if edit["where"]:
            (found,) = [
                i for i, line in enumerate(lines) if line.lstrip().startswith(edit["anchor"])
            ]
            at = found + (edit["where"] == "below")
        lines.insert(at, edit["text"])
        path.write_text("".join(lines), encoding="utf-8")
    return root, [edit["path"] for edit in edits]


def run_in(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_examples_touch_one_file_and_one_line(edited: tuple[Path, list[str]]) -> None:
    """A builder, a function, a file; and a line in the table of each."""
    assert edited[1] == [
        *("zoo/models/small.py", "zoo/models/__init__.py"),
        *("zoo/trainsets/on_images.py", "zoo/trainsets/treatments.py"),
        *("zoo/data/npz.py", "zoo/data/catalog.py"),
        *("zoo/scores/catalog.py", "zoo/scores/catalog.py"),
    ]


def test_the_examples_pass_the_linter(edited: tuple[Path, list[str]]) -> None:
    """ruff finds nothing to say about the edited files and would not format them otherwise."""
    root, paths = edited
    for command in (("check",), ("format", "--check")):
        done = run_in(root, "-m", "ruff", *command, *sorted(set(paths)))
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_examples_work(edited: tuple[Path, list[str]]) -> None:
    """The network answers, the treatment inverts, the data set opens, and all three can be named
    together in a plan."""
    root, _ = edited
    code = """
import numpy as np, torch
from zoo import models
from zoo.trainsets.treatments import apply_images, parse
assert models.build("linear_pair", num_classes=7, in_channels=1, size=28)(torch.zeros(2, 1, 28, 28)).shape == (2, 7)
pictures = np.array([10, 250], dtype=np.uint8).reshape(2, 1, 1, 1)
assert apply_images(parse("invert"), pictures, np.arange(2)).ravel().tolist() == [245, 5]
assert apply_images(parse("invert:share=0"), pictures, np.arange(2)).ravel().tolist() == [10, 250]
images = np.zeros((6, 12, 12, 1), dtype=np.uint8)
arrays = {f"{s}_{k}": v for s in ("train", "test") for k, v in (("images", images), ("labels", np.arange(6) % 2))}
np.savez("tiny.npz", class_names=["odd", "even"], **arrays)
import sys
from zoo.cli.main import main
sys.argv = "zoo train --data tiny.npz --archs linear_pair --treatment invert:share=0.5 --epochs 1 --runner local -w space".split()
main()
"""  # noqa: E501
    done = run_in(root, "-c", code)
    assert done.returncode == 0, done.stderr
    assert "1 training done, 1 classifier in" in done.stdout


def test_a_score_is_everywhere_at_once(edited: tuple[Path, list[str]], trained: Tiny) -> None:
    """The new score is computed, described, queried, ranked by, named in conditions, measured,
    exported, and given for arrays."""
    root, _ = edited
    shutil.copytree(trained.root, root / "scored")
    code = """
import sys, numpy as np, zoo
p = np.array([[[0.5, 0.5]], [[0.9, 0.1]]])
assert abs(zoo.perplexity(p, np.array([1])).confident_miss[0] - (0.5 + 0.9) / 2) < 1e-3
from zoo.cli.main import main
sys.argv = ["zoo", *sys.argv[1:]]
main()
"""
    commands: list[tuple[tuple[str, ...], str]] = [
        (
            ("schema", "scores"),
            "mean probability of the predicted class, 0 where it is the label [0 to 1]",
        ),
        (("score",), "confident_miss"),
        (
            (
                "query",
                "select count(*) as n from scores where confident_miss > 0",
                "--format",
                "json",
            ),
            '"n":',
        ),
        (("select", "worst:share=0.1,by=confident_miss", "-o", "wide"), "selection 'wide'"),
        (("select", "keep:set=confident_miss < 0.4", "-o", "narrow"), "selection 'narrow'"),
        (("export", "scores", "--to", "csv"), ",confident_miss,"),
    ]
    for command, shown in commands:
        done = run_in(
            root, "-c", code, *command, *(() if command[0] == "schema" else ("-w", "scored"))
        )
        assert done.returncode == 0, (command, done.stderr)
        assert shown in done.stdout, (command, done.stdout)
    listed = run_in(
        root,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/scores/test_catalog.py",
        "-k",
        "confident_miss",
    )
    assert listed.returncode == 0, listed.stdout
    assert "deselected" in listed.stdout


def test_the_examples_fall_under_the_tests_at_once(edited: tuple[Path, list[str]]) -> None:
    """The parametrised tests of models and treatments run on the new names, and pass."""
    root, _ = edited
    files = (
        "tests/models/test_model_table.py",
        "tests/models/test_networks.py",
        "tests/trainsets/test_treatments.py",
    )
    done = run_in(
        root,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *files,
        "-k",
        "linear_pair or invert or every_treatment",
    )
    assert done.returncode == 0, done.stdout
    listed = run_in(
        root,
        "-m",
        "pytest",
        "-q",
        "--collect-only",
        "-p",
        "no:cacheprovider",
        *files,
        "-k",
        "linear_pair or invert",
    ).stdout
    assert listed.count("linear_pair") >= 4
    assert listed.count("invert") >= 3


def test_a_wrong_example_is_found(edited: tuple[Path, list[str]], tmp_path: Path) -> None:
    """Twin: with a parameter count that is off by one, the same tests fail."""
    wrong = tmp_path / "wrong"
    shutil.copytree(edited[0], wrong, ignore=shutil.ignore_patterns("__pycache__", "space"))
    table = wrong / "zoo" / "models" / "__init__.py"
    table.write_text(
        table.read_text(encoding="utf-8").replace("12_730", "12_731"), encoding="utf-8"
    )
    done = run_in(
        wrong,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/models/test_networks.py",
        "-k",
        "linear_pair and parameters",
    )
    assert done.returncode == 1
    assert "12731" in done.stdout


def test_the_python_of_the_readme_runs(trained: Tiny, tmp_path: Path) -> None:
    """The example of the Python interface, on a small workspace of that name."""
    (tmp_path / "zoo-workspace").symlink_to(trained.root)
    (code,) = blocks(README, "python")
    shown = (
        f"{code}\nimport json; print(json.dumps([len(x), float(x.max()) <= 1, float(c.min()) >="
        " 1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", shown], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [60, True, True]


def test_the_tests_that_the_findings_name_are_there() -> None:
    """Every test file of docs/FINDINGS.md exists, and every test named in it stands in the file
    named before it on the same line."""
    lost, named = [], 0
    for line in (ROOT / "docs" / "FINDINGS.md").read_text(encoding="utf-8").splitlines():
        text = ""
        for path, name in re.findall(r"(tests/[\w/]+\.py)|::(test_\w+)", line):
            if path:
                text = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).exists() else ""
                lost += [] if text else [path]
            elif f"def {name}(" not in text:
                lost.append(name)
            named += 1
    assert lost == []
    assert named > 250
