"""The whole loop on the embedded data: train, fill, score, find planted label errors, clean,
retrain with controls, report.

Source: the method of "Example perplexity and class label cleaning" (population of classifiers of
different strength, X- and C-perplexity, cleaning, relabelling to the top confusion, retraining on a
budget of examples per class), at a scale that a laptop does in minutes. Not the paper's scale: five
small networks instead of ten, five training sets instead of ten, three snapshots instead of five:
75 classifiers, on 5,000 pictures of Fashion-MNIST of which 5 % carry a *planted* wrong label.

Retraining: 195 pictures of each class (of 500, the paper's 500 of 1,281), drawn anew for each of
six seeds, from what an arm's rule leaves. So a smaller training set is no reason for a difference,
and the draw of the budget is in the intervals. Controls: the redrawn baseline, as many pictures of
each class left out at random, the hardest half, and the true labels.

Expected: label_quality finds the planted errors with AUROC >= .975 and precision >= .75 at their
number. Cost: three to four minutes on two cores. Command: ``zoo demo``, the same as ``zoo
run demo``.
"""

from __future__ import annotations

import math

from zoo.studies import RECIPES, Arm, ArmGroup, Experiment, Op, SelectionRule, Sweep, op, rules

SCALES = ("laptop", "smoke")

BUDGET = 195
"""Pictures of each class that an arm is trained on."""

ARCHS = ("lenet5", "mlp", "nin_mini", "resnet_mini", "inception_mini")


def experiment(scale: str) -> Experiment:
    """The demo. ``smoke`` is the same line in a few seconds of training, for tests; its numbers
    mean nothing."""
    small = scale == "smoke"
    epochs, snapshots = (2, (1, 2)) if small else (12, (4, 8, 12))
    archs = ("mlp", "lenet5") if small else ARCHS
    # Three halves and two three-quarters. An example is in all five with probability 1/8 * 9/16:
    # about 7 % are held out of none.
    subsets = (
        ((0.5, 1), (0.5, 2)) if small else ((0.5, 1), (0.5, 2), (0.5, 3), (0.75, 1), (0.75, 2))
    )
    recipe = RECIPES["onecycle"].replace(epochs=epochs, lr=2e-3)

    # Long enough to learn wrong labels by heart, as the paper's 40 epochs are. The steps of one
    # pass over the budget, whatever an arm holds.
    retraining = RECIPES["onecycle"].replace(
        epochs=2 if small else 40, lr=2e-3, steps_per_epoch=math.ceil(10 * BUDGET / 128)
    )
    budget = f"per_class:count={BUDGET}"

    def chain(text: str) -> tuple[Op, ...]:
        return tuple(Op(name=name, params=params) for name, params in rules(text))

    return Experiment(
        name="demo",
        title="Demonstration: planted label errors in Fashion-MNIST, found and cleaned",
        scale=scale,
        dataset="fashion-mini",
        sweeps=(
            Sweep(
                archs=archs,
                treatments=tuple(
                    (op("subsample", fraction=fraction, replica=replica),)
                    for fraction, replica in subsets
                ),
                recipe=recipe,
                snapshots=snapshots,
            ),
        ),
        fill_splits=("train", "test"),
        selections=(
            SelectionRule(name="drawn", rules=chain(budget)),
            SelectionRule(name="cleaned", rules=chain("worst:share=0.05,by=label_quality")),
            SelectionRule(
                name="worst-dropped", rules=chain(f"worst:share=0.05,by=label_quality+{budget}")
            ),
            SelectionRule(
                name="suspects-relabelled",
                rules=chain(f"relabel_worst:share=0.05,to=top_confusion+{budget}"),
            ),
            SelectionRule(
                name="random-dropped",
                rules=chain(f"random_like:name=cleaned,per_class=true+{budget}"),
            ),
            SelectionRule(
                name="hardest-half",
                rules=chain(f"hardest:share=0.5,by=label_quality,per_class=true+{budget}"),
            ),
            SelectionRule(name="oracle", rules=chain(f"oracle+{budget}")),
        ),
        arm_groups=(
            ArmGroup(
                name="budget",
                arms=(
                    Arm(
                        name="baseline",
                        selection="drawn",
                        note=f"{BUDGET} of each class, drawn from all",
                    ),
                    Arm(
                        name="worst-dropped",
                        selection="worst-dropped",
                        note="drawn without the 5 % of lowest label quality",
                    ),
                    Arm(
                        name="suspects-relabelled",
                        selection="suspects-relabelled",
                        note="those 5 % given their top confusion as label",
                    ),
                    Arm(
                        name="random-dropped",
                        selection="random-dropped",
                        note="control: as many of each class left out at random",
                    ),
                    Arm(
                        name="hardest-half",
                        selection="hardest-half",
                        note="the opposite: drawn from the half of lowest label quality",
                    ),
                    Arm(
                        name="oracle",
                        selection="oracle",
                        note="oracle: the planted errors corrected by label_true",
                    ),
                ),
                retraining=Sweep(
                    archs=("mlp",), recipe=retraining, seeds=(0, 1) if small else (0, 1, 2, 3, 4, 5)
                ),
            ),
        ),
        # As many of the test pictures as the paper's mildest thresholds keep of its own.
        on=(Op(name="below", params={"share": 0.7755, "thresholds": "joint"}),),
        sections=(),
        next_command=(
            'zoo query "select label, top_confusion, count(*) n from scores where x_perplexity >'
            ' 0.9 group by all order by n desc"'
        ),
    )
