"""What a run or a workspace amounts to, in words: the end of ``zoo run`` and ``zoo status``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo import ledger
from zoo.detection import suspects
from zoo.pipeline import Run
from zoo.progress import duration
from zoo.results import table_names
from zoo.store.answers import answer_parts
from zoo.tables import comparison_table, suspect_table, text_table
from zoo.workspace import Workspace

__all__ = ["status", "status_text", "summary"]


def summary(workspace: Workspace, done: Run, timings: Mapping[str, float]) -> str:
    """What was trained, which planted label errors were found, the ten most suspicious examples, accuracy per arm, what to type next."""
    parts = [_trained(workspace, done, timings)]
    if done.detection is not None and len(done.detection):
        parts.append(_found(done))
    if "train" in done.scores:
        table = suspect_table(suspects(done.scores["train"], 10), done.dataset.class_names)
        parts.append("The ten most suspicious training examples\n" + text_table(table))
    if done.comparison is not None:
        table = done.comparison.comparisons
        full = table[(table["on"] == "full") & (table["metric"] == "acc1")]
        shown = comparison_table(full).drop(columns=["on", "metric"])
        parts.append(
            f"Test accuracy of {_archs(done)} retrained on each selection, same number of steps, paired by seed\n" + text_table(shown)
        )
    if done.report is not None:
        parts.append(f"Report: {done.report}")
    if done.experiment.next_command:
        parts.append(f"Next: {done.experiment.next_command} -w {workspace.location}")
    return "\n\n".join(parts)


def _archs(done: Run) -> str:
    return ", ".join(done.experiment.retraining.archs) if done.experiment.retraining else ""


def _trained(workspace: Workspace, done: Run, timings: Mapping[str, float]) -> str:
    frame = ledger.trainings_frame(workspace)
    mine = frame[frame["training_id"].isin(ledger.trainings_of(workspace, done.experiment.name)) & (frame["status"] == "done")]
    population, retraining = (mine[mine["role"] == role] for role in ("population", "retraining"))
    classifiers = ledger.classifiers_frame(workspace)
    count = int(classifiers["training_id"].isin(population["training_id"]).sum())
    spent = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in timings.items())
    lines = [
        f"{done.experiment.title} (scale: {done.experiment.scale})",
        (
            f"  {count} classifiers from {len(population)} trainings of {population['arch'].nunique()} architectures on {done.dataset.name}; "
            f"{len(retraining)} retrainings; {mine['train_seconds'].sum():.0f} s of training in all"
        ),
        f"  this run: {spent}",
    ]
    return "\n".join(lines)


def _found(done: Run) -> str:
    assert done.detection is not None
    best = done.detection.set_index("score").loc["label_quality"]
    n = int(done.detection["n_errors"].max())
    return (
        f"Planted label errors found by label_quality: precision {best['precision_at_n']:.3f} and recall {best['recall_at_n']:.3f} "
        f"at the planted number ({n}), AUROC {best['auroc']:.4f}, average precision {best['average_precision']:.3f}"
    )


def status(workspace: Workspace) -> dict[str, Any]:
    """Counts of everything in a workspace, and the failures with their reasons."""
    trainings = ledger.trainings_frame(workspace)
    classifiers = ledger.classifiers_frame(workspace)
    answers: dict[str, int] = {}
    for commit, mine in answer_parts(workspace):
        split = str(commit.identity["split"])
        answers[split] = answers.get(split, 0) + len(mine)
    broken = trainings[trainings["status"].isin(["failed", "diverged"])]
    return {
        "workspace": workspace.location,
        "datasets": {str(c.facts["name"]): c.facts["splits"] for c in workspace.commits.all("dataset").values()},
        "trainings": {str(k): int(v) for k, v in trainings["status"].value_counts().sort_index().items()},
        "classifiers": {str(k): int(v) for k, v in classifiers["role"].value_counts().sort_index().items()},
        "answered": dict(sorted(answers.items())),
        "selections": list(workspace.commits.all("selection")),
        "tables": table_names(workspace),
        "failures": broken[["training_id", "arch", "treatment", "seed", "status", "stop_reason"]].to_dict(orient="records"),
    }


def status_text(found: Mapping[str, Any]) -> str:
    """``status`` for people."""
    lines = [f"workspace   {found['workspace']}"]
    for name, splits in found["datasets"].items():
        lines.append(f"data set    {name}: " + ", ".join(f"{split} {count:,}" for split, count in splits.items()))
    for title, key in (("trainings", "trainings"), ("classifiers", "classifiers"), ("answered", "answered")):
        lines.append(f"{title:<12}" + (", ".join(f"{name} {count:,}" for name, count in found[key].items()) or "none"))
    if empty := found["trainings"].get("empty"):
        lines.append(
            f"empty       {empty:,} of the trainings: their treatment leaves no example, so they have no classifier and count as chance; "
            f"""which: zoo query "select treatment from trainings where status = 'empty'\""""
        )
    lines.append(f"selections  {', '.join(found['selections']) or 'none'}")
    lines.append(f"tables      {', '.join(found['tables']) or 'none'}")
    lines += [
        f"{f['status']}: {f['training_id']} ({f['arch']}, {f['treatment']}, seed {f['seed']}): {f['stop_reason']}"
        for f in found["failures"]
    ]
    return "\n".join(lines)
