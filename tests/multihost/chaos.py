"""Random faults on three hosts while a sweep runs: ``make chaos``.

A host is cut off the network, workers are killed or stopped for a while, a node is drained, the
head's GCS is killed; one after the other, drawn from a seed that is printed. Where the command ends
because its cluster is lost, the cluster is restarted and the same command submitted again, as its
last line says. In the end every training is committed, no committed file has changed since it was,
the result is that of one process on one machine, no epoch whose snapshot was committed has been
trained again, and ``fsck --semantic`` is clean.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from multihost.hosts import ADDRESSES, Hosts, missing, wait
from multihost.test_multihost import cluster_file

from tests.commands import content, files, finished, run, untouched
from zoo.store import ledger
from zoo.store.workspace import Workspace

EPOCHS = 6
WORKERS = ("w1", "w2")
FAULTS = ("cut", "kill", "stop", "drain", "head")


class Chaos:
    """A sweep on the hosts, and what is done to it."""

    def __init__(
        self, hosts: Hosts, trainings: int, seed: int, drawn: Sequence[str] = FAULTS
    ) -> None:
        self.hosts, self.chance, self.drawn = hosts, random.Random(seed), drawn
        self.file, self.space = cluster_file(hosts), hosts.shared / "space"
        self.trainings, self.step, self.faults = trainings, trainings, Counter[str]()
        self.job, self.submitted, self.changed = "", 0, 0

    @property
    def line(self) -> tuple[str, ...]:
        seeds = ",".join(map(str, range(self.trainings)))
        epochs = ",".join(map(str, range(1, EPOCHS + 1)))
        # One trainer everywhere: lanes, taken for large batches, differ from it by rounding.
        chosen = ("--archs", "lenet5", "--seeds", seeds, "--trainer", "single")
        return ("train", *chosen, "--epochs", str(EPOCHS), "--snapshots", epochs)

    def submit(self) -> None:
        said = self.hosts.run(
            *("client", "zoo", "submit", self.file, *self.line, "-w", self.space),
            *("--address", "auto"),
        )
        if said.returncode == 0:
            self.job, self.submitted = said.stdout.split(":")[0], self.submitted + 1

    def ended(self) -> str:
        """Exit code of the command that was submitted last; empty while it runs."""
        code = self.hosts.home("head") / "zoo-jobs" / self.job / "code"
        return code.read_text().strip() if self.job and code.exists() else ""

    def go_on(self) -> None:
        """What somebody does who reads its last line."""
        if self.ended() in ("", "0"):
            return
        up = self.hosts.run("client", "zoo", "up", self.file)
        if "is left as it is" not in up.stderr and up.returncode:
            self.hosts.run("client", "zoo", "up", "--restart", self.file)
        self.submit()

    # ------------------------------------------------------------ faults

    def cut(self) -> None:
        name = self.chance.choice(WORKERS)
        self.hosts.cut(name)
        time.sleep(self.chance.uniform(3, 20))
        self.hosts.cut(name, back=True)

    def kill(self) -> None:
        self.hosts.run(self.chance.choice(WORKERS), "pkill", "-KILL", "-f", "ray::Resource")

    def stop(self) -> None:
        name = self.chance.choice(WORKERS)
        self.hosts.run(name, "pkill", "-STOP", "-f", "ray::Resource")
        time.sleep(self.chance.uniform(3, 20))
        self.hosts.run(name, "pkill", "-CONT", "-f", "ray::Resource")

    def drain(self) -> None:
        address = ADDRESSES[self.chance.choice(WORKERS)]
        code = (
            "import ray; ray.init('auto', log_to_driver=False);"
            f"print([n['NodeID'] for n in ray.nodes() if n['Alive'] and"
            f" n['NodeManagerAddress'] == '{address}'][0])"
        )
        node = self.hosts.run("head", "python", "-c", code).stdout.split()
        if node:
            notice = ("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "chaos")
            self.hosts.run(
                *("head", "ray", "drain-node", "--node-id", node[-1], *notice),
                *("--deadline-remaining-seconds", "20"),
            )

    def lose_head(self) -> None:
        self.hosts.run("head", "pkill", "-KILL", "gcs_server")
        wait(lambda: self.ended() != "", "the end of a command that has lost its head")

    def one(self) -> None:
        """A fault, and that nothing committed before it has changed by the next."""
        named: dict[str, Callable[[], None]] = {
            "cut": self.cut,
            "kill": self.kill,
            "stop": self.stop,
            "drain": self.drain,
            "head": self.lose_head,
        }
        name = self.chance.choice(self.drawn)
        before = files(self.space)
        named[name]()
        self.faults[name] += 1
        say(f"{name}; {finished(self.space, 'training')} of {self.trainings} trainings done")
        self.changed += not untouched(before, self.space)

    # ------------------------------------------------------------ from up to down

    def through(self, minutes: float) -> bool:
        """Whether all was well."""
        up = self.hosts.run("client", "zoo", "up", self.file)
        assert up.returncode == 0, up
        self.submit()
        wait(lambda: finished(self.space, "checkpoint") >= 1, "a checkpoint")
        until = time.monotonic() + 60 * minutes
        while time.monotonic() < until:
            if self.ended() == "0":  # more of the same, so that there is something to disturb
                self.trainings += self.step
                self.submit()
            self.one()
            self.go_on()
            time.sleep(self.chance.uniform(2, 15))
        say("no more faults")

        def whole() -> bool:
            self.go_on()
            return self.ended() == "0"

        wait(whole, "the end of the sweep", 1800)
        self.hosts.run("client", "zoo", "down", self.file)
        lost = self.trainings - finished(self.space, "training")
        repeated = ledger.repeats(Workspace.open(self.space))
        say(
            f"{sum(self.faults.values())} faults ({dict(self.faults)}), the command submitted"
            f" {self.submitted} times, {self.trainings} trainings of {EPOCHS} epochs: lost {lost},"
            f" committed files changed after {self.changed} faults, committed epochs repeated"
            f" {repeated}"
        )
        with tempfile.TemporaryDirectory() as folder:
            calm = Path(folder) / "calm"
            line = (*self.line, "--runner", "local", "-w", calm)
            alone = run(Path(folder), *line, seconds=60 * self.trainings)
            assert alone.code == 0, alone
            there, wanted = made(self.space), made(calm)
            unlike = sorted(k for k in there | wanted if there.get(k) != wanted.get(k))
            equal = not unlike
            clean = run(Path(folder), "fsck", "--semantic", "-w", self.space).out == "clean\n"
        say(f"equal to one machine: {equal}, fsck --semantic clean: {clean}")
        for name in unlike[:10]:
            say(f"  not equal: {name}")
        return equal and clean and not (lost or self.changed or repeated)


def made(space: Path) -> dict[str, str]:
    """What was made there, beside the record of each sweep: one machine is given all at once."""
    return {name: what for name, what in content(space).items() if not name.startswith("plan/")}


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description="random faults on three hosts while a sweep runs")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument(
        "--trainings", type=int, default=20, help="at a time: when they are done, as many more"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument(
        "--faults", default=",".join(FAULTS), help="what is drawn from (default: %(default)s)"
    )
    asked = parser.parse_args()
    drawn = asked.faults.split(",")
    if unknown := set(drawn) - set(FAULTS):
        parser.error(f"unknown faults {sorted(unknown)}; known: {', '.join(FAULTS)}")
    if why := missing():
        say(f"no hosts here: {why}")
        return 1
    say(f"seed {asked.seed}")
    with Hosts() as hosts:
        return 0 if Chaos(hosts, asked.trainings, asked.seed, drawn).through(asked.minutes) else 1


if __name__ == "__main__":
    sys.exit(main())
