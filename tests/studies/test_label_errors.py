"""Sets of suspects judged by truth: counts worked by hand, and verdicts that can go either way."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from zoo.errors import NotFoundError
from zoo.statistics import wilson_interval
from zoo.studies import label_errors
from zoo.studies.claims import NotTested, points_text
from zoo.studies.results import Results

NAN = float("nan")


def scores(**columns: object) -> pd.DataFrame:
    """Eight examples, three classes. X > .9: 0 to 3, of which 0, 1, 2 are wrong; 4 is wrong too;
    the truth of 7 is not known."""
    base: dict[str, object] = {
        "example_id": range(8),
        "key": [f"k{i}" for i in range(8)],
        "label": [0, 0, 1, 1, 2, 2, 0, 1],
        "label_true": [1, 1, 0, 1, 0, 2, 0, None],
        "x_perplexity": [1.0, 0.95, 0.95, 0.92, 0.4, 0.1, 0.0, 0.5],
        "c_perplexity": [1.1, 1.2, 2.5, 1.3, 1.0, 1.0, 1.0, 1.0],
        "label_quality": [0.01, 0.02, 0.03, 0.04, 0.6, 0.9, 0.95, 0.5],
        "top_confusion": [1, 2, 2, 0, 2, 2, 0, 1],
        "top_probability": [1, 1, 0, 0, 2, 2, 0, 1],
    }
    return pd.DataFrame(base | columns)


SETS = {"A": "x > 0.9", "B": "x > 0.9 and c < 2", "n": "planted:label_quality", "none": "x > 2"}


def test_sets_are_judged_by_truth() -> None:
    """A: 3 of 4 wrong, of 4 wrong in all; B: 2 of 3; as many as are wrong: the same four as A."""
    found = label_errors.judged_sets(scores(), SETS).set_index("set")
    assert found["n"].tolist() == [4, 3, 4, 0]
    assert found["wrong"].tolist() == [3, 2, 3, 0]
    assert found["precision"].tolist()[:3] == [0.75, 2 / 3, 0.75]
    assert found["recall"].tolist() == [0.75, 0.5, 0.75, 0.0]
    assert found.loc["A", ["low", "high"]].tolist() == pytest.approx(list(wilson_interval(3, 4)))
    assert found.loc["A", "share"] == 0.5
    assert np.isnan(found.loc["none", "precision"])


def test_an_example_of_unknown_truth_counts_neither_way() -> None:
    """Example 7 is in the set, but not among those known."""
    found = label_errors.judged_sets(scores(), {"half": "x == 0.5 or x == 1"}).iloc[0]
    assert (found["n"], found["known"], found["wrong"], found["precision"]) == (2, 1, 1, 1.0)


def test_relabelling_repairs_breaks_and_moves() -> None:
    """Votes: 0 becomes right, 1 and 2 get another wrong label, 3 was right. Probabilities repair
    0, 1 and 2 and break 3."""
    found = label_errors.target_table(scores(), SETS).set_index(["set", "to"])
    kinds = ["changed", "repaired", "broken", "moved"]
    assert found.loc[("A", "top_confusion"), kinds].tolist() == [4, 1, 1, 2]
    assert found.loc[("A", "top_probability"), kinds].tolist() == [4, 3, 1, 0]
    assert found.loc[("B", "top_confusion"), kinds].tolist() == [3, 1, 1, 1]


def test_without_truth_sets_are_counted_and_not_judged() -> None:
    """Null, not 0; and a set of as many as are wrong is not there."""
    blind = scores(label_true=[None] * 8).astype({"label_true": "float64"})
    found = label_errors.judged_sets(blind, SETS)
    assert found["set"].tolist() == ["A", "B", "none"]
    assert found["wrong"].isna().all()
    assert found["n"].tolist() == [4, 3, 0]
    targets = label_errors.target_table(blind, SETS)
    assert targets[["repaired", "broken", "moved"]].isna().all().all()
    assert targets["changed"].tolist() == [4, 4, 3, 3, 0, 0]


def test_the_most_suspicious_of_each_set_are_shown() -> None:
    """By label quality, at most so many."""
    shown = label_errors.shown_sets(scores(), SETS, "abc", count=2)
    assert shown.groupby("set", sort=False)["example_id"].apply(list).to_dict() == {
        "A": [0, 1],
        "B": [0, 1],
        "n": [0, 1],
    }
    assert shown["key"].tolist()[:2] == ["k0", "k1"]


def test_a_contact_sheet_says_what_is_known_of_each_picture() -> None:
    """Label, C and X, top confusion; the truth where it is known: another class, or that the label
    is right."""
    sets = {"A": "x > 0.9", "unknown": "x == 0.5"}
    shown = label_errors.shown_sets(scores(), sets, ("ant", "bee", "cow"))
    sheet = label_errors.sheet_rows(results(shown=shown.assign(part="p", picture="")), "p")
    assert sheet["panel"].tolist() == ["set A"] * 4 + ["set unknown"]
    assert sheet["text"].tolist() == [
        "ant\nC 1.10  X 100.0 %\n\u2192 bee\ntrue: bee",
        "ant\nC 1.20  X 95.0 %\n\u2192 cow\ntrue: bee",
        "bee\nC 2.50  X 95.0 %\n\u2192 cow\ntrue: ant",
        "bee\nC 1.30  X 92.0 %\n\u2192 ant\nlabel right",
        "bee\nC 1.00  X 50.0 %\n\u2192 bee",
    ]


@pytest.mark.parametrize(("hits", "n"), [(6, 10), (9, 10), (60, 100), (61, 100), (40, 100), (0, 0)])
def test_a_share_is_above_a_half_where_wilsons_interval_is(hits: int, n: int) -> None:
    """The verdict is the interval's: holds where its lower end is above, fails where its upper end
    is below."""
    low, high = wilson_interval(hits, n)
    said = "holds" if low > 0.5 else "fails" if high < 0.5 else "undecided"
    assert label_errors.share_above(hits, n, 0.5).verdict == said


def results(**tables: pd.DataFrame) -> Results:
    return Results(tables, scale="tiny", dataset="any")


def judged(hits: int, n: int) -> Results:
    """A part in which so many of a set are wrong."""
    labels = np.zeros(n, dtype=int)
    table = pd.DataFrame(
        {
            "example_id": range(n),
            "label": labels,
            "label_true": np.where(np.arange(n) < hits, 1, 0),
            "x_perplexity": 1.0,
            "c_perplexity": 1.0,
        }
    )
    rows = label_errors.judged_sets(table, {"B": "x > 0.9"})
    return results(judged=rows.assign(part="p"))


def test_a_set_is_mostly_wrong_or_not() -> None:
    """61 and 39 of 100 decide, 55 does not; an empty set and an unknown truth are not tested."""
    measure = label_errors.mostly_wrong("p", "B")
    verdicts = [measure(judged(hits, 100)).evidence.verdict for hits in (61, 55, 39)]
    assert verdicts == ["holds", "undecided", "fails"]
    assert measure(judged(61, 100)).values.tolist() == [0.61]
    blind = judged(61, 100)
    unknown = blind["judged"].assign(known=pd.array([None], dtype="Int64"))
    with pytest.raises(NotTested, match="not known"):
        measure(results(judged=unknown))
    by_number = label_errors.mostly_wrong("p", "n worst by X")  # no truth, no number, no such set
    with pytest.raises(NotTested, match="not known"):
        by_number(results(judged=unknown))
    with pytest.raises(NotTested, match="empty"):
        measure(results(judged=blind["judged"].assign(known=0)))


def retrained(gain: list[float], changed: int) -> Results:
    """Two arms; the second's selection changes so many labels in every seed."""
    rows = [
        {"part": "p", "arm_group": "g", "arm": arm, "selection": arm, "seed": seed, "on": "full"}
        | {"acc1": 0.5 + (gain[seed] if arm == "A" else 0.0)}
        for arm in ("base", "A")
        for seed in range(len(gain))
    ]
    selected = [
        {"part": "p", "selection": "A", "seed": seed, "relabelled": changed}
        for seed in range(len(gain))
    ]
    return results(arms=pd.DataFrame(rows), selected=pd.DataFrame(selected))


def test_the_slope_is_by_a_hundred_changed_labels() -> None:
    """Minus 2 points by 400 labels: minus half a point by a hundred. Gains fail the claim."""
    measure = label_errors.per_changed_label("p", "g", "A")
    found = measure(retrained([-0.021, -0.019, -0.02], 400))
    assert found.values == pytest.approx([-0.00525, -0.00475, -0.005])
    assert found.unit == "slope"
    assert points_text([-0.0052, -0.0048, -0.005], "slope") == "-0.50 \u00b1 0.02 points per 100"
    assert found.evidence.verdict == "holds"
    assert measure(retrained([0.021, 0.019, 0.02], 400)).evidence.verdict == "fails"
    with pytest.raises(NotTested, match="no label is changed"):
        measure(retrained([0.1, 0.2], 0))
    assert label_errors.changed_labels(retrained([0.1, 0.2], 7), "p", "g", "A").tolist() == [
        7.0,
        7.0,
    ]
    with pytest.raises(NotFoundError, match="what arm base of g changes is not known"):
        label_errors.changed_labels(retrained([0.1, 0.2], 7), "p", "g", "base")
