"""Answers and logits of a group of classifiers on a block of pictures: decoded once, normalised
once, run through all of them.

p(label), entropy, margin and the five most probable classes are made in ``answers_of``, in float32;
``zoo.scores.outputs`` has the same in numpy, for predictions from elsewhere and as its reference.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.errors import NotFoundError
from zoo.fill.fold import for_answers
from zoo.fill.plan import MOST_WEIGHTS, FillBlock, FillTask, Refusal, membership
from zoo.fill.program import WIDTH
from zoo.spec import Precision, Preprocessing
from zoo.store.answers import Answers, Receipt, write_part
from zoo.store.commits import Commit
from zoo.store.files import Files
from zoo.store.workspace import Workspace
from zoo.training.checkpoint import load_classifiers
from zoo.training.heads import logits_of_heads
from zoo.training.loop import evaluation_batch
from zoo.training.run import settle
from zoo.training.tensors import normalise
from zoo.trainsets.inputs import Inputs, open_features, open_verified

if TYPE_CHECKING:
    from zoo.training.lanes.evaluation import Evaluation, Weights

__all__ = ["ClassifierGroup", "ShardWorker", "Together", "answers_of"]


@dataclass(frozen=True)
class ClassifierGroup:
    """Classifiers with the same input geometry, on one device.

    ``together``: some of them, by place, that answer many at once. ``precision``: of products and
    maps of networks on pictures; logits are float32.
    """

    members: tuple[tuple[nn.Module, Preprocessing], ...]
    device: torch.device
    together: tuple[Together, ...] = ()
    precision: Precision = "fp32"

    @classmethod
    def load(cls, files: Files, commits: Sequence[Commit], device: torch.device) -> ClassifierGroup:
        """Load and verify committed checkpoints, in the order given."""
        return cls(tuple(load_classifiers(files, commits, device)), device)

    @torch.inference_mode()
    def logits(self, images: Inputs) -> list[NDArray[np.float32]]:
        """float32 [n, M] of each member on uint8 pictures [n, H, W, K]; the same whatever else is
        in the group. Of heads, on features [n, D]: the same to float rounding, since the first
        layers of all are one matrix product."""
        if images.ndim == 2:
            raw = torch.tensor(images, device=self.device)
            return [z.cpu().numpy() for z in logits_of_heads([n for n, _ in self.members], raw)]
        found: list[list[Tensor]] = [[] for _ in self.members]
        alone = self._alone
        half = self.precision == "bf16"
        size, last = evaluation_batch(images.shape[1], self.device), self._last
        for start in range(0, len(images), size):
            raw = torch.from_numpy(np.ascontiguousarray(images[start : start + size]))
            raw = raw.to(self.device)
            normalised: dict[Preprocessing, Tensor] = {}
            for index in (*alone, *(group.places[0] for group in self.together)):
                preprocessing = self.members[index][1]
                if preprocessing not in normalised:
                    normalised[preprocessing] = normalise(raw, preprocessing, channels_last=last)
            for index in alone:
                network, preprocessing = self.members[index]
                with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=half):
                    found[index].append(network(normalised[preprocessing]).float())
            for group in self.together:
                shown = normalised[self.members[group.places[0]][1]].contiguous().numpy()
                for index, logits in zip(group.places, group.logits(shown), strict=True):
                    found[index].append(torch.from_numpy(logits))
        # Read once for each network: a GPU is told all its work without waiting in between.
        return [torch.cat(parts).cpu().numpy() for parts in found]

    @property
    def _last(self) -> bool:
        """Whether pictures lie channels-last: on a CPU, and in bf16, whose kernels want them so."""
        return self.device.type == "cpu" or self.precision == "bf16"

    @property
    def _alone(self) -> list[int]:
        """Places of the members that answer by themselves."""
        in_lanes = {i for group in self.together for i in group.places}
        return [i for i in range(len(self.members)) if i not in in_lanes]

    def folded(self) -> ClassifierGroup:
        """The same, the networks that answer by themselves as they answer fastest
        (``zoo.fill.fold``); they are changed in place."""
        members, half = list(self.members), self.precision == "bf16"
        for index in self._alone:
            network, shown = members[index]
            members[index] = for_answers(network, channels_last=self._last, half=half), shown
        return replace(self, members=tuple(members))

    def in_lanes(self, groups: Sequence[Sequence[int]], *, wanted: bool) -> ClassifierGroup:
        """The same, some groups of members (by place) of one architecture and preprocessing in
        lanes, where this device has them.

        Args:
            wanted: on every CPU that has numba; else where a register holds so many as were
                measured.
        """
        if not groups or self.device.type != "cpu" or find_spec("numba") is None:
            return self
        from zoo.training.lanes.graph import Unsupported
        from zoo.training.lanes.vectors import LANES

        if LANES < WIDTH and not wanted:
            return self
        made = []
        for places in groups:
            with contextlib.suppress(Unsupported):
                made.append(Together.of(self.members, places))
        return replace(self, together=tuple(made))


@dataclass(frozen=True)
class Together:
    """Members of a group in the lanes of registers. ``sets``: weights of as many as fill one."""

    places: tuple[int, ...]
    program: Evaluation
    sets: tuple[Weights, ...]

    @classmethod
    def of(
        cls, members: Sequence[tuple[nn.Module, Preprocessing]], places: Sequence[int]
    ) -> Together:
        """Of the members at these places, which are of one architecture.

        Raises:
            Unsupported: if a layer has no kernel.
        """
        from zoo.training.lanes.evaluation import Evaluation, Weights
        from zoo.training.lanes.graph import describe
        from zoo.training.lanes.vectors import LANES

        first, shape = members[places[0]]
        states = [
            {name: tensor.numpy() for name, tensor in members[i][0].state_dict().items()}
            for i in places
        ]
        program = Evaluation(
            describe(first, shape.channels, shape.size, evaluated=True),
            {name: value.shape for name, value in states[0].items()},
        )
        sets = []
        for start in range(0, len(places), LANES):
            sets.append(Weights(program))
            for lane, state in enumerate(states[start : start + LANES]):
                sets[-1].put(lane, state)
        return cls(tuple(places), program, tuple(sets))

    @property
    def bytes(self) -> int:
        return self.program.bytes + sum(weights.bytes for weights in self.sets)

    def logits(self, pictures: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """float32 [n, M] of each on normalised pictures [n, K, H, W]; the same bits whatever is
        beside it."""
        from zoo.training.lanes.evaluation import laid

        found: list[NDArray[np.float32]] = []
        shown = laid(pictures)
        for weights in self.sets:
            found += list(self.program.logits(weights, shown, len(pictures)))
        return found[: len(self.places)]


@torch.inference_mode()
def answers_of(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> Answers:
    """Answers from logits float32 [n, M] before anything is rounded; ties go to the lowest class.

    Args:
        labels: int64 [n], -1 where unknown (p_label and margin are then NaN). A row that is not
            finite answers nothing: -1 and NaN.
    """
    z = torch.from_numpy(logits)
    n, classes = z.shape
    log_p = torch.log_softmax(z, dim=1)
    p = log_p.exp()
    # -0. becomes 0
    entropy = (-(p * log_p).nan_to_num_(nan=0.0, neginf=0.0).sum(1).div_(float(np.log(2)))).add_(
        0.0
    )
    top = min(5, classes)
    # A stable sort keeps the lowest class first among equals; topk does not promise an order.
    order = (
        torch.sort(z, dim=1, descending=True, stable=True).indices[:, : max(top, 2)]
        if classes <= 64
        else _top_stable(z, max(top, 2))
    )
    ranked = p.gather(1, order)
    known = torch.from_numpy(labels >= 0)
    own = p.gather(1, torch.from_numpy(np.maximum(labels, 0))[:, None])[:, 0]
    first = order[:, 0] == torch.from_numpy(labels)
    rival = torch.where(first, ranked[:, 1] if classes > 1 else torch.zeros(n), ranked[:, 0])
    unknown = torch.full((n,), float("nan"))
    top5 = torch.full((n, 5), -1, dtype=torch.int16)
    top5[:, :top] = order[:, :top].to(torch.int16)
    top5_p = torch.zeros((n, 5))
    top5_p[:, :top] = ranked[:, :top]
    finite = torch.isfinite(z).all(1)
    prediction = torch.where(finite, order[:, 0], -1)
    top5[~finite], top5_p[~finite] = -1, 0.0
    return Answers(
        prediction=prediction.to(torch.int16).numpy(),
        p_label=torch.where(known & finite, own, unknown).numpy(),
        entropy=torch.where(finite, entropy, unknown).numpy(),
        margin=torch.where(known & finite, own - rival, unknown).numpy(),
        top5=top5.numpy(),
        top5_p=top5_p.to(torch.float16).numpy(),
        finite=finite.numpy(),
    )


def _top_stable(z: Tensor, top: int) -> Tensor:
    """Indices [n, top] of the largest, ties to the lowest index; topk first, a stable sort only for
    the rare rows with ties."""
    values, order = torch.topk(z, min(top + 1, z.shape[1]), dim=1)
    tied = (values[:, 1:] == values[:, :-1]).any(1)
    order = order[:, :top]
    if tied.any():
        order[tied] = torch.sort(z[tied], dim=1, descending=True, stable=True).indices[:, :top]
    return order


class ShardWorker:
    """Runs groups of classifiers over decoded shards; keeps the newest groups loaded, up to
    ``MOST_WEIGHTS`` bytes of weights. One per process."""

    def __init__(self, workspace: Workspace, device: torch.device) -> None:
        settle(device)
        self.workspace, self.device = workspace, device
        self._groups: dict[tuple[str, ...], tuple[ClassifierGroup, int]] = {}
        self._refused: dict[str, Mapping[str, str]] = {}

    def answers(
        self, block: FillBlock, images: NDArray[np.uint8], unreadable: NDArray[np.bool_]
    ) -> Iterator[tuple[FillTask, Receipt | Refusal]]:
        """Each task of a block with what became of it, in the block's order. See
        ``zoo.fill.plan.decode_block``."""
        for task in block.tasks:
            rows = block.rows(task.shard)
            wall, cpu = time.monotonic(), time.process_time()
            receipt = self(task, images[rows], unreadable[rows])
            # A GPU's work is not what this process takes of the CPU: no rate of a CPU follows.
            if isinstance(receipt, Receipt) and self.device.type == "cpu":
                spent = time.monotonic() - wall, time.process_time() - cpu
                receipt = replace(receipt, seconds=spent)
            yield task, receipt

    def __call__(
        self, task: FillTask, images: NDArray[np.uint8], unreadable: NDArray[np.bool_]
    ) -> Receipt | Refusal:
        """Answers (and logits) of the task's classifiers on its pictures, written as one part.

        A classifier with an output that is not finite is refused, and the unit with it: it will be
        planned again without that one.
        """
        if task.unit.key in self._refused:
            return Refusal(task.shard.index, self._refused[task.unit.key])
        labels = (
            open_verified(task.dataset)
            .splits[task.unit.split]
            .labels[task.shard.start : task.shard.stop]
        )
        shown: Inputs = images
        if (features := task.geometry.features) is not None:
            part = slice(task.shard.start, task.shard.stop)
            held = open_features(
                self.workspace, task.dataset.fingerprint, task.unit.split, features
            )
            shown, unreadable = held.vectors[part], held.unreadable[part]
        group = self._group(task)
        logits = group.logits(shown)
        answers = [answers_of(values, labels) for values in logits]
        bad = {
            name: (
                f"its outputs are not finite on {int((~(answer.finite | unreadable)).sum())} of"
                f" {len(labels)} pictures of {task.unit.split}"
            )
            for name, answer in zip(task.unit.classifiers, answers, strict=True)
            if not (answer.finite | unreadable).all()
        }
        if bad:
            self._refused[task.unit.key] = bad
            return Refusal(task.shard.index, bad)
        kept = logits if task.unit.logits else None
        in_train = membership(self.workspace, task)
        names = task.unit.classifiers
        in_lanes = sorted(names[i] for together in group.together for i in together.places)
        return write_part(
            self.workspace.files,
            task.unit,
            task.shard,
            answers,
            unreadable,
            labels,
            in_train,
            kept,
            in_lanes,
        )

    def _group(self, task: FillTask) -> ClassifierGroup:
        classifiers, precision = task.unit.classifiers, task.unit.precision
        key = precision, *classifiers
        if key not in self._groups:
            records = self.workspace.commits
            there = records.some("checkpoint", classifiers)
            there |= records.some("member", [name for name in classifiers if name not in there])
            for name in classifiers:
                if name not in there:
                    raise NotFoundError(
                        f"classifier {name} is not in {self.workspace.location}. Train it, or plan"
                        " the fill again."
                    )
            found = [there[name] for name in classifiers]
            weights = sum(commit.files[0].bytes for commit in found)
            # Before the new group is read, so that there are never more than the limit at once.
            while (
                self._groups and weights + sum(w for _, w in self._groups.values()) > MOST_WEIGHTS
            ):
                del self._groups[next(iter(self._groups))]
            group = ClassifierGroup.load(self.workspace.files, found, self.device)
            places = [[classifiers.index(name) for name in names] for names in task.lanes]
            group = replace(group, precision=precision)
            group = group.in_lanes(places, wanted=task.wanted).folded()
            weights += sum(together.bytes for together in group.together)
            self._groups[key] = group, weights
        else:  # the newest is the last to go
            self._groups[key] = self._groups.pop(key)
        return self._groups[key][0]
