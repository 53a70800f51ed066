"""Study 2, perplexity: what X and C of 500 classifiers look like, what they depend on, and how many
classifiers they take.

Source: "Example perplexity and class label cleaning", section 3.1, figures 1 (distributions on the
training and the validation set) and 2 (examples with label, C, X and top confusion), and its parent
project: 12 bins of X, confusions with their indices, perplexity of classes, the "fast mode" of 100
classifiers. Beyond both: scores by the classifiers that held an example out, which 55 % did not;
main effects; a test of what C is said to mean, the number of things in a picture, on pictures made
of halves; and whether C is free of the labels, by populations trained on wrong ones.

The pictures of figure 2 are chosen by rule: nearest to the corners of the X-C plane.

Expected (written before the first run): X of training examples is lower than that of test examples
because they were seen, and for no other reason; architecture and epoch explain more of a
classifier's error than its share of the training set; the last snapshots rank as all do (.95);
composites of two classes are above both parents in three of four cases; C of a population with 20 %
wrong labels ranks as that of a clean one (.8). Cost: that of ``population``, a tenth more answers.
Command: ``zoo run perplexity --scale laptop``.
"""

from __future__ import annotations

from collections.abc import Mapping

from zoo.studies import Chart, Claim, Experiment, Table, heat, lines, verdict_table
from zoo.studies.populations import ABOUT, data, part, words
from zoo.studies.results import Part, Results
from zoo.studies.scored import (
    bin_rows,
    class_rows,
    composite_rows,
    composites_above,
    distribution_rows,
    effect_rows,
    enough_rows,
    fast_mode,
    gap_between_kinds,
    gap_rows,
    held_out_like_test,
    human_doubt,
    in_sample_law,
    label_free,
    learned_by_heart,
    level_rows,
    pair_rows,
    picture_rows,
    plane_rows,
    tables_of,
)

SCALES = ("smoke", "laptop", "gpu", "paper")

CLEAN = "clean"


def experiment(scale: str) -> Experiment:
    """The populations; the clean one is asked for composites of test pictures as well."""
    count = 150 if scale == "smoke" else 1000
    composites = f"{data(scale, CLEAN).partition('+')[0]}+composites:count={count}"
    return Experiment(
        name="perplexity",
        title="Example perplexity: X and C of a population",
        scale=scale,
        parts=tuple(
            part("perplexity", scale, word, probes=(composites,) if word == CLEAN else ())
            for word in words(scale)
        ),
        sections=("summary", "verdicts", "charts", "rerun"),
        next_command=(
            'zoo query "select label, top_confusion, count(*) n from scores where x_perplexity >'
            ' 0.9 group by all order by n desc limit 10"'
        ),
    )


def measures(part: Part) -> Mapping[str, Table]:
    """Distributions, examples, confusions, classes, in-sample and held out, effects, agreement."""
    return tables_of(part)


# ---------------------------------------------------------- claims, with the rules that decide them


def _claims(results: Results) -> list[Claim]:
    noisy = [word for word in words(results.scale) if word != CLEAN]
    return [
        Claim(
            "S2.11 human",
            "C rises with the number of things people see in a picture",
            '"related to the number of subjects"; not measured',
            "Spearman's rank correlation of C and the entropy of human votes over the test"
            " examples: 95 % interval above 0. Not tested where nobody voted.",
            human_doubt(CLEAN),
        ),
        Claim(
            "S2.11 composites",
            "A picture made of halves of two classes has a C above both of its parents",
            "not measured",
            "Left half of one test picture beside the right half of another: C above that of either"
            " in at least 75 % of the pairs (Wilson's 95 % interval above; fails: below).",
            composites_above(CLEAN),
        ),
        Claim(
            "S2.11 one class",
            "That is the second class's doing, not the seam's",
            "not measured",
            "The same left halves beside halves of their own class: above both parents less often"
            " (95 % interval of the difference of the shares above 0).",
            gap_between_kinds(CLEAN),
        ),
        *(
            Claim(
                f"S2.11 label-free {word}",
                "C does not depend on the labels",
                '"has nothing to do with the label of the image"',
                f"Spearman's rank correlation of C by the populations trained on {CLEAN} and on"
                f" {word} labels, over 2,000 test examples: 95 % interval above .8 (fails: below).",
                label_free(CLEAN, word),
            )
            for word in noisy
        ),
        Claim(
            "in-sample share",
            "55 % of the classifiers were trained on the example that they score",
            "not said; .55 follows from the ten training sets",
            "Mean share over the training examples is the mean fraction of the training sets,"
            " within .001.",
            in_sample_law(CLEAN),
        ),
        Claim(
            "in-sample effect",
            "Classifiers err less on what they were trained on",
            "mean X .22 on training, .35 on validation images",
            "Mean over the examples of X by the classifiers that held it out minus X by those that"
            " saw it, less the same difference of the test set by the same mixes of classifiers:"
            " 95 % interval above 0.",
            learned_by_heart(CLEAN),
        ),
        Claim(
            "in-sample only",
            "The lower X of training images is nothing but that",
            "not measured",
            "Mean X of training examples by classifiers that held them out equals mean X of the"
            " test set, by the same mix of classifiers (those that hold out have the smaller"
            " training sets), within 2 points.",
            held_out_like_test(CLEAN),
        ),
        Claim(
            "fast mode",
            "A fifth of the classifiers, the last snapshots, give nearly the same perplexity",
            '"nearly the same" (parent project)',
            "Over the test examples, Spearman's rank correlation with all classifiers at least .95,"
            " of X and of C.",
            fast_mode(CLEAN),
        ),
    ]


def verdicts(results: Results) -> Table:
    """S2.11, the 55 % law and what follows from it, the parent's fast mode."""
    return verdict_table(_claims(results), results, about=ABOUT)


# ---------------------------------------------------------------- figures


def charts(results: Results) -> tuple[Chart, ...]:
    """Figures 1 and 2 of the paper, and what it does not have."""
    parts = words(results.scale)
    shown = [
        Chart(
            "figure-1",
            "Distributions of X and C",
            "bars",
            lines(distribution_rows(results, CLEAN)),
            "tenths of the range of X (0 to 1) and of C (1 to the largest)",
            "share of the examples",
            "The paper's figure 1 on clean labels; dashes: its own shares, digitised. The ranges of"
            " C differ: the paper's reach 52 (training) and 37 (validation), of which two bins can"
            " be read.",
        ),
        Chart(
            "figure-2",
            "Examples by rule: the corners of the X-C plane",
            "pictures",
            picture_rows(results, CLEAN, "test"),
            "",
            "",
            "The paper's figure 2: label, C, X and top confusion (most-voted class) of the test"
            " examples nearest to each corner. Quarters without an example are absent.",
        ),
        Chart(
            "bins",
            "The twelve bins of X",
            "bars",
            lines(bin_rows(results, parts)),
            "X",
            "share of the examples",
            "As in the parent project: none of the classifiers wrong, up to a tenth of them, ...,"
            " all of them.",
        ),
        Chart(
            "joint-density",
            "Joint density of X and C",
            "density",
            plane_rows(results, parts, "train"),
            "C",
            "X",
            "Training examples. At the top left: most classifiers agree, on another class than the"
            " label.",
            x_scale="log",
        ),
        *(
            Chart(
                f"held-out-{measure}",
                f"Mean {measure.upper()} by the classifiers that saw an example, and by the others",
                "bars",
                lines(level_rows(results, parts, measure)),
                "classifiers",
                f"mean {measure.upper()}",
                "The same training examples; C averaged in bits. Not in the paper.",
                percent=False,
            )
            for measure in ("x", "c")
        ),
        Chart(
            "gap",
            "What an example gains by having been trained on",
            "lines",
            lines(gap_rows(results, parts)),
            "X held out minus X in-sample",
            "share of the examples",
            "Per training example. Part of it is that the classifiers that hold out have the"
            " smaller training sets; the claim takes that off. Not in the paper.",
        ),
        *(
            Chart(
                f"effects-{measure}",
                f"Mean {measure.upper()} by architecture, share of the training set and epoch",
                "bars",
                lines(effect_rows(results, CLEAN, "test", f"mean_{measure}")),
                "level",
                f"mean {measure.upper()} of the test examples",
                "Main effects over the classifiers of the clean population; in brackets: how much"
                " of the variance between classifiers the factor alone explains. Not in the paper.",
                percent=False,
            )
            for measure in ("x", "c")
        ),
        Chart(
            "enough",
            "How many classifiers are enough",
            "lines",
            lines(enough_rows(results, parts)),
            "classifiers, drawn at random",
            "rank correlation with the whole population",
            "Training examples; mean of 20 draws, dashed: their fifth percentile. Not in the"
            " paper.",
            x_scale="log",
            percent=False,
        ),
        Chart(
            "classes",
            "Perplexity of classes",
            "bars",
            lines(class_rows(results, parts, "test")),
            "class",
            "mean X of its test examples",
            "The most perplexing classes first, twenty at most.",
        ),
        Chart(
            "pairs",
            "Which class the examples of a class are taken for",
            "heat",
            heat(pair_rows(results, parts, "test")),
            "class that was voted for",
            "label",
            "Mean X-confusion index over the test examples: the share of all answers.",
        ),
        Chart(
            "composites",
            "Pictures made of halves: C above both parents",
            "bars",
            lines(composite_rows(results, CLEAN)),
            "the two halves",
            "share of the pictures",
            "Left half of a test picture beside the right half of another, of another class or of"
            " its own. Not in the paper.",
        ),
    ]
    return tuple(chart for chart in shown if len(chart.table))
