"""The command line: parse, call, print. Everything heavy is imported inside the command that needs
it.

A command is a function in the file of its group and a line in that file's ``register``.

Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 3
finished with failed trainings, 4 nothing found, 130 interrupted (the same command goes on; 143
after a SIGTERM, 129 after a SIGHUP).
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import io
import os
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli import clean, cluster, complete, data, exchange, look, stages, store, studies
from zoo.cli.options import LOOK, Program
from zoo.errors import Interrupted, ZooError
from zoo.progress import listening

__all__ = ["app", "main", "program"]


app = Program(
    name="zoo",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Train a zoo of image classifiers, run a data set through all of them, and read off which"
        " examples are hard, ambiguous or mislabelled."
    ),
)
_state: dict[str, bool] = {"debug": False}
_ended: list[int] = []
"""Exit code of the signal that ends this process, once there was one."""


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version as installed

        print(installed("classifier-zoo"))
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[  # noqa: ARG001 - its callback has printed it
        bool,
        typer.Option(
            "--version", help="Print the version and stop.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    _state["debug"] = debug


for commands in (studies, stages, clean, look, exchange, store, data, cluster):
    commands.register(app)


@app.command("help", rich_help_panel=LOOK, epilog="Example: zoo help data check")
def _help(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND]...",
            autocompletion=complete.commands,
            help="Command to explain. Default: the program, with a list of all.",
        ),
    ] = None,
) -> None:
    """What a command does, its options and an example: the same as COMMAND --help."""
    app([*(words or ()), "--help"], standalone_mode=False, prog_name=ctx.find_root().info_name)


# ---------------------------------------------------------------- entry point


def _on_end(number: int, _frame: object) -> None:
    # Said and noted at once: whoever terminates may not wait for the way out, and libraries on it
    #     turn the exit code into their own.
    _ended.append(128 + number)
    with contextlib.suppress(OSError):  # the terminal may be what has gone
        _say("terminated. Nothing committed is lost; the same command goes on.")
    raise SystemExit(_ended[0])


def main() -> None:
    """Run the command line; turns errors into messages and exit codes."""
    output = _own_streams()
    _own_home()
    signal.signal(signal.SIGTERM, _on_end)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, _on_end)
    code = _run()
    # An output that cannot be written is found out here at the latest: what was printed last is
    # still in memory.
    try:
        output.flush()
        if output.closed_at_start and output.written:
            raise _Unwritten(OSError(errno.EBADF, "it is closed"))
    except _Unwritten as error:
        code = _unwritten(error.cause, code)
    raise SystemExit(_ended[0] if _ended else code)


def program() -> None:
    """``main`` as a process of its own, which ends without the interpreter's teardown.

    What is to be done at the end is done: threads are waited for, what is registered with
    ``atexit`` runs. In the teardown a thread of pyarrow's that gives back a Python object is ended
    by Python, which C++ takes for a failure, and a command that has done its work is aborted with
    exit code 134 (apache/arrow issues 34314, 39862 and 45017; seen of ``zoo data prepare`` with
    pyarrow 26 and Python 3.11, twice in some 200 runs).
    """
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    with contextlib.suppress(SystemExit, KeyboardInterrupt):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(_ended[0] if _ended else code)


class _Unwritten(Exception):
    """Standard output cannot be written. Not an OSError: the files and sockets of a command are
    another matter, and have their own messages."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Output(io.TextIOWrapper):
    """Standard output whose failures are told from all others, and which writes any text in any
    encoding."""

    closed_at_start = False
    written = False

    def write(self, text: str) -> int:
        self.written = True
        try:
            return super().write(text)
        except OSError as error:
            raise _Unwritten(error) from None

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise _Unwritten(error) from None


def _own_streams() -> _Output:
    """Standard streams that can be written to, whatever the caller has closed and whatever their
    encoding lacks."""
    closed = []
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:  # else the next file opened would take its place, and our messages
            closed.append(fd)
            os.open(os.devnull, os.O_RDWR)
    # Our own messages keep a way to the terminal of their own: file descriptor 2 is what Ray's C++
    # side writes to, see zoo.cluster.session.
    encoding = getattr(sys.stderr, "encoding", None)
    sys.stderr = os.fdopen(
        os.dup(2), "w", buffering=1, encoding=encoding, errors="backslashreplace"
    )
    encoding, interactive = getattr(sys.stdout, "encoding", None), os.isatty(1)
    if sys.stdout is not None:
        sys.stdout.flush()
    output = _Output(
        os.fdopen(1, "wb", closefd=False),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=interactive,
    )
    output.closed_at_start = 1 in closed
    sys.stdout = output
    return output


def _unwritten(error: OSError, code: int = 0) -> int:
    """The exit code of a command whose output could not be written."""
    # Python flushes what is left once more at its end; that must find somewhere to go.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if isinstance(error, BrokenPipeError):
        return code  # the reader has seen enough, as with 'zoo ... | head'; nothing to tell it
    _say(
        f"zoo: cannot write to stdout: {error.strerror}. What the command has done is kept; "
        "run it again with its output going elsewhere, such as > FILE."
    )
    return code or 1


def _own_home() -> None:
    """A home folder for this process where the account has none (a container run as an unknown
    user): many libraries cannot do without."""
    try:
        Path.home()
    except RuntimeError:
        with contextlib.suppress(OSError):
            os.environ["HOME"] = folder = tempfile.mkdtemp(prefix="zoo-home-")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _run() -> int:
    try:
        # what is to be known of a data set is said by every command that opens one, once
        with listening(_say):
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
    except _Unwritten as error:
        return _unwritten(error.cause)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except Exception as error:  # noqa: BLE001 - a bug: one line for the user, the traceback with --debug
        _debug()
        _say(
            f"zoo: unexpected {type(error).__name__}: {error}\nThis is a bug in zoo. Show where"
            " with: zoo --debug ..."
        )
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
