"""Write docs/commands.md from the command line itself, so that the reference cannot say anything
else than ``--help``, and the second half of docs/treatments.md and of docs/rules.md from the tables
of treatments and of selection rules.

python -m tools.make_reference           write the files
python -m tools.make_reference --check   exit 1 if a file is not what would be written
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from zoo.cli.main import app
from zoo.trainsets.rules import RULES
from zoo.trainsets.steps import Step
from zoo.trainsets.treatments import TREATMENTS

__all__ = [
    "COMMANDS_PAGE",
    "README",
    "RULES_PAGE",
    "TREATMENTS_PAGE",
    "command_tree",
    "commands",
    "reference",
    "rules_page",
    "scale_table",
    "treatments_page",
]

COMMANDS_PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
TREATMENTS_PAGE = Path(__file__).parents[1] / "docs" / "treatments.md"
RULES_PAGE = Path(__file__).parents[1] / "docs" / "rules.md"
README = Path(__file__).parents[1] / "README.md"

_SCALE = "## At your scale"
_ALL_TREATMENTS = "## All treatments"
_ALL_RULES = "## All rules"

_HEAD = """# Commands

Written by `make docs` from the command line itself; do not edit. Data goes to stdout, everything else to stderr. A list is given with
commas or by repeating the option. What prints JSON takes `--json` and `--format json` alike. `zoo help` before a command is `--help` after it.
`--install-completion` lets the shell complete commands, options and the names that they take. `zoo --debug COMMAND` shows
tracebacks, `zoo --version` the version.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | failed |
| 2 | wrong usage; nothing was started |
| 3 | finished, but some trainings have no result |
| 4 | nothing there to work on |
| 130 | interrupted (143: terminated); nothing committed is lost, the same command goes on |
"""  # noqa: E501


def command_tree() -> Any:
    """The click command that typer makes of the application."""
    return typer.main.get_command(app)


def commands() -> Iterator[tuple[str, Any]]:
    """(full name, click command) of every command a user can type, in the order of ``zoo --help``;
    groups are walked, not listed."""
    yield from _walk("zoo", command_tree())


def _walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
        return
    # typer fills in the panel of a group only on its outermost level; parts of a group follow it.
    for child_name, child in command.commands.items():
        yield from _walk(f"{name} {child_name}", child)


def reference() -> str:
    """The whole page, Markdown."""
    panels: dict[str, list[tuple[str, Any]]] = {}
    tree = command_tree()
    for name, command in commands():
        outermost = tree.commands[name.split()[1]]
        panels.setdefault(str(getattr(outermost, "rich_help_panel", None) or "Other"), []).append(
            (name, command)
        )
    index = [
        f"- {panel}: " + ", ".join(f"[{name}](#{name.replace(' ', '-')})" for name, _ in entries)
        for panel, entries in panels.items()
    ]
    blocks = [_HEAD, "\n".join(index) + "\n"]
    for panel, entries in panels.items():
        blocks.append(f"## {panel}\n")
        blocks += [_section(name, command) for name, command in entries]
    return "\n".join(blocks)


def _section(name: str, command: Any) -> str:
    arguments = [
        parameter for parameter in command.params if parameter.param_type_name == "argument"
    ]
    options = [
        parameter
        for parameter in command.params
        if parameter.param_type_name == "option"
        and not parameter.hidden
        and "--help" not in parameter.opts
    ]
    usage = " ".join(
        [
            name,
            *(_argument_text(argument) for argument in arguments),
            *(["[OPTIONS]"] if options else []),
        ]
    )
    example = str(command.epilog or "").removeprefix("Example: ")
    lines = [f"### {name}\n", f"{' '.join(str(command.help).split())}\n", f"    {usage}\n"]
    if example:
        lines.append(f"Example:\n\n```console\n$ {example}\n```\n")
    if rows := [_row(parameter) for parameter in (*arguments, *options)]:
        lines.append(
            "\n".join(["| argument or option | what it is | default |", "|---|---|---|", *rows])
            + "\n"
        )
    return "\n".join(lines)


def _argument_text(argument: Any) -> str:
    text = str(argument.name).upper() + ("..." if argument.nargs == -1 else "")
    return text if argument.required else f"[{text}]"


def _row(parameter: Any) -> str:
    is_argument = parameter.param_type_name == "argument"
    words = (
        _argument_text(parameter)
        if is_argument
        else ", ".join((*parameter.opts, *parameter.secondary_opts))
    )
    kind = "" if is_argument or getattr(parameter, "is_flag", False) else f" {_kind(parameter)}"
    about = " ".join(str(parameter.help or "").split())
    if parameter.envvar:
        about += f" Environment: `{parameter.envvar}`."
    default = "required" if parameter.required else _default(parameter)
    cell = about.strip().replace("|", "\\|")
    return f"| `{words}{kind}` | {cell} | {default} |".replace("  ", " ")


def _kind(parameter: Any) -> str:
    """What an option takes: the words to choose from, else its type, such as ``INTEGER``."""
    described = parameter.type_descriptor
    if described.is_choice:
        return "\\|".join(map(str, described.choices))
    plain: str = parameter.bare_type()
    return {"str": "TEXT", "int": "INTEGER", "float": "NUMBER", "Path": "PATH"}.get(
        plain.removeprefix("list[").removesuffix("]"), plain.upper()
    )


def _default(parameter: Any) -> str:
    value = parameter.default
    if (
        value is None
        or value == ""
        or value is False
        or (isinstance(value, (list, tuple)) and not value)
    ):
        return ""
    return f"`{value}`"


def treatments_page(page: str) -> str:
    """The page on treatments with its list of them anew; what stands above that is written by hand
    and stays."""
    groups = {
        "Of rows": [t for t in TREATMENTS.values() if t.on_rows],
        "Of images": [t for t in TREATMENTS.values() if t.on_images],
    }
    return _steps_page(page, _ALL_TREATMENTS, "zoo/trainsets/treatments.py", groups)


def rules_page(page: str) -> str:
    """The page on selection rules with its list of them anew, likewise."""
    return _steps_page(page, _ALL_RULES, "zoo/trainsets/rules.py", {"All": list(RULES.values())})


def _steps_page(page: str, title: str, table: str, groups: Mapping[str, Sequence[Step]]) -> str:
    above, heading, _ = page.partition(f"{title}\n")
    if not heading:
        raise ValueError(f"the page has no heading {title!r}; the list goes below it")
    index = [
        f"- {group}: " + ", ".join(f"[{step.name}](#{step.name})" for step in steps)
        for group, steps in groups.items()
    ]
    note = f"Written by `make docs` from the table in `{table}`; do not edit below this line."
    sections = [_step_section(step) for steps in groups.values() for step in steps]
    return above + "\n".join([heading, f"{note}\n", "\n".join(index) + "\n", *sections])


def _step_section(step: Step) -> str:
    rows = [
        f"| `{p.name}` | {p.allowed} | {p.default_text if p.required else f'`{p.default_text}`'} |"
        for p in step.parameters.values()
    ]
    about = "\n\n".join(step.about.replace("``", "`").splitlines())
    table = (
        ["\n".join(["| parameter | allowed | default |", "|---|---|---|", *rows]) + "\n"]
        if rows
        else []
    )
    return "\n".join([f"### {step.name}\n", f"    {step.usage}\n", f"{about}\n", *table])


def scale_table(readme: str) -> str:
    """The page with the numbers of the table anew. Row i is the i-th command below the table; its
    first cell, the words, stays."""
    before, heading, rest = readme.partition(_SCALE)
    part, following, after = rest.partition("\n## ")
    lines = part.splitlines()
    rows = [i for i, line in enumerate(lines) if line.startswith("|")][2:]
    plans = [line.removeprefix("$ ") for line in lines if line.startswith("$ zoo plan ")]
    for i, plan in zip(rows, plans, strict=True):
        lines[i] = " | ".join([lines[i].rpartition("|")[0].split(" | ")[0], *_planned(plan)]) + " |"
    return before + heading + "\n".join(lines) + "\n" + following + after


def _planned(command: str) -> list[str]:
    """Cells of a row: trainings, classifiers, training passes, answers, time, cost, checkpoints,
    answers and logits."""
    program = [
        sys.executable,
        "-c",
        "from zoo.cli.main import main; main()",
        *shlex.split(command)[1:],
    ]
    with tempfile.TemporaryDirectory() as away:
        environment = {
            **os.environ,
            "ZOO_WORKSPACE": str(Path(away) / "none"),
            # the same on every machine
            "ZOO_TRAINER": "single",
            "ZOO_PROGRAM": "single",
            "PYTHONPATH": str(README.parent),
        }
        printed = subprocess.run(
            program, cwd=away, env=environment, capture_output=True, text=True, check=True
        ).stdout
    facts = {line[2:15].strip(): line[16:] for line in printed.splitlines()[1:]}
    passes, _, answers = facts["image passes"].partition(" in training, ")
    checkpoints, _, store = facts["disk"].partition(" checkpoints, ")
    return [
        *(facts[name].split()[0] for name in ("trainings", "classifiers")),
        *(passes, answers.removesuffix(" in the fill"), facts["time"].split()[1]),
        facts["cost"].removeprefix("about ") if "$" in facts["cost"] else "",
        *(checkpoints, store.removesuffix(" answers and logits")),
    ]


def main(arguments: list[str]) -> int:
    treatments = TREATMENTS_PAGE.read_text(encoding="utf-8")
    rules = RULES_PAGE.read_text(encoding="utf-8")
    pages = {
        COMMANDS_PAGE: reference(),
        TREATMENTS_PAGE: treatments_page(treatments),
        RULES_PAGE: rules_page(rules),
    }
    if "--check" in arguments:
        old = [
            page
            for page, text in pages.items()
            if not page.exists() or page.read_text(encoding="utf-8") != text
        ]
        for page in old:
            print(
                f"{page} is not what the program says. Write it again with: make docs",
                file=sys.stderr,
            )
        return 1 if old else 0
    for page, text in pages.items():
        page.write_text(text, encoding="utf-8")
    README.write_text(scale_table(README.read_text(encoding="utf-8")), encoding="utf-8")
    print(*pages, README, sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
