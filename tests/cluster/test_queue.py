"""The queue of a sweep, without Ray: how batches are formed, and what becomes of trainings whose
worker or host fails."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from zoo.cluster.queue import END, WAIT, Queue, batch_size, of_the_host
from zoo.spec import DatasetRef, Recipe, Sweep, Training
from zoo.training.alike import kind
from zoo.training.rule import Whole

DATA = "DataError: no data set 'mine' here"


def sweep(archs: Sequence[str] = ("mlp",), seeds: int = 1) -> list[Training]:
    data = DatasetRef(uri="fashion-mini", fingerprint="0" * 16)
    return list(
        Sweep(archs=tuple(archs), recipe=Recipe(epochs=1), seeds=tuple(range(seeds))).expand(data)
    )


class Made:
    """A queue with its surroundings: states and commits by hand, a clock that is set, failures as
    they are written down."""

    def __init__(self, jobs: list[Training], hosts: str = "AB", **costs: float) -> None:
        self.jobs, self.now = jobs, 0.0
        self.states: dict[str, str | None] = {}
        self.failed: dict[str, str] = {}
        self.queue = Queue(
            jobs,
            {job.id: costs.get(job.arch, 1.0) for job in jobs},
            lambda name: self.states.get(name, ""),
            lambda name, reason, details: self.failed.update({name: reason}),
            lambda: self.now,
        )
        self.hosts(hosts)

    def hosts(self, there: str, draining: str = "", cleared: str | None = None) -> None:
        names = {name: f"host-{name}" for name in there}
        self.queue.nodes(names, there if cleared is None else cleared, draining, len(there))

    def take(self, worker: str, host: str) -> list[str] | str:
        """Ids of the next batch, or what the worker is told instead."""
        given = self.queue.next(worker, host)
        return given if isinstance(given, str) else [job.id for job in given]

    def work(self, worker: str, host: str, bad: str = "", reason: str = DATA) -> int:
        """Take batches until there are none, each done at once; on a bad host each fails. Returns
        how many were taken."""
        taken = 0
        while isinstance(given := self.take(worker, host), list):
            taken += len(given)
            self.queue.back(worker, dict.fromkeys(given, reason) if host in bad else {}, [])
        return taken


# ---------------------------------------------------------------- batches


def test_a_worker_is_told_what_was_declared() -> None:
    """Of a kind that nobody said anything about, nothing: what the worker is given is then all."""
    jobs, whole = sweep(["mlp", "softmax"]), Whole(40, 60_000)
    said = {kind(jobs[0]): whole}
    queue = Queue(jobs, {job.id: 1.0 for job in jobs}, lambda _: "", lambda *_: None, wholes=said)
    assert [queue.declared(kind(job)) for job in jobs] == [whole, None]


@pytest.mark.parametrize(
    ("costs", "left", "workers", "count"),
    [
        ([1.0] * 40, 40.0, 1, 16),  # no more than 16
        ([1.0] * 40, 40.0, 4, 10),  # a share each
        ([1.0] * 3, 3.0, 4, 1),
        ([100.0] * 8, 800.0, 2, 3),  # a share of 400 s: half of it, or 300 s
        ([7200.0] * 3, 21600.0, 1, 1),  # half of a share of 6 h
        ([9.0, 9.0, 2.0], 20.0, 1, 3),
    ],
)
def test_a_batch_is_a_share_of_what_is_left(
    costs: list[float], left: float, workers: int, count: int
) -> None:
    assert batch_size(costs, left, workers, 16) == count


@pytest.mark.parametrize(
    ("arch", "features", "on_cpu", "count"),
    [
        ("lenet5", None, True, 16),
        ("lenet5", None, False, 32),
        ("head_softmax", "hog-1", True, 256),
    ],
)
def test_a_batch_is_as_many_as_a_trainer_holds_at_once(
    arch: str, features: str | None, on_cpu: bool, count: int
) -> None:
    """Of 300 alike for one worker: 16 lanes on a CPU, 32 stacked on a GPU, heads 256."""
    jobs = [job.replace(features=features) for job in sweep([arch], 300)]
    queue = Queue(
        jobs, {job.id: 1e-3 for job in jobs}, lambda _: "", lambda *_: None, on_cpu=on_cpu
    )
    queue.nodes({"A": "host-A"}, "A", "", 1)
    assert len(queue.next("A:1", "A")) == count


def test_a_worker_whose_lane_is_free_gets_one_more_of_its_kind() -> None:
    """Of 18 lenet5 and an mlp, 16 go out; then two more, one by one, and no mlp; all 18 are the
    worker's, come back when it is lost, and go out again. Twins: who has nothing gets nothing."""
    jobs = sweep(["lenet5"], 18) + sweep(["mlp"])
    made = Made(jobs, "A", lenet5=1e-3, mlp=1e-4)
    assert made.queue.more("A:1") is None
    first = made.take("A:1", "A")
    made.hosts("AB")
    assert len(first) == 16
    added = [made.queue.more("A:1") for _ in range(3)]
    assert added[2] is None
    names = {job.id for job in added if job is not None}
    assert len(names) == 2
    assert {*first, *names} == {job.id for job in jobs[:18]}
    assert made.take("B:1", "B") == [jobs[18].id]
    made.queue.lost("A:1")
    assert made.work("B:2", "B") == 18
    assert made.failed == {}


@pytest.mark.parametrize("how", ["stopped", "draining", "failed here", "lost twice"])
def test_nothing_more_goes_where_no_batch_would(how: str) -> None:
    """A sweep that stops, a node about to go; a training that failed on this host, or lost its
    worker twice (it goes out alone)."""
    jobs = sweep(["lenet5"], 17)
    made = Made(jobs, "A", lenet5=1e-3)
    given = made.take("A:1", "A")
    made.hosts("AB")
    (last,) = {job.id for job in jobs} - {*given}
    if how == "stopped":
        made.queue.stop()
    elif how == "draining":
        made.hosts("AB", draining="A")
    elif how == "failed here":
        made.take("A:2", "A")
        made.queue.back("A:2", {last: DATA}, [])
    else:
        for worker in ("B:1", "B:2"):
            assert made.take(worker, "B") == [last]
            made.queue.lost(worker)
    assert made.queue.more("A:1") is None


def test_a_batch_is_of_one_kind_and_the_dearest_comes_first() -> None:
    """Two workers, four lenet5 of 9 s and four mlp of 1 s: 40 s, a share of 20; two lenet5 each,
    then the mlp."""
    made = Made(sweep(("mlp", "lenet5"), 4), mlp=1.0, lenet5=9.0)
    arch = {job.id: job.arch for job in made.jobs}
    batches = [made.take(worker, "A") for worker in ("t1", "t2", "t3")]
    assert [[arch[name] for name in batch] for batch in batches] == [
        ["lenet5", "lenet5"],
        ["lenet5"],
        ["lenet5"],
    ]


def test_every_training_goes_out_once_whoever_asks() -> None:
    """100 trainings, three workers that come one after the other, the last when half is done: each
    is taken once, and then there is no more."""
    made = Made(sweep(seeds=100), "ABC")
    taken: list[str] = []
    workers = [("t1", "A"), ("t2", "B")]
    while workers:
        for worker, host in list(workers):
            given = made.take(worker, host)
            if given == END:
                workers.remove((worker, host))
                continue
            assert isinstance(given, list)
            taken += given
            made.queue.back(worker, {}, [])
        if 40 < len(taken) < 100 and len(workers) == 2:
            workers.append(("t3", "C"))
    assert sorted(taken) == sorted(job.id for job in made.jobs)
    assert made.queue.state().settled
    assert made.failed == {}


def test_more_slots_ask_for_more_workers() -> None:
    """12 trainings of 1 s: one slot wants one worker and, for 12 s of work, one more; four slots
    want four. Twin: with one training left there is work for one."""
    made = Made(sweep(seeds=12), "A")
    assert made.queue.state().wanted == 2
    made.hosts("ABCD")
    assert made.queue.state().wanted == 4
    assert Made(sweep(), "ABCD").queue.state().wanted == 1


# ---------------------------------------------------------------- losses


def test_a_lost_worker_s_trainings_go_out_again() -> None:
    """Of two, one was committed before the worker was lost: the other one goes out again."""
    made = Made(sweep(seeds=2), "A")
    first = made.take("t1:x", "A")
    assert len(first) == 2
    made.states[first[0]] = None  # type: ignore[index]
    made.queue.lost("t1")
    assert made.take("t1:y", "A") == [first[1]]
    assert made.queue.tell("t1:x", {}).stop  # should it still live, it stops
    assert not made.queue.tell("t1:y", {}).stop


def test_what_a_worker_says_may_arrive_twice() -> None:
    """Its messages are sent again where the answer was lost. Asked again, the queue gives the same
    batch, and no training counts as lost; a failure of the host that is told twice counts once."""
    made = Made(sweep(seeds=6))
    given = made.take("t1", "A")
    assert [made.take("t1", "A") for _ in range(4)] == [given] * 4
    other = made.take("t2", "B")
    assert isinstance(other, list)
    for _ in range(2):
        made.queue.broke("t1", "StoreError: no space")
    for _ in range(2):
        made.queue.back("t2", {}, [])
    assert isinstance(made.take("t1", "A"), list)  # not left out: one failure
    made.queue.lost("t1")
    made.queue.lost("t1")
    assert made.work("t2", "B") == 6 - len(other)
    assert made.failed == {}


def test_a_training_that_gets_on_is_never_given_up() -> None:
    """Six losses with a new state before each: it goes out a seventh time."""
    made = Made(sweep(), "A")
    (job,) = made.jobs
    for count in range(6):
        assert made.take(f"t{count}", "A") == [job.id]
        made.states[job.id] = f"e{count:04d}"
        made.queue.lost(f"t{count}")
    assert made.take("t7", "A") == [job.id]
    assert made.failed == {}


def test_a_training_is_failed_after_three_losses_without_a_new_state() -> None:
    """Twin: it moved once, then stood still three times; the reason names the host."""
    made = Made(sweep(), "A")
    (job,) = made.jobs
    for count, state in enumerate(("", "e0001", "e0001", "e0001")):
        assert made.take(f"t{count}", "A") == [job.id]
        made.states[job.id] = state
        made.queue.lost(f"t{count}")
    assert made.take("t9", "A") == END
    assert made.failed == {
        job.id: "its worker was lost 3 times without a new state between them, the last time on"
        " host-A"
    }
    assert made.queue.state().settled


def test_what_takes_its_worker_along_takes_no_other_training_with_it() -> None:
    """One of eight kills every worker that has it: it alone is failed, the others are done."""
    made = Made(sweep(seeds=8), "A")
    poison, done = made.jobs[3].id, set()
    for count in range(40):
        given = made.take(f"t{count}", "A")
        if given == END:
            break
        if poison in given:
            made.queue.lost(f"t{count}")
        else:
            done |= set(given)
            made.queue.back(f"t{count}", {}, [])
    assert made.failed.keys() == {poison}
    assert done == {job.id for job in made.jobs} - {poison}


def test_a_worker_that_says_nothing_is_taken_for_lost() -> None:
    """Stopped or cut off, while Ray has noticed nothing: after two minutes its training is
    another's."""
    made = Made(sweep(), "AB")
    (job,) = made.jobs
    assert made.take("t1", "A") == [job.id]
    made.now = 119.0
    assert made.queue.state().lines == []
    made.now = 121.0
    assert "host-A has said nothing" in made.queue.state().lines[0]
    assert made.take("t2", "B") == [job.id]


def test_the_trial_of_a_silent_worker_is_named_once() -> None:
    """Ray takes it for alive, so that nobody else would end it and start another one: the only
    worker of a sweep would be waited for for ever. Twins: one that works and talks, and one that
    waits for work and talks."""
    made = Made(sweep(seeds=2), "A")
    for worker in ("t1:x", "t2:y", "t3:z"):
        made.take(worker, "A")
    made.now = 100.0
    for worker in ("t2:y", "t3:z"):
        made.queue.tell(worker, {})
    assert made.queue.state().silent == []
    made.now = 121.0
    assert made.queue.state().silent == ["t1"]
    assert made.queue.state().silent == []


def test_a_worker_that_never_asks_for_work_is_named() -> None:
    """Ten minutes after its trial began. Twins: one that has asked, one that was lost before."""
    made = Made(sweep(seeds=3), "A")
    for trial in ("t1", "t2", "t3"):
        made.queue.started(trial)
    made.take("t2:x", "A")
    made.queue.lost("t3")
    made.now = 599.0
    made.queue.tell("t2:x", {})
    assert made.queue.state().silent == []
    made.now = 601.0
    state = made.queue.state()
    assert state.silent == ["t1"]
    assert state.lines == [
        "a worker has not asked for work within 600 s of its start; another one is started for it."
    ]


def test_a_worker_on_a_node_that_has_gone_is_lost() -> None:
    made = Made(sweep(), "AB")
    (job,) = made.jobs
    assert made.take("t1", "A") == [job.id]
    made.hosts("B")
    assert made.take("t2", "B") == [job.id]


# ---------------------------------------------------------------- hosts


@pytest.mark.parametrize(
    ("reason", "host"),
    [
        (DATA, True),
        ("StoreError: cannot write /space", True),
        ("FileNotFoundError: x", True),
        ("PermissionError: x", True),
        ("RuntimeError: CUDA error: out of memory", True),
        ("ImportError: libcudart.so", True),
        ("RuntimeError: shapes do not fit", False),
        ("ValueError: 3", False),
        ("UsageError: augment", False),
        ("KeyError: 'a'", False),
    ],
)
def test_failures_of_the_host_are_told_from_the_training_s_own(reason: str, *, host: bool) -> None:
    assert of_the_host(reason) is host


def test_a_host_without_the_data_is_left_out_and_fails_nothing() -> None:
    """60 short trainings, three hosts, one of them without the data: 60 done elsewhere, the host
    named with its cause."""
    made = Made(sweep(seeds=60), "ABC")
    done, waits = 0, 0
    for _ in range(60):
        for worker, host in (("t1", "A"), ("t2", "B"), ("t3", "C")):
            given = made.take(worker, host)
            waits += given == WAIT
            if isinstance(given, list):
                bad = host == "B"
                made.queue.back(worker, dict.fromkeys(given, DATA) if bad else {}, [])
                done += 0 if bad else len(given)
    assert (done, made.failed) == (60, {})
    assert waits > 0
    state = made.queue.state()
    assert state.settled
    assert state.lines == [f"host host-B gets no more trainings while others do better: {DATA}"]


def test_where_no_host_does_better_the_trainings_fail_and_name_one() -> None:
    """Twin: both hosts lack the data; each training was tried on both."""
    made = Made(sweep(seeds=4), "AB")
    for _ in range(8):
        for worker, host in (("t1", "A"), ("t2", "B")):
            given = made.take(worker, host)
            if isinstance(given, list):
                made.queue.back(worker, dict.fromkeys(given, DATA), [])
    assert made.queue.state().settled
    assert len(made.failed) == 4
    assert set(made.failed.values()) <= {f"{DATA} (on host-{name})" for name in "AB"}


def test_one_machine_alone_fails_what_it_cannot_do_and_goes_on() -> None:
    """Two of six fail for their data, one after the other: the others are done all the same."""
    made = Made(sweep(seeds=6), "A")
    bad, done = {made.jobs[0].id, made.jobs[1].id}, set()
    while isinstance(given := made.take("t1", "A"), list):
        made.queue.back("t1", {name: DATA for name in given if name in bad}, [])
        done |= set(given) - bad
    assert given == WAIT
    assert made.queue.state().settled
    assert made.failed == dict.fromkeys(bad, DATA)
    assert len(done) == 4


def test_a_training_s_own_failure_is_no_host_s() -> None:
    """Three ValueErrors in a row: settled as they are, and the host gets the next one."""
    made = Made(sweep(("mlp", "lenet5", "softmax", "nin_mini")), "AB")
    for _ in range(3):
        given = made.take("t1", "A")
        made.queue.back("t1", dict.fromkeys(given, "ValueError: its own"), [])
    assert len(made.take("t1", "A")) == 1
    assert made.queue.state().lines == []


def test_a_worker_that_cannot_begin_anywhere_ends_the_sweep_with_its_reason() -> None:
    """Twice on the only host: all have failed, with the error that was raised before the loop."""
    made = Made(sweep(seeds=3), "A")
    for _ in range(2):
        made.take("t1", "A")
        made.queue.broke("t1", "ImportError: this torch is broken", "traceback")
    made.take("t1", "A")
    made.queue.broke("t1", "ImportError: this torch is broken", "traceback")
    state = made.queue.state()
    assert state.settled
    assert state.hopeless == "ImportError: this torch is broken"
    assert set(made.failed.values()) == {"ImportError: this torch is broken"}
    assert len(made.failed) == 3


def test_a_node_gets_work_once_it_is_cleared() -> None:
    """A node the driver does not know yet, then one that is not probed, then one that is."""
    made = Made(sweep(), "A")
    assert made.take("t1", "B") == WAIT
    made.hosts("AB", cleared="A")
    assert made.take("t1", "B") == WAIT
    made.hosts("AB")
    assert len(made.take("t1", "B")) == 1


def test_a_draining_node_s_worker_stops_and_its_training_goes_elsewhere() -> None:
    """It hears so with its next message; what it hands back is no failure, and it gets no more."""
    made = Made(sweep(), "AB")
    (job,) = made.jobs
    assert made.take("t1", "A") == [job.id]
    assert not made.queue.tell("t1", {job.id: 1}).stop
    made.hosts("AB", draining="A")
    assert made.queue.tell("t1", {}).stop
    made.queue.back("t1", {}, [job.id])
    assert made.take("t1", "A") == END
    assert made.take("t2", "B") == [job.id]
    assert made.queue.state().epochs == {job.id: 1}


def test_messages_stay_under_fifty_a_second_however_many_workers_there_are() -> None:
    """1,000 workers: each is told to wait so long that all together send 40 a second."""
    made = Made(sweep(seeds=1), "A")
    for count in range(1000):
        made.hosts("A", cleared="")
        made.take(f"t{count}", "A")
    assert 1000 / made.queue.tell("t0", {}).period <= 50
    assert Made(sweep(), "A").queue.tell("t", {}).period == 1.0


def test_a_stopped_sweep_gives_out_nothing_and_is_settled_when_all_have_stopped() -> None:
    made = Made(sweep(("mlp", "lenet5")), "AB")
    given = made.take("t1", "A")
    made.queue.stop()
    assert made.queue.tell("t1", {}).stop
    assert not made.queue.state().settled
    made.queue.back("t1", {}, given)
    assert made.take("t2", "B") == END
    assert made.queue.state().settled
    assert made.failed == {}


def test_what_is_left_is_counted_as_trainings_go_out_and_come_back() -> None:
    """Six of 1 s and three of 5 s: 21 s. Two of 5 s are taken, one of them comes back unfinished;
    what is lost comes back too; and what is given up does not count any more."""
    made = Made(sweep(("mlp",), 6) + sweep(("lenet5",), 3), "A", lenet5=5.0)
    assert made.queue._left == pytest.approx(21)
    made.hosts("AB")
    given = made.take("t1", "A")
    assert len(given) == 2
    assert made.queue._left == pytest.approx(11)
    made.queue.back("t1", {}, given[:1])
    assert made.queue._left == pytest.approx(16)
    assert isinstance(made.take("t2", "B"), list)
    made.queue.lost("t2")
    assert made.queue._left == pytest.approx(16)
    made.hosts("A")
    assert made.work("t3", "A", bad="A") == 8
    assert made.queue._left == pytest.approx(16)
    assert made.queue.state().settled
    assert len(made.failed) == 8
    assert made.queue._left == pytest.approx(0)
