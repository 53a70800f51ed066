"""A training among others that are trained at once: the rest of its epoch, and what the steps take.

Each training has its own examples, labels, weights, order, rate and number of steps, drawn by the
same keys as in the one training loop (``zoo.training.loop``). Shape letters: S steps, K trainings,
B examples of a step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo import keyed
from zoo.spec import Training
from zoo.training.course import Course, epoch_result
from zoo.training.loop import Metrics, StoppedError, Within
from zoo.training.schedule import epoch_batches, learning_rate

__all__ = ["Block", "Seat", "after_epoch", "in_ranges", "ranges_of"]


@dataclass(eq=False)
class Seat:
    """A training under way and the rest of its epoch, as far as it is known on the host."""

    course: Course
    device: torch.device
    epoch: int = 0
    batches: list[NDArray[np.int64]] = field(default_factory=list)
    done: int = 0
    seen: int = 0
    losses: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    hits: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, np.int64))

    def __post_init__(self) -> None:
        self.generator = torch.Generator(self.device)
        """What the epoch draws from: the stream of torch's own in the one training loop."""
        self._drawn = self.generator.get_state()

    def begin(self) -> None:
        """The next epoch, or what is left of one."""
        training, data = self.course.training, self.course.data
        self.epoch = self.course.outcome.epochs + 1
        self.batches = epoch_batches(len(data.rows), training.recipe, training.seed, self.epoch)
        self.losses = np.zeros(len(self.batches), dtype=np.float32)
        self.hits = np.zeros(2, dtype=np.int64)
        self.done = self.seen = 0
        self.generator.manual_seed(keyed.key_seed(f"epoch/{training.seed}/{self.epoch}"))
        if (within := self.course.within) is not None:
            self.done, self.seen = within.step, within.seen
            self.losses[...] = within.tensors["losses"].numpy()
            self.hits[...] = within.tensors["hits"].numpy()
            self.generator.set_state(within.tensors[self._stream])
        self._drawn = self.generator.get_state()

    @property
    def _stream(self) -> str:
        return "rng" if self.device.type == "cpu" else "rng_device"

    @property
    def left(self) -> int:
        """Steps of the epoch that are to be made."""
        return len(self.batches) - self.done

    def made(self, losses: NDArray[np.float32], hits: NDArray[np.int64]) -> None:
        """Note steps that are done: their losses [s], their hits of top 1 and top 5 together."""
        for loss in losses:
            self.losses[self.done] = loss
            self.seen += len(self.batches[self.done])
            self.done += 1
        self.hits = self.hits + hits
        self._drawn = self.generator.get_state()

    def place(self) -> Within:
        """Where the epoch stands."""
        tensors = {
            "losses": torch.from_numpy(self.losses.copy()),
            "hits": torch.from_numpy(self.hits.astype(np.float32)),
            "trained": torch.arange(self.done),
            "rng": torch.get_rng_state(),
            self._stream: self._drawn,
        }
        return Within(self.done, self.seen, tensors)

    def result(self) -> tuple[int, Metrics, int | None]:
        """As ``epoch_result``."""
        return epoch_result(self.epoch, self.losses, self.hits, self.seen)


def in_ranges(seats: Sequence[Seat]) -> list[int]:
    """Their numbers in such an order that who takes part in a step, with batches of one size, is a
    range: those with most steps first, those with like last batches together."""
    return sorted(range(len(seats)), key=lambda k: (-seats[k].left, len(seats[k].batches[-1])))


def ranges_of(seats: Sequence[Seat], step: int) -> Iterator[tuple[slice, int]]:
    """Who makes a step of the epoch, counted from where each stands: ranges with batches of one
    size, and the size."""
    sizes = [len(seat.batches[seat.done + step]) for seat in seats if seat.left > step]
    start = 0
    for size, same in itertools.groupby(sizes):
        stop = start + len(list(same))
        yield slice(start, stop), size
        start = stop


def after_epoch(
    seats: Sequence[Seat],
    fail: Callable[[Training, Exception], None],
    leave: Callable[[int, Course], None] | None = None,
    *,
    stopped: bool,
) -> list[int]:
    """What follows an epoch of all: evaluation, snapshot, stop rule, saved state. Returns the
    numbers of those that go on.

    Args:
        fail: told of a training that raised; it leaves, the others go on.
        leave: puts what the steps have made into a seat's network first, where that is not done.

    Raises:
        StoppedError: if they were stopped; all states are saved.
    """
    stays = []
    for number, seat in enumerate(seats):
        try:
            if leave is not None:
                leave(number, seat.course)
            if stopped:
                seat.course.keep(seat.place, stop=True)
            elif not seat.course.after(*seat.result()):
                stays.append(number)
        except Exception as error:  # noqa: BLE001 - one broken training must not end the others
            fail(seat.course.training, error)
    if stopped:
        raise StoppedError
    return stays


@dataclass(frozen=True)
class Block:
    """What some steps of all seats take: [S, K, B] each, counts and rates [S, K].

    Of examples that a step of a training does not have, the share is 0.
    """

    steps: int
    examples: Tensor
    labels: Tensor
    share: Tensor
    counts: Tensor
    rates: Tensor

    @classmethod
    def of(
        cls,
        seats: Sequence[Seat],
        places: Sequence[NDArray[np.int64]],
        steps: slice,
        device: torch.device,
        kind: torch.dtype,
    ) -> Block:
        """Of some steps, counted from where each seat stands.

        Args:
            places: of each seat, by row, what stands in ``examples`` for it.
            kind: of share and rates.
        """
        first = steps.start
        todo = [seat.batches[seat.done :][steps] for seat in seats]
        count = max(map(len, todo))
        most = max((len(batch) for batches in todo for batch in batches), default=0)
        shape = count, len(seats), most
        examples, labels = (np.zeros(shape, dtype=np.int64) for _ in range(2))
        share, rates = np.zeros(shape), np.zeros(shape[:2])
        counts = np.zeros(shape[:2], dtype=np.int64)
        for number, (seat, batches) in enumerate(zip(seats, todo, strict=True)):
            if not batches:
                continue
            rows, recipe = seat.course.data.rows, seat.course.training.recipe
            sizes = np.array([len(batch) for batch in batches])
            chosen = np.concatenate(batches)
            step = np.repeat(np.arange(len(batches)), sizes)
            place = np.arange(len(chosen)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            examples[step, number, place] = places[number][chosen]
            labels[step, number, place] = rows.labels[chosen]
            share[step, number, place] = rows.weights[chosen] / sizes[step]
            counts[: len(batches), number] = sizes
            per_epoch = len(seat.batches)
            before = (seat.epoch - 1) * per_epoch + seat.done + first
            rates[: len(batches), number] = [
                learning_rate(recipe, before + index, per_epoch) for index in range(len(batches))
            ]
        return cls(
            count,
            torch.from_numpy(examples).to(device),
            torch.from_numpy(labels).to(device),
            torch.from_numpy(share).to(device, kind),
            torch.from_numpy(counts).to(device),
            torch.from_numpy(rates).to(device, kind),
        )
