"""The populations of study 2: 500 classifiers on clean data, with symmetric noise and with noise by
confusion, and how good they are.

Source: "Example perplexity and class label cleaning", section 3: 10 architectures x 10 training
sets (3 x 25 %, 3 x 50 %, 3 x 75 %, 1 x 100 %) x 5 snapshots. Everything else in study 2 scores with
these. Snapshots are spaced evenly over the schedule; scales that end in ``-last`` take the last
five epochs, the other reading of the paper.

Scales: ``laptop`` has ten small networks on 10,000 images of CIFAR-10, ``gpu`` all of it, ``paper``
ImageNet with ten timm networks; ``smoke`` is for tests, its numbers mean nothing.

Expected (written before the first run): mean test accuracy of the laptop's population 45 to 60 %,
falling with noise; more data and more epochs help every network. Cost: ask ``zoo plan population``.
Command: ``zoo run population --scale laptop``.
"""

from __future__ import annotations

from zoo.studies import Experiment
from zoo.studies.populations import part, words

SCALES = ("smoke", "laptop", "gpu", "paper", "laptop-last", "gpu-last", "paper-last")


def experiment(scale: str) -> Experiment:
    """Trains the populations, asks them for their answers on both splits, scores."""
    plain = scale.removesuffix("-last")
    return Experiment(
        name="population",
        title="Example perplexity: the populations",
        scale=scale,
        parts=tuple(part("population", plain, word, last=plain != scale) for word in words(plain)),
        next_command=(
            'zoo query "select arch, epoch, round(avg(test_acc1), 3) acc1 from classifiers where'
            " role = 'population' group by all order by all\""
        ),
    )
