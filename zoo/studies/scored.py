"""What a population's scores say of its data set: the tables of the experiment ``perplexity``, the
findings its claims rest on, and rows for its charts.

The measures are those of ``zoo.studies.perplexity`` and ``zoo.studies.dependence``; here they are
asked of a part of a study and read again from its stored tables.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd

from zoo import keyed
from zoo.data import encode_pixels, votes_of
from zoo.data.decode import thumbnails_of
from zoo.errors import NotFoundError
from zoo.scores import from_store
from zoo.scores.convergence import convergence_table
from zoo.scores.marginals import class_confusion, classifier_means
from zoo.scores.population import population_of
from zoo.store.ledger import classifiers_frame
from zoo.studies import dependence, perplexity
from zoo.studies.claims import UNKNOWN, Evidence, Finding, Measure, NotTested, all_of
from zoo.studies.findings import DENSITY_COLUMNS
from zoo.studies.measures import Row, value
from zoo.studies.results import Part, Results
from zoo.trainsets.composites import COMPOSITES, pairs_of

__all__ = [
    "bin_rows",
    "class_rows",
    "composite_rows",
    "composites_above",
    "distribution_rows",
    "effect_rows",
    "enough_rows",
    "fast_mode",
    "gap_between_kinds",
    "gap_rows",
    "held_out_like_test",
    "human_doubt",
    "in_sample_law",
    "interval_evidence",
    "label_free",
    "learned_by_heart",
    "level_rows",
    "pair_rows",
    "picture_rows",
    "pictured",
    "plane_rows",
    "tables_of",
]

_PAIRS: Final = 400
"""Pairs of classes that are kept, the most frequent first: all of up to 20 classes."""
_SHOWN: Final = 8
"""Examples of each corner."""
_SAMPLE: Final = 2000
"""Test examples of which C is kept, to be compared between parts: the same in every part."""


def tables_of(part: Part) -> Mapping[str, pd.DataFrame]:
    """All small tables of a part that claims and charts need; see ``zoo.studies.perplexity`` and
    ``zoo.studies.dependence`` for what each holds. ``split`` stands in front where there is one row
    set per split.

    Raises:
        NotFoundError: if the part has no scores.
    """
    population = part.population
    if population is None or not part.scores:
        raise NotFoundError(f"{part.dataset.name} has no scores. Fill and score it first.")
    names = part.dataset.class_names
    ids = list(population.classifiers)
    classifiers = classifiers_frame(part.workspace).set_index("classifier_id").loc[ids]
    classifiers = classifiers.reset_index()
    fast = population_of(
        part.workspace, population.fingerprint, dependence.last_snapshots(classifiers)
    )
    by_split: dict[str, dict[str, pd.DataFrame]] = {}
    for split, scores in part.scores.items():
        means = classifier_means(part.workspace, population, split).merge(
            classifiers, on="classifier_id"
        )
        confusion = class_confusion(part.workspace, population, split)
        quick = from_store.score(part.workspace, fast, split).to_pandas()
        by_split[split] = {
            "density": perplexity.joint_density(scores),
            "shown": pictured(part, split, perplexity.shown_examples(scores, names, _SHOWN)),
            "confusions": _confusions(part, split),
            "classes": perplexity.class_perplexity(scores, names),
            "pairs": perplexity.confusion_pairs(scores, names, confusion).head(_PAIRS),
            "effects": dependence.main_effects(means),
            "fast": dependence.agreement(scores, quick).assign(classifiers=len(fast.classifiers)),
        }
    measured = perplexity.distributions(part.scores).assign(source="measured")
    published = perplexity.published_distributions().assign(source="published")
    tables = {
        name: pd.concat(
            [found[name].assign(split=split) for split, found in by_split.items()],
            ignore_index=True,
        )
        for name in next(iter(by_split.values()))
    } | {
        "distributions": pd.concat([measured, published], ignore_index=True),
        "summary": perplexity.summary(part.scores),
        "bins": perplexity.label_bins(part.scores),
    }
    if "train" in part.scores:
        tables |= {
            "in_sample": dependence.in_sample(part.scores["train"], classifiers),
            "held_out": dependence.held_out(part.scores["train"]),
            "gaps": dependence.gaps(part.scores["train"]),
        }
        if len(population.classifiers) > 1:
            tables["enough"] = convergence_table(part.workspace, population)
    if "test" in part.scores:
        test = part.scores["test"].sort_values("example_id", ignore_index=True)
        chosen = keyed.choose("c_sample", test["example_id"].to_numpy(), min(_SAMPLE, len(test)))
        tables["c_sample"] = test.iloc[chosen][["example_id", "c_perplexity"]]
        if (votes := votes_of(part.dataset, "test")) is not None:
            told = pd.DataFrame(
                {
                    "example_id": np.arange(len(votes)),
                    "human_entropy": dependence.vote_entropy(votes),
                }
            )
            tables["human"] = dependence.rank_agreement(test, "c_perplexity", told, "human_entropy")
    for probe in part.probes.values():
        if COMPOSITES in probe.scores:
            tables["composites"] = dependence.composite_shares(
                probe.scores[COMPOSITES], part.scores["test"], pairs_of(probe.dataset)
            )
    return tables


def pictured(part: Part, split: str, shown: pd.DataFrame) -> pd.DataFrame:
    """A table of examples with each one's picture as a PNG in base64, so that a chart is drawn from
    the table."""
    ids = shown["example_id"].tolist()
    pictures = thumbnails_of(part.dataset, split, ids) if ids else ()
    return shown.assign(
        picture=[base64.b64encode(encode_pixels(picture)).decode() for picture in pictures]
    )


def _confusions(part: Part, split: str) -> pd.DataFrame:
    """The five X- and C-confusions of the examples shown, with their indices."""
    assert part.population is not None
    scores = part.scores[split]
    rows = perplexity.corner_examples(scores, _SHOWN)["row"].to_numpy()
    exact = from_store.entropy_classes(part.workspace, part.population, split)
    return perplexity.confusion_lists(scores, part.dataset.class_names, rows, exact)


# ---------------------------------------------------------------- findings


def interval_evidence(low: float, high: float, threshold: float) -> Evidence:
    """Of a quantity known by a 95 % interval over examples: above the threshold or below it."""
    if np.isnan(low) or np.isnan(high):
        return UNKNOWN
    return Evidence(float(low <= threshold), float(high >= threshold))


def in_sample_law(part: str, *, within: float = 0.001) -> Measure:
    """The mean share of classifiers that saw an example is the mean fraction of their training
    sets."""

    def measure(results: Results) -> Finding:
        (row,) = results.of("in_sample", part).to_dict(orient="records")
        off = abs(row["mean_share"] - row["expected"])
        note = (
            f"Expected {row['expected']:.4f}, measured {row['mean_share']:.4f} over {row['n']:,}"
            f" examples ({row['min_share']:.2f} to {row['max_share']:.2f} of the classifiers);"
            f" {row['seen_by_all']:,} examples were held out by none, expected"
            f" {row['expected_seen_by_all']:.1f}."
        )
        evidence = Evidence(0.0, 1.0) if off <= within else Evidence(1.0, 0.0)
        return Finding(evidence, np.array([row["mean_share"]]), unit="share", note=note)

    return measure


def _test_by_mix(results: Results, part: str) -> tuple[float, float]:
    """Mean X of the test set by the classifiers as they hold a training example out, and as they
    see one: those of a training set of fraction f hold 1 - f of the examples out, so the two are
    not the same mix of large and small training sets."""
    table = results.of("effects", part, split="test", factor="fraction")
    fraction, n, x = (table[name].to_numpy(float) for name in ("level", "n", "mean_x"))
    held, seen = (
        float(np.average(x, weights=n * share)) if (n * share).any() else np.nan
        for share in (1 - fraction, fraction)
    )
    return held, seen


def learned_by_heart(part: str) -> Measure:
    """X over the classifiers that held an example out is higher than over those that saw it, by
    more than it is on the test set, where neither saw anything."""

    def measure(results: Results) -> Finding:
        row = results.of("held_out", part, measure="x", of="gap").iloc[0]
        if not row["n"]:
            raise NotTested("No example was both seen and held out.")
        held, seen = _test_by_mix(results, part)
        low, high, mean = (float(row[name]) - (held - seen) for name in ("low", "high", "mean"))
        note = (
            f"95 % interval over {int(row['n']):,} examples {low:.4f} to {high:.4f}. Training"
            f" examples {100 * row['mean']:.1f} points, the test set by the same mixes of"
            f" classifiers {100 * (held - seen):.1f}."
        )
        return Finding(interval_evidence(low, high, 0.0), np.array([mean]), note=note)

    return measure


def held_out_like_test(part: str, *, within: float = 0.02) -> Measure:
    """Mean X of training examples by the classifiers that held them out is that of the test set by
    the same mix of classifiers: the lower X of training examples is nothing but their having been
    seen."""

    def measure(results: Results) -> Finding:
        held = results.of("held_out", part, measure="x", of="held out").iloc[0]
        seen = results.of("held_out", part, measure="x", of="in-sample").iloc[0]
        test = results.of("summary", part, split="test", measure="x", statistic="mean").iloc[0]
        if not held["n"]:
            raise NotTested("No example was both seen and held out.")
        mix, _ = _test_by_mix(results, part)
        low, high = (held[bound] - mix for bound in ("low", "high"))
        inside = interval_evidence(low, high, -within), interval_evidence(-high, -low, -within)
        note = (
            f"Mean X: in-sample {seen['mean']:.3f}, held out {held['mean']:.3f}; test by the mix"
            f" that holds out {mix:.3f}, by all {test['value']:.3f}."
        )
        return Finding(all_of(inside), np.array([held["mean"] - mix]), note=note)

    return measure


def fast_mode(part: str, *, least: float = 0.95) -> Measure:
    """The last snapshot of each training alone ranks the test set as all snapshots do."""

    def measure(results: Results) -> Finding:
        table = results.of("fast", part, split="test").set_index("measure")
        found = table["value"]
        rho = np.array([found["spearman_x"], found["spearman_c"]])
        if np.isnan(rho).any():
            raise NotTested("X or C is the same for all examples: there is no order.")
        parts = [Evidence(float(r < least), float(r >= least)) for r in rho]
        note = (
            f"{table['classifiers'].iloc[0]} classifiers; Spearman of X {rho[0]:.3f}, of C"
            f" {rho[1]:.3f}; same top confusion {100 * found['same_top']:.1f} %; mean change of X"
            f" {found['mean_change_x']:.3f}, of C {found['mean_change_c']:.3f}."
        )
        return Finding(all_of(parts), np.array([rho.min()]), unit="", note=note)

    return measure


def human_doubt(part: str) -> Measure:
    """C is the higher the more people disagree about an example's label."""

    def measure(results: Results) -> Finding:
        if "human" not in results.tables:
            raise NotTested("The data set brings no human votes (votes-test.npy).")
        return _by_rank(results.of("human", part).iloc[0], 0.0)

    return measure


def label_free(part: str, other: str, *, least: float = 0.8) -> Measure:
    """C of the test examples by the population trained on other labels ranks them as C by the
    population trained on this part's."""

    def measure(results: Results) -> Finding:
        tables = [results.of("c_sample", name) for name in (part, other)]
        found = dependence.rank_agreement(tables[0], "c_perplexity", tables[1], "c_perplexity")
        return _by_rank(found.iloc[0], least)

    return measure


def _by_rank(row: pd.Series, threshold: float) -> Finding:
    note = f"95 % interval over {int(row['n']):,} examples {row['low']:.3f} to {row['high']:.3f}."
    evidence = interval_evidence(row["low"], row["high"], threshold)
    return Finding(evidence, np.array([row["value"]]), unit="", note=note)


def composites_above(part: str, *, least: float = 0.75) -> Measure:
    """A picture made of halves of two classes has a C above both of its parents."""

    def measure(results: Results) -> Finding:
        row = results.of("composites", part, kind="two classes").iloc[0]
        note = (
            f"{int(row['n_above']):,} of {int(row['n']):,}, Wilson's interval"
            f" {100 * row['low']:.1f} to {100 * row['high']:.1f} %; mean C {row['mean_c']:.2f},"
            f" of the parents {row['mean_c_parents']:.2f}."
        )
        evidence = interval_evidence(row["low"], row["high"], least)
        return Finding(evidence, np.array([row["share"]]), unit="share", note=note)

    return measure


def gap_between_kinds(part: str) -> Measure:
    """That is so more often where the halves are of two classes than where they are of one: it is
    the second class and not the seam."""

    def measure(results: Results) -> Finding:
        two, one = (
            results.of("composites", part, kind=kind).iloc[0]
            for kind in ("two classes", "one class")
        )
        gap = two["share"] - one["share"]
        # Newcombe, Stat. Med. 17 (1998) 873, method 10; the pairs share their left halves, which
        # makes it conservative
        below = np.hypot(two["share"] - two["low"], one["high"] - one["share"])
        above = np.hypot(two["high"] - two["share"], one["share"] - one["low"])
        note = (
            f"{100 * two['share']:.1f} % with two classes, {100 * one['share']:.1f} % with one;"
            f" interval of the difference {100 * (gap - below):.1f} to {100 * (gap + above):.1f}"
            " points."
        )
        return Finding(interval_evidence(gap - below, gap + above, 0.0), np.array([gap]), note=note)

    return measure


# ---------------------------------------------------------------- rows of charts


def distribution_rows(results: Results, part: str) -> list[Row]:
    """Figure 1: share of the examples by tenth of the range, one panel per split and measure;
    published ones as references."""
    table = results.of("distributions", part)
    measured = table[table["source"] == "measured"]
    rows: list[Row] = []
    for (split, measure), mine in measured.groupby(["split", "measure"], sort=False):
        panel = f"{'validation' if split == 'test' else split}, {str(measure).upper()}"
        texts = {
            int(row["bin"]): f"{row['low']:.3g}\u2013{row['high']:.3g}"
            for row in mine.to_dict(orient="records")
        }
        for source in ("measured", "published"):
            own = table[
                (table["source"] == source)
                & (table["split"] == split)
                & (table["measure"] == measure)
            ]
            rows += [
                value(
                    panel,
                    "this population" if source == "measured" else "published (ImageNet)",
                    float(row["bin"]),
                    [row["share"]],
                    x_text=texts[int(row["bin"])],
                    reference=source == "published",
                )
                for row in own.to_dict(orient="records")
            ]
    return rows


def bin_rows(results: Results, parts: Sequence[str]) -> list[Row]:
    """The 12 bins of X: a panel per split, a series per part."""
    return [
        value(
            "validation" if row["split"] == "test" else str(row["split"]),
            part,
            float(number % 12),
            [row["share"]],
            x_text=str(row["bin"]),
        )
        for part in parts
        for number, row in enumerate(results.of("bins", part).to_dict(orient="records"))
    ]


def level_rows(results: Results, parts: Sequence[str], measure: str) -> list[Row]:
    """Mean X or C of the training examples over all, in-sample and held-out classifiers, and of the
    test set; a series per part."""
    rows = []
    for part in parts:
        table = results.of("held_out", part, measure=measure).set_index("of")["mean"]
        test = results.of("summary", part, split="test", measure=measure, statistic="mean")
        levels = {f"train, {of}": table[of] for of in ("in-sample", "all", "held out")}
        if measure == "x":
            levels["test"] = test["value"].iloc[0]
        rows += [
            value("", part, float(at), [level], x_text=text)
            for at, (text, level) in enumerate(levels.items())
        ]
    return rows


def gap_rows(results: Results, parts: Sequence[str]) -> list[Row]:
    """How the gap between held-out and in-sample X is distributed over the examples."""
    return [
        value("", part, round(float(row["low"] + row["high"]) / 2, 3), [row["share"]])
        for part in parts
        for row in results.of("gaps", part).to_dict(orient="records")
    ]


def effect_rows(results: Results, part: str, split: str, column: str) -> list[Row]:
    """Mean X or C by level, a panel per factor; in brackets how much of the variance between
    classifiers the factor explains."""
    table = results.of("effects", part, split=split)
    share = "share_x" if column == "mean_x" else "share_c"
    words = {"arch": "architecture", "fraction": "share of the training set", "epoch": "epoch"}
    return [
        value(
            f"{words[str(factor)]} ({100 * mine[share].iloc[0]:.0f}\u00a0%)",
            "",
            float(at),
            [row[column]],
            x_text=str(row["level"]),
        )
        for factor, mine in table.groupby("factor", sort=False)
        for at, (_, row) in enumerate(mine.iterrows())
    ]


def enough_rows(results: Results, parts: Sequence[str]) -> list[Row]:
    """Rank correlation with the whole population by the number of classifiers: X and C, a panel per
    part; the fifth percentile of the draws as a reference."""
    if "enough" not in results.tables:
        return []
    return [
        value(
            part,
            f"{row['measure'].upper()}, 5th percentile" if low else row["measure"].upper(),
            float(row["n"]),
            [row["low"] if low else row["mean"]],
            reference=low,
        )
        for part in parts
        for low in (False, True)
        for row in results.of("enough", part).to_dict(orient="records")
        if row["measure"] in ("x", "c")
    ]


_CLASSES: Final = 20


def class_rows(results: Results, parts: Sequence[str], split: str) -> list[Row]:
    """Mean X by class, those of the first part's highest first; a series per part."""
    first = results.of("classes", parts[0], split=split)
    order = first.sort_values("mean_x", ascending=False)["class"].head(_CLASSES).tolist()
    rows = []
    for part in parts:
        mine = results.of("classes", part, split=split).set_index("class")
        rows += [
            value("", part, float(at), [mine["mean_x"][k]], x_text=str(mine["class_name"][k]))
            for at, k in enumerate(order)
            if k in mine.index
        ]
    return rows


def pair_rows(results: Results, parts: Sequence[str], split: str) -> list[Row]:
    """Share of the answers to the examples of a class that say another one, a panel per part: of
    the twenty labels most often taken for others."""
    rows: list[Row] = []
    for part in parts:
        table = results.of("pairs", part, split=split)
        labels = table.groupby("label_name")["x_index"].sum().nlargest(_CLASSES).index
        mine = table[table["label_name"].isin(labels)]
        others = sorted({*mine["label_name"], *mine["other_name"]})
        index = mine.set_index(["label_name", "other_name"])["x_index"]
        rows += [
            {
                "panel": part,
                "row": label,
                "column": other,
                "value": None if label == other else float(index.get((label, other), 0.0)),
            }
            for label in sorted(labels)
            for other in others[:_CLASSES]
        ]
    return rows


def plane_rows(results: Results, parts: Sequence[str], split: str) -> pd.DataFrame:
    """The joint density as the table of a chart of kind ``density``: C across, X upwards."""
    found = [
        results.of("density", part, split=split)
        .rename(
            columns={"c_low": "x_low", "c_high": "x_high", "x_low": "y_low", "x_high": "y_high"}
        )
        .assign(panel=part)
        for part in parts
    ]
    return pd.concat(found, ignore_index=True)[list(DENSITY_COLUMNS)]


def picture_rows(results: Results, part: str, split: str) -> pd.DataFrame:
    """The examples shown as the table of a chart of kind ``pictures``: label, C, X, top
    confusion."""
    shown = results.of("shown", part, split=split)
    lines = [
        f"{row['label_name']}\nC {row['c']:.2f}  X {100 * row['x']:.1f} %\n\u2192 {row['top_name']}"
        for row in shown.to_dict(orient="records")
    ]
    return pd.DataFrame(
        {"panel": shown["corner"], "picture": shown["picture"], "text": lines}
    ).reset_index(drop=True)


def composite_rows(results: Results, part: str, least: float = 0.75) -> list[Row]:
    """Share of the composites above both parents by kind, and the share that is claimed."""
    if "composites" not in results.tables:
        return []
    table = results.of("composites", part).sort_values("kind", ascending=False)
    rows = [
        value("", "", float(at), [row["share"]], x_text=str(row["kind"]))
        for at, row in enumerate(table.to_dict(orient="records"))
    ]
    claimed = value("", "claimed at least", 0.0, [least], x_text=rows[0]["x_text"], reference=True)
    return [*rows, claimed]
