"""Rooms, arrows and rings, checked twice: in the text of every module (function bodies too) and in
running processes.

A room is a folder of ``zoo/``, or one of the few modules beside them; the ground is what stands on
nothing. ``ARROWS`` is the complete list of which room may import which. Rings follow rooms: torch,
ray and matplotlib are imported where ``ALLOWED`` says, and nowhere else.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from factories import Tiny

ROOT = Path(__file__).parents[1]
CATALOG = "zoo.scores.catalog"
"""The list of scores: the store and the rules of training sets know from it which columns there
are, so it stands on the ground as they do."""
GROUND = {
    "arrays",
    "devices",
    "errors",
    "keyed",
    "machine",
    "manifest",
    "progress",
    "recipes",
    "registry",
    "spec",
    "statistics",
}

ARROWS = {
    "ground": "",
    "data": "",
    "models": "",
    "store": "data",
    "trainsets": "data models store",
    "training": "models store trainsets",
    "fill": "data models store trainsets training",
    "scores": "store",
    "studies": "data store trainsets scores",
    "exchange": "data models store scores",
    "report": "data store trainsets scores studies",
    "rates": "data models store trainsets training fill",
    "estimate": "data models store trainsets training fill rates",
    "local": "store training fill",
    "cluster": "data store trainsets training fill",
    "pipeline": "data store trainsets fill scores studies estimate",
    "auditing": "data models store trainsets scores estimate pipeline",
    "api": "store trainsets scores pipeline",
    "cli": "data",
    "__main__": "cli",
}
"""room -> the rooms it may import, beside itself and the ground."""

LATE = {
    # The composition roots choose where to run and what to draw, inside a function's body.
    "api": "local cluster report exchange studies auditing",
    "cli": (
        "api models store trainsets scores studies exchange report estimate local cluster pipeline"
        " auditing"
    ),
}
"""Further arrows that are allowed inside function bodies, and only there."""

HEAVY = ("torch", "torchvision", "timm", "safetensors", "ray", "matplotlib")
TORCH = {
    "zoo.training.*",
    "zoo.fill.extract",
    "zoo.fill.fold",
    "zoo.fill.predict",
    "zoo.local",
    "zoo.models.heads",
    "zoo.models.small",
    "zoo.models.minis",
    "zoo.models.backbones",
    "zoo.models.hog",
    "zoo.models.pretrained",
}

LIGHT = {"zoo.training.alike", "zoo.training.rule"}
"""Of these rooms what loads no torch, for who plans or hands out work; whether it is so, the tests
of what is loaded see."""

ALLOWED = {
    "torch": TORCH | {"zoo.cluster.fill", "zoo.cluster.sweep"},
    "safetensors": {"zoo.fill.extract", "zoo.models.pretrained", "zoo.training.checkpoint"},
    "timm": {"zoo.models.backbones", "zoo.models.pretrained"},
    "ray": {"zoo.cluster.*"},
    "matplotlib": {"zoo.report.*"},
    # Downloads go through torchvision, imported when one is asked for and at no other time.
    "torchvision": {"zoo.data.fetch"},
}
"""Who may import what, anywhere in its text."""


@dataclass(frozen=True)
class Import:
    """``module`` imports ``target``; ``late``: inside a function body."""

    module: str
    target: str
    late: bool


def modules() -> dict[str, Path]:
    """Every module of the package by dotted name."""
    found = {}
    for path in sorted((ROOT / "zoo").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if "experiments" not in parts:
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(module: str, text: str, known: set[str]) -> Iterator[Import]:
    """All imports of a module but those for the type checker alone, by their dotted targets.

    ``from zoo.store import ledger`` is the module zoo.store.ledger. ``import_module("x")`` and
        ``__import__`` count.
    """

    def visit(node: ast.AST, late: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from visit(other, late)
            return
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports are not used here"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield Import(module, whole if whole in known else str(node.module), late)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__")
        ):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant):
                yield Import(module, str(first.value), late)
        inside = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    yield from visit(ast.parse(text), False)


def room(module: str) -> str:
    """The room of a module: its folder, or itself where it stands beside the folders; the catalog
    of scores is ground."""
    name = [*module.split("."), ""][1]
    return "ground" if name in GROUND or not name or module == CATALOG else name


def matches(name: str, patterns: set[str]) -> bool:
    return any(
        name == p or (p.endswith(".*") and (name == p[:-2] or name.startswith(p[:-1])))
        for p in patterns
    )


def is_torch(module: str) -> bool:
    return matches(module, TORCH) and module not in LIGHT


def violations(sources: dict[str, str]) -> list[str]:
    """Every import that no arrow allows, and every heavy package where it does not belong: ``module
    -> target``."""
    known, found = set(sources), []
    for module, text in sources.items():
        for imported in imports_of(module, text, known):
            package = imported.target.partition(".")[0]
            if package in ALLOWED and not matches(module, ALLOWED[package]):
                found.append(f"{module} -> {imported.target}")
            if package != "zoo":
                continue
            here, there = room(module), room(imported.target)
            arrows = {
                here,
                "ground",
                *ARROWS[here].split(),
                *(LATE.get(here, "").split() if imported.late else ()),
            }
            # The package itself names its public functions by their homes; they are imported when
            # they are asked for.
            outside = module != "zoo" and there not in arrows
            # Inside a room, what is light stays light: a table of models does not import the
            #     networks, a plan not the prediction.
            heavy = (
                not imported.late
                and is_torch(imported.target)
                and not matches(module, ALLOWED["torch"] | {"zoo.cluster.*"})
            )
            if outside or heavy:
                found.append(f"{module} -> {imported.target}")
    return found


def arrows_of(sources: dict[str, str]) -> dict[str, set[str]]:
    """room -> the rooms it imports, at whatever depth of its text."""
    known: set[str] = set(sources)
    found: dict[str, set[str]] = {}
    for module, text in sources.items():
        for imported in imports_of(module, text, known):
            if imported.target.partition(".")[0] == "zoo" and module != "zoo":
                found.setdefault(room(module), set()).add(room(imported.target))
    return found


def sources() -> dict[str, str]:
    return {module: path.read_text(encoding="utf-8") for module, path in modules().items()}


def test_no_arrow_outside_the_matrix() -> None:
    """In the text of every module, at its top and inside its functions."""
    assert violations(sources()) == []


@pytest.mark.parametrize(
    ("module", "line", "reported"),
    [
        ("zoo.scores.accumulate", "import torch", "zoo.scores.accumulate -> torch"),
        (
            "zoo.scores.outputs",
            "import torch.nn.functional as F",
            "zoo.scores.outputs -> torch.nn.functional",
        ),
        ("zoo.store.ledger", "def f():\n    from ray import tune", "zoo.store.ledger -> ray"),
        ("zoo.data.parquet", "def f():\n    import torchvision", "zoo.data.parquet -> torchvision"),
        ("zoo.pipeline", "from zoo.training.loop import fit", "zoo.pipeline -> zoo.training.loop"),
        (
            "zoo.pipeline",
            "def f():\n    from zoo.training import run",
            "zoo.pipeline -> zoo.training.run",
        ),
        ("zoo.training.run", "import ray", "zoo.training.run -> ray"),
        (
            "zoo.training.run",
            "from zoo.cluster import sweep",
            "zoo.training.run -> zoo.cluster.sweep",
        ),
        ("zoo.cli.stages", "from zoo.local import LocalRunner", "zoo.cli.stages -> zoo.local"),
        (
            "zoo.trainsets.rules",
            "import matplotlib.pyplot as plt",
            "zoo.trainsets.rules -> matplotlib",
        ),
        ("zoo.spec", "import importlib\nimportlib.import_module('torch')", "zoo.spec -> torch"),
        (
            "zoo.spec",
            "class A:\n    def f(self):\n        return [__import__('ray')]",
            "zoo.spec -> ray",
        ),
        ("zoo.cluster.session", "import torch", "zoo.cluster.session -> torch"),
        (
            "zoo.store.query",
            "try:\n    import timm\nexcept ImportError:\n    pass",
            "zoo.store.query -> timm",
        ),
        (
            "zoo.store.query",
            "def f():\n    from zoo.scores import population",
            "zoo.store.query -> zoo.scores.population",
        ),
        (
            "zoo.scores.suspects",
            "from zoo.data import open_dataset",
            "zoo.scores.suspects -> zoo.data",
        ),
        ("zoo.errors", "from zoo.store import files", "zoo.errors -> zoo.store.files"),
        (
            "zoo.fill.plan",
            "from zoo.fill.predict import ShardWorker",
            "zoo.fill.plan -> zoo.fill.predict",
        ),
        (
            "zoo.report.write",
            "def f():\n    from zoo import pipeline",
            "zoo.report.write -> zoo.pipeline",
        ),
    ],
)
def test_a_planted_import_is_found(module: str, line: str, reported: str) -> None:
    """Twin: one line more in one module, and the check above names it."""
    planted = sources()
    planted[module] += f"\n{line}\n"
    assert [found.replace("matplotlib.pyplot", "matplotlib") for found in violations(planted)] == [
        reported
    ]


def test_there_is_no_circle() -> None:
    """The rooms stand in an order in which every arrow points to an earlier one: the order of
    ``ARROWS`` itself."""
    order = list(ARROWS)
    for here, targets in arrows_of(sources()).items():
        assert {there for there in targets if order.index(there) > order.index(here)} == set(), here


def test_every_module_has_a_room_and_every_arrow_is_used() -> None:
    """No module stands beside the rooms but those named; an arrow nobody needs any more is
    deleted."""
    assert {room(module) for module in modules()} == set(ARROWS)
    used = arrows_of(sources())
    allowed = {here: {*ARROWS[here].split(), *LATE.get(here, "").split()} for here in ARROWS}
    assert {
        here: allowed[here] - used.get(here, set())
        for here in ARROWS
        if allowed[here] - used.get(here, set())
    } == {}


def test_imports_for_the_type_checker_are_none() -> None:
    """What stands under TYPE_CHECKING is never run."""
    text = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\nelse:\n    import"
        " ray\n"
    )
    assert [found.target for found in imports_of("zoo.x", text, set())] == ["typing", "ray"]


def test_every_exception_is_used() -> None:
    """An exception nobody needs any more is deleted: each module named above exists and imports
    what it is allowed to."""
    known = modules()
    used = {
        (i.module, i.target)
        for module, text in sources().items()
        for i in imports_of(module, text, set(known))
    }
    for package, allowed in ALLOWED.items():
        for name in allowed:
            users = {module for module, target in used if target.partition(".")[0] == package}
            assert any(matches(user, {name}) for user in users), f"{name} does not import {package}"


# ---------------------------------------------------------------- running processes


def run(code: str) -> set[str]:
    """Which heavy packages a fresh interpreter holds after running this; what it prints before is
    dropped."""
    tail = (
        f"\nimport sys\nprint('LOADED', *[m for m in {(*HEAVY, 'pandas')!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + tail],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def command(*arguments: str) -> str:
    """Code that runs ``zoo ...`` in the process as the installed command does, and goes on after
    its exit."""
    return (
        f"import sys\nsys.argv = {['zoo', *arguments]!r}\nfrom zoo.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code"
    )


def test_outside_their_rings_neither_torch_nor_ray_nor_matplotlib_is_loaded() -> None:
    """All modules but those of the torch ring, of cluster and of report, imported in one
    process."""
    inner = [
        module
        for module in modules()
        if not is_torch(module) and room(module) not in {"cluster", "report"}
    ]
    assert len(inner) > 60
    assert (
        run(
            "import importlib\n"
            + "\n".join(f"importlib.import_module({module!r})" for module in inner)
        )
        - {"pandas"}
        == set()
    )


def test_the_report_loads_matplotlib_alone() -> None:
    assert run("import zoo.report.page, zoo.report.write, zoo.report.figures") - {"pandas"} <= {
        "matplotlib"
    }


def test_the_torch_ring_loads_no_ray() -> None:
    """And twin of the tests around it: torch is seen where it is loaded."""
    loaded = run("import zoo.local, zoo.fill.predict, zoo.training.run")
    assert "torch" in loaded
    assert not loaded & {"ray", "torchvision", "timm", "matplotlib"}


def test_the_package_and_its_help_are_light() -> None:
    """``import zoo`` and ``zoo --help`` load no heavy package, nor pandas."""
    assert run("import zoo") == set()
    assert run(command("--help")) == set()
    assert run(command("train", "--help")) == set()


def test_plan_schema_and_listing_are_light() -> None:
    """``zoo plan demo``, ``zoo schema`` and ``zoo data ls`` load neither torch nor ray, nor do they
    draw."""
    for arguments in (("plan", "demo", "--scale", "smoke"), ("schema",), ("data", "ls")):
        assert run(command(*arguments)) - {"pandas"} == set(), arguments


def test_looking_at_a_workspace_is_light(trained: Tiny) -> None:
    """``zoo query`` and ``zoo status`` on a real workspace load neither torch nor ray; the query
    prints its answer."""
    workspace = str(trained.root)
    for arguments in (("query", "select count(*) n from answers"), ("status",)):
        assert run(command(*arguments, "-w", workspace)) - {"pandas"} == set(), arguments
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            command("query", "select count(*) n from answers", "-w", workspace, "--format", "csv"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"n\n{12 * 90}\n"


# ---------------------------------------------------------------- names


def top_names(tree: ast.Module) -> set[str]:
    """Names a module binds at its top, under ``if`` and ``try`` too."""
    names: set[str] = set()
    stack: list[ast.AST] = list(tree.body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        names |= {
            n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        stack += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    return names


def declared(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            found: list[str] = ast.literal_eval(node.value)
            return found
    return None


@pytest.mark.parametrize("module", modules())
def test_every_module_says_what_it_offers(module: str) -> None:
    """``__all__`` is there (but in empty files), holds no name twice, and every name in it exists;
    the module has a docstring."""
    text = modules()[module].read_text(encoding="utf-8")
    tree = ast.parse(text)
    if not tree.body:
        return
    assert ast.get_docstring(tree), "no docstring"
    names = declared(tree)
    if names is None:
        assert not [
            node
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Assign)
        ], "no __all__"
        return
    assert len(names) == len(set(names))
    assert set(names) <= top_names(tree)


def test_the_packages_public_names_work() -> None:
    """What ``zoo`` promises lazily is there when asked for, and nothing else."""
    zoo = importlib.import_module("zoo")
    for name in zoo.__all__:
        assert getattr(zoo, name) is not None
    assert dir(zoo) == sorted(zoo.__all__)
    with pytest.raises(AttributeError, match="module 'zoo' has no attribute 'nonsense'"):
        zoo.nonsense  # noqa: B018


def test_there_is_no_drawer_for_odds_and_ends() -> None:
    """A helper lives with its noun."""
    assert not [
        name
        for name in modules()
        if name.rpartition(".")[2] in {"utils", "util", "helpers", "common", "misc"}
    ]


def test_the_library_raises_and_only_the_command_line_prints() -> None:
    """``print`` and ``sys.exit`` appear in the command line, its commands and the progress display,
    but for one last resort."""
    printing = {
        module
        for module, text in sources().items()
        if re.search(r"^\s*(print\(|sys\.exit\(|raise SystemExit)", text, flags=re.MULTILINE)
    }
    # A query that does not stop at its time limit is ended with its process: there is nobody left
    # to raise to.
    last_words = {"zoo.store.query"}
    assert {module for module in printing if room(module) != "cli"} <= {"zoo.progress"} | last_words
