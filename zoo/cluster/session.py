"""A quiet Ray session: started when first needed, on this machine or an existing cluster, with one
display: ours."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from zoo.cluster import watch
from zoo.cluster.reach import reach
from zoo.errors import ZooError
from zoo.machine import limits, own_cpus

__all__ = [
    "authenticate_again",
    "ends_well",
    "hush",
    "in_words",
    "known_cause",
    "last_words",
    "longer",
    "session",
]

_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",  # verbose=0 alone still prints Tune's configuration box
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's own makes fit() return as if all were well
    "TUNE_MAX_PENDING_TRIALS_PG": "64",  # workers asked for at once, of nodes and of an autoscaler
    # a trial that lost its worker is tried again; one that cannot is named by zoo
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "OMP_NUM_THREADS": "1",
}
_LOCAL_OBJECT_STORE = 1 << 30
_SECONDS_TO_END = 2.0

_LONGEST_FOLDER = 107 - len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
"""The name of a socket has at most 107 bytes, and Ray's lie so deep below the folder it is
given."""


def hush() -> None:
    """Raise the level of Ray's loggers. Its libraries set their own at import, so this is called
    after each of them too."""
    for name in ("ray", "ray.data", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextlib.contextmanager
def session(
    address: str | None = None, cpus: int | None = None, gpus: int | None = None
) -> Iterator[None]:
    """Connect to the cluster at ``address``, or start one on this machine with ``cpus`` and
    ``gpus`` slots (default: those it may use).

    Raises:
        ZooError: if the cluster cannot be reached or started.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    hush()
    warnings.filterwarnings("ignore", module=r"ray\..*")
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)}
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    with contextlib.ExitStack() as stack:
        diverted: _Diverted | None = None
        try:
            folder = stack.enter_context(_short_folder()) if address is None else None
            if folder is not None:
                stack.enter_context(_own_token())
            diverted = stack.enter_context(_Diverted(folder))
            # A thread of Ray's prints the death of a worker on stdout, where our data goes; nothing
            # of ours prints before the session ends.
            stack.enter_context(
                contextlib.redirect_stdout(stack.enter_context(Path(os.devnull).open("w")))
            )
            import ray

            authenticate_again()
            # Ray puts the current folder on the workers' path, where a file of the user's called
            # torch.py would be taken for torch.
            with _elsewhere(folder or "/"):
                if folder is not None:
                    ray.init(
                        address="local",
                        num_cpus=cpus or own_cpus(),
                        num_gpus=gpus,
                        include_dashboard=False,
                        object_store_memory=_LOCAL_OBJECT_STORE,
                        _temp_dir=folder,
                        **quiet,
                    )
                else:
                    reach(str(address))
                    ray.init(address=address, **quiet)
        except ZooError:
            raise
        # Whatever Ray, the system or its limits raise here: the user cannot have it otherwise, and
        # it is no fault in zoo.
        except Exception as error:
            raise ZooError(
                _cannot_start(address, error, diverted.tail() if diverted else "")
            ) from error
        # Ray puts its own handler in place of the caller's, and its exit code says nothing of
        # SIGTERM. Only the main thread may set one.
        if threading.current_thread() is threading.main_thread():
            for number, before in handlers.items():
                signal.signal(number, _in_time(before, diverted) if callable(before) else before)
        _open.append(diverted)
        try:
            yield
        finally:
            _open.remove(diverted)
            ray.shutdown()


@contextlib.contextmanager
def _own_token() -> Iterator[None]:
    """A token that only this process and its workers know, unless the user has chosen: Ray's ports
    listen on every address of this machine, and left alone it would write a token into the home
    folder. It goes with the session: a cluster's own token counts again afterwards."""
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
    before = {name: os.environ.get(name) for name in names}
    if os.environ.setdefault("RAY_AUTH_MODE", "token") == "token":
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def authenticate_again() -> None:
    """Let Ray read its authentication mode and token anew: it does so once in the life of a
    process, and what an earlier session of the caller's read is not what the next head is told."""
    import ray._raylet

    compiled: Any = ray._raylet
    compiled.Config.initialize("")  # first: a thread that still ends asks by the mode it finds
    compiled.AuthenticationTokenLoader.instance().reset_cache()


_open: list[_Diverted] = []


def ends_well() -> None:
    """This process is about to end, and has said why."""
    for diverted in _open:
        diverted.ends_well()


def _cannot_start(address: str | None, error: Exception, tail: str) -> str:
    said = f"\nThe last of what Ray wrote:\n{tail}" if tail else ""
    if address is not None:
        named = "RAY_ADDRESS" if os.environ.get("RAY_ADDRESS") == address else "--address"
        return (
            f"cannot reach the Ray cluster at {address!r}: {in_words(error)}. Check {named}, or run"
            " without a cluster: --runner local, or"
            f" {'unset RAY_ADDRESS' if named == 'RAY_ADDRESS' else 'leave --address out'} for a"
            f" session on this machine.{said}"
        )
    bounds = (
        f" This process is limited to {limits()}; Ray takes several GB of address space and some"
        " hundred threads."
        if limits()
        else ""
    )
    return (
        f"cannot start Ray on this machine: {in_words(error)}.{bounds} Run without Ray: --runner"
        f" local.{said}"
    )


def in_words(error: BaseException) -> str:
    """The first line of what an error says, with its kind where that says more."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    name = type(error).__name__
    text = (
        lines[0].rstrip(".")
        if lines
        else "no more memory"
        if isinstance(error, MemoryError)
        else ""
    )
    return text if isinstance(error, ZooError) else f"{name}: {text}" if text else name


def known_cause(error: BaseException | None) -> ZooError | None:
    """The error of ours that a worker raised, inside whatever Ray has wrapped around it."""
    for _ in range(8):
        if error is None or isinstance(error, ZooError):
            return error
        error = getattr(error, "cause", None) or error.__cause__
    return None


def last_words(error: BaseException) -> str:
    """The last line of an error that carries a worker's traceback: there its own error stands."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__


def _in_time(
    handler: Callable[[int, FrameType | None], object], diverted: _Diverted
) -> Callable[[int, FrameType | None], object]:
    """A handler whose SystemExit is kept, whatever happens on the way out.

    Where a whole group is terminated (systemd, Slurm), Ray's own processes die first, and its
    driver side then aborts or waits for them.
    """

    def on_signal(number: int, frame: FrameType | None) -> object:
        try:
            return handler(number, frame)
        except SystemExit as stop:
            diverted.ends_well()
            _end_within(_SECONDS_TO_END, stop.code)
            raise

    return on_signal


_end: list[tuple[threading.Timer, object]] = []


def _end_within(seconds: float, code: object) -> None:
    """This process ends with a code in so many seconds, wherever it is then."""
    while _end:
        _end.pop()[0].cancel()
    timer = threading.Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()
    _end.append((timer, code))


def longer(seconds: float) -> None:
    """Where this process was told to end: it may take so many seconds more, for workers that save
    what they have."""
    if _end:
        _end_within(seconds, _end[0][1])


# ---------------------------------------------------------------- where it runs


@contextlib.contextmanager
def _short_folder() -> Iterator[str]:
    """A new folder of our own for Ray's sockets and logs, with a path short enough for a socket;
    gone afterwards.

    Raises:
        ZooError: if there is no place for one.
    """
    tried = []
    for place in dict.fromkeys(
        filter(None, (os.environ.get("RAY_TMPDIR"), _temporary(), "/tmp", "/var/tmp", "/dev/shm"))  # noqa: S108
    ):
        path = Path(place).absolute()
        if len(os.fsencode(path)) + len("/zoo-12345678") > _LONGEST_FOLDER:
            tried.append(f"{place} (too long)")
            continue
        try:
            folder = tempfile.mkdtemp(prefix="zoo-", dir=path)
        except OSError as error:
            tried.append(f"{place} ({error.strerror or error})")
            continue
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    raise ZooError(
        "Ray needs a folder for its sockets that can be written, with a path of at most"
        f" {_LONGEST_FOLDER - len('/zoo-12345678')} bytes. Tried: {', '.join(tried)}. Name one with"
        " TMPDIR, or run without Ray: --runner local."
    )


def _temporary() -> str | None:
    try:
        return tempfile.gettempdir()
    except OSError:
        return None


@contextlib.contextmanager
def _elsewhere(folder: str) -> Iterator[None]:
    """Another current folder for a while; back afterwards, unless the old one is gone."""
    try:
        before = os.open(".", os.O_RDONLY)
    except OSError:
        before = None
    os.chdir(folder)
    try:
        yield
    finally:
        if before is not None:
            with contextlib.suppress(OSError):
                os.fchdir(before)
            os.close(before)


# ---------------------------------------------------------------- what Ray writes


class _Diverted:
    """Sends file descriptor 2 to a scratch file, where ``sys.stderr`` has another way out
    (``zoo.cli.main.main`` gives it one).

    Ray's C++ side writes log lines, and stack traces on SIGTERM, straight to the descriptor, past
    every Python setting. It also ends this process where it cannot go on, and then nothing of ours
    runs any more: a process beside it waits for that, and shows the last lines.
    """

    def __init__(self, folder: str | None) -> None:
        """``folder``: removed if this process cannot do it any more."""
        self._folder = folder or ""
        self._scratch: int | None = None
        self._before: int | None = None
        self._watch: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Diverted:
        try:
            own = sys.stderr.fileno()
        except (OSError, ValueError, AttributeError):
            own = 2
        if own != 2:
            # In memory where the system can: a place for files may be just what is missing.
            self._scratch = (
                os.memfd_create("zoo-stderr") if hasattr(os, "memfd_create") else _unnamed_file()
            )
            bounds = f" It was limited to {limits()}." if limits() else ""
            words = (
                f"zoo: the process ended without a word of its own.{bounds} What is committed is"
                " kept, and the same command goes on; --runner local does without Ray. The last of"
                " what Ray wrote:"
            )
            self._watch = subprocess.Popen(  # noqa: S603 - this interpreter, and a file of ours
                [
                    sys.executable,
                    "-I",
                    "-S",
                    watch.__file__,
                    str(self._scratch),
                    self._folder,
                    words,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=own,
                pass_fds=(self._scratch,),
                start_new_session=True,
            )
            self._before = os.dup(2)
            os.dup2(self._scratch, 2)
        return self

    def tail(self) -> str:
        """The last lines written so far."""
        return "" if self._scratch is None else watch.tail(self._scratch)

    def ends_well(self) -> None:
        """This process says itself what became of it: whatever happens now, nothing is to be
        shown."""
        if (
            self._watch is not None
            and self._watch.stdin is not None
            and not self._watch.stdin.closed
        ):
            with contextlib.suppress(OSError):
                self._watch.stdin.write(b".")
                self._watch.stdin.close()

    def __exit__(self, *_: object) -> None:
        if self._before is not None and self._scratch is not None and self._watch is not None:
            os.dup2(self._before, 2)
            os.close(self._before)
            os.close(self._scratch)
            self._scratch = None
            self.ends_well()
            self._watch.wait()


def _unnamed_file() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
