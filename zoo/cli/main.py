"""The command line: parse, call, print. Everything heavy is imported inside the command that needs it.

Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished with failed trainings, 4 nothing found,
130 interrupted (the same command goes on; 143 after a SIGTERM).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli import clean, data, exchange, look, stages, store, studies
from zoo.errors import Interrupted, ZooError
from zoo.progress import listening

__all__ = ["app", "main"]


app = typer.Typer(
    name="zoo",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train a zoo of image classifiers, run a data set through all of them, and read off which examples are hard, ambiguous or mislabelled.",
)
_state: dict[str, bool] = {"debug": False, "terminated": False}


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version as installed

        print(installed("classifier-zoo"))
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[  # noqa: ARG001 - its callback has printed it
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    _state["debug"] = debug


for commands in (studies, stages, clean, look, exchange, store, data):
    commands.register(app)


# ---------------------------------------------------------------- entry point


def _on_sigterm(*_: object) -> None:
    # Said and noted at once: whoever terminates may not wait for the way out, and libraries on it turn the exit code into their own.
    _state["terminated"] = True
    _say("terminated. Nothing committed is lost; the same command goes on.")
    raise SystemExit(143)


def main() -> None:
    """Run the command line; turns errors into messages and exit codes."""
    # Our own messages keep a way to the terminal of their own: file descriptor 2 is what Ray's C++ side writes to, see zoo.cluster.session.
    with contextlib.suppress(OSError):
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    signal.signal(signal.SIGTERM, _on_sigterm)
    code = _run()
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    raise SystemExit(143 if _state["terminated"] else code)


def _run() -> int:
    try:
        with listening(_say):  # what is to be known of a data set is said by every command that opens one, once
            result = app(standalone_mode=False)
        if result == Interrupted.exit_code:  # what typer makes of a Ctrl-C
            return _interrupted()
        return result if isinstance(result, int) else 0
    except (KeyboardInterrupt, typer.Abort, Interrupted):
        return _interrupted()
    except typer.TyperException as error:  # wrong usage, in typer's own words
        error.show() if hasattr(error, "show") else _say(str(error))
        return 2
    except ZooError as error:
        _debug()
        _say(f"zoo: {error}")
        return error.exit_code
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - the reader of our output has gone; nothing to tell it
        return 0
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except Exception as error:  # noqa: BLE001 - a bug: one line for the user, the traceback with --debug
        _debug()
        _say(f"zoo: unexpected {type(error).__name__}: {error}\nThis is a bug in zoo. Show where with: zoo --debug ...")
        return 1


def _interrupted() -> int:
    again = " ".join([Path(sys.argv[0]).name, *map(_quoted, sys.argv[1:])])
    _say(f"interrupted. Nothing committed is lost; go on with the same command:\n  {again}")
    return Interrupted.exit_code


def _debug() -> None:
    if _state["debug"]:
        traceback.print_exc()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)
