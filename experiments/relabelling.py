"""Study 2, relabelling: are suspected labels wrong, and what does replacing them by what the
population says do to a network that is trained on them.

Source: "Example perplexity and class label cleaning", section 4: set A (X > .95, 4,173 training
images) and set B (C < 2 besides, 1,284) get their top confusion as label, Models 4 and 5 are
trained on the result: two points worse, almost equal. Beyond it: the sets are judged by truth where
it is known, with X held out and at the planted number as well; labels are also replaced by the
class of the largest mean probability; and the same with five and ten times as many labels, as .3 %
of them can hardly move an accuracy by two points: what counts is the slope per changed label. Six
seeds for the arms that decide a claim (Models 4 and 5, at their own size and ten times it), three
for those that are shown beside them.

Whole training set, only these labels changed, as many optimiser steps (twice those of the other
grids); where the paper's draw of 500 of each class is trained on (ImageNet), the labels are changed
within the draw.

Expected (forecast before the first run): with symmetric noise both sets are mostly wrong labels and
relabelling gains; on clean labels nothing is seen at the sets' own size, and at ten times it harms.
Cost: ask ``zoo plan relabelling``. Command: ``zoo run relabelling --scale laptop``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from zoo.studies import Chart, Claim, Experiment, Table, lines, verdict_table
from zoo.studies.label_errors import (
    judged_rows,
    judged_sets,
    lowers,
    mostly_wrong,
    neutral,
    per_changed_label,
    sheet_rows,
    shown_sets,
    slope_rows,
    target_rows,
    target_table,
)
from zoo.studies.populations import (
    ABOUT,
    RETRAINED,
    Group,
    arms_on,
    budgets,
    chain,
    part,
    retraining,
    words,
)
from zoo.studies.results import Part, Results
from zoo.studies.retrained import gain_rows
from zoo.studies.scored import pictured

SCALES = ("smoke", "laptop", "gpu", "paper")

SET_A = "x > 0.95"


def _set_b(scale: str, which: str = "") -> str:
    """The paper's C < 2; for other numbers of classes, where 2 means something else, the share of
    the training set that has C < 2 there: 63 %, by the later study's quartiles (1.56 and 2.43)."""
    c = f"c{which} < 2" if scale == "paper" else f"percentile(c{which}) < 63"
    return f"x{which} > 0.95 and {c}"


def _beyond_b(scale: str) -> str:
    """What set A has beyond set B: as often wrong for the classifiers, and they do not agree."""
    return _set_b(scale).replace("<", ">=")


def _sets(scale: str) -> dict[str, str]:
    """Suspects that are judged by truth; n is how many labels are wrong."""
    return {
        "A": SET_A,
        "B": _set_b(scale),
        "B, C < 2": f"{SET_A} and c < 2",
        "A held out": "x_heldout > 0.95",
        "B held out": _set_b(scale, "_heldout"),
        "n worst by X": "planted:x",
        "n worst by label quality": "planted:label_quality",
        "n worst by mean log p": "planted:mean_log_p",
    }


def _models(scale: str) -> dict[str, str]:
    """Set A and set B given their top confusion, as in the paper, or their likeliest class."""
    return {
        "model-4": f"relabel:set={SET_A}",
        "model-5": f"relabel:set={_set_b(scale)}",
        "model-4, probability": f"relabel:set={SET_A},to=top_probability",
        "model-5, probability": f"relabel:set={_set_b(scale)},to=top_probability",
    }


def _larger(scale: str) -> dict[str, str]:
    """The set, then the next by X, until there are so many times as many."""
    return {
        f"{model} x{times}": f"relabel:set={rule},times={times},by=x"
        for model, rule in (("model-4", SET_A), ("model-5", _set_b(scale)))
        for times in (5, 10)
    }


def _decide(scale: str) -> tuple[str, ...]:
    """Arms that a claim rests on."""
    return ("model-4", "model-5", *(name for name in _larger(scale) if name.endswith("x10")))


def _groups(scale: str, word: str) -> list[Group]:
    """Six seeds for the arms that decide a claim; three for those that are shown beside them."""
    truth = {} if word == "clean" else {"true labels": "oracle"}
    arms = {"baseline": "", **_models(scale), **_larger(scale), **truth}
    if scale == "paper":
        draw = f"per_class:count={budgets(scale)[1]}"
        arms = {name: chain(draw, rule) for name, rule in arms.items()}
    network, passes = RETRAINED[scale], 1 if scale == "paper" else 2
    decide = ("baseline", *_decide(scale))
    beside = ("baseline", *(name for name in arms if name not in decide))
    return [
        Group(
            title,
            {name: arms[name] for name in names},
            retraining(scale, network, passes=passes, seeds=seeds),
        )
        for title, names, seeds in (("relabelled", decide, 6), ("beside", beside, 3))
    ]


def _group_of(scale: str, word: str, arm: str) -> str:
    return f"{word}: {'relabelled' if arm in _decide(scale) else 'beside'}"


def experiment(scale: str) -> Experiment:
    """Sets A and B, relabelled, on clean labels and with symmetric noise; with noise by confusion
    they are judged by truth alone."""
    return Experiment(
        name="relabelling",
        title="Example perplexity: relabelling",
        scale=scale,
        parts=tuple(
            part(
                "relabelling",
                scale,
                word,
                **({} if word == "conf20" else arms_on(word, _groups(scale, word))),
            )
            for word in words(scale)
        ),
        sections=("summary", "verdicts", "charts", "suspects", "rerun"),
        next_command=(
            'zoo query "select example_id, key, label, top_confusion, x_perplexity, c_perplexity'
            " from scores where split = 'train' and x_perplexity > 0.95 and c_perplexity < 2 order"
            ' by c_perplexity limit 20"'
        ),
    )


def measures(part: Part) -> Mapping[str, Table]:
    """The sets judged by truth, what replacing their labels would repair and break, and the most
    suspicious members of set B, and of set A beyond it, with their pictures."""
    train = part.scores["train"]
    sets = {
        name: rule
        for name, rule in _sets(part.experiment.scale).items()
        # scores of an older zoo lack some
        if not rule.startswith("planted:mean_log_p") or "mean_log_p" in train
    }
    return {
        "judged": judged_sets(train, sets),
        "targets": target_table(train, sets),
        "shown": pictured(
            part,
            "train",
            shown_sets(
                train,
                {"B": sets["B"], "A without B": _beyond_b(part.experiment.scale)},
                part.dataset.class_names,
            ),
        ),
    }


# ---------------------------------------------------------- claims, with the rules that decide them


def _claims(scale: str) -> list[Claim]:
    claims = []
    for word in words(scale, confusion=False):
        group = f"{word}: relabelled"
        claims += [
            Claim(
                f"S2.8 A {word}",
                "Relabelling set A to its top confusion lowers the accuracy",
                '"2 % lower than baseline"',
                f"{RETRAINED[scale]} on the whole set: gain of Model 4 below 0.",
                lowers(word, group, "model-4"),
            ),
            Claim(
                f"S2.8 B {word}",
                "Relabelling set B to its top confusion changes nothing",
                '"almost equal"',
                "Gain of Model 5 equal to 0 within .5 points (90 % interval inside the margin).",
                neutral(word, group, "model-5", within=0.005, beside="model-4", called="Model 4"),
            ),
            Claim(
                f"S2.8 A slope {word}",
                "Each further label of high X that is replaced by the top confusion harms",
                "-2 points for 4,173 of 1,281,167 labels",
                "Ten times as many as set A, by X: gain per hundred changed labels below 0.",
                per_changed_label(word, group, "model-4 x10"),
            ),
            Claim(
                f"S2.8 B slope {word}",
                "So does each further label beyond set B",
                "not reported",
                "Ten times as many as set B, by X: gain per hundred changed labels below 0.",
                per_changed_label(word, group, "model-5 x10"),
            ),
        ]
    for word in words(scale):
        claims += [
            Claim(
                f"S2.9 {title} {word}".replace("  ", " "),
                f"Most labels of {what} are wrong",
                "four pictures of set B (figure 7)",
                "Lower end of Wilson's 95 % interval of the precision above .5, by the known truth"
                " of the training labels.",
                mostly_wrong(word, name),
            )
            for title, name, what in (
                ("", "B", "set B (X > .95 and low C)"),
                ("A", "A", "set A (X > .95)"),
                ("held out", "A held out", "set A with X held out"),
                (
                    "planted",
                    "n worst by label quality",
                    "as many of lowest label quality as there are wrong labels",
                ),
            )
        ]
    return claims


def verdicts(results: Results) -> Table:
    """S2.8 and S2.9, by kind of label noise."""
    return verdict_table(_claims(results.scale), results, about=ABOUT)


# ---------------------------------------------------------------- figures

SLOPES = {model: (model, f"{model} x5", f"{model} x10") for model in ("model-4", "model-5")}
"""By how many labels are changed."""


def charts(results: Results) -> tuple[Chart, ...]:
    """The sets by truth, what relabelling gains, by how many labels, what it repairs, and contact
    sheets of sets A and B."""
    every, trained = words(results.scale), words(results.scale, confusion=False)
    arms = [*_models(results.scale), "true labels"]
    sets = list(_sets(results.scale))
    places = {arm: (float(n), arm) for n, arm in enumerate(arms)}
    return (
        Chart(
            "sets-by-truth",
            "How many labels of the sets are wrong",
            "bars",
            lines(judged_rows(results, every, sets)),
            "set of suspects",
            "share",
            "By the known truth: share of a set whose labels are wrong, and share of all n wrong"
            " labels that are in it. The paper had no truth to judge by. Empty where none is"
            " known.",
        ),
        Chart(
            "relabelled",
            "What relabelling gains",
            "bars",
            lines(
                row
                for word in trained
                for arm, place in places.items()
                for row in gain_rows(
                    results, word, _group_of(results.scale, word, arm), {arm: place}, "", word
                )
            ),
            "arm",
            "gain over the given labels [points]",
            "Test accuracy minus that of the same network, seed and number of steps on the given"
            " labels. The paper: Model 4 -2 points, Model 5 about 0.",
        ),
        Chart(
            "slopes",
            "Gain by number of changed labels",
            "lines",
            lines(
                row
                for word in trained
                for row in slope_rows(
                    results, word, partial(_group_of, results.scale, word), SLOPES
                )
            ),
            "labels changed",
            "gain over the given labels [points]",
            "Sets A and B at their own size, five and ten times as many (the next by X), each given"
            " its top confusion.",
        ),
        Chart(
            "repaired-and-broken",
            "What replacing the labels of a set repairs and breaks",
            "bars",
            lines(target_rows(results, every, sets)),
            "set",
            "share of the changed labels",
            "Repaired: wrong before, right after. Broken: right before. Moved: wrong before and"
            " after. By the known truth.",
        ),
        *(
            Chart(
                f"sheet-{word}",
                f"Sets A and B ({word})",
                "pictures",
                sheet_rows(results, word),
                "",
                "",
                "The most suspicious examples of set B and of what set A has besides, by label"
                " quality: label, C and X, top confusion, and the true class where it is known and"
                " another. The paper's figure 7 has four of set B.",
            )
            for word in every
            if word in set(results["shown"]["part"])
        ),
    )
