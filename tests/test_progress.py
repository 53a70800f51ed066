"""The one progress display: lines where there is no terminal, a bar with the time left on one,
nothing where none is wanted."""

from __future__ import annotations

import io
import os
import pty
import re
import threading

import pytest

from zoo import progress
from zoo.progress import Progress, counted, duration


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The display's own clock, moved by hand."""
    mine = Clock()
    monkeypatch.setattr(progress, "time", mine)
    return mine


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (75, "1m15s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (5430, "1h30m"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    """Seconds below a minute, minutes and seconds below an hour, then hours and minutes."""
    assert duration(seconds) == text


def test_plain_lines_name_stage_share_time_left_and_note(clock: Clock) -> None:
    """Without a terminal: a line at the start, one at most every 15 s, one at the end, no escape
    codes."""
    stream = io.StringIO()
    shown = Progress(stream)
    with shown.stage("training", 100) as bar:
        clock.now += 10
        bar.advance(20, "1 of 4 begun")  # too early for a line; the rate counts from here
        clock.now += 10
        bar.advance(20, "2 of 4 begun")  # 20 s: 20 units in 10 s, 60 left = 30 s
        clock.now += 5
        bar.advance(10, "3 of 4 begun")  # 5 s after the last line: none
        clock.now += 15
        bar.advance(50, "4 of 4 begun")  # all done
    assert stream.getvalue().splitlines() == [
        "training ...",
        "training:  40%, 30s left, 2 of 4 begun",
        "training: 100%, 0s left, 4 of 4 begun",
        "training: 4 of 4 begun, 40s",
    ]


def test_what_was_waited_for_is_not_said_once_work_is_done(clock: Clock) -> None:
    """A note of work that has not begun ends with the first progress, though that brings none."""
    stream = io.StringIO()
    with Progress(stream).stage("fill", 10) as bar:
        clock.now += 20
        bar.note("waiting for the first worker")
        clock.now += 20
        bar.advance(4)
    assert stream.getvalue().splitlines()[1:3] == [
        "fill: waiting for the first worker",
        "fill:  40%",
    ]


def test_slow_workers_at_the_start_do_not_spoil_the_time_left(clock: Clock) -> None:
    """60 s until the first unit, then one a second: of 99 units, 9 seconds after the first, 89 s
    are left and not eleven minutes."""
    with Progress(io.StringIO()).stage("fill", 99) as bar:
        assert bar.remaining is None
        clock.now += 60
        bar.advance(1)
        assert bar.remaining is None
        clock.now += 9
        bar.advance(9)
        assert bar.remaining == 89


def test_work_done_beyond_the_plan_is_not_more_than_all(clock: Clock) -> None:
    """A retried piece counts twice, yet a stage never shows more than 100 %."""
    with Progress(io.StringIO()).stage("fill", 10) as bar:
        bar.advance(8)
        bar.advance(8)
        assert bar.done == 10


def test_timings_add_up_by_stage(clock: Clock) -> None:
    """A stage entered twice, 3 s and 4 s, took 7 s."""
    shown = Progress(io.StringIO())
    for seconds in (3, 4):
        with shown.stage("fill"):
            clock.now += seconds
    assert shown.timings == {"fill": 7.0}


def test_quiet_shows_nothing_and_still_counts(clock: Clock) -> None:
    """``quiet``: not a byte, the timings all the same."""
    stream = io.StringIO()
    shown = Progress(stream, quiet=True)
    with shown.stage("evaluation", 2) as bar:
        clock.now += 20
        bar.advance(1, "half")
    shown.say("a word")
    assert stream.getvalue() == ""
    assert shown.timings == {"evaluation": 20.0}


def test_a_stage_that_fails_leaves_no_closing_line() -> None:
    """An error inside a stage passes through; the stage does not claim to have ended."""
    stream = io.StringIO()
    with pytest.raises(ValueError, match="broken"), Progress(stream).stage("fill"):
        raise ValueError("broken")
    assert stream.getvalue() == "fill ...\n"


def on_terminal(show: bool, clock: Clock) -> str:
    """What a terminal receives from one stage that is half done for a moment: 3 of 10 units, then 2
    more in 10 s."""
    primary, secondary = pty.openpty()
    received: list[bytes] = []

    def read() -> None:
        # Linux ends a terminal whose other side was closed with an error.
        try:
            while data := os.read(primary, 4096):
                received.append(data)
        except OSError:
            pass

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(secondary, "w") as stream:
        shown = Progress(stream, quiet=not show)
        with shown.stage("training", 10) as bar:
            bar.note("waiting for the first worker")
            if show:
                shown._bars.refresh()
            bar.advance(3)
            clock.now += 10
            bar.advance(2, "1 of 2 trainings begun")
            if show:
                shown._bars.refresh()
    reader.join()
    os.close(primary)
    return b"".join(received).decode()


def test_a_terminal_gets_a_bar_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """On a terminal: first what is waited for, with no share and no time left; then stage, share,
    time left and note; one line stays."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    text = on_terminal(show=True, clock=clock)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    waiting, working = (
        next(line for line in re.split(r"[\r\n]+", plain) if what in line)
        for what in ("waiting for", "1 of 2")
    )
    assert "%" not in waiting
    assert "left" not in waiting
    # 2 units in 10 s, 5 are left: 25 s.
    assert re.search(r"^training .* 50% .* 25s left +1 of 2 trainings begun", working)
    # the cursor is hidden and shown again
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1
    assert "\x1b[2K" in text  # the bar's line is erased ...
    # ... and this is all that stands
    assert plain.splitlines()[-1] == "training: 1 of 2 trainings begun, 10s"


def test_a_quiet_terminal_gets_nothing(clock: Clock) -> None:
    """Twin: the same stage without a display sends no byte."""
    assert on_terminal(show=False, clock=clock) == ""


def test_a_stage_of_unknown_length_claims_no_share_and_no_time_left(clock: Clock) -> None:
    """Starting something: how far it is nobody knows, and so no line says it, however long it
    takes."""
    stream = io.StringIO()
    shown = Progress(stream)
    with shown.stage("starting Ray", None) as bar:
        clock.now += 20
        bar.note("70 s so far")
        bar.advance(1)
        assert bar.remaining is None
    assert stream.getvalue().splitlines() == [
        "starting Ray ...",
        "starting Ray: 70 s so far",
        "starting Ray: 70 s so far, 20s",
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 trainings"), (1, "1 training"), (2, "2 trainings"), (2000, "2,000 trainings")],
)
def test_one_is_not_a_plural(count: int, text: str) -> None:
    assert counted(count, "training") == text
