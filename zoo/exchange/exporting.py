"""From a workspace to files that other programs read.

===========  ==============================  ==============================================================================================
what         as                              what is in it
===========  ==============================  ==============================================================================================
scores       csv, parquet                    the ``scores`` table of a population or sub-population, computed from the store
scores       perplexity                      perplexity.csv of the Example-Perplexity project: filename, label, c_perplexity, x_perplexity,
                                             x_perplexity_label (12 bins), its two columns of top-5 (class, index) and (class, votes); the
                                             first by the definition where all logits are kept, else named for what it is
scores       cleanlab                        is_label_issue, label_quality, given_label, predicted_label, example_id, key, p_wrong,
                                             expected_precision; a row per example, in order
scores       decisions                       a table for reviewers: key, example_id, label, suggested class, digest, and what they fill in; most
                                             suspicious first (``zoo.exchange.reviews``)
predictions  npy                             int16 [N, E], -1 = no answer; with probabilities: float32 [N, E, M]; classifiers in a .csv beside
predictions  csv, parquet                    example_id, key, label, and a column per classifier
netwise-x    csv, parquet                    that project's table: filename, and a column per classifier, 0 = right, 1 = wrong
netwise-c    csv, parquet                    the same with the entropy of each answer in bits
logits       npy, parquet                    a folder: a file per classifier, float16 [E, M] minus each row's maximum; examples and classes
selection    keep-list                       the key of each example that is kept, one a line
selection    csv, parquet                    the manifest: example_id, key, path (where pictures are files), label, class_name, label_original,
                                             x_perplexity, weight, copies, reason (where there are some)
selection    hf                              a folder of Parquet files in the Hugging Face layout, with the encoded pictures
selection    imagefolder                     SPLIT/CLASS/ folders with copies of the pictures under their own names, manifest.csv
===========  ==============================  ==============================================================================================

Everything is written under a temporary name beside its place and renamed when it is whole. What is
there already is left alone unless ``force``; a folder is replaced only if an export made it. A cell
of a CSV that a spreadsheet would take for a formula gets a leading quote.

``is_label_issue``: among the most suspicious, as many as there are wrong labels by the estimate;
empty where that could not be made (no kept logits, no label, no held-out answer). ``copies`` are repeated files
in an image folder; everywhere else they are a column.

Letters: N classifiers, E examples, M classes.
"""  # noqa: E501

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from zoo.data import Dataset, Split, encode_examples, open_dataset, picture_digests
from zoo.data.files import EXPORTED_ROWS, FileSource
from zoo.errors import DataError, NotFoundError, UsageError, ZooError
from zoo.exchange.netwise import write_netwise
from zoo.exchange.places import (
    Request,
    check_free,
    new_folder,
    put,
    write_file,
    write_table,
    write_text,
)
from zoo.manifest import Manifest
from zoo.registry import distinct
from zoo.scores import from_store, issues
from zoo.scores.accumulate import block_rows
from zoo.scores.catalog import Listed
from zoo.scores.population import Population, choose_population
from zoo.scores.suspects import suspects
from zoo.store import datasets, ledger, selections
from zoo.store.answers import TOP_CLASSES, logits_of, read_answers
from zoo.store.commits import Commit
from zoo.store.origin import Origin
from zoo.store.results import csv_text, read_scores
from zoo.store.workspace import Workspace

__all__ = ["FORMATS", "export", "formats_text", "perplexity_table"]


_PICTURES_PER_FILE: Final = 512 << 20  # bytes of encoded pictures per Parquet file
_BLOCK: Final = 512
_TO_STDOUT: Final = frozenset({"csv", "perplexity", "cleanlab", "decisions", "keep-list"})


def formats_text() -> str:
    """``scores: csv, parquet, ...; predictions: ...`` for messages."""
    kinds: dict[str, list[str]] = {}
    for what, to in FORMATS:
        kinds.setdefault(what, []).append(to)
    return "; ".join(f"{what}: {', '.join(formats)}" for what, formats in kinds.items())


def export(workspace: Workspace, request: Request) -> str | Path:
    """Write what is asked for; its path, or the text itself where no output is named.

    Raises:
        UsageError: for a combination that does not exist, or a place that is taken; nothing was
            written.
        NotFoundError: if there is no such selection, or nothing to score with.
        DataError: if pictures are needed and the data set cannot be opened, or has changed.
    """
    write = FORMATS.get((request.what, request.to))
    if write is None:
        raise UsageError(
            f"cannot export {request.what} as {request.to}. Possible are {formats_text()}."
        )
    streamed = request.what in ("netwise-x", "netwise-c")
    if request.output is None and (streamed or request.to not in _TO_STDOUT):
        raise UsageError(
            f"export of {request.what} as {request.to} needs a place. Give one with -o PATH."
        )
    for given, option, allowed in (
        (request.selection, "--selection", request.what == "selection"),
        (request.where, "--where", request.what != "selection"),
        (
            request.probabilities or None,
            "--probabilities",
            (request.what, request.to) == ("predictions", "npy"),
        ),
    ):
        if given is not None and not allowed:
            raise UsageError(
                f"{option} has no meaning for the export of {request.what} as {request.to}. Leave"
                " it out."
            )
    if request.what == "selection" and request.selection is None:
        names = ", ".join(workspace.commits.all("selection")) or "none"
        raise UsageError(
            "export of a selection needs its name. Give one with --selection NAME; there are:"
            f" {names}."
        )
    if request.output is not None:
        check_free(request.output, force=request.force)
    return write(workspace, request)


# ---------------------------------------------------------------- scores


def _population(workspace: Workspace, request: Request) -> Population:
    fingerprint = (
        None if request.data is None else datasets.dataset_fingerprint(workspace, request.data)
    )
    return choose_population(workspace, request.where, dataset=fingerprint, say=request.say)


def _scores(workspace: Workspace, request: Request) -> tuple[pa.Table, Population]:
    population = _population(workspace, request)
    return issues.scored(workspace, population, request.split or "train"), population


def _scores_csv(workspace: Workspace, request: Request) -> str | Path:
    return write_text(request, csv_text(_scores(workspace, request)[0].to_pandas()))


def _scores_parquet(workspace: Workspace, request: Request) -> Path:
    return write_table(request, _scores(workspace, request)[0])


def _scores_perplexity(workspace: Workspace, request: Request) -> str | Path:
    table, population = _scores(workspace, request)
    exact = None
    # up to five classes, the answers keep all of them
    if len(population.class_names) > TOP_CLASSES:
        exact = from_store.entropy_classes(workspace, population, request.split or "train")
    return write_text(request, csv_text(perplexity_table(table, population.class_names, exact)))


def perplexity_table(
    scores: pa.Table, class_names: Sequence[str], entropy_classes: Listed | None = None
) -> pd.DataFrame:
    """Scores as the columns of perplexity.csv. Labels and classes are names; the lists are Python
    literals, as that project writes them.

    Args:
        entropy_classes: the classes with most of the entropy by the definition. None = take
            ``top5_c``: with more than five classes it knows each classifier's five most probable
                ones only, and the column's name says so.

    Source: Validation_Images_Test/c_x_perplexity_and_top_5.py there. Departure: columns of the row
        index are left out.
    """
    names = dict(enumerate(distinct(class_names)))
    title = "top 5 c_perplexity class"
    if entropy_classes is not None:
        pairs = [
            zip(*lists, strict=True)
            for lists in zip(*(part.tolist() for part in entropy_classes), strict=True)
        ]
        top_c = [
            str([(names[index], value) for index, value in row if index >= 0]) for row in pairs
        ]
    else:
        top_c = [
            str([(names[item["class"]], item["value"]) for item in row or ()])
            for row in scores.column("top5_c").to_pylist()
        ]
        title += (
            "" if len(class_names) <= TOP_CLASSES else " (of each classifier's five most probable)"
        )
    top_x = [
        str([(names[item["class"]], item["votes"]) for item in row or ()])
        for row in scores.column("top5_x").to_pylist()
    ]
    return pd.DataFrame(
        {
            "filename": scores.column("key").to_pylist(),
            "label": [names.get(label) for label in scores.column("label").to_pylist()],
            "c_perplexity": scores.column("c_perplexity").to_pandas(),
            "x_perplexity": scores.column("x_perplexity").to_pandas(),
            "x_perplexity_label": scores.column("x_bin").to_pylist(),
            title: top_c,
            "top 5 x_perplexity class": top_x,
        }
    )


def _scores_cleanlab(workspace: Workspace, request: Request) -> str | Path:
    table, _ = _scores(workspace, request)
    if note := issues.no_issues_note(table):
        request.say(note)
    return write_text(request, csv_text(cleanlab_table(table.to_pandas())))


def cleanlab_table(scores: pd.DataFrame) -> pd.DataFrame:
    """The ``scores`` table as cleanlab's columns, with its own probability beside them."""
    return pd.DataFrame(
        {
            "is_label_issue": scores["is_label_issue"].astype("boolean"),
            "label_quality": scores["label_quality"],
            "given_label": scores["label"].astype("Int64"),
            "predicted_label": scores["top_confusion"].astype("Int64"),
            "example_id": scores["example_id"],
            "key": scores["key"],
            "p_wrong": scores["p_wrong"],
            "expected_precision": scores["expected_precision"],
        }
    )


def _scores_decisions(workspace: Workspace, request: Request) -> str | Path:
    table, population = _scores(workspace, request)
    scores, record = table.to_pandas(), population.dataset
    ranked = suspects(scores, len(scores))
    names = dict(enumerate(distinct(population.class_names)))
    frame = pd.DataFrame(
        {
            "key": ranked["key"],
            "example_id": ranked["example_id"],
            "given": [names[label] for label in ranked["label"]],
            "suggested": [
                "" if pd.isna(label) else names[int(label)] for label in ranked["suggested"]
            ],
            "decision": "",
            "label": "",
            "reviewer": "",
            "time": "",
            "digest": None,
            "note": "",
        }
    )
    if not record.facts.get("imported"):
        pictures = _pictures(record, request.split or "train")[1]
        frame["digest"] = picture_digests(pictures, ranked["example_id"].to_numpy(dtype=np.int64))
    return write_text(request, csv_text(frame))


# ---------------------------------------------------------------- predictions and logits


def _classifiers(workspace: Workspace, population: Population) -> pd.DataFrame:
    frame = ledger.classifiers_frame(workspace)
    return frame[frame["classifier_id"].isin(population.classifiers)].sort_values(
        "classifier_id", ignore_index=True
    )


def _npy_header(file: BinaryIO, dtype: type[np.generic], shape: tuple[int, ...]) -> int:
    """Write the header; where the numbers begin. Written, not mapped: a full disk must be an error,
    not a SIGBUS."""
    np.lib.format.write_array_header_2_0(
        file, {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    )
    return file.tell()


def _predictions_npy(workspace: Workspace, request: Request) -> Path:
    """int16 [N, E], or float32 [N, E, M] of probabilities; rows in the order of the .csv beside,
    which is written first."""
    population, split = _population(workspace, request), request.split or "train"
    examples = datasets.examples_of(workspace, population.dataset, split).num_rows
    output = request.output
    assert output is not None
    beside = output.with_name(f"{output.stem}.classifiers.csv")
    check_free(beside, force=request.force)
    write = _write_probabilities if request.probabilities else _write_predictions
    if request.probabilities:
        for name in population.classifiers:
            logits_of(workspace, name, split)  # refused before anything is written
    write_file(
        beside,
        lambda file: put(file, csv_text(_classifiers(workspace, population)).encode()),
        force=request.force,
    )
    return write_file(
        output,
        lambda file: write(file, workspace, population, split, examples),
        force=request.force,
    )


def _write_predictions(
    file: BinaryIO, workspace: Workspace, population: Population, split: str, examples: int
) -> None:
    """Block by block of the store, each classifier's stretch at its place in the file."""
    place = {name: i for i, name in enumerate(population.classifiers)}
    begin = _npy_header(file, np.int16, (len(place), examples))
    file.truncate(begin + len(place) * examples * 2)
    for block, answers in read_answers(
        workspace, population.fingerprint, split, population.classifiers
    ):
        for name, batch in answers:
            values = (
                batch.column("prediction")
                .fill_null(-1)
                .to_numpy(zero_copy_only=False)
                .astype(np.int16)
            )
            file.seek(begin + (place[name] * examples + block.start) * 2)
            file.write(values.data)


def _write_probabilities(
    file: BinaryIO, workspace: Workspace, population: Population, split: str, examples: int
) -> None:
    """Softmax of the kept logits, in float64, one classifier after the other."""
    classes = len(population.class_names)
    _npy_header(file, np.float32, (len(population.classifiers), examples, classes))
    step = block_rows(classes, memory_bytes=32 << 20)
    for name in population.classifiers:
        logits = logits_of(workspace, name, split)
        for start in range(0, examples, step):
            p = np.exp(logits[start : start + step].astype(np.float64))
            file.write((p / p.sum(axis=1, keepdims=True)).astype(np.float32).data)


def _predictions_frame(workspace: Workspace, request: Request) -> pa.Table:
    population, split = _population(workspace, request), request.split or "train"
    examples = datasets.examples_of(workspace, population.dataset, split)
    columns = np.full((len(population.classifiers), examples.num_rows), -1, dtype=np.int16)
    place = {name: i for i, name in enumerate(population.classifiers)}
    for block, answers in read_answers(
        workspace, population.fingerprint, split, population.classifiers
    ):
        for name, batch in answers:
            columns[place[name], block.start : block.stop] = (
                batch.column("prediction").fill_null(-1).to_numpy(zero_copy_only=False)
            )
    table = examples.select(["example_id", "key", "label"])
    for name, values in zip(population.classifiers, columns, strict=True):
        table = table.append_column(name, pa.array(values, mask=values < 0))
    return table


def _netwise(workspace: Workspace, request: Request) -> Path:
    population = _population(workspace, request)
    assert request.output is not None
    measure: Literal["x", "c"] = "x" if request.what == "netwise-x" else "c"
    to: Literal["csv", "parquet"] = "csv" if request.to == "csv" else "parquet"
    return write_file(
        request.output,
        lambda file: write_netwise(
            file, workspace, population, request.split or "train", measure, to
        ),
        force=request.force,
    )


def _predictions_csv(workspace: Workspace, request: Request) -> str | Path:
    frame = _predictions_frame(workspace, request).to_pandas(
        types_mapper={pa.int16(): pd.Int16Dtype(), pa.int64(): pd.Int64Dtype()}.get
    )
    return write_text(request, csv_text(frame))


def _predictions_parquet(workspace: Workspace, request: Request) -> Path:
    return write_table(request, _predictions_frame(workspace, request))


def _logits(
    workspace: Workspace,
    request: Request,
    suffix: str,
    write: Callable[[Path, NDArray[np.float16], pa.Table], None],
) -> Path:
    """A folder: a file per classifier, and what one needs to import them again."""
    population, split = _population(workspace, request), request.split or "train"
    examples = datasets.examples_of(workspace, population.dataset, split)
    for name in population.classifiers:
        logits_of(workspace, name, split)  # refused before anything is written
    with new_folder(workspace, request) as folder:
        for name in population.classifiers:
            write(folder / f"{name}{suffix}", logits_of(workspace, name, split), examples)
        listed = examples.select(["example_id", "key", "label", "label_true"])
        if listed.column("label_true").null_count == listed.num_rows:
            listed = listed.drop_columns(["label_true"])
        (folder / "examples.csv").write_text(
            csv_text(listed.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)),
            encoding="utf-8",
        )
        (folder / "classes.json").write_text(
            json.dumps(list(population.class_names), ensure_ascii=False) + "\n", encoding="utf-8"
        )
        (folder / "classifiers.csv").write_text(
            csv_text(_classifiers(workspace, population)), encoding="utf-8"
        )
    assert request.output is not None
    return request.output


def _logits_npy(workspace: Workspace, request: Request) -> Path:
    return _logits(
        workspace,
        request,
        ".npy",
        lambda path, values, _: np.save(path, values, allow_pickle=False),
    )


def _logits_parquet(workspace: Workspace, request: Request) -> Path:
    def write(path: Path, values: NDArray[np.float16], examples: pa.Table) -> None:
        lists = pa.FixedSizeListArray.from_arrays(
            pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1]
        )
        pq.write_table(
            examples.select(["example_id", "key"]).append_column("logits", lists),
            path,
            compression="zstd",
        )

    return _logits(workspace, request, ".parquet", write)


# ---------------------------------------------------------------- selections


def _origin_split(workspace: Workspace, request: Request) -> str:
    """The split whose scores a selection was made of.

    Raises:
        UsageError: if another is asked for.
    """
    name = str(request.selection)
    if name == "baseline":
        return request.split or "train"
    split = _origin(workspace, name).split or "train"
    if request.split not in (None, split):
        raise UsageError(
            f"selection {name!r} is of split {split}, not {request.split}. Leave --split out."
        )
    return split


def _origin(workspace: Workspace, name: str) -> Origin:
    selections.selection_op(workspace, name)  # refuses an unknown name
    commit = workspace.commits.get("selection", name)
    assert commit is not None
    return selections.selection_origin(commit)


def _dataset_record(workspace: Workspace, request: Request) -> Commit:
    """The data set that was named, else the one that the selection was made from, else the only
    one."""
    records = workspace.commits.all("dataset")
    made_from = (
        ""
        if request.selection == "baseline"
        else _origin(workspace, str(request.selection)).dataset
    )
    if request.data is None and made_from in records:
        return records[made_from]
    if request.data is not None:
        key = datasets.dataset_fingerprint(workspace, request.data)
        if key in records:
            return records[key]
        raise NotFoundError(
            f"data set {request.data!r} is not recorded in {workspace.location}. Choose one of:"
            f" {_names(records.values())}."
        )
    if len(records) != 1:
        raise UsageError(
            f"the workspace holds {len(records)} data sets: {_names(records.values())}. Choose one"
            " with --data."
        )
    return next(iter(records.values()))


def _names(records: Any) -> str:
    return ", ".join(str(record.facts["name"]) for record in records) or "none"


def _manifest(workspace: Workspace, request: Request) -> tuple[pd.DataFrame, str, Commit]:
    """The manifest with keys, original labels and X, sorted by example; its split; the data set's
    record.

    Raises:
        UsageError: if it names examples that the data set does not have.
    """
    split, record = _origin_split(workspace, request), _dataset_record(workspace, request)
    table = pq.read_table(
        workspace.files.local(record.files[0].path), filters=[("split", "=", split)]
    ).to_pandas()
    if request.selection == "baseline":
        usable = table[table["label"].notna() & table["error"].isna()]
        ids, labels = (usable[name].to_numpy(dtype=np.int64) for name in ("example_id", "label"))
        chosen = Manifest(ids, labels, np.ones_like(ids), np.ones(len(ids), dtype=np.float32))
    else:
        chosen = selections.selection_of(
            workspace, str(request.selection), dataset=record.key, split=split
        )
    order = np.argsort(chosen.example_ids)
    chosen = chosen.take(order[chosen.copies[order] > 0])
    ids = chosen.example_ids
    if len(ids) and (ids[0] < 0 or ids[-1] >= len(table)):
        raise UsageError(
            f"selection {request.selection!r} names example {ids[-1]}; split {split} of"
            f" {record.facts['name']} has {len(table)}. Choose the data set that it was made of"
            " with --data."
        )
    rows = table.iloc[ids]
    frame = pd.DataFrame(
        {
            "example_id": ids,
            "key": rows["key"].to_numpy(),
            "label": chosen.labels,
            "label_original": pd.array(
                rows["label"].to_numpy(dtype=np.float64, na_value=np.nan), dtype="Int64"
            ),
            "label_true": pd.array(
                rows["label_true"].to_numpy(dtype=np.float64, na_value=np.nan), dtype="Int64"
            ),
            "x_perplexity": _x_of(workspace, record.key, split, ids),
            "weight": chosen.weights,
            "copies": chosen.copies,
        }
    )
    if chosen.reasons is not None and (chosen.reasons != "").any():
        frame["reason"] = [str(reason) for reason in chosen.reasons]
    return frame, split, record


def _x_of(
    workspace: Workspace, dataset: str, split: str, ids: NDArray[np.int64]
) -> NDArray[np.float64]:
    """X of examples by the workspace's scores table; NaN where there is none."""
    try:
        scores, _ = read_scores(workspace, dataset, split)
    except NotFoundError:
        return np.full(len(ids), np.nan)
    by_id = scores.set_index("example_id")["x_perplexity"]
    values: NDArray[np.float64] = by_id.reindex(ids).to_numpy(dtype=np.float64, na_value=np.nan)
    return values


def _selection_keep_list(workspace: Workspace, request: Request) -> str | Path:
    frame, split, record = _manifest(workspace, request)
    table = pq.read_table(
        workspace.files.local(record.files[0].path),
        columns=["key"],
        filters=[("split", "=", split)],
    )
    shared = {
        key: count for key, count in Counter(table.column("key").to_pylist()).items() if count > 1
    }
    unclear = next((key for key in frame["key"] if key in shared), None)
    if unclear is not None:
        raise DataError(
            f"the key {unclear!r} is borne by {shared[unclear]} examples of {record.facts['name']}"
            f" {split} ({len(shared):,} keys are borne by several), so a list of keys would not say"
            " which are kept. Export the selection as csv or parquet, by example_id."
        )
    broken = next((key for key in frame["key"] if "\n" in key or "\r" in key), None)
    if broken is not None:
        raise DataError(
            f"the key {broken!r} holds a line break, so one key a line would not be one. Export the"
            " selection as csv or parquet."
        )
    return write_text(request, "".join(f"{key}\n" for key in frame["key"]))


def _selection_csv(workspace: Workspace, request: Request) -> str | Path:
    return write_text(request, csv_text(_selection_frame(workspace, request)))


def _selection_parquet(workspace: Workspace, request: Request) -> Path:
    frame = _selection_frame(workspace, request)
    return write_table(request, pa.Table.from_pandas(frame, preserve_index=False))


def _selection_frame(workspace: Workspace, request: Request) -> pd.DataFrame:
    """The manifest with class names, and with paths where its pictures are files: a data set that
    ``zoo data check`` opens."""
    frame, split, record = _manifest(workspace, request)
    shown = distinct(tuple(map(str, record.facts["class_names"])))
    frame = _listed(frame)
    frame.insert(3, "class_name", [shown[label] for label in frame["label"]])
    try:
        source = _pictures(record, split)[1].source
    except ZooError:  # a list of examples does not need them
        return frame
    if isinstance(source, FileSource):
        frame.insert(2, "path", [str(source.path(example)) for example in frame["example_id"]])
    return frame


def _listed(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns="label_true") if frame["label_true"].isna().all() else frame


def _pictures(record: Commit, split: str) -> tuple[Dataset, Split]:
    """The data set itself, with its pictures.

    Raises:
        DataError: if it was imported without any, or has changed.
    """
    if record.facts.get("imported"):
        raise DataError(
            f"data set {record.facts['name']!r} was imported without pictures. Export the selection"
            " as keep-list, csv or parquet."
        )
    dataset = open_dataset(str(record.facts["uri"]))
    if dataset.fingerprint != record.key:
        raise DataError(
            f"data set {record.facts['uri']!r} has changed: its fingerprint is"
            f" {dataset.fingerprint}, the selection was made on {record.key}. Restore the data, or"
            " export the selection as keep-list."
        )
    return dataset, dataset.splits[split]


def _selection_hf(workspace: Workspace, request: Request) -> Path:
    """Parquet in the layout that Hugging Face datasets and ``zoo.data`` open: image struct<bytes,
    path>, label, and what zoo knows."""
    frame, split, record = _manifest(workspace, request)
    dataset, pictures = _pictures(record, split)
    schema = _hf_schema(
        dataset.class_names,
        truth=bool(frame["label_true"].notna().all() and len(frame)),
        reasons="reason" in frame,
    )
    files = _hf_files(pictures, frame["example_id"].to_numpy())
    with new_folder(workspace, request) as folder:
        for number, (start, stop) in enumerate(files):
            name = f"{split}-{number:05d}-of-{len(files):05d}.parquet"
            with pq.ParquetWriter(folder / name, schema, compression="zstd") as writer:
                for first in range(start, stop, _BLOCK):
                    writer.write_table(
                        _hf_rows(pictures, frame.iloc[first : min(first + _BLOCK, stop)], schema)
                    )
    assert request.output is not None
    return request.output


def _hf_files(pictures: Split, ids: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Rows of each file, by the bytes of its pictures: [(start, stop)]."""
    files, start, total = [], 0, 0
    for first in range(0, len(ids), _BLOCK):
        total += sum(map(len, encode_examples(pictures, ids[first : first + _BLOCK])))
        if total > _PICTURES_PER_FILE:
            files.append((start, min(first + _BLOCK, len(ids))))
            start, total = files[-1][1], 0
    return [*files, (start, len(ids))] if start < len(ids) or not files else files


def _hf_schema(class_names: Sequence[str], *, truth: bool, reasons: bool) -> pa.Schema:
    # The datasets library refuses a ClassLabel in which two names are equal.
    label = {"names": list(distinct(class_names)), "_type": "ClassLabel"}
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": label,
        "label_original": label,
    }
    columns = [
        pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        pa.field("label", pa.int64()),
        pa.field("label_original", pa.int64()),
    ]
    if truth:
        features["label_true"] = label
        columns.append(pa.field("label_true", pa.int64()))
    for name, kind, text in (
        ("x_perplexity", pa.float64(), "float64"),
        ("weight", pa.float32(), "float32"),
        ("copies", pa.int64(), "int64"),
        *([("reason", pa.string(), "string")] if reasons else []),
    ):
        features[name] = {"dtype": text, "_type": "Value"}
        columns.append(pa.field(name, kind))
    return pa.schema(
        columns,
        metadata={"huggingface": json.dumps({"info": {"features": features}}, ensure_ascii=False)},
    )


def _hf_rows(pictures: Split, rows: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    encoded = encode_examples(pictures, rows["example_id"].to_numpy())
    image = pa.StructArray.from_arrays(
        [pa.array(encoded, pa.binary()), pa.array(list(rows["key"]), pa.string())],
        names=["bytes", "path"],
    )
    columns = [
        image,
        *(pa.Array.from_pandas(rows[field.name], type=field.type) for field in list(schema)[1:]),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


_MAGIC: Final = (
    (b"\x89PNG", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\x00", ".tif"),
    (b"MM\x00*", ".tif"),
    (b"RIFF", ".webp"),
)


def _selection_imagefolder(workspace: Workspace, request: Request) -> Path:
    """SPLIT/CLASS/ with the pictures of each class under their own names; manifest.csv says what
    each was. Copies of the files, no links: the folder may be moved, and edited, by itself."""
    frame, split, record = _manifest(workspace, request)
    dataset, pictures = _pictures(record, split)
    folders, shown = _class_folders(dataset.class_names), distinct(dataset.class_names)
    source = pictures.source
    names: list[str] = []
    taken: set[str] = set()
    with new_folder(workspace, request) as folder:
        for name in folders:
            (folder / split / name).mkdir(parents=True)
        for first in range(0, len(frame), _BLOCK):
            rows = frame.iloc[first : first + _BLOCK]
            ids = rows["example_id"].to_numpy()
            encoded = None if isinstance(source, FileSource) else encode_examples(pictures, ids)
            columns = zip(
                ids.tolist(),
                rows["key"].tolist(),
                rows["label"].tolist(),
                rows["copies"].tolist(),
                strict=True,
            )
            for position, (example_id, key, label, copies) in enumerate(columns):
                original = source.path(example_id) if isinstance(source, FileSource) else None
                suffix = (
                    original.suffix
                    if original is not None
                    else _suffix(encoded[position] if encoded is not None else b"")
                )
                stem = _safe(original.stem if original is not None else Path(str(key)).stem)[:80]
                for copy in range(copies):
                    name = _free_name(
                        f"{split}/{folders[label]}/{stem}{f'-copy{copy}' if copy else ''}",
                        suffix,
                        example_id,
                        taken,
                    )
                    if original is not None:
                        shutil.copyfile(original, folder / name)
                    elif encoded is not None:
                        (folder / name).write_bytes(encoded[position])
                    names.append(name)
        repeated = frame.loc[frame.index.repeat(frame["copies"])].reset_index(drop=True)
        manifest = _listed(repeated.drop(columns="copies")).assign(
            class_name=[shown[i] for i in repeated["label"]]
        )
        manifest.insert(0, "file", names)
        (folder / EXPORTED_ROWS).write_text(csv_text(manifest), encoding="utf-8")
    assert request.output is not None
    return request.output


def _free_name(stem: str, suffix: str, example_id: int, taken: set[str]) -> str:
    """A name that no other file has, whatever a file system thinks of case: two folders of one
    class may hold files of one name, and a corrected label may bring one to another."""
    name = f"{stem}{suffix}"
    number = 0
    while name.casefold() in taken:
        name = f"{stem}-{example_id}{f'-{number}' if number else ''}{suffix}"
        number += 1
    taken.add(name.casefold())
    return name


def _class_folders(class_names: Sequence[str]) -> list[str]:
    """Folder names of classes. Readers number classes by sorted folder names: a number goes in
    front where that would not be their order, or where some file systems would take two for one."""
    names = [_safe(name) for name in class_names]
    if sorted(set(names)) == names and len({name.casefold() for name in names}) == len(names):
        return names
    width = len(str(len(names) - 1))
    return [f"{i:0{width}d}-{name}" for i, name in enumerate(names)]


def _safe(name: str) -> str:
    """A text as one file name: no separators, control characters, leading dot or dash."""
    return re.sub(r"^[.-]", "_", re.sub(r"[/\\\x00-\x1f\x7f]", "_", name))[:120] or "_"


def _suffix(data: bytes) -> str:
    return next((suffix for magic, suffix in _MAGIC if data.startswith(magic)), ".img")


FORMATS: Final[dict[tuple[str, str], Callable[[Workspace, Request], str | Path]]] = {
    ("scores", "csv"): _scores_csv,
    ("scores", "parquet"): _scores_parquet,
    ("scores", "perplexity"): _scores_perplexity,
    ("scores", "cleanlab"): _scores_cleanlab,
    ("scores", "decisions"): _scores_decisions,
    ("predictions", "npy"): _predictions_npy,
    ("predictions", "csv"): _predictions_csv,
    ("predictions", "parquet"): _predictions_parquet,
    ("netwise-x", "csv"): _netwise,
    ("netwise-x", "parquet"): _netwise,
    ("netwise-c", "csv"): _netwise,
    ("netwise-c", "parquet"): _netwise,
    ("logits", "npy"): _logits_npy,
    ("logits", "parquet"): _logits_parquet,
    ("selection", "keep-list"): _selection_keep_list,
    ("selection", "csv"): _selection_csv,
    ("selection", "parquet"): _selection_parquet,
    ("selection", "hf"): _selection_hf,
    ("selection", "imagefolder"): _selection_imagefolder,
}
"""What can be written, and how."""
