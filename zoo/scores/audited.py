"""What the last audit of a workspace found: its facts, and these in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from zoo.errors import NotFoundError
from zoo.progress import counted
from zoo.scores.remaining import remaining_after_decisions
from zoo.store.workspace import Workspace

__all__ = ["AUDIT", "FACTS", "count_in_words", "facts_of", "population_in_words", "summary"]

AUDIT: Final = "audit"
"""Under which name an audit's trainings are planned."""
FACTS: Final = "results/audit.json"
"""Where they stand in a workspace."""


def facts_of(workspace: Workspace) -> dict[str, Any]:
    """What the last audit of a workspace found.

    Raises:
        NotFoundError: if there was none.
    """
    if not workspace.files.exists(FACTS):
        raise NotFoundError(f"{workspace.location} holds no audit. Make one with 'zoo audit PATH'.")
    found: dict[str, Any] = json.loads(workspace.files.read(FACTS))
    return found


def summary(workspace: Workspace) -> str:
    """The last audit of a workspace in words.

    Raises:
        NotFoundError: if there was none.
    """
    facts = facts_of(workspace)
    lines = [f"{facts['data']}: {facts['examples']:,} pictures, {facts['classes']:,} classes"]
    lines += [
        f"  {line}"
        for line in (*_files(facts), *population_in_words(facts), *count_in_words(facts))
    ]
    # An earlier zoo did not say which data set it was.
    left = remaining_after_decisions(workspace, facts.get("dataset", ""), facts["split"])
    if left is not None:
        lines.append(f"  what is left: {left.text}")
    lines += ["", "The most suspicious labels, worst first"]
    width = max([len(row["key"]) for row in facts["suspects"]], default=0)
    lines += [
        f"  {row['key']:<{width}}  {row['label_name']} -> {row['suggested_name'] or '?'} "
        f" ({row['wrong']} of {row['of']})"
        for row in facts["suspects"]
    ] or ["  none: every classifier gives every label"]
    return "\n".join(lines)


def _files(facts: Mapping[str, Any]) -> list[str]:
    if facts["damaged"] is None:
        return []
    damaged, conflicting = facts["damaged"], facts["conflicting"]
    return [
        f"damaged files: {len(damaged):,}{f' ({_some(damaged)})' if damaged else ''}",
        f"the same picture more than once: {counted(facts['duplicates'], 'group')},"
        f" {len(conflicting):,} with different labels"
        + (f" ({_some([' = '.join(group) for group in conflicting])})" if conflicting else ""),
        *_nearly(facts),
    ]


def _nearly(facts: Mapping[str, Any]) -> list[str]:
    if facts.get("near_duplicates") is None:  # of an earlier zoo
        return []
    differ = facts["near_conflicting"]
    return [
        f"almost the same picture: {counted(facts['near_duplicates'], 'group')},"
        f" {len(differ):,} with different labels"
        + (f" ({_some([' = '.join(group) for group in differ])})" if differ else "")
    ]


def population_in_words(facts: Mapping[str, Any]) -> list[str]:
    """Who was trained, and how often each picture was held out."""
    least, without = facts["heldout_least"], facts["not_held_out"]
    held = (
        "which of them were trained on which picture is not known: taken for held out"
        if without is None
        else f"each picture was held out by {least or 0} or more of them; by none: {without:,}"
    )
    return [f"{facts['classifiers']} classifiers: {facts['trained']}", held]


_TRUST = {
    "strong": "strong enough to trust the order",
    "fair": "so the order is a hint: look at more than the first few",
    "weak": "too weak to trust the order",
}


def _advice(facts: Mapping[str, Any]) -> str:
    """What may make a weak population stronger: more time only where it would be used."""
    if "features" not in facts:  # of an earlier zoo
        return "give more time (--budget) or more pictures"
    if facts["features"] is None:
        return "give predictions of stronger classifiers"
    ways = {
        "none": ["heads on features (--features hog; with pretrained weights: zoo models fetch)"],
        "hog": ["pretrained weights (zoo models fetch)"],
    }.get(facts["features"], ["another backbone (--features)"])
    more = [] if facts["most"] else ["more time (--budget)"]
    return f"try {', '.join([*ways, *more])} or more pictures"


def count_in_words(facts: Mapping[str, Any]) -> list[str]:
    """Whether the order can be trusted, how many labels are wrong, and what a list yields."""
    wrong = facts["wrong_labels"]
    if wrong is None:
        return [f"how many labels are wrong was not estimated: {facts['no_count'] or 'too large'}"]
    trust = _TRUST[wrong["strength"]]
    if wrong["strength"] == "weak":
        trust = f"{trust}: {_advice(facts)}"
    accuracy = (
        f"held-out accuracy {wrong['heldout_accuracy']:.3f} (the commonest class alone:"
        f" {wrong['chance']:.3f}), {trust}"
    )
    count = (
        f"estimated number of wrong labels: {wrong['wrong']:.0f} (95 % interval"
        f" {wrong['wrong_low']:.0f} to {wrong['wrong_high']:.0f}), if they fall on all classes"
        " alike; more, where they fall on classes that are hard to tell apart"
    )
    cuts = facts.get("cuts", ())  # an earlier zoo made none
    expected = ", ".join(f"{cut['expected_precision']:.0%} of {cut['first']:,}" for cut in cuts)
    return [accuracy, count, *([f"wrong among the first, to expect: {expected}"] if cuts else [])]


def _some(values: list[str]) -> str:
    return ", ".join(values[:3]) + (f" and {len(values) - 3:,} more" if len(values) > 3 else "")
