"""A command that is told to end says so, and ends with the code of the signal."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_is_answered_with_its_code(number: int, code: int) -> None:
    """From inside a command, as if from outside: one sentence, no traceback."""
    program = f"""
        import os, signal, sys
        from zoo.cli import main as program
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        program._run = lambda run=program._run: (os.kill(os.getpid(), {int(number)}), run())[1]
        sys.argv = ["zoo", "--version"]
        try:
            program.main()
        except KeyboardInterrupt:
            raise SystemExit(program._interrupted())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done
    assert "Nothing committed is lost" in done.stderr
    assert "Traceback" not in done.stderr


def test_who_ignores_a_hang_up_goes_on() -> None:
    """``nohup zoo ...``: the signal stays ignored."""
    program = """
        import os, signal, sys
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        from zoo.cli import main as program
        program._run = lambda run=program._run: (os.kill(os.getpid(), 1), run())[1]
        sys.argv = ["zoo", "--version"]
        program.main()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
    assert done.stderr == ""
