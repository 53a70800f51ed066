"""The trainer ``lanes``: trainings that are alike, a network to a lane, or to several side by side
that share out its batches (``zoo.training.rule.lanes_each``).

Each network has its own examples, labels, weights, augmentation, learning rate and steps, drawn as
the one training loop (``zoo.training.loop``) draws them, so that it computes what it would alone;
training sets of different size end their epochs at different steps. After its epoch a network's
state is put back into torch's, and what follows an epoch (evaluation, snapshot, stop rule, saved
state) is the same code for every trainer. Who has ended leaves, and the next in the row takes its
place; where no other waits, it stays empty, and the rest goes on in lanes all the same: who is left
must not decide who trains.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from zoo import keyed
from zoo.spec import Recipe, Training
from zoo.training.course import Company, Course, epoch_result, moment_names
from zoo.training.lanes.graph import describe
from zoo.training.lanes.program import Program, Rule
from zoo.training.lanes.vectors import LANES
from zoo.training.loop import Metrics, StoppedError, Within
from zoo.training.schedule import epoch_batches, learning_rate
from zoo.training.tensors import augment
from zoo.trainsets.inputs import Pictures
from zoo.trainsets.prepare import TrainingData

__all__ = ["Lanes"]


class Lanes(Company):
    """Room for ``LANES // each`` trainings like the first.

    Args:
        each: lanes of a network.

    Raises:
        Unsupported: if the network holds something that has no kernel.
    """

    def __init__(self, model: nn.Module, data: TrainingData, recipe: Recipe, each: int = 1) -> None:
        shape = data.preprocessing
        self._recipe, self._room = recipe, LANES // each
        self._network = describe(model, shape.channels, shape.size)
        self._parameters = {name: tuple(p.shape) for name, p in model.named_parameters()}
        super().__init__(data)
        # A single left-over row joins the batch before it.
        self._most = -(-(recipe.batch_size + 1) // each)
        rule = Rule(recipe.optimizer, recipe.momentum, recipe.weight_decay, recipe.label_smoothing)
        self._make = partial(
            Program, self._network, self._parameters, rule, images=self._most, each=each
        )
        values = sum(h * w * c for h, w, c in self._network.shapes) * self._most
        numbers = 2 * values + 4 * sum(int(np.prod(s)) for s in self._parameters.values())
        self.bytes = numbers * LANES * 4
        """Memory of the program, at most."""

    def train(
        self,
        first: Course,
        take: Callable[[], Course | None],
        fail: Callable[[Training, Exception], None],
        should_stop: Callable[[], bool],
    ) -> None:
        """Train the first and all that ``take`` gives.

        Args:
            take: the next training, or None for good.
            fail: told of a training that raised; it leaves, the others go on.

        Raises:
            StoppedError: if ``should_stop`` said so; all states are saved.
        """
        program = self._make()
        step = _Step(self._most, *self._like[:2])
        seats: dict[int, _Seat] = {}
        row = itertools.chain([first], iter(take, None))
        while True:
            for number in range(self._room):
                # nobody is taken before there is room: who waits here is nobody else's meanwhile
                while number not in seats and (course := next(row, None)) is not None:
                    seat = seats[number] = _Seat(course, program, number)
                    for numbers, of_channels in zip(
                        (step.mean, step.scale), seat.scaling(), strict=True
                    ):
                        numbers[:, seat.lanes] = of_channels[:, None]
                    # stopped after the last step of an epoch
                    if seat.at_the_end and _ended(seat, fail):
                        del seats[number]
            if not seats:
                return
            if self._until_one_ends(program, step, seats, fail, should_stop):
                raise StoppedError

    def _until_one_ends(
        self,
        program: Program,
        step: _Step,
        seats: dict[int, _Seat],
        fail: Callable[[Training, Exception], None],
        should_stop: Callable[[], bool],
    ) -> bool:
        """Steps of all until there is room; whether they were stopped."""
        before = len(seats)
        while len(seats) == before:
            images = max(seat.images for seat in seats.values())
            step.clear(images)
            for seat in seats.values():
                seat.give(step)
            program.step(
                step.pictures,
                step.mean,
                step.scale,
                step.labels,
                step.weights,
                step.counts,
                step.rates,
                step.losses,
                step.hits,
            )
            stop = should_stop()
            for seat in list(seats.values()):
                seat.take(step)
                if seat.at_the_end and not stop:
                    if _ended(seat, fail):
                        del seats[seat.number]
                else:
                    seat.course.keep(seat.place, stop=stop)
            if stop:
                return True
        return False


class _Step:
    """What one step of all lanes takes and gives; lanes without a training see what is there."""

    def __init__(self, most: int, size: int, channels: int) -> None:
        self._raw = np.zeros(LANES * most * size**2 * channels, dtype=np.uint8)
        self._shape = size**2, channels
        self.mean, self.scale = (np.zeros((channels, LANES), dtype=np.float32) for _ in range(2))
        self.rates, self.losses = np.zeros(LANES), np.zeros(LANES)

    def clear(self, images: int) -> None:
        """Room for a step of at most so many images of a lane."""
        pixels, channels = self._shape
        shape = LANES, images, pixels, channels
        self.pictures = self._raw[: math.prod(shape)].reshape(shape)
        self.labels = np.zeros((images, LANES), dtype=np.int64)
        self.weights = np.zeros((images, LANES), dtype=np.float32)
        self.counts = np.full(LANES, images, dtype=np.int64)
        self.hits = np.zeros((LANES, 2), dtype=np.int64)


def _ended(seat: _Seat, fail: Callable[[Training, Exception], None]) -> bool:
    """What follows a network's epoch; whether its lanes are free."""
    try:
        seat.leave()
        if seat.course.after(*seat.result()):
            return True
    except Exception as error:  # noqa: BLE001 - one broken training must not end the others
        fail(seat.course.training, error)
        return True
    seat.begin()
    return False


class _Seat:
    """A training in its lanes."""

    def __init__(self, course: Course, program: Program, number: int) -> None:
        self.course, self.program, self.number = course, program, number
        self.lanes = program.lanes(number)
        course.used("lanes", program.each)
        recipe = course.training.recipe
        self._names = moment_names(recipe)
        self._generator = torch.Generator()
        self._counted = 0
        steps = 0.0
        for name, parameter in course.model.named_parameters():
            state = course.optimizer.state.get(parameter, {})
            for which, moment in enumerate(self._names):
                found = state.get(moment)
                program.put_moment(which, number, name, None if found is None else found.numpy())
            steps = float(state.get("step", 0.0))
        tensors = {k: v.numpy() for k, v in course.model.state_dict().items()}
        program.put(number, tensors, int(steps))
        self.begin()

    def scaling(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What is subtracted from a channel's numbers and what they are multiplied by, as in
        ``zoo.training.tensors.normalise``."""
        shape = self.course.data.preprocessing
        mean = torch.tensor(shape.mean).mul(255).numpy()
        return mean, torch.tensor(shape.std).mul(255).reciprocal().numpy()

    def begin(self) -> None:
        """The next epoch, or what is left of one."""
        course = self.course
        training, data, recipe = course.training, course.data, course.training.recipe
        self._epoch = course.outcome.epochs + 1
        self._generator.manual_seed(keyed.key_seed(f"epoch/{training.seed}/{self._epoch}"))
        self.batches = epoch_batches(len(data.rows), recipe, training.seed, self._epoch)
        self._pictures: Pictures = data.train_at(self._epoch)
        self._losses = np.zeros(len(self.batches), dtype=np.float32)
        self._hits = np.zeros(2, dtype=np.int64)
        self._seen = self._done = 0
        if course.within is not None:
            kept = course.within.tensors
            self._seen, self._done = course.within.seen, course.within.step
            self._losses[...] = kept["losses"].numpy()
            self._hits[...] = kept["hits"].numpy()
            self._generator.set_state(kept["rng"])

    @property
    def images(self) -> int:
        """Of the batch that comes next, in its first lane, which has most of them."""
        return -(-len(self.batches[self._done]) // self.program.each)

    @property
    def at_the_end(self) -> bool:
        """Whether no batch of the epoch is left."""
        return self._done == len(self.batches)

    def give(self, step: _Step) -> None:
        """Put the next batch and the learning rate into the lanes' places: every image into the
        next lane, and so on in turn."""
        data, recipe, each = self.course.data, self.course.training.recipe, self.program.each
        positions = self.batches[self._done]
        raw, _ = self._pictures.gather(positions)
        if recipe.augment != "none":
            raw = augment(torch.from_numpy(raw), recipe, generator=self._generator).numpy()
        raw = raw.reshape(len(positions), *step.pictures.shape[2:])
        labels, weights = data.rows.labels[positions], data.rows.weights[positions]
        for turn in range(each):
            lane, own = self.lanes.start + turn, len(positions[turn::each])
            step.pictures[lane, :own] = raw[turn::each]
            step.labels[:own, lane] = labels[turn::each]
            step.weights[:own, lane] = weights[turn::each]
            step.counts[lane] = own
        per_epoch = len(self.batches)
        number = (self._epoch - 1) * per_epoch + self._done
        step.rates[self.lanes] = learning_rate(recipe, number, per_epoch)

    def take(self, step: _Step) -> None:
        """What the step gave."""
        self._losses[self._done] = step.losses[self.lanes].sum()
        self._hits += step.hits[self.lanes].sum(0)
        self._seen += len(self.batches[self._done])
        self._done += 1
        self._counted += 1

    def place(self) -> Within:
        """Where the epoch stands; the torch network is as far."""
        self.leave()
        tensors = {
            "losses": torch.from_numpy(self._losses),
            "hits": torch.from_numpy(self._hits.astype(np.float32)),
            "trained": torch.arange(self._done),
            "rng": self._generator.get_state(),
        }
        return Within(self._done, self._seen, tensors)

    def leave(self) -> None:
        """Put the lanes' state into the torch network and its optimiser."""
        model, optimizer, program = self.course.model, self.course.optimizer, self.program
        found = program.get(self.number)
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                if name in found:
                    tensor.copy_(torch.from_numpy(found[name]))
                else:  # the number of batches that a normalisation has seen
                    tensor += self._counted
        self._counted = 0
        recipe = self.course.training.recipe
        if recipe.optimizer == "sgd" and recipe.momentum == 0:
            return
        for name, parameter in model.named_parameters():
            state: dict[str, torch.Tensor] = {}
            if recipe.optimizer != "sgd":
                state["step"] = torch.tensor(float(program.steps[self.lanes.start]))
            for which, moment in enumerate(self._names):
                values = torch.from_numpy(program.get_moment(which, self.number, name))
                state[moment] = torch.empty_like(parameter).copy_(values).detach()
            optimizer.state[parameter] = state

    def result(self) -> tuple[int, Metrics, int | None]:
        """As ``epoch_result``."""
        return epoch_result(self._epoch, self._losses, self._hits, self._seen)
