"""Findings on a population's scores: results made for them that hold, fail and stay open; and the
tables of a real, tiny population, from which every chart is drawn."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from factories import QUIET, Tiny

from zoo.data import open_dataset
from zoo.errors import NotFoundError
from zoo.exchange.importing import Request, import_predictions
from zoo.report import charts as drawing
from zoo.scores.from_store import score
from zoo.scores.population import choose_population, population_of
from zoo.spec import Experiment
from zoo.store.workspace import Workspace
from zoo.studies import scored
from zoo.studies.claims import Finding, NotTested
from zoo.studies.dependence import rank_agreement
from zoo.studies.results import Part, Results, gathered

ROOT = Path(__file__).parents[2]


def results(**tables: list[dict[str, Any]]) -> Results:
    made = {name: pd.DataFrame(rows).assign(part="p") for name, rows in tables.items()}
    return Results(made, scale="tiny", dataset="any")


def verdict(finding: Finding) -> str:
    return finding.evidence.verdict


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.8, 0.9, "undecided"), (0.81, 0.9, "holds"), (0.7, 0.79, "fails"), (0.7, 0.9, "undecided")],
)
def test_an_interval_lies_above_the_threshold_below_it_or_around_it(
    low: float, high: float, said: str
) -> None:
    assert scored.interval_evidence(low, high, 0.8).verdict == said
    assert scored.interval_evidence(np.nan, high, 0.8).verdict == "undecided"


def test_the_in_sample_law_is_exact_or_broken() -> None:
    row = {"n": 10000, "expected": 0.55, "mean_share": 0.5500, "min_share": 0.1}
    row |= {"max_share": 1.0, "seen_by_all": 9, "expected_seen_by_all": 8.24}
    law = scored.in_sample_law("p")
    holding = law(results(in_sample=[row]))
    assert verdict(holding) == "holds"
    assert "9 examples were held out by none, expected 8.2" in holding.note
    assert verdict(law(results(in_sample=[row | {"mean_share": 0.552}]))) == "fails"


def levels(seen: float, held: float, half: float = 0.001, n: int = 100) -> list[dict[str, Any]]:
    means = {"in-sample": seen, "held out": held, "gap": held - seen}
    return [
        {"measure": "x", "of": of, "mean": m, "low": m - half, "high": m + half, "n": n}
        for of, m in means.items()
    ]


FRACTIONS = [
    {"split": "test", "factor": "fraction", "level": level, "n": n, "mean_x": x}
    for level, n, x in (("0.25", 3, 0.6), ("0.75", 3, 0.4), ("1", 1, 0.3))
]


def test_what_was_learned_by_heart_is_the_gap_of_the_same_examples() -> None:
    """Less what the test set differs by: a third of the classifiers that hold out are of a
    training set of three quarters, (2.25 x .6 + .75 x .4) / 3 = .55; of those that see, some are
    of the whole set, (.75 x .6 + 2.25 x .4 + 1 x .3) / 4 = .4125."""
    learned = scored.learned_by_heart("p")

    def found(seen: float, held: float, half: float = 0.001, n: int = 100) -> Finding:
        return learned(results(held_out=levels(seen, held, half, n), effects=FRACTIONS))

    holding = found(0.2, 0.4)
    assert verdict(holding) == "holds"
    assert holding.values == pytest.approx([0.2 - 0.1375])
    assert "Training examples 20.0 points, the test set by the same mixes of classifiers 13." in (
        holding.note
    )
    assert verdict(found(0.2, 0.3)) == "fails"
    assert verdict(found(0.2, 0.4, half=0.2)) == "undecided"
    with pytest.raises(NotTested, match="both seen and held out"):
        found(np.nan, np.nan, n=0)


def test_held_out_training_examples_are_as_hard_as_test_examples_or_not() -> None:
    def found(held: float, test: float, half: float = 0.001) -> str:
        summary = [{"split": "test", "measure": "x", "statistic": "mean", "value": test}]
        alike = [row | {"mean_x": test} for row in FRACTIONS]
        made = results(held_out=levels(0.1, held, half), summary=summary, effects=alike)
        return verdict(scored.held_out_like_test("p")(made))

    assert found(0.30, 0.31) == "holds"
    assert found(0.30, 0.33) == "fails"
    assert found(0.33, 0.30) == "fails"
    assert found(0.30, 0.31, half=0.05) == "undecided"


def test_held_out_examples_stand_beside_the_test_set_by_the_same_classifiers() -> None:
    """.55 by the mix that holds out, though all classifiers together err on .47 of the test set."""
    summary = [{"split": "test", "measure": "x", "statistic": "mean", "value": 0.47}]
    made = results(held_out=levels(0.1, 0.55), summary=summary, effects=FRACTIONS)
    finding = scored.held_out_like_test("p")(made)
    assert verdict(finding) == "holds"
    assert finding.values == pytest.approx([0.0], abs=1e-12)
    assert "test by the mix that holds out 0.550, by all 0.470" in finding.note


def test_the_fast_mode_ranks_alike_in_x_and_in_c_or_fails() -> None:
    def found(x: float, c: float) -> str:
        values = {"spearman_x": x, "spearman_c": c, "same_top": 0.9}
        values |= {"mean_change_x": 0.1, "mean_change_c": 0.2}
        rows = [
            {"split": "test", "measure": name, "value": value, "classifiers": 100}
            for name, value in values.items()
        ]
        return verdict(scored.fast_mode("p")(results(fast=rows)))

    assert found(0.97, 0.96) == "holds"
    assert found(0.97, 0.94) == "fails"
    with pytest.raises(NotTested, match="there is no order"):
        found(np.nan, 0.96)


def kinds(two: tuple[float, ...], one: tuple[float, ...]) -> Results:
    return results(
        composites=[
            {"kind": kind, "share": share, "low": low, "high": high, "n": 100}
            | {"n_above": round(100 * share), "mean_c": 4.0, "mean_c_parents": 2.0}
            for kind, (share, low, high) in (("two classes", two), ("one class", one))
        ]
    )


def test_composites_are_judged_by_wilson_s_interval_and_against_those_of_one_class() -> None:
    above, apart = scored.composites_above("p"), scored.gap_between_kinds("p")
    clear = kinds((0.9, 0.85, 0.95), (0.5, 0.4, 0.6))
    assert verdict(above(clear)) == verdict(apart(clear)) == "holds"
    assert apart(clear).values.tolist() == pytest.approx([0.4])
    seam = kinds((0.9, 0.85, 0.95), (0.9, 0.85, 0.95))  # both kinds: it is the seam
    assert (verdict(above(seam)), verdict(apart(seam))) == ("holds", "undecided")
    assert verdict(apart(kinds((0.5, 0.4, 0.6), (0.9, 0.85, 0.95)))) == "fails"
    assert verdict(above(kinds((0.6, 0.5, 0.7), (0.5, 0.4, 0.6)))) == "fails"
    assert verdict(above(kinds((0.76, 0.7, 0.8), (0.5, 0.4, 0.6)))) == "undecided"


def test_c_is_free_of_the_labels_where_two_populations_rank_alike() -> None:
    rng = np.random.default_rng(0)
    c = np.exp(rng.random(400))

    def found(noise: float) -> str:
        tables = {"clean": c, "noisy": c + noise * rng.normal(size=len(c))}
        table = pd.concat(
            [
                pd.DataFrame({"part": part, "example_id": range(len(c)), "c_perplexity": values})
                for part, values in tables.items()
            ]
        )
        made = Results({"c_sample": table}, scale="tiny", dataset="any")
        return verdict(scored.label_free("clean", "noisy")(made))

    assert found(0.05) == "holds"
    assert found(2.0) == "fails"


def test_human_doubt_is_not_tested_where_nobody_voted() -> None:
    doubt = scored.human_doubt("p")
    with pytest.raises(NotTested, match="no human votes"):
        doubt(results(in_sample=[]))
    ranks = np.arange(50.0)
    one = pd.DataFrame({"example_id": range(50), "c": ranks, "entropy": ranks + (ranks % 7)})
    rising = rank_agreement(one, "c", one, "entropy")
    assert verdict(doubt(results(human=rising.to_dict(orient="records")))) == "holds"
    falling = rank_agreement(one, "c", one.assign(entropy=-one["entropy"]), "entropy")
    assert verdict(doubt(results(human=falling.to_dict(orient="records")))) == "fails"


# ---------------------------------------------------------------- a real population


def part_of(tiny: Tiny, **changes: Any) -> Part:
    population = choose_population(tiny.workspace)
    scores = {
        split: score(tiny.workspace, population, split).to_pandas() for split in ("train", "test")
    }
    experiment = Experiment(name="e", title="e", scale="tiny", dataset=tiny.dataset.uri)
    return Part("clean", tiny.workspace, experiment, tiny.dataset, scores, population, **changes)


def study() -> Any:
    spec = importlib.util.spec_from_file_location(
        "perplexity_study", ROOT / "experiments" / "perplexity.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_human_votes_beside_the_data_are_compared_with_c(trained: Tiny, tmp_path: Path) -> None:
    """Votes made so that their entropy rises with C: two voters in a hundred more for the next
    class at each rank give a rank correlation of 1. Without a file of them there is no table."""
    part = part_of(trained)
    assert "human" not in scored.tables_of(part)
    c = part.scores["test"].sort_values("example_id")["c_perplexity"].to_numpy(np.float64)
    rank = np.where(np.isnan(c), 0, np.argsort(np.argsort(c)))
    np.save(tmp_path / "votes-test.npy", np.stack([100 - rank, rank, 0 * rank], axis=1))
    brought = replace(part, dataset=replace(part.dataset, uri=str(tmp_path)))
    (row,) = scored.tables_of(brought)["human"].to_dict(orient="records")
    assert row["n"] == 29  # one of thirty cannot be read
    assert row["value"] == pytest.approx(1, abs=0.01)


def test_the_tables_of_a_population_are_small_and_hold_what_was_scored(trained: Tiny) -> None:
    part = part_of(trained)
    tables = scored.tables_of(part)
    # six trainings on halves and on all: (.5 + .5 + 1) / 3
    (law,) = tables["in_sample"].to_dict(orient="records")
    assert law["n"] == 58
    assert law["expected"] == pytest.approx(2 / 3)
    assert law["mean_share"] == pytest.approx(2 / 3, abs=0.01)  # 2 of 60 cannot be read
    assert tables["fast"]["classifiers"].unique().tolist() == [6]
    assert set(tables["shown"]["known_error"].dropna()) <= {True, False}
    assert tables["effects"].groupby(["split", "factor"])["n"].sum().unique().tolist() == [12]
    exact = tables["confusions"].query("kind == 'c'").groupby(["split", "example_id"])["index"]
    shown = tables["shown"].drop_duplicates(["split", "example_id"])
    bits = shown.set_index(["split", "example_id"])["c"].map(np.log2)
    pd.testing.assert_series_equal(
        exact.sum().sort_index(), bits.sort_index(), check_names=False, atol=1e-3
    )


def test_every_chart_is_drawn_and_judged_from_the_stored_tables_alone(
    trained: Tiny, tmp_path: Path
) -> None:
    module = study()
    made = gathered([part_of(trained)], scored.tables_of, scale="paper", dataset="imagenet")
    stored = {}
    for name, table in made.tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        stored[name] = pd.read_csv(tmp_path / f"{name}.csv")
    again = Results(stored, scale="paper", dataset="imagenet")
    found = module.verdicts(again).set_index("claim")
    assert found.loc["S2.11 composites", "verdict"] == "not tested"
    assert found.loc["in-sample effect", "verdict"] in ("holds", "fails", "undecided")
    names = [chart.name for chart in module.charts(again)]
    assert names[:3] == ["figure-1", "figure-2", "bins"]
    assert "composites" not in names
    for chart in module.charts(again):
        assert drawing.draw(chart).axes, chart.name
    other = Results(stored, scale="smoke", dataset="fashion-mini")
    assert set(module.verdicts(other)["verdict"]) == {"not applicable"}


def test_a_population_of_one_has_its_tables_without_a_question_of_how_many(trained: Tiny) -> None:
    part = part_of(trained)
    assert part.population is not None
    one = population_of(
        trained.workspace, part.population.fingerprint, part.population.classifiers[:1]
    )
    scores = {"train": score(trained.workspace, one, "train").to_pandas()}
    tables = scored.tables_of(Part("p", part.workspace, part.experiment, part.dataset, scores, one))
    assert "enough" not in tables
    fast = tables["fast"].set_index("measure")["value"]
    assert fast["same_top"] == 1
    assert tables["effects"]["share_x"].isna().all()  # one classifier, no variance


@pytest.mark.filterwarnings("error")
def test_a_split_without_labels_has_c_and_nothing_that_needs_a_label(tmp_path: Path) -> None:
    """Two imported networks, of whose training nothing is known, on six examples."""
    np.save(tmp_path / "net.npy", np.random.default_rng(0).dirichlet([1, 1, 1], size=(2, 6)))
    keys = "".join(f"{i}.png,\n" for i in range(6))
    (tmp_path / "labels.csv").write_text(f"key,label\n{keys}")
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    files = (tmp_path / "net.npy",), tmp_path / "labels.csv"
    request = Request(*files, classes=tmp_path / "classes.txt", split="test")
    import_predictions(str(tmp_path / "w"), request, QUIET)
    space = Workspace.open(tmp_path / "w")
    population = choose_population(space)
    dataset = replace(open_dataset("fashion-mini"), class_names=population.class_names)
    experiment = Experiment(name="e", title="e", scale="tiny", dataset="any")
    scores = {"test": score(space, population, "test").to_pandas()}
    tables = scored.tables_of(Part("p", space, experiment, dataset, scores, population))
    assert tables["summary"]["measure"].unique().tolist() == ["c"]
    assert tables["bins"]["n"].sum() == 0
    assert [len(tables[name]) for name in ("density", "shown", "classes", "pairs")] == [0] * 4
    assert "in_sample" not in tables
    fast = tables["fast"].set_index("measure")["value"]
    assert fast["spearman_c"] == 1  # each is its own training's last snapshot
    assert np.isnan(fast["spearman_x"])


def test_a_part_without_scores_says_so(trained: Tiny) -> None:
    part = part_of(trained)
    with pytest.raises(NotFoundError, match=r"has no scores\. Fill and score it first"):
        scored.tables_of(Part("p", part.workspace, part.experiment, part.dataset))
