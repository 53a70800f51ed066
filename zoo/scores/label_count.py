"""How many labels are wrong, without knowing which.

Two counts from the held-out answers of a population, p [E, M] being the mean probability over the
classifiers that were not trained on an example:

- **mixture** (our own, the one that is reported): given labels are drawn from the classifiers'
  answer, sharpened or softened by one temperature T, but with probability eps from the other
  classes alike. T and eps are those of highest likelihood; the count is eps E. T takes up what
  classifiers find hard, eps what they are sure of and the label denies.
- **confident joint** (Northcutt, Jiang, Chuang 2021, Confident Learning, section 3.1), calibrated
  to the given labels: what cleanlab counts. It takes every confident mistake of the classifiers for
  one of the label, so it is too high where they are weak.

The 95 % interval is a percentile bootstrap over examples and over groups of classifiers (one
training of each fold, or the trainings by themselves). It is conditional on the model: wrong labels
fall on the other classes alike. Where they fall on the class that is hard to tell from the true one
no method can see them all, and the count is too low.

Letters: E examples, M classes, G groups of classifiers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from zoo import keyed
from zoo.arrays import Floats, Ints, Mask
from zoo.errors import UsageError
from zoo.scores.from_store import Probabilities
from zoo.scores.population import Population
from zoo.spec import Op
from zoo.store.workspace import Workspace

__all__ = [
    "WrongLabels",
    "confident_joint",
    "count_wrong",
    "held_out_sums",
    "mixture",
    "posterior",
    "probably_wrong",
    "refitted",
    "wrong_labels",
]

_TEMPERATURES: Final = np.geomspace(0.25, 4.0, 33)
_FLOOR: Final = 1e-6
_STEPS: Final = 60
_REPLICATES: Final = 200
_MOST_CELLS: Final = 1 << 26  # G x E x M numbers of float32 in memory: 256 MB
_MOST_GROUPS: Final = 12


@dataclass(frozen=True)
class WrongLabels:
    """What is estimated of a split.

    Args:
        examples: E, those with a label and a held-out answer.
        count: wrong labels by the mixture.
        low, high: its 95 % interval.
        confident_joint: wrong labels by the confident joint.
        temperature: T of the mixture; below 1 the classifiers were too unsure of themselves.
        accuracy: share of the examples whose label is the most probable class, held out.
        chance: that of always naming the commonest label.
    """

    examples: int
    count: float
    low: float
    high: float
    confident_joint: float
    temperature: float
    accuracy: float
    chance: float

    @property
    def strength(self) -> str:
        """``strong``, ``fair`` or ``weak``: how far the population's held-out accuracy is above
        chance, (accuracy - chance) / (1 - chance): from 0.7, from 0.4, below. A rule of thumb."""
        skill = (self.accuracy - self.chance) / (1 - self.chance) if self.chance < 1 else 0.0
        return "strong" if skill >= 0.7 else "fair" if skill >= 0.4 else "weak"

    def as_json(self) -> dict[str, Any]:
        return {
            "examples": self.examples,
            "wrong": self.count,
            "wrong_low": self.low,
            "wrong_high": self.high,
            "confident_joint": self.confident_joint,
            "temperature": self.temperature,
            "heldout_accuracy": self.accuracy,
            "chance": self.chance,
            "strength": self.strength,
        }


def confident_joint(p: Floats, labels: Ints) -> Floats:
    """Estimated counts of (given label, true label), float64 [M, M], rows summing to the given
    labels' counts.

    An example counts for the most probable class among those whose probability reaches the mean
    probability of that class over the examples labelled so.
    """
    classes = p.shape[1]
    given = np.bincount(labels, minlength=classes)
    own = np.bincount(labels, weights=p[np.arange(len(p)), labels], minlength=classes)
    thresholds = np.where(given > 0, own / np.maximum(given, 1), 2.0)
    confident = np.where(p >= thresholds, p, -1.0)
    chosen = confident.argmax(axis=1)
    sure = confident[np.arange(len(p)), chosen] >= 0
    counts = np.zeros((classes, classes))
    np.add.at(counts, (labels[sure], chosen[sure]), 1.0)
    # A class of which nothing is sure is taken to be right.
    counts[np.diag_indices(classes)] += (counts.sum(axis=1) == 0) & (given > 0)
    rows = np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    joint: Floats = counts / rows * given[:, None]
    return joint


def mixture(
    own: Floats, classes: int, weights: Floats | None = None, found: Ints | None = None
) -> tuple[float, int]:
    """(eps, row of highest likelihood) for the label's probability at several temperatures.

    Args:
        own: float64 [temperatures, E], probability of the given label.
        classes: M.
        weights: float64 [E], how often each example counts; None = once.
        found: int64 [E], what reviewers found: 1 = wrong, 0 = right, -1 = not reviewed; None = none
            was.
    """
    weights = np.ones(own.shape[1]) if weights is None else weights
    other = (1.0 - own) / (classes - 1)
    if found is not None:  # what is known takes one side of the mixture away
        own, other = np.where(found == 1, 0.0, own), np.where(found == 0, 0.0, other)
    low, high = np.zeros((len(own), 1)), np.ones((len(own), 1))
    eps = np.full((len(own), 1), 0.05)
    # The likelihood is concave in eps: Newton's method, kept inside what its slope has shown.
    for _ in range(_STEPS):
        ratio = (other - own) / (own + eps * (other - own))
        slope = (ratio * weights).sum(axis=1, keepdims=True)
        bend = (ratio**2 * weights).sum(axis=1, keepdims=True)
        low, high = np.where(slope > 0, eps, low), np.where(slope > 0, high, eps)
        new = eps + slope / bend
        new = np.where((new > low) & (new < high), new, (low + high) / 2)
        done = np.abs(new - eps).max() < 1e-7
        eps = new
        if done:
            break
    eps = np.clip(eps, 1e-9, 1 - 1e-9)
    likelihood = (np.log(eps * other + (1 - eps) * own) * weights).sum(axis=1)
    best = int(likelihood.argmax())
    return float(eps[best, 0]), best


def posterior(own: Floats, eps: float, classes: int) -> Floats:
    """Probability that a label is wrong, float64 [E], by Bayes' rule: eps o / (eps o + (1 - eps) p)
    with p the label's probability and o = (1 - p) / (M - 1) that of another class.

    At the eps of highest likelihood their sum is eps E, the estimated number of wrong labels.
    """
    wrong = eps * (1.0 - own) / (classes - 1)
    found: Floats = wrong / (wrong + (1.0 - eps) * own)
    return found


def probably_wrong(sums: NDArray[np.floating], counts: Ints, labels: Ints) -> Floats:
    """``posterior`` of every example by the mixture of all, float64 [E]; NaN without a label or a
    held-out answer. Arguments and errors as of ``count_wrong``."""
    keep, whole, labels = _known(sums, counts, labels)
    classes = whole.shape[1]
    own = _own(whole, labels)
    eps, best = mixture(own, classes)
    found = np.full(len(keep), np.nan)
    found[keep] = posterior(own[best], eps, classes)
    return found


def _known(sums: NDArray[np.floating], counts: Ints, labels: Ints) -> tuple[Mask, Floats, Ints]:
    """Which examples have a label and a held-out answer, [E], and of these the mean held-out
    probabilities, [e, M], and the labels.

    Raises:
        UsageError: if fewer than two classes, or no example, are left.
    """
    total = counts.sum(axis=0)
    keep: Mask = (total > 0) & (labels >= 0)
    classes, examples = sums.shape[2], int(keep.sum())
    if not examples or classes < 2:
        raise UsageError(
            f"no count of wrong labels: {examples} examples of {classes} classes have held-out"
            " answers. Allowed: one and two or more. Train with --folds 5x2."
        )
    whole = sums.sum(axis=0, dtype=np.float64)[keep] / total[keep][:, None]
    return keep, whole, labels[keep]


def _own(p: Floats, labels: Ints) -> Floats:
    """Probability of the label at every temperature, float64 [temperatures, E]."""
    logs = np.log(np.maximum(p, _FLOOR))
    logs -= logs.max(axis=1, keepdims=True)
    rows = np.arange(len(p))
    found = np.empty((len(_TEMPERATURES), len(p)))
    for i, temperature in enumerate(_TEMPERATURES):
        q = np.exp(logs / temperature)
        found[i] = q[rows, labels] / q.sum(axis=1)
    return np.clip(found, _FLOOR, 1 - _FLOOR)


def count_wrong(
    sums: NDArray[np.floating], counts: Ints, labels: Ints, *, replicates: int = _REPLICATES
) -> WrongLabels:
    """How many labels are wrong.

    Args:
        sums: [G, E, M], probabilities added up over each group's held-out classifiers.
        counts: int64 [G, E], how many these are.
        labels: int64 [E], -1 = unknown.
        replicates: of the bootstrap.

    Raises:
        UsageError: if fewer than two classes, or no example with a label, have held-out answers.
    """
    keep, whole, labels = _known(sums, counts, labels)
    sums, counts = sums[:, keep], counts[:, keep]
    examples, classes = whole.shape
    own = _own(whole, labels)
    eps, best = mixture(own, classes)
    found = [
        mixture(drawn, classes, often)[0]
        for drawn, often in _replicates(sums, counts, labels, whole, own, best, replicates)
    ]
    low, high = np.quantile(found, (0.025, 0.975)) * examples
    joint = confident_joint(whole, labels)
    given = np.bincount(labels, minlength=classes)
    return WrongLabels(
        examples=examples,
        count=eps * examples,
        low=min(float(low), eps * examples),
        high=max(float(high), eps * examples),
        confident_joint=float(examples - np.trace(joint)),
        temperature=float(_TEMPERATURES[best]),
        accuracy=float((whole.argmax(axis=1) == labels).mean()),
        chance=float(given.max() / examples),
    )


def _replicates(
    sums: NDArray[np.floating],
    counts: Ints,
    labels: Ints,
    whole: Floats,
    own: Floats,
    best: int,
    replicates: int,
) -> Iterator[tuple[Floats, Floats]]:
    """The bootstrap: probability of the label at the temperatures near the best one of the whole,
    from which a replicate's is not far, and how often each example counts."""
    groups, examples, _ = sums.shape
    generator = np.random.Generator(np.random.Philox(key=keyed.key_seed("count_wrong")))
    per_draw = max(1, replicates // 25) if groups > 1 else replicates
    near = slice(max(0, best - 4), best + 5)
    drawn = own
    for replicate in range(replicates):
        if groups > 1 and replicate % per_draw == 0:
            weights = generator.multinomial(groups, np.full(groups, 1 / groups))
            n = weights @ counts  # [E]
            mean = np.where(
                (n > 0)[:, None],
                np.tensordot(weights, sums, axes=1) / np.maximum(n, 1)[:, None],
                whole,
            )
            drawn = _own(mean, labels)
        often = np.bincount(generator.integers(0, examples, examples), minlength=examples)
        yield drawn[near], often.astype(np.float64)


def refitted(
    sums: NDArray[np.floating], counts: Ints, labels: Ints, found: Ints, replicates: int
) -> tuple[Floats, Iterator[Floats]]:
    """``probably_wrong`` of a mixture that knows what reviewers found, and that of each replicate
    of the bootstrap, float64 [E] each.

    Args:
        found: int64 [E], 1 = wrong, 0 = right, -1 = not reviewed.
    """
    keep, whole, labels = _known(sums, counts, labels)
    known, classes = found[keep], whole.shape[1]
    own = _own(whole, labels)
    eps, best = mixture(own, classes, found=known)

    def placed(own: Floats, eps: float) -> Floats:
        p = np.full(len(keep), np.nan)
        p[keep] = posterior(own, eps, classes)
        return p

    def drawn() -> Iterator[Floats]:
        kept = sums[:, keep], counts[:, keep]
        for own_of, often in _replicates(*kept, labels, whole, own, best, replicates):
            share, place = mixture(own_of, classes, often, known)
            yield placed(own_of[place], share)

    return placed(own[best], eps), drawn()


def wrong_labels(
    workspace: Workspace, population: Population, split: str, labels: Ints
) -> WrongLabels | None:
    """``count_wrong`` of a population's kept logits on a split; None where the examples times
    classes are too many to hold (64 million). ``labels``: -1 for examples without an answer too.

    Raises:
        StoreError: if some logits were not kept.
        UsageError: as ``count_wrong``.
    """
    found = held_out_sums(workspace, population, split)
    return None if found is None else count_wrong(*found, np.asarray(labels, dtype=np.int64))


def held_out_sums(
    workspace: Workspace, population: Population, split: str, most: int = _MOST_GROUPS
) -> tuple[NDArray[np.float32], Ints] | None:
    """``sums`` and ``counts`` of ``count_wrong``, for at most so many groups, from the kept logits;
    None where the examples times classes are too many to hold.

    Raises:
        StoreError: if some logits were not kept.
    """
    probabilities = Probabilities(workspace, population, split)
    _, examples, classes = probabilities.shape
    most = min(most, _MOST_CELLS // max(1, examples * classes))
    groups = _groups(workspace, population, most)
    if not groups:
        return None
    held: Mask = probabilities.held_out()
    number = 1 + max(groups.values())
    sums = np.zeros((number, examples, classes), dtype=np.float32)
    counts = np.zeros((number, examples), dtype=np.int64)
    for position, (name, p) in enumerate(zip(population.classifiers, probabilities, strict=True)):
        own = held[position] & np.isfinite(p).all(axis=1)
        sums[groups[name]] += np.where(own[:, None], p, 0.0)
        counts[groups[name]] += own
    return sums, counts


def _groups(workspace: Workspace, population: Population, most: int) -> Mapping[str, int]:
    """Classifier -> group that is drawn as one: the folds of one repeat, architecture and seed
    belong together, snapshots of a training too. At most 12, and ``most``; empty if that is 0."""
    most = min(most, _MOST_GROUPS)
    if most < 1:
        return {}
    keys: dict[str, str] = {}
    for name in population.classifiers:
        commit = workspace.commits.get("checkpoint", name)
        training = None if commit is None else str(commit.facts["training_id"])
        record = None if training is None else workspace.commits.get("training", training)
        keys[name] = name if record is None else _drawn_with(record.identity["spec"], training)
    places = {key: place % most for place, key in enumerate(sorted(set(keys.values())))}
    return {name: places[key] for name, key in keys.items()}


def _drawn_with(spec: Mapping[str, Any], training: str | None) -> str:
    folds: Iterable[Op] = (Op(**step) for step in spec["treatment"] if step["name"] == "fold")
    for fold in folds:
        return f"{spec['arch']}/{spec['seed']}/{fold.params['of']}/{fold.params['repeat']}"
    return str(training)
