"""Workers of a fill that hang: which are taken for hanging. (On Ray: ``test_fill_ray.py``.)"""

from __future__ import annotations

import signal
import subprocess
import sys

from tests.commands import born
from zoo.cluster.pulse import Process, Pulses


def test_a_worker_that_says_nothing_is_named_once() -> None:
    """Of three, one is silent for more than 120 s, one speaks meanwhile, one is not ready and may
    take 600 s. Started again it is watched anew."""
    now = [0.0]
    pulses = Pulses(120.0, 600.0, lambda: now[0])
    hangs, works, starts = (Process("node", pid, "1") for pid in (1, 2, 3))
    for worker in (hangs, works):
        pulses.beat(worker, ready=True)
    pulses.beat(starts, ready=False)
    now[0] = 119.0
    pulses.beat(works, ready=True)
    assert pulses.silent() == []
    now[0] = 121.0
    assert pulses.silent() == [hangs]
    assert pulses.silent() == []
    pulses.beat(Process("node", 4, "2"), ready=True)
    now[0] = 601.0
    assert pulses.silent() == [works, starts, Process("node", 4, "2")]


def test_a_process_that_has_nothing_more_to_do_may_be_silent() -> None:
    """Whoever has decoded its block and left is not missed; who begins again is watched again."""
    now = [0.0]
    pulses, decodes = Pulses(120.0, 600.0, lambda: now[0]), Process("node", 1, "1")
    pulses.beat(decodes, ready=True)
    pulses.leave(decodes)
    pulses.leave(decodes)
    now[0] = 1000.0
    assert pulses.silent() == []
    pulses.beat(decodes, ready=True)
    now[0] = 1121.0
    assert pulses.silent() == [decodes]


def test_all_workers_together_say_so_at_most_forty_times_a_second() -> None:
    """One every 5 s; of a thousand each every 25 s; of ten thousand each every 250 s, and none of
    these is taken for hanging before it has missed three."""
    now = [0.0]
    pulses = Pulses(120.0, 600.0, lambda: now[0])
    workers = [Process("node", pid, "") for pid in range(10_000)]
    periods = [pulses.beat(worker, ready=True) for worker in workers]
    assert (periods[0], periods[999], periods[-1]) == (5.0, 25.0, 250.0)
    now[0] = 749.0
    assert workers[-1] not in pulses.silent()


def test_only_the_process_that_was_meant_is_ended() -> None:
    """One that stands still ends; another one that has its pid, by its time of birth, does not."""
    line = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(line, stdin=subprocess.PIPE) as process:
        process.send_signal(signal.SIGSTOP)
        Process("", process.pid, "1").end()
        Process("", process.pid, "").end()
        assert born(process.pid)
        Process("", process.pid, born(process.pid)).end()
        assert process.wait() == -signal.SIGKILL
