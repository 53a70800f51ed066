"""How many workers Tune is asked for, without a session."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from zoo.cluster.queue import State
from zoo.cluster.sweep import _Driver, _Trials


class Told(_Driver):
    """A driver whose queue says what it is told to say."""

    wanted = 2

    def ask(self, method: str, *arguments: Any) -> Any:
        if method == "state":
            return State(settled=False, wanted=self.wanted, busy=0, epochs={}, lines=[])
        return None


def driver() -> Told:
    nodes: Any = SimpleNamespace(for_queue=lambda: (), worked=lambda: None)
    return Told(None, nodes, lambda *_: None)


def test_no_worker_is_started_for_work_that_has_just_ended() -> None:
    """Of two workers one ends, and nothing is left for another: the queue is asked at once."""
    told = driver()
    trials = _Trials(told)
    assert [trials.suggest(name) for name in "abc"] == [{}, {}, None]
    told.wanted = 1
    trials.on_trial_complete("a")
    assert trials.suggest("d") is None


def test_a_worker_that_ended_early_is_replaced() -> None:
    """The same, while there is work for two."""
    trials = _Trials(driver())
    assert [trials.suggest(name) for name in "ab"] == [{}, {}]
    trials.on_trial_complete("a")
    assert trials.suggest("d") == {}
