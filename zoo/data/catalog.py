"""From what a user types to an opened data set: NAME, PATH or URI.

A NAME is looked for among the embedded data, then as a folder (or NAME.parquet) in every place of
the path list ZOO_DATA, in
``./data`` and in the user's data folder (``$XDG_DATA_HOME/zoo``, else ``~/.local/share/zoo``).
Case, dashes and underscores in it do not matter. A PATH is an existing file or folder; what is in
it decides which form it has. A URI other than ``file://`` is Parquet in a file system pyarrow
knows.

Steps behind any of these make a data set of its own, see ``zoo.trainsets.derived``:
``cifar10+take:count=10000+label_noise:fraction=0.2``.

A new form is one function ``Path -> Found | None`` in a module of its own and one line in
``DATASETS``.
"""

from __future__ import annotations

import importlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
from numpy.typing import NDArray

from zoo.data.dataset import (
    Contents,
    Dataset,
    EncodedSource,
    Found,
    Split,
    UnreadableImage,
    fingerprint,
    split_name,
    unique_keys,
)
from zoo.data.decode import encoded_or_reason, image_facts
from zoo.data.embedded_sets import EMBEDDED, embedded_path
from zoo.data.files import files_of_export, left_out, subfolders
from zoo.data.notes import NO_TEST, Note, Notes, judged, merged
from zoo.data.parquet import parquet_at
from zoo.data.published import PUBLISHED, dataset_of
from zoo.data.votes import files_of_votes, votes_in
from zoo.errors import DataError, UnknownNameError
from zoo.machine import user_folder
from zoo.progress import announce
from zoo.registry import Registry

__all__ = [
    "DATASETS",
    "DatasetRow",
    "Form",
    "announce_untested",
    "list_datasets",
    "open_dataset",
    "open_or_published",
    "search_places",
    "votes_of",
]


@dataclass(frozen=True)
class Form:
    """A form data sets come in. ``finder``: ``module:function``, or the function. ``looks_for``:
    for the message when none fits."""

    finder: str | Callable[[Path], Found | None]
    looks_for: str

    def find(self, path: Path) -> Found | None:
        """What is at a path, or None if it is not of this form; cheap."""
        if not isinstance(self.finder, str):
            return self.finder(path)
        module, _, function = self.finder.partition(":")
        found: Found | None = getattr(importlib.import_module(module), function)(path)
        return found


DATASETS: Registry[Form] = Registry(
    "data set form",
    {
        "embedded": Form("zoo.data.embedded_sets:embedded", "a data set that comes with zoo"),
        "prepared": Form(
            "zoo.data.prepared:prepared",
            "prepared.json and shards, as zoo data prepare writes them",
        ),
        "mnist-idx": Form(
            "zoo.data.mnist:mnist",
            "{train,t10k}-images-idx3-ubyte and -labels-idx1-ubyte (or .idx3-ubyte, or .gz), here"
            " or in raw/",
        ),
        "cifar-batches": Form(
            "zoo.data.cifar:cifar",
            "data_batch_1..5 and test_batch, here or in cifar-10-batches-py/ (or"
            " cifar-100-python/)",
        ),
        "imagenet": Form(
            "zoo.data.imagenet:imagenet",
            "train/n01440764/, val/n01440764/ or flat val/ILSVRC2012_val_*.JPEG",
        ),
        "table": Form(
            "zoo.data.table:table",
            "labels.csv (or .tsv, .parquet; train.csv, test.csv) with columns of paths and labels,"
            " beside the pictures",
        ),
        "imagefolder": Form(
            "zoo.data.imagefolder:imagefolder", "SPLIT/CLASS/ or CLASS/ folders with image files"
        ),
        "parquet": Form(
            "zoo.data.parquet:parquet", "*.parquet, here or in data/ or SPLIT/ folders"
        ),
    },
)
"""Forms in the order they are tried: those with fixed file names before those that take any."""

DERIVED: Final = "zoo.trainsets.derived"
"""Where the steps behind a data set's name are carried out: ``split_base`` and ``derived``. They
are the treatments of rows, which know data sets, so they are asked for by name and when there are
some."""

_ALIASES = {
    "cifar10": ("cifar10batchespy",),
    "cifar100": ("cifar100python",),
    "imagenet": ("imagenet1k", "ilsvrc", "ilsvrc2012"),
}
_SAMPLE = 256
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

_OPENED: dict[str, Dataset] = {}
_OPENING = threading.RLock()


@dataclass(frozen=True)
class DatasetRow:
    """A line of ``zoo data ls``. ``counts``: examples per split, None where counting is not cheap.
    ``problem``: why it cannot be opened."""

    name: str
    form: str
    path: str
    splits: tuple[str, ...]
    counts: dict[str, int | None]
    problem: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def search_places() -> list[Path]:
    """Folders where names are looked up, in order; they need not exist."""
    listed = [
        Path(place).expanduser()
        for place in os.environ.get("ZOO_DATA", "").split(os.pathsep)
        if place
    ]
    user = user_folder("XDG_DATA_HOME", ".local/share")
    return list(dict.fromkeys([*listed, Path("data"), *([user / "zoo"] if user else [])]))


def list_datasets() -> list[DatasetRow]:
    """What is found where: the embedded data, then every place of the search path. Reads listings
    and footers, no images."""
    rows = [_row(name, embedded_path(name)) for name in EMBEDDED]
    for place in search_places():
        children = [row for name, path in _children(place) if (row := _row(name, path)) is not None]
        # ZOO_DATA may point at a data set itself.
        rows += children or ([_row(_name_of(place.resolve()), place)] if place.is_dir() else [])
    return [row for row in rows if row is not None]


def _children(place: Path) -> Iterator[tuple[str, Path]]:
    """Things in a place that may be data sets, sorted. Its own train/ and test/ folders are parts
    of one, not data sets."""
    try:
        entries = sorted(place.iterdir(), key=lambda entry: entry.name)
    except OSError:  # a place that does not exist or may not be read has nothing to list
        return
    for entry in entries:
        is_part = split_name(entry.name) is not None
        if (
            not entry.name.startswith(".")
            and not is_part
            and (entry.is_dir() or (entry.is_file() and entry.suffix == ".parquet"))
        ):
            yield _name_of(entry), entry


def _name_of(path: Path) -> str:
    return path.stem if path.suffix in (".csv", ".parquet", ".tsv") else path.name


def _row(name: str, path: Path) -> DatasetRow | None:
    try:
        recognised = _recognise(path)
    except DataError as error:
        return DatasetRow(name, "unknown", str(path.resolve()), (), {}, str(error))
    if recognised is None:
        return None
    form, found = recognised
    return DatasetRow(name, form, str(path.resolve()), tuple(found.counts), dict(found.counts))


def _recognise(path: Path) -> tuple[str, Found] | None:
    for name, form in DATASETS.items():
        try:
            found = form.find(path)
        except OSError as error:
            raise _unreadable(path, error) from None
        if found is not None:
            return name, found
    return None


def _unreadable(path: Path, error: OSError) -> DataError:
    place = error.filename if error.filename is not None else path
    return DataError(
        f"{place}: cannot be read ({error.strerror or error}). Make it readable for the user who"
        " runs zoo, or move it away."
    )


def open_dataset(uri: str) -> Dataset:
    """Open a data set by NAME, PATH or URI (module docstring). Opened ones are kept for the life of
    the process.

    What is to be said of it (``Dataset.notes``) is announced, see ``zoo.progress.announce``; that
    there is no test split only where that matters (``announce_untested``).

    Raises:
        UnknownNameError: if a name is found nowhere; lists the near ones and where was looked.
        DataError: if a path does not exist, has none of the forms of ``DATASETS``, or is damaged.
    """
    text = os.fspath(uri)
    base, steps = _split_base(text)
    if steps:
        return _opened_derived(text, open_dataset(base), steps)
    if _URI.match(text) and not text.startswith("file://"):
        return _opened(
            text, text.rstrip("/").rpartition("/")[2], lambda: ("parquet", _at_uri(text))
        )
    if text in EMBEDDED:
        return _opened(text, text, lambda: _recognised_or_error(embedded_path(text)))
    path = _located(text)
    return _opened(
        str(path),
        _name_of(path),
        lambda: _recognised_or_error(path),
        path if path.is_dir() else None,
    )


def open_or_published(uri: str) -> tuple[Dataset, bool]:
    """For a plan: the data set, or where a well-known one is not here a stand-in of its published
    shape, and whether it is one.

    Raises:
        UnknownNameError, DataError: as ``open_dataset``.
    """
    base, steps = _split_base(uri)
    if steps:
        dataset, stand_in = open_or_published(base)
        return _opened_derived(uri, dataset, steps), stand_in
    try:
        return open_dataset(uri), False
    except UnknownNameError:
        wanted = _plain(uri)
        for name, shape in PUBLISHED.items():
            if wanted == _plain(name) or wanted in _ALIASES.get(_plain(name), ()):
                announce(
                    f"published/{name}",
                    [f"note: {name}: not here; planned from its published shape ({shape.text})"],
                )
                return dataset_of(name, shape), True
        raise


def _opened(
    uri: str, name: str, find: Callable[[], tuple[str, Found]], folder: Path | None = None
) -> Dataset:
    with _OPENING:
        if uri not in _OPENED:
            form, found = find()
            _OPENED[uri] = _dataset(uri, name, form, found, folder)
        dataset = _OPENED[uri]
    announce(
        uri,
        [f"{note.level}: {name}: {note.text}" for note in dataset.notes if note.kind != NO_TEST],
    )
    return dataset


def announce_untested(dataset: Dataset) -> None:
    """Say that there is no test split: to who trains on a data set, plans that or checks it."""
    found = [note for note in dataset.notes if note.kind == NO_TEST]
    announce(
        f"{dataset.uri} {NO_TEST}",
        [f"{note.level}: {dataset.name}: {note.text}" for note in found],
    )


def votes_of(dataset: Dataset, split: str) -> NDArray[np.float64] | None:
    """What several people said of the pictures of a split, float64 [E, M]; None where the data set
    brings no votes (``zoo.data.votes``). One made from another by steps on the training split has
    the votes of its other splits.

    Raises:
        DataError: if they are of other pictures or classes.
    """
    base, steps = _split_base(dataset.uri)
    if base in EMBEDDED or "://" in base or (steps and split == "train"):
        return None
    path = Path(base)
    return votes_in(path if path.is_dir() else path.parent, dataset, split)


def _split_base(uri: str) -> tuple[str, str]:
    """(base, steps) of a data set; no steps where the whole is a path that exists."""
    if "+" not in uri or ("://" not in uri and Path(uri).expanduser().exists()):
        return uri, ""
    split: tuple[str, str] = importlib.import_module(DERIVED).split_base(uri)
    return split


def _opened_derived(uri: str, base: Dataset, steps: str) -> Dataset:
    with _OPENING:
        if uri not in _OPENED:
            contents, text, shown = importlib.import_module(DERIVED).derived(base, steps)
            dataset = replace(
                base,
                uri=f"{base.uri}+{text}",
                name=f"{base.name}+{shown}",
                class_names=contents.class_names,
                splits=contents.splits,
                fingerprint=fingerprint(contents.class_names, contents.splits),
                form="derived",
                notes=merged(judged(contents.class_names, contents.splits)),
            )
            _OPENED[uri] = _OPENED[dataset.uri] = dataset
        return _OPENED[uri]


def _at_uri(uri: str) -> Found:
    try:
        filesystem, path = pafs.FileSystem.from_uri(uri)
        found = parquet_at(filesystem, path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{uri}: cannot be opened ({str(error)[:200]}). Check the address and the credentials."
        ) from None
    if found is None:
        raise DataError(
            f"{uri}: no *.parquet there; over a network only Parquet is read. Copy other forms to a"
            " local folder."
        )
    return found


def _recognised_or_error(path: Path) -> tuple[str, Found]:
    recognised = _recognise(path)
    if recognised is None:
        forms = "; ".join(
            f"{name}: {form.looks_for}" for name, form in DATASETS.items() if name != "embedded"
        )
        raise DataError(
            f"{path}: no data set of a known form. Looked for {forms}. Give the folder that holds"
            f" these.{_in_the_way(path)}"
        )
    return recognised


def _in_the_way(path: Path) -> str:
    """What kept the forms from looking at all there is: broken links and folders without
    permission, two levels deep."""
    if not path.is_dir():
        return ""
    notes, root = Notes(), path.resolve()
    for name in subfolders(root, root, notes):
        subfolders(root / name, root, notes)
    found = [
        note.text
        for note in (*left_out(root, ()), *notes.all())
        if note.kind in ("link", "unreadable folder", "special file")
    ]
    return f" In the way: {'; '.join(dict.fromkeys(found))}." if found else ""


def _located(text: str) -> Path:
    """Resolved path of a name, a path or a file:// URI."""
    if text.startswith("file://"):
        text = unquote(urlsplit(text).path)
    is_name = os.sep not in text and text not in ("", ".", "..") and not text.startswith("~")
    candidates = list(_named(text)) if is_name else []
    for candidate in candidates:
        if _recognise(candidate) is not None:
            return candidate.resolve()
    path = Path(text).expanduser()
    if text and path.exists():
        return path.resolve()
    if candidates:
        _recognised_or_error(candidates[0])
    if is_name:
        known = [row.name for row in list_datasets()]
        places = ", ".join(str(place) for place in search_places())
        raise UnknownNameError(
            "data set",
            text,
            known,
            f"Looked in {places}. Set ZOO_DATA, give a path, or `zoo data fetch` it.",
        )
    raise DataError(
        f"{text!r}: no such file or folder. Give an existing path, or one of the names `zoo data"
        " ls` lists."
    )


def _named(name: str) -> Iterator[Path]:
    """Folders and files of the search path that bear a name, the exactly equal ones of each place
    first."""
    wanted = {_plain(name), *_ALIASES.get(_plain(name), ())}
    for place in search_places():
        matching = [(child, path) for child, path in _children(place) if _plain(child) in wanted]
        yield from (path for child, path in sorted(matching, key=lambda pair: pair[0] != name))
        if place.is_dir() and _plain(place.resolve().name) in wanted:
            yield place


def _plain(name: str) -> str:
    return re.sub(r"[-_. ]", "", name).lower()


def _dataset(uri: str, name: str, form: str, found: Found, folder: Path | None) -> Dataset:
    try:
        contents = found.read()
        unread = (
            ()
            if folder is None or contents.covered is None
            else left_out(
                folder,
                contents.covered | files_of_votes(contents.splits) | files_of_export(folder),
            )
        )
    except OSError as error:
        raise _unreadable(Path(uri), error) from None
    if not contents.class_names or not any(len(split) for split in contents.splits.values()):
        raise DataError(
            f"{uri}: has no examples in its splits ({', '.join(contents.splits) or 'none'}). Give a"
            " data set with some."
        )
    splits, renamed = _with_unique_keys(contents)
    channels, native_size = _geometry(
        splits.get("train") or next(s for s in splits.values() if len(s))
    )
    return Dataset(
        uri=uri,
        name=name,
        class_names=contents.class_names,
        splits=splits,
        channels=channels,
        native_size=native_size,
        fingerprint=fingerprint(contents.class_names, splits),
        form=form,
        notes=merged(contents.notes, unread, judged(contents.class_names, splits), renamed),
        origin=contents.origin,
    )


def _with_unique_keys(contents: Contents) -> tuple[dict[str, Split], list[Note]]:
    splits, notes = {}, []
    for name, split in contents.splits.items():
        keys = unique_keys(split.keys, split.labels, contents.class_names)
        changed = [new for old, new in zip(split.keys, keys, strict=True) if new != old]
        if changed:
            reason = (
                f"of {len(keys):,} keys {len(changed):,} are not unique; they are shown with their"
                f" class or row, such as {changed[0]}"
            )
            notes.append(Note("note", "equal keys", reason, (name,), len(changed)))
        splits[name] = replace(split, keys=keys)
    return splits, notes


def _geometry(split: Split) -> tuple[Literal[1, 3], tuple[int, int] | None]:
    """Channels and common (height, width) of up to 256 evenly spaced images; unreadable ones have
    no say."""
    ids = np.unique(
        np.linspace(0, len(split) - 1, min(_SAMPLE, len(split))).round().astype(np.int64)
    )
    if not isinstance(split.source, EncodedSource):
        pixels = split.source.pixels(ids)  # [n, H, W, K]
        return 1 if (pixels == pixels[..., :1]).all() else 3, (pixels.shape[1], pixels.shape[2])
    sizes: set[tuple[int, int]] = set()
    all_grey = True
    for data in encoded_or_reason(split.source, ids):
        if isinstance(data, UnreadableImage):
            continue
        try:
            # After the first coloured picture the headers are enough: 256 photographs would take
            # two seconds to decode.
            size, grey = image_facts(data, colour=all_grey)
        except UnreadableImage:
            continue
        sizes.add(size)
        all_grey = all_grey and grey is not False
    return 1 if sizes and all_grey else 3, sizes.pop() if len(sizes) == 1 else None
