"""Selection rules: which examples a manifest keeps, with which label, how often, with which
weight."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from factories import manifest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.errors import NotFoundError, UnknownNameError, UsageError
from zoo.manifest import Manifest
from zoo.trainsets.conditions import condition
from zoo.trainsets.rules import RULES, build, manifest_summary, parse

NAN = float("nan")


def frame(**columns: object) -> pd.DataFrame:
    """Scores of eight examples of three classes; example 7 could not be read by anyone."""
    base: dict[str, object] = {
        "split": "train",
        "example_id": [0, 1, 2, 3, 4, 5, 6, 7],
        "label": [0, 0, 0, 1, 1, 1, 2, 2],
        "label_true": [0, 1, 0, 1, 1, None, 2, 2],
        "n": [4, 4, 4, 4, 4, 4, 4, 0],
        "x_perplexity": [0.0, 1.0, 0.25, 0.5, 0.0, 0.75, 0.5, NAN],
        "c_perplexity": [1.0, 1.2, 2.0, 4.0, 1.5, 10.0, 3.0, NAN],
        "x_heldout": [0.5, 1.0, 0.25, 0.5, 0.0, NAN, 0.5, NAN],
        "c_heldout": [1.0, 1.2, 2.0, 4.0, 1.5, NAN, 3.0, NAN],
        "label_quality": [0.9, 0.1, 0.7, 0.5, 0.95, 0.3, 0.5, NAN],
        "mean_margin": [0.8, -0.9, 0.3, 0.0, 0.9, -0.2, 0.1, NAN],
        "top_confusion": [0, 1, 0, 1, 1, 2, 2, None],
        "top_probability": [0, 1, 0, 1, 2, 0, 2, None],
    }
    return pd.DataFrame(base | columns)


def kept(
    rules: list[tuple[str, dict[str, Any]]] | str, scores: pd.DataFrame | None = None, **more: Any
) -> list[int]:
    """Example ids that the rules keep."""
    return made(rules, scores, **more).example_ids.tolist()


def made(
    rules: list[tuple[str, dict[str, Any]]] | str,
    scores: pd.DataFrame | None = None,
    classes: int = 3,
    **more: Any,
) -> Manifest:
    steps = parse(rules) if isinstance(rules, str) else rules
    return build(steps, frame() if scores is None else scores, num_classes=classes, **more)


def run(
    rules: list[tuple[str, dict[str, Any]]] | str, scores: pd.DataFrame | None = None, **more: Any
) -> pd.DataFrame:
    return made(rules, scores, **more).frame()


def many(examples: int = 300, classes: int = 5, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 11, examples) / 10
    return pd.DataFrame(
        {
            "example_id": rng.permutation(examples),
            "label": rng.integers(0, classes, examples),
            "label_true": rng.integers(0, classes, examples),
            "x_perplexity": x,
            "c_perplexity": 1 + rng.random(examples) * (classes - 1),
            "label_quality": 1 - x + rng.random(examples) / 20,
            "top_confusion": rng.integers(0, classes, examples),
        }
    )


# ---------------------------------------------------------------------------------------- manifests


def test_no_rule_keeps_every_usable_example_as_given() -> None:
    """All but the unreadable one, once each, weight 1, in the order of ids, whatever the order of
    the scores."""
    manifest = run([], frame().iloc[::-1])
    assert manifest["example_id"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert manifest["label"].tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert manifest["copies"].tolist() == [1] * 7
    assert manifest["weight"].tolist() == [1.0] * 7
    assert {name: str(kind) for name, kind in manifest.dtypes.items()} == {
        "example_id": "int64",
        "label": "int32",
        "copies": "int16",
        "weight": "float32",
    }


@pytest.mark.parametrize(
    "rule",
    [
        "oracle",
        "keep:set=not x < 0",
        "worst:share=0",
        "relabel:set=c >= 1",
        "balance",
        "weigh:by=x",
    ],
)
def test_an_example_without_scores_or_label_is_never_kept(rule: str) -> None:
    """Example 7 was read by no classifier; example 6 here has no label."""
    assert kept(rule, frame(label=[0, 0, 0, 1, 1, 1, None, 2])) == [0, 1, 2, 3, 4, 5]


def test_scores_of_two_splits_are_refused() -> None:
    """A manifest is about one split: an id that is there twice would mean two pictures."""
    with pytest.raises(
        UsageError,
        match=(
            r"example 0 is twice in the scores\. Allowed: one row per example\. Pass the scores of"
            r" one split"
        ),
    ):
        run([], pd.concat([frame(), frame()]))


def test_a_manifest_of_other_examples_is_refused() -> None:
    """Rules join by example_id and say which one is missing."""
    manifest = made([])
    manifest = replace(manifest, example_ids=manifest.example_ids + 5)
    with pytest.raises(
        UsageError, match=r"example 8 of the manifest has no row in the scores \(4 such examples\)"
    ):
        RULES["worst"].apply(
            frame(), num_classes=3, resolve=lambda name: manifest, manifest=manifest, share=0.5
        )


def test_labels_beyond_the_classes_are_refused() -> None:
    """The number of classes is that of the data set."""
    with pytest.raises(UsageError, match=r"label 2 in the scores. Allowed: 0 to 1"):
        build([], frame(), num_classes=2)


# -------------------------------------------------------------------------------------------- below


def test_below_is_strict() -> None:
    """C < 4 and X < 0.5: an example at a threshold is out, as in the paper's tables."""
    assert kept("below:c=4,x=0.5") == [0, 2, 4]
    assert kept("below:c=4") == [0, 1, 2, 4, 6]
    assert kept("below:x=0.5") == [0, 2, 4]


def test_marginal_thresholds_keep_what_lies_at_them() -> None:
    """The median of C (1, 1.2, 1.5, 2, 3, 4, 10) is 2 and is kept; share 1 keeps everything.
    ``quantile`` is the older word for it."""
    for word in ("marginal", "quantile"):
        assert kept(f"below:c=0.5,thresholds={word}") == [0, 1, 2, 4]
        assert kept(f"below:c=1,x=1,thresholds={word}") == [0, 1, 2, 3, 4, 5, 6]
        assert kept(f"below:x=0.2,thresholds={word}") == [0, 4]


def test_marginal_pruning_is_the_or_rule_of_the_later_study() -> None:
    """Oracle: remove if C > percentile(C, p) or X > percentile(X, p), with numpy's percentiles."""
    scores = many()
    out = (scores["c_perplexity"] > np.percentile(scores["c_perplexity"], 85)) | (
        scores["x_perplexity"] > np.percentile(scores["x_perplexity"], 85)
    )
    got = build(
        [("below", {"c": 0.85, "x": 0.85, "thresholds": "marginal"})], scores, num_classes=5
    )
    assert got.example_ids.tolist() == sorted(scores["example_id"][~out])
    said = "keep:set=not (percentile(c) > 85 or percentile(x) > 85)"
    assert kept(said, scores, classes=5) == got.example_ids.tolist()


def test_held_out_thresholds_fall_back_to_all_classifiers() -> None:
    """Example 0 has x_heldout .5 and goes; example 5 has none and is judged by X = .75 (kept below
    .8)."""
    assert kept("below:x=0.5,heldout=true") == [2, 4]
    assert 5 in kept("below:x=0.8,heldout=true")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("below", ["neither c nor x", "below:c=10,x=0.7"]),
        ("below:c=1", ["c = 1.0", "above 1", "thresholds=joint"]),
        ("below:x=0", ["x = 0.0", "up to 1"]),
        ("below:x=1.5", ["x = 1.5"]),
        ("below:c=high", ["below: c = 'high' is not possible", "a number"]),
        ("below:c=1.5,thresholds=quantile", ["c = 1.5", "above 0 to 1", "0.1"]),
        (
            "worst:share=1.5",
            ["worst: share = 1.5 is not possible", "from 0 to 1", "worst:share=VALUE"],
        ),
        ("worst:share=true", ["share = True"]),
        ("per_class:count=0", ["count = 0", "a whole number from 1"]),
        ("per_class:count=2.5", ["count = 2.5", "whole number"]),
        ("per_class:count=1,seed=-1", ["seed = -1", "from 0"]),
        ("relabel_worst:to=label_true", ["share=None and count=None", "exactly one"]),
        ("relabel_worst:share=0.1,count=1", ["exactly one"]),
        ("worst", ["share=None and like=None", "exactly one", "worst:share=0.05"]),
        ("worst:share=0.1,like=a", ["share=0.1 and like='a'"]),
        (
            "keep",
            ["keep: parameter set is missing; given: none", "Write it as keep:set=..."],
        ),
        ("below:share=0.8", ["share = 0.8 with thresholds=literal", "c and x"]),
        ("below:c=2,by=x", ["by = 'x' with thresholds=literal"]),
        ("below:thresholds=joint", ["no share", "below:share=0.8,thresholds=joint"]),
        ("below:share=0,thresholds=joint", ["share = 0.0", "above 0"]),
        ("below:share=0.8,c=2,thresholds=joint", ["c = 2.0", "no c or x"]),
        ("relabel:set=x>0,times=0", ["times = 0", "from 1"]),
        ("below:c", ["'c' has no value"]),
    ],
)
def test_values_out_of_range_are_refused_with_the_range(rule: str, words: list[str]) -> None:
    """The message names the parameter, its value, what is allowed."""
    with pytest.raises(UsageError) as error:
        run(rule)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("belwo:c=2", ["unknown selection rule 'belwo'", "Did you mean 'below'"]),
        ("below:d=2", ["unknown parameter of below 'd'", "thresholds"]),
        ("below:scores=2", ["unknown parameter of below 'scores'"]),
        (
            "below:c=2,thresholds=exact",
            ["unknown value of below:thresholds 'exact'", "joint, literal, marginal, quantile"],
        ),
        ("worst:share=0.1,by=cost", ["unknown score to rank by 'cost'", "label_quality"]),
        ("worst:share=0.1,by=n", ["unknown score to rank by 'n'"]),
        ("keep:set=cost > 1", ["unknown score column 'cost'", "c_perplexity"]),
        ("keep:set=split > 1", ["unknown score column 'split'"]),
        (
            "relabel:set=x>0.5,to=nearest",
            ["unknown label to give 'nearest'", "label_true, top_confusion, top_probability"],
        ),
        ("balance:to=even", ["unknown value of balance:to 'even'"]),
        ("weigh:by=n", ["unknown value of weigh:by 'n'"]),
    ],
)
def test_unknown_names_list_the_known_ones(rule: str, words: list[str]) -> None:
    """Rules, parameters, columns and choices."""
    with pytest.raises(UnknownNameError) as error:
        run(rule)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_class_for_all_of_a_set_by_name_or_number() -> None:
    """Also where names differ in case alone, or are equal and told apart as every listing shows
    them; a name that is no class says which there are, one that several bear how to name one."""
    names = ("Frog", "frog", "cat")
    there = frame()["x_perplexity"].to_numpy() > 0.5
    for to, label in (("Frog", 0), ("frog", 1), ("cat", 2), ("2", 2)):
        labels = run(f"relabel:set=x > 0.5,to={to}", class_names=names)["label"].to_numpy()
        plain = run("keep:set=x >= 0")["label"].to_numpy()
        ids = run("keep:set=x >= 0")["example_id"].to_numpy()
        assert labels.tolist() == np.where(there[ids], label, plain).tolist(), to
    with pytest.raises(
        UnknownNameError, match=r"unknown label to give 'FROG'\. Known: Frog, cat, frog,"
    ):
        run("relabel:set=x > 0.5,to=FROG", class_names=names)
    with pytest.raises(UsageError, match="2 classes bear this name, numbers 0, 1"):
        run("relabel:set=x > 0.5,to=frog", class_names=("frog", "frog", "cat"))
    with pytest.raises(UsageError, match="to=3 holds 3, which is no class"):
        run("relabel:set=x > 0.5,to=3", class_names=names)


def test_a_wrong_name_is_found_before_any_rule_runs() -> None:
    """The second rule's typo is reported although the first would leave nothing."""
    with pytest.raises(UnknownNameError, match="unknown selection rule 'wurst'"):
        build([("keep", {"set": "x > 2"}), ("wurst", {})], frame(), num_classes=3)


def test_a_rule_that_leaves_nothing_says_so() -> None:
    """An empty training set is an error with the rule's name and what it started from."""
    with pytest.raises(NotFoundError, match=r"rule keep:set=x > 2 left none of 7 examples"):
        run("keep:set=x > 2")


# -------------------------------------------------------------------------------------- worst, keep


def test_worst_drops_the_rounded_share() -> None:
    """Of 7 examples .3 is 2.1, so 2: the qualities .1 and .3."""
    assert kept("worst:share=0.3") == [0, 2, 3, 4, 6]


def test_worst_ranks_each_score_on_its_bad_side() -> None:
    """High X and C are bad, low margin is."""
    assert kept("worst:share=0.15,by=x") == [0, 2, 3, 4, 5, 6]
    assert kept("worst:share=0.15,by=c") == [0, 1, 2, 3, 4, 6]
    assert kept("worst:share=0.15,by=margin") == [0, 2, 3, 4, 5, 6]
    assert kept("worst:share=0.15,by=x_heldout") == [0, 2, 3, 4, 5, 6]


def test_worst_breaks_ties_by_example_id() -> None:
    """Examples 3 and 6 have quality .5 and X .5: of the three worst, 3 goes and 6 stays."""
    assert kept([("worst", {"share": 3 / 7})]) == [0, 2, 4, 6]


def test_worst_per_class_keeps_the_proportions() -> None:
    """A third of each class of 3, and of the one example of class 2 round(1/3) = 0."""
    assert kept([("worst", {"share": 1 / 3, "per_class": True})]) == [0, 2, 3, 4, 6]


def test_an_example_without_the_score_ranks_best() -> None:
    """Example 5 was seen by every classifier: nothing held out speaks against it."""
    assert 5 in kept([("worst", {"share": 0.8, "by": "x_heldout"})])


def test_rank_ladder_is_nested() -> None:
    """Dropping 20 % drops what dropping 10 % drops: the paper's ladder removes in turn."""
    sets = [
        set(build([("worst", {"share": s})], many(), num_classes=5).example_ids)
        for s in (0.0, 0.1, 0.2, 0.3)
    ]
    assert all(small <= large for large, small in pairwise(sets))
    assert [len(s) for s in sets] == [300, 270, 240, 210]


# --------------------------------------------------------------------------------------- conditions


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("x > 0.5 and c < 2", [1]),
        ("x>0.5 or c>=4", [1, 3, 5]),
        ("not (x > 0.5 or c >= 4)", [0, 2, 4, 6]),
        ("0.25 <= x < 0.75", [2, 3, 6]),
        ("label == top_confusion", [0, 2, 3, 4, 6]),
        ("label != label_true", [1]),  # the truth of 5 is not known: no difference is known either
        ("margin < -0.5", [1]),
        ("margin < +0.05 and quality > 2e-1", [3, 5]),
        ("c_perplexity == 10 or x_perplexity == 1", [1, 5]),
        ("x_heldout >= 0", [0, 1, 2, 3, 4, 6]),
        ("not x_heldout >= 0", [5]),
    ],
)
def test_conditions_read_as_they_are_written(text: str, ids: list[int]) -> None:
    """Short or full names, chains, and, or, not; comparing with a missing value is false."""
    assert kept([("keep", {"set": text})]) == ids


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "x",
        "x + 1 > 2",
        "x > 'a'",
        "x > True",
        "x.real > 1",
        "x[0] > 1",
        "(lambda: 1)() > 0",
        "x in (1, 2)",
        "x is 1",
        "x > 0.5 if c else x < 1",
        "x > 0.5 and 1",
        "x := 1",
        "x > 1j",
        "-x > 1",
        "x >",
        "",
        "   ",
        "x > 0.5; c < 2",
        "[x > 1 for x in c]",
        "f'{x}' > 1",
        "x > (c > 1)",
        "not " * 300 + "x > 1",
        "(" * 300 + "x > 1" + ")" * 300,
        "x > " + "9" * 400,
        "x > 1\x00",
    ],
)
def test_anything_else_is_not_a_condition(text: str) -> None:
    """No calls, attributes, arithmetic, names as truth values: the message says what is allowed,
    with an example."""
    with pytest.raises(
        UsageError, match="Allowed: comparisons of score columns and numbers"
    ) as error:
        condition(text)
    assert "x > 0.95 and c < 2" in str(error.value)


def test_a_condition_names_classes() -> None:
    """By == and !=, beside a column of classes, either way round; equal to their numbers."""
    scores = pd.DataFrame({"label": [0, 1, 2, 1], "x_perplexity": [0.9, 0.9, 0.9, 0.1]})
    names = ["cat", "dog's", "T-shirt/top"]
    for text, expected in (
        ("label == 'T-shirt/top'", [False, False, True, False]),
        ('x > 0.5 and label != "dog\'s"', [True, False, True, False]),
        ("'cat' == label", [True, False, False, False]),
    ):
        assert condition(text)(scores, names).tolist() == expected
    assert condition("label == 'cat'").names == ("label",)
    with pytest.raises(UnknownNameError, match=r"unknown class 'cats'.*cat"):
        condition("label == 'cats'")(scores, names)


@pytest.mark.parametrize("text", ["label < 'cat'", "x == 'cat'", "'cat' == 'cat'", "x > 1 == 'a'"])
def test_a_name_is_no_number(text: str) -> None:
    with pytest.raises(UsageError, match="is a name; it can be compared with label, label_true"):
        condition(text)


def test_a_condition_knows_its_columns() -> None:
    """In full, sorted, once each."""
    assert condition("x > 0.5 and x_perplexity < 1 or quality < 0.1").names == (
        "label_quality",
        "x_perplexity",
    )


# -------------------------------------------------------------------------------------- random_like


def test_random_like_keeps_as_many_as_the_named_manifest() -> None:
    """The control of a selection has its size, other members, and is the same in any order of the
    scores."""
    scores = many()
    small = build([("worst", {"share": 0.4})], scores, num_classes=5)
    rules = [("random_like", {"name": "cleaned"})]
    control = build(rules, scores, num_classes=5, resolve=lambda name: small)
    assert len(control) == len(small) == 180
    assert control.example_ids.tolist() != small.example_ids.tolist()
    shuffled = build(
        rules, scores.sample(frac=1, random_state=1), num_classes=5, resolve=lambda name: small
    )
    pd.testing.assert_frame_equal(control.frame(), shuffled.frame())
    other = build(
        [("random_like", {"name": "cleaned", "seed": 1})],
        scores,
        num_classes=5,
        resolve=lambda name: small,
    )
    assert other.example_ids.tolist() != control.example_ids.tolist()


def test_random_like_per_class_keeps_class_sizes() -> None:
    """As many of each class as the named manifest has."""
    scores = many()
    small = build([("below", {"x": 0.5})], scores, num_classes=5)
    control = build(
        [("random_like", {"name": "a", "per_class": True})],
        scores,
        num_classes=5,
        resolve=lambda name: small,
    )
    assert np.bincount(control.labels).tolist() == np.bincount(small.labels).tolist()


def test_random_like_cannot_choose_more_than_there_is() -> None:
    """The message names the manifest and both numbers."""
    big = made([])
    with pytest.raises(
        UsageError, match=r"random_like 'all': it has 7 examples, there are only 3 to choose from"
    ):
        run("below:x=0.5+random_like:name=all", resolve=lambda name: big)
    with pytest.raises(UsageError, match=r"it has 3 examples of class 0, there are only 2"):
        run("below:x=0.5+random_like:name=all,per_class=true", resolve=lambda name: big)


def test_random_like_without_any_manifest_known() -> None:
    """Nothing to refer to: exit code 4, and how to make one."""
    with pytest.raises(NotFoundError, match="no manifest named 'a'"):
        run("random_like:name=a")


def test_without_leaves_what_another_selection_does_not_have() -> None:
    """Of examples 0 to 6 the three of X below .5, and then none of those: they add up to all, and
    a budget drawn from one shares nothing with what was drawn from the other."""
    low = made("below:x=0.5")
    rest = run("without:name=a", resolve=lambda name: low)["example_id"].tolist()
    assert sorted([*low.example_ids.tolist(), *rest]) == list(range(7))
    assert len(rest) == 4
    with pytest.raises(NotFoundError, match="left none of 3 examples"):
        run("below:x=0.5+without:name=a", resolve=lambda name: low)


# -------------------------------------------------------------------------------------- class sizes


def test_per_class_samples_large_classes_and_fills_small_ones() -> None:
    """Two of each class: classes 0 and 1 lose one of three, class 2 has its one example twice."""
    manifest = run("per_class:count=2")
    assert np.bincount(manifest["label"], weights=manifest["copies"]).tolist() == [2.0, 2.0, 2.0]
    assert manifest.set_index("example_id").loc[6, "copies"] == 2
    assert manifest["copies"].tolist() == [1, 1, 1, 1, 2]


def test_per_class_keeps_every_survivor_before_it_repeats_one() -> None:
    """Class of 3 filled up to 10: each at least once, 7 draws with replacement on top."""
    manifest = run("per_class:count=10")
    assert manifest["example_id"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert (manifest["copies"] >= 1).all()
    assert np.bincount(manifest["label"], weights=manifest["copies"]).tolist() == [10.0, 10.0, 10.0]


def test_per_class_without_resampling_leaves_small_classes_short() -> None:
    """Class 2 keeps its one example."""
    manifest = run("per_class:count=2,resample=false")
    assert np.bincount(manifest["label"], weights=manifest["copies"]).tolist() == [2.0, 2.0, 1.0]


def test_a_class_with_nothing_left_is_an_error_or_dropped() -> None:
    """below:x=0.5 leaves nothing of class 2."""
    with pytest.raises(
        UsageError, match=r"per_class: no example of class 2 is left \(1 of 3 classes\).*empty=drop"
    ):
        run("below:x=0.5+per_class:count=2")
    manifest = run("below:x=0.5+per_class:count=2,empty=drop")
    assert np.bincount(manifest["label"], weights=manifest["copies"]).tolist() == [2.0, 2.0]


def test_the_papers_set_is_below_then_per_class() -> None:
    """C < 10 and X < 0.7, then the same number of each class: only examples under the thresholds
    are in it."""
    scores = many(2000)
    manifest = run("below:c=4,x=0.7+per_class:count=200", scores, classes=5)
    good = scores[(scores["c_perplexity"] < 4) & (scores["x_perplexity"] < 0.7)]
    assert set(manifest["example_id"]) <= set(good["example_id"])
    assert np.bincount(manifest["label"], weights=manifest["copies"]).tolist() == [200.0] * 5


def test_arms_share_examples_and_quotas_are_nested() -> None:
    """The same seed gives an example the same priority everywhere: 20 per class are among 40 per
    class, of all or of a subset."""
    scores = many()
    forty = set(
        build(parse("per_class:count=40,resample=false"), scores, num_classes=5).example_ids
    )
    twenty = set(
        build(parse("per_class:count=20,resample=false"), scores, num_classes=5).example_ids
    )
    assert twenty < forty
    cleaned = set(
        build(
            parse("below:x=0.9+per_class:count=40,resample=false"), scores, num_classes=5
        ).example_ids
    )
    under = set(scores.loc[scores["x_perplexity"] < 0.9, "example_id"])
    assert forty & under <= cleaned


def test_resampling_is_uniform() -> None:
    """9,000 draws among 3 examples: each about 3,000 (six standard deviations are 270)."""
    manifest = run("keep:set=label == 0+per_class:count=9003,empty=drop")
    assert abs(manifest["copies"] - 3001).max() < 270


def test_more_copies_than_16_bits_hold_are_refused() -> None:
    """One example of class 2 cannot stand for 40,000."""
    with pytest.raises(UsageError, match=r"used 40000 times. Allowed: up to 32767 copies"):
        run("per_class:count=40000")


@pytest.mark.parametrize(
    ("to", "sizes"), [("original", [3, 3, 1]), ("largest", [2, 2, 2]), ("smallest", [1, 1, 1])]
)
def test_balance_brings_class_sizes_back(to: str, sizes: list[int]) -> None:
    """After dropping examples 1 and 5 classes have 2, 2, 1 examples."""
    manifest = run([("keep", {"set": "x < 0.7"}), ("balance", {"to": to})])
    assert np.bincount(manifest["label"], weights=manifest["copies"]).tolist() == sizes


def test_balance_refuses_an_empty_class_or_leaves_it_empty() -> None:
    """There is nothing to copy."""
    with pytest.raises(UsageError, match=r"balance: no example of class 2 is left \(1 of 3"):
        run("below:x=0.5+balance")
    manifest = run("below:x=0.5+balance:empty=drop")
    assert np.bincount(manifest["label"], weights=manifest["copies"], minlength=3).tolist() == [
        3.0,
        3.0,
        0.0,
    ]


# ------------------------------------------------------------------------------- labels and weights


def test_relabel_changes_matching_rows_and_keeps_all_others() -> None:
    """X > .6: example 1 becomes 1, example 5 becomes 2; seven examples stay."""
    manifest = run("relabel:set=x > 0.6")
    assert manifest["example_id"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert manifest["label"].tolist() == [0, 1, 0, 1, 1, 2, 2]
    assert (
        run("relabel:set=x > 0.6,to=top-confusion")["label"].tolist() == manifest["label"].tolist()
    )


def test_relabel_to_the_truth_leaves_unknown_truths_alone() -> None:
    """Example 1 is repaired; the truth of example 5 is not known."""
    assert run("relabel:set=x > 0.6,to=label_true")["label"].tolist() == [0, 1, 0, 1, 1, 1, 2]


def test_relabel_worst_by_share_or_count() -> None:
    """The worst is example 1, then 5; .3 of 7 is 2."""
    assert run("relabel_worst:count=1")["label"].tolist() == [0, 1, 0, 1, 1, 1, 2]
    assert run("relabel_worst:share=0.3")["label"].tolist() == [0, 1, 0, 1, 1, 2, 2]
    assert run("relabel_worst:count=0")["label"].tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert run("relabel_worst:count=99,to=label_true")["label"].tolist() == [0, 1, 0, 1, 1, 1, 2]


def test_oracle_repairs_every_known_error() -> None:
    """The bound: all labels that are known to be wrong are right afterwards."""
    assert run("oracle")["label"].tolist() == [0, 1, 0, 1, 1, 1, 2]


def test_rules_chain_on_the_new_labels() -> None:
    """After relabelling 5 to class 2, a quota counts it there."""
    manifest = run("relabel:set=x > 0.6+per_class:count=2,resample=false")
    assert np.bincount(manifest["label"]).tolist() == [2, 2, 2]


def test_weights_have_mean_one_and_the_published_shape() -> None:
    """Golden: by x, weights of X = 0 and X = 1 stand as 2.218 : 1.359; by x, hard, as 1 : e."""
    weights = run("weigh:by=x").set_index("example_id")["weight"]
    assert weights.mean() == pytest.approx(1, abs=1e-6)
    assert weights[0] / weights[1] == pytest.approx(2.218 / 1.359, abs=1e-3)
    hard = run("weigh:by=x,favour=hard").set_index("example_id")["weight"]
    assert hard[1] / hard[0] == pytest.approx(np.e, rel=1e-6)


def test_weights_by_c_fall_with_c_or_rise() -> None:
    """Easy: the largest C has the smallest weight, and 2.3 - .95 s lies between 1.35 and 2.3; hard:
    the other way round."""
    c = frame()["c_perplexity"][:7]
    easy, hard = (run(f"weigh:by=c,favour={f}")["weight"] for f in ("easy", "hard"))
    assert np.argsort(easy).tolist() == np.argsort(-c).tolist()
    assert np.argsort(hard).tolist() == np.argsort(c).tolist()
    assert 1 < easy.max() / easy.min() < 2.3 / 1.35


def test_weights_count_copies() -> None:
    """Mean 1 over what the training sees: copies count."""
    manifest = run("per_class:count=5+weigh:by=x")
    assert np.average(manifest["weight"], weights=manifest["copies"]) == pytest.approx(1, abs=1e-6)


# ---------------------------------------------------------------------------- all rules, any scores


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(5, 60))
def test_every_rule_gives_a_proper_manifest(seed: int, examples: int) -> None:
    """Distinct sorted ids of the scores, labels of the classes, copies and weights positive; the
    order of the scores does not matter."""
    scores = many(examples, 3, seed)
    texts = {
        "balance": "balance:to=largest",
        "below": "below:share=0.9,by=c,thresholds=joint",
        "drop_correct": "drop_correct:like=other,fill=false",
        "drop_errors": "drop_errors:like=other",
        "hardest": "hardest:share=0.9",
        "keep": "keep:set=c > 0",
        "oracle": "oracle",
        "per_class": "per_class:count=7,empty=drop",
        "random_like": "random_like:name=other",
        "relabel": "relabel:set=x > 0.5",
        "relabel_worst": "relabel_worst:share=0.1",
        "weigh": "weigh:by=c",
        "without": "without:name=other",
        "worst": "worst:share=0.1",
    }
    assert set(texts) == set(RULES)  # a new rule falls under this test
    other = build(parse("worst:share=0.5"), scores, num_classes=3)
    for text in texts.values():
        a, b = (run(text, s, resolve=lambda name: other) for s in (scores, scores.iloc[::-1]))
        pd.testing.assert_frame_equal(a, b)
        assert a["example_id"].is_unique
        assert a["example_id"].is_monotonic_increasing
        assert set(a["example_id"]) <= set(scores["example_id"])
        assert a["label"].between(0, 2).all()
        assert (a["copies"] >= 1).all()
        assert (a["weight"] > 0).all()
        assert {k: str(v) for k, v in a.dtypes.items()} == {
            "example_id": "int64",
            "label": "int32",
            "copies": "int16",
            "weight": "float32",
        }


def test_every_rule_works_by_itself_and_is_documented() -> None:
    """A rule called without a manifest starts from all usable examples."""
    for name, rule in RULES.items():
        assert rule.about, name
        assert rule.name == name
    alone = RULES["below"].apply(
        frame(), num_classes=3, resolve=lambda name: pytest.fail(name), x=0.5
    )
    pd.testing.assert_frame_equal(alone.frame(), run("below:x=0.5"))


# --------------------------------------------------------------------------------- about a manifest


def test_the_digest_is_of_the_content() -> None:
    """Row order and integer width do not matter; any changed value does."""
    manifest = made("per_class:count=5")
    digest = manifest.digest
    assert len(digest) == 16
    assert int(digest, 16) >= 0
    assert manifest.take(np.arange(len(manifest))[::-1]).digest == digest
    assert (
        replace(
            manifest,
            labels=manifest.labels.astype(np.int32),
            copies=manifest.copies.astype(np.int16),
        ).digest
        == digest
    )
    for column in ("example_ids", "labels", "copies", "weights"):
        assert replace(manifest, **{column: getattr(manifest, column) + 1}).digest != digest


def test_the_digest_is_the_same_on_every_machine() -> None:
    """Golden: the manifest of two rows written out as little-endian bytes and hashed with the
    standard library."""
    import hashlib
    import struct

    content = (
        b"zoo manifest 1\n"
        + struct.pack("<2q", 1, 2)
        + struct.pack("<2i", 3, 0)
        + struct.pack("<2h", 2, 1)
        + struct.pack("<2f", 0.5, 1.0)
    )
    assert (
        manifest([2, 1], [0, 3], [1, 2], [1.0, 0.5]).digest
        == hashlib.sha256(content).hexdigest()[:16]
    )


def test_the_summary_counts() -> None:
    """Of seven usable examples three are below X = .5; class 2 is empty; filled to two per class,
    example 2 and 4 or so are repeated."""
    scores = frame()
    chosen = made(
        "below:x=0.5+relabel:set=c == 2,to=top_confusion+per_class:count=2,empty=drop", scores
    )
    summary = manifest_summary(chosen, num_classes=3, scores=scores)
    assert summary == {
        "digest": chosen.digest,
        "n": 4,
        "unique": 3,
        "share_kept": 3 / 7,
        "per_class": [2, 2, 0],
        "empty_classes": [2],
        "relabelled": 0,
        "mean_weight": 1.0,
    }
    relabelled = made("relabel:set=x > 0.6", scores)
    assert manifest_summary(relabelled, num_classes=3, scores=scores)["relabelled"] == 2
    assert manifest_summary(relabelled, num_classes=3)["relabelled"] is None


def test_large_tables_are_handled_whole() -> None:
    """No step of Python per example: 200,000 examples of 100 classes go through four rules in a
    fraction of a second."""
    scores = many(200_000, 100)
    manifest = build(
        parse("below:share=0.8,thresholds=joint+worst:share=0.1+per_class:count=2500+weigh:by=x"),
        scores,
        num_classes=100,
    )
    assert manifest.copies.sum() == 250_000


# ---------------------------------------------------------------------------- how rules are written


def test_rules_and_treatments_are_written_alike() -> None:
    """A plus sign divides steps before a name only; a text is taken as written; a word may have a
    dash; values stay as they were given."""
    assert parse("keep:set=c < 1e+3 + worst:share=1") == (
        ("keep", {"set": "c < 1e+3"}),
        ("worst", {"share": 1}),
    )
    assert parse("random_like:name=0012") == (("random_like", {"name": "0012"}),)
    assert run("relabel:set=x > 0.5,to=label-true").equals(run("relabel:set=x > 0.5,to=label_true"))
    with pytest.raises(
        UnknownNameError, match=r"unknown value of weigh:favour 'hrad'\. Did you mean 'hard'"
    ):
        parse("weigh:by=x,favour=hrad")


def test_every_rule_says_how_it_is_written() -> None:
    """Usage, and for programs each parameter with what it takes; what the program passes itself is
    not among them."""
    assert RULES["keep"].usage == "keep:set=..."
    assert RULES["worst"].usage == "worst:by=label_quality,per_class=false"
    assert RULES["below"].usage == "below:thresholds=literal,by=both,heldout=false"
    about = RULES["per_class"].as_json()
    assert about["about"].splitlines()[2:4] == [
        "``count``: examples per class, >= 1.",
        "``resample``: fill up classes that are too small; False leaves them short.",
    ]
    assert [(p["name"], p["allowed"], p["required"]) for p in about["parameters"]] == [
        ("count", "a whole number from 1", True),
        ("resample", "true or false", False),
        ("seed", "a whole number from 0", False),
        ("empty", "'error' or 'keep' or 'drop'", False),
    ]
    for rule in RULES.values():
        assert not {"scores", "num_classes", "resolve", "manifest", "class_names"} & set(
            rule.parameters
        )
        assert rule.summary.endswith((".", ":"))
