"""A quiet Ray session: started when first needed, on this machine or an existing cluster, with one display: ours."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from zoo.errors import ZooError

__all__ = ["hush", "session"]

_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",  # verbose=0 alone still prints Tune's configuration box
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's own makes fit() return as if all were well
    "TUNE_MAX_PENDING_TRIALS_PG": "16",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a trial that lost its worker is tried again; one that cannot is named by zoo
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "OMP_NUM_THREADS": "1",
}
_LOCAL_OBJECT_STORE = 1 << 30
_SECONDS_TO_END = 2.0


def hush() -> None:
    """Raise the level of Ray's loggers. Its libraries set their own at import, so this is called after each of them too."""
    for name in ("ray", "ray.data", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextlib.contextmanager
def session(address: str | None = None, cpus: int | None = None) -> Iterator[None]:
    """Connect to the cluster at ``address``, or start one on this machine with ``cpus`` slots (default: its cores).

    Raises:
        ZooError: if the cluster cannot be reached or started.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    # Ray's ports listen on every address of this machine, so a local session asks for a token too: one of its own, that only this process and
    # its workers know. (Left alone, Ray would write one into the home folder.) Ray reads it once, hence one for the life of the process.
    if address is None and os.environ.setdefault("RAY_AUTH_MODE", "token") == "token":
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    hush()
    warnings.filterwarnings("ignore", module=r"ray\..*")
    import ray

    stack = contextlib.ExitStack()
    stack.enter_context(_diverted_stderr())
    # A thread of Ray's prints the death of a worker on stdout, where our data goes; nothing of ours prints before the session ends.
    stack.enter_context(contextlib.redirect_stdout(stack.enter_context(Path(os.devnull).open("w"))))  # noqa: SIM115
    terminate = signal.getsignal(signal.SIGTERM)
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    try:
        if address is None:
            ray.init(
                address="local", num_cpus=cpus or os.cpu_count(), include_dashboard=False, object_store_memory=_LOCAL_OBJECT_STORE, **quiet
            )
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        stack.close()
        where = f"the Ray cluster at {address!r}" if address else "Ray on this machine"
        raise ZooError(f"cannot reach {where}: {error}. Check --address, or run without a cluster: --runner local.") from error
    # Ray puts its own handler in place of the caller's, and its exit code says nothing of SIGTERM. Only the main thread may set one.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _in_time(terminate) if callable(terminate) else terminate)
    try:
        yield
    finally:
        ray.shutdown()
        stack.close()


def _in_time(handler: Callable[[int, FrameType | None], object]) -> Callable[[int, FrameType | None], object]:
    """A handler whose SystemExit is kept, whatever happens on the way out.

    Where a whole group is terminated (systemd, Slurm), Ray's own processes die first, and its driver side then aborts or waits for them.
    """

    def on_signal(number: int, frame: FrameType | None) -> object:
        try:
            return handler(number, frame)
        except SystemExit as stop:
            last = threading.Timer(_SECONDS_TO_END, os._exit, (stop.code,))
            last.daemon = True
            last.start()
            raise

    return on_signal


@contextlib.contextmanager
def _diverted_stderr() -> Iterator[None]:
    """Send file descriptor 2 to a scratch file, where ``sys.stderr`` has another way out (``zoo.cli.main.main`` gives it one).

    Ray's C++ side writes log lines, and stack traces on SIGTERM, straight to the descriptor, past every Python setting.
    """
    try:
        own = sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        own = 2
    if own == 2:
        yield
        return
    before = os.dup(2)
    with tempfile.TemporaryFile() as scratch:
        os.dup2(scratch.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
