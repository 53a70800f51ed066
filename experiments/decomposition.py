"""Study 2, cleaning taken apart: how much of what a cleaned set gains is noise removed, how much is
that what is left is easier.

Source: not in "Example perplexity and class label cleaning", whose labels have no known truth; it
is the first question of a reader of its table 1. Where the truth is known, what Models 1 to 3 of
``cleaning`` leave out falls into two parts, wrong labels and right ones, and each is left out by
itself. As many of one kind as a model leaves out of both, which ``cleaning`` shows beside its
rivals, answers another question: it takes away another amount of noise.

All arms on symmetric noise, the grids' network, the larger budget, twelve seeds: the gains that are
compared are about a point, the spread over seeds (paired) about .7.

Expected (forecast before the first run): Model 2's own wrong labels gain about a point and its own
right ones about half of one, as the same network gains on clean labels; the two add up. Cost: ask
``zoo plan decomposition``. Command: ``zoo run decomposition --scale laptop``.
"""

from __future__ import annotations

from collections.abc import Mapping

from zoo.studies import (
    Chart,
    Claim,
    Experiment,
    NotFoundError,
    Row,
    Table,
    lines,
    value,
    verdict_table,
)
from zoo.studies.nested import thresholds_table
from zoo.studies.populations import (
    ABOUT,
    MODELS,
    RETRAINED,
    Group,
    arms_on,
    budgets,
    cleaned,
    drawn,
    part,
    retraining,
)
from zoo.studies.results import Part, Results
from zoo.studies.retrained import adds_up, ahead, better, gain_rows

SCALES = ("smoke", "laptop", "gpu")

ON = "sym20"
"""Labels whose truth is known, and with which cleaning gains."""

GROUP = f"{ON}: parts"

_WRONG, _RIGHT = "{}, its wrong labels", "{}, its right labels"

ARMS = {
    "baseline": "",
    **{name: cleaned(share) for name, share in MODELS.items()},
    **{_WRONG.format(name): f"drop_errors:like={ON}-{name},own=true" for name in MODELS},
    **{_RIGHT.format(name): f"drop_correct:like={ON}-{name},fill=false" for name in MODELS},
    "random": f"random_like:name={ON}-model-2,per_class=true",
    "all wrong labels": f"drop_errors:like={ON}-half,fill=false",
    "true labels": "oracle",
}
"""What is left out, or mended. ``all wrong labels``: half of the set is more than there are."""


def experiment(scale: str) -> Experiment:
    """Each model whole, by its wrong labels alone and by its right ones alone."""
    large = budgets(scale)[1]
    sweep = retraining(scale, RETRAINED[scale], seeds=12)
    named = {name: ARMS[name] for name in MODELS} | {"half": "worst:share=0.5,by=joint"}
    group = Group("parts", drawn(ARMS, large), sweep, str(large))
    return Experiment(
        name="decomposition",
        title="Example perplexity: cleaning taken apart",
        scale=scale,
        parts=(part("decomposition", scale, ON, **arms_on(ON, [group], named)),),
        sections=("summary", "verdicts", "charts", "rerun"),
        next_command=(
            'zoo query "select arm, round(100 * delta, 2) gain from comparisons where metric ='
            " 'acc1' order by gain desc\""
        ),
    )


def measures(part: Part) -> Mapping[str, Table]:
    """What the models keep."""
    return {"thresholds": thresholds_table(part, {name: ARMS[name] for name in MODELS})}


# ---------------------------------------------------------- claims, with the rules that decide them


def _claims() -> list[Claim]:
    return [claim for name in MODELS for claim in _about(name)]


def _about(name: str) -> list[Claim]:
    """Of one model."""
    wrong, right = _WRONG.format(name), _RIGHT.format(name)
    said = "not asked; the truth of its labels is not known"
    return [
        Claim(
            f"{name} noise",
            "Leaving out its wrong labels alone gains",
            said,
            "Gain over the baseline above 0.",
            better(ON, GROUP, [wrong]),
        ),
        Claim(
            f"{name} easiness",
            "Leaving out its right labels alone gains",
            said,
            "Gain over the baseline above 0.",
            better(ON, GROUP, [right]),
        ),
        Claim(
            f"{name} more noise",
            "More of its gain is noise removed than easiness",
            said,
            "Gain of its wrong labels alone minus that of its right ones alone above 0.",
            ahead(ON, GROUP, wrong, right),
        ),
        Claim(
            f"{name} sum",
            "The two gains add up to its own",
            said,
            "Its gain minus the sum of the two equal to 0 within 1 point (90 % interval inside).",
            adds_up(ON, GROUP, name, (wrong, right), 0.01),
        ),
    ]


def verdicts(results: Results) -> Table:
    """Four claims on each model."""
    return verdict_table(_claims(), results, about=ABOUT)


SERIES = {"whole": "{}", "its wrong labels": _WRONG, "its right labels": _RIGHT}


def charts(results: Results) -> tuple[Chart, ...]:
    """The gain of each model beside its two parts; every arm's gain by the noise that is left."""
    places = {name: (float(n), name) for n, name in enumerate(MODELS)}
    return (
        Chart(
            "parts",
            "Cleaning taken apart",
            "bars",
            lines(
                row
                for title, arm in SERIES.items()
                for name, place in places.items()
                for row in gain_rows(results, ON, GROUP, {arm.format(name): place}, "", title)
            ),
            "what was left out",
            "gain over the baseline [points]",
            "Each model whole, its wrong labels alone, its right ones alone; the same budget drawn"
            " from what is left. Not in the paper.",
        ),
        Chart(
            "noise-left",
            "Gain by the wrong labels that are left",
            "lines",
            lines(_by_noise(results)),
            "wrong labels among those trained on [%]",
            "gain over the baseline [points]",
            "From the baseline by Models 1, 2 and 3; a single point: all wrong labels left out, all"
            " of them mended, as many left out at random as Model 2 does. If noise alone decided,"
            " all would lie on one line. Not in the paper.",
        ),
    )


def _by_noise(results: Results) -> list[Row]:
    """Each arm's gain at the share of wrong labels in what its networks were trained on."""
    series = {title: ("baseline", *map(arm.format, MODELS)) for title, arm in SERIES.items()}
    series |= {arm: (arm,) for arm in ("random", "all wrong labels", "true labels")}
    drawn_by = results.of("selected", ON).assign(
        share=lambda table: table["wrong_left"] / table["unique"]
    )
    rows = []
    for title, arms in series.items():
        for arm in arms:
            try:
                selection = results.of("arms", ON, arm_group=GROUP, arm=arm)["selection"].iloc[0]
            except NotFoundError:
                continue
            mine = drawn_by[drawn_by["selection"] == selection]
            gain = results.gain(ON, GROUP, arm)
            rows.append(value("", title, 100 * float(mine["share"].mean()), gain, x_text=arm))
    return rows
