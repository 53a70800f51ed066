"""Commit records: the unit of visibility. What no commit names does not exist for a reader.

A record is one canonical-JSON file ``commits/<kind>/<key>.g0001.json``, created if absent and never
changed. It names its files with
size and sha256, and carries what readers need to know without opening them. Kinds:

=============  ==========================  =====================================================================
kind           key                         what it makes visible
=============  ==========================  =====================================================================
dataset        fingerprint                 examples table (ids, keys, labels), class list; of an imported data set, a generation more
                                           per split
plan           name and hash               the trainings an experiment or command asked for, and their role
checkpoint     classifier id               one classifier's weights, its preprocessing and accuracy
training       training id                 the outcome of a training, its curve, which examples it saw
answers        hash of group and split     answers (and logits) of a group of classifiers on one split
member         classifier id               a classifier whose predictions were imported: its name, data set, classes, and per split
                                           where they came from (file, sha256, kind, masks); a generation more per split
unusable       classifier id               that a classifier is left out for good, and why; no files
manifest       digest of its content       which examples, labels, copies, weights; a generation more per data set and split it was made from
selection      name                        a manifest, and the data set, split and population it was made from
backbone       name and hash               a network with pretrained weights, and how pictures reach it, that makes features; its weights
features       hash of backbone and split  what a backbone makes of every picture of a split: a vector each
decisions      hash of their content       what reviewers decided about examples of one split, all in the record; no files
snapshot       name                        a list of records, and the derived tables of then: what a published number was computed from
=============  ==========================  =====================================================================
"""  # noqa: E501

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zoo.errors import StoreError
from zoo.spec import canonical_json
from zoo.store.files import FileRef, Files, attempt_id

__all__ = ["COMMIT_FORMAT", "KINDS", "Commit", "Commits", "sealed_json", "unsealed"]

COMMIT_FORMAT = 1

KINDS = (
    "dataset",
    "plan",
    "checkpoint",
    "training",
    "answers",
    "member",
    "unusable",
    "manifest",
    "selection",
    "decisions",
    "backbone",
    "features",
)
"""Kinds of records that hold content (a snapshot only lists them)."""

_SEAL = re.compile(rb',"sha256":"([0-9a-f]{64})"}\Z')
_SEAL_BYTES = 77
_BY_NAME = 128
"""Up to so many units are looked for by name, side by side where that is quicker; of more, all
names are listed."""
_NAME = re.compile(r"(?P<key>.+)\.g(?P<generation>\d{4})\.json")


@dataclass(frozen=True)
class Commit:
    """One published record. ``identity`` is what two writers of the same key must agree on;
    ``facts`` is everything else."""

    kind: str
    key: str
    generation: int
    identity: Mapping[str, Any]
    facts: Mapping[str, Any]
    files: tuple[FileRef, ...] = field(default=())
    created: str = ""

    @property
    def name(self) -> str:
        return f"commits/{self.kind}/{self.key}.g{self.generation:04d}.json"


def sealed_json(body: Mapping[str, Any]) -> str:
    """Canonical JSON of an object with the sha256 of its own content in it."""
    return canonical_json(
        {**body, "sha256": hashlib.sha256(canonical_json(body).encode()).hexdigest()}
    )


def unsealed(data: bytes) -> dict[str, Any]:
    """The object in a sealed JSON text.

    Raises:
        ValueError: if a single bit of it has changed.
    """
    # "sha256" sorts last in every record there is: then it is cut off, and the rest hashed as it
    # stands, for half of what the way below costs.
    seal = _SEAL.search(data, max(len(data) - _SEAL_BYTES, 0))
    if seal and hashlib.sha256(data[: seal.start()] + b"}").hexdigest().encode() == seal[1]:
        sealed: dict[str, Any] = json.loads(data)
        del sealed["sha256"]
        return sealed
    try:
        body: dict[str, Any] = json.loads(data)
        body.pop("sha256")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise ValueError(f"{len(data)} bytes that are no sealed record") from None
    # The whole text is compared: a flipped bit that parses to the same content is damage too.
    if sealed_json(body).encode() != data:
        raise ValueError("its sha256 does not match its content")
    return body


class _GoneError(StoreError):
    """A file that a record names, or is about to name, is not there."""


class Commits:
    """Publishes and reads records. Reads are cached: a record never changes once it is there."""

    def __init__(self, files: Files, only: Collection[str] | None = None) -> None:
        """``only``: names of the records that exist for this reader, as a snapshot lists them; None
        = all."""
        self.files = files
        self._only = None if only is None else frozenset(only)
        self._cache: dict[str, Commit] = {}
        self._listed: dict[str, dict[str, int]] | None = None

    def _there(self, name: str) -> bool:
        return (self._only is None or name in self._only) and self.files.exists(name)

    def publish(
        self,
        kind: str,
        key: str,
        *,
        identity: Mapping[str, Any],
        facts: Mapping[str, Any],
        files: Sequence[FileRef] = (),
        generation: int = 1,
    ) -> Commit:
        """Make a unit visible, or return the record that is there already if it has the same
        identity.

        A writer that was stopped for days may have lost its files to a collector. It is told so,
        and a record that it had just made is withdrawn: a unit is whole or it is not there.

        Raises:
            StoreError: if the key is taken by a unit of another identity; the message names both.
                If a file is gone.
        """
        self._refuse_gone(self.files.exists, files)
        commit = Commit(kind, key, generation, dict(identity), dict(facts), tuple(files))
        body = {
            "format": COMMIT_FORMAT,
            "kind": kind,
            "key": key,
            "generation": generation,
            "identity": commit.identity,
            "facts": commit.facts,
            "files": [ref.as_json() for ref in files],
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "attempt": attempt_id(),
        }
        made = self.files.publish(commit.name, sealed_json(body).encode())
        there = self._read(commit.name)
        if canonical_json(there.identity) != canonical_json(commit.identity):
            raise StoreError(
                f"{kind} {key!r} is committed already with another identity: there"
                f" {canonical_json(there.identity)[:300]}, here"
                f" {canonical_json(commit.identity)[:300]}. Use another name or another workspace."
            )
        try:
            self._refuse_gone(self.files.hold, there.files)
        except _GoneError:
            if made:
                self.files.remove(commit.name)
                self._cache.pop(commit.name, None)
            raise
        return there

    def _refuse_gone(self, there: Callable[[str], bool], files: Sequence[FileRef]) -> None:
        paths = [ref.path for ref in files]
        for path, is_there in zip(paths, self.files.together(there, paths), strict=True):
            if not is_there:
                raise _GoneError(
                    f"{self.files.where(path)} was removed before it was committed. Run the same"
                    " command again."
                )

    def get(self, kind: str, key: str) -> Commit | None:
        """The newest generation of a unit, or None."""
        # One look at generation 1 answers the common case without listing a folder of thousands.
        first = f"commits/{kind}/{key}.g0001.json"
        if self._only is None and first not in self._cache and not self.files.exists(first):
            return None
        generation = 1
        while self._there(f"commits/{kind}/{key}.g{generation + 1:04d}.json"):
            generation += 1
        name = f"commits/{kind}/{key}.g{generation:04d}.json"
        return self._read(name) if self._only is None or self._there(name) else None

    def generations(self, kind: str, key: str) -> list[Commit]:
        """All generations of a unit that are there, oldest first."""
        newest = self.get(kind, key)
        names = [
            f"commits/{kind}/{key}.g{number:04d}.json"
            for number in range(1, newest.generation if newest else 0)
        ]
        return [
            *(self._read(name) for name in names if self._there(name)),
            *([newest] if newest else []),
        ]

    def keys(self, kind: str) -> dict[str, int]:
        """Newest generation of every unit of a kind, by key, sorted: one listing, no record is
        read."""
        if self._listed is not None:
            if kind not in self._listed:
                self._listed[kind] = self._keys(kind)
            return dict(self._listed[kind])
        return self._keys(kind)

    @contextlib.contextmanager
    def listed_once(self) -> Iterator[None]:
        """Until the block ends each kind is listed once, however often it is asked for: for a
        question that publishes nothing itself. (What others publish meanwhile comes too late for
        it, as it may always.)"""
        outer, self._listed = self._listed, {} if self._listed is None else self._listed
        try:
            yield
        finally:
            self._listed = outer

    def _keys(self, kind: str) -> dict[str, int]:
        newest: dict[str, int] = {}
        for name in self.files.names(f"commits/{kind}"):
            if (match := _NAME.fullmatch(name)) and (
                self._only is None or f"commits/{kind}/{name}" in self._only
            ):
                newest[match["key"]] = max(newest.get(match["key"], 0), int(match["generation"]))
        return dict(sorted(newest.items()))

    def each(
        self, kind: str, wanted: Callable[[str], bool] = lambda _key: True, *, keep: bool = True
    ) -> Iterator[tuple[str, Commit]]:
        """Key and newest generation of every unit of a kind whose key is wanted, sorted by key: one
        listing, then each is read when its turn comes, or ahead where the storage is far away.

        Args:
            keep: whether what is read stays in memory, for who asks again.
        """
        newest = {
            key: f"commits/{kind}/{key}.g{generation:04d}.json"
            for key, generation in self.keys(kind).items()
            if wanted(key)
        }
        unread = {name: None for name in newest.values() if name not in self._cache}
        contents = self.files.together(self.files.read, unread)
        for key, name in newest.items():
            if name in unread:
                data = next(contents)
                if name not in self._cache:  # its reader may have asked for it meanwhile
                    found = self._parse(name, data)
                    if not keep:
                        yield key, found
                        continue
                    self._cache[name] = found
            yield key, self._read(name)

    def some(self, kind: str, keys: Collection[str]) -> dict[str, Commit]:
        """Newest generation of those of these units that are there, by key: as ``get`` of each, but
        with no journey to the storage for each of many."""
        if len(keys) > _BY_NAME:
            return self.all(kind, set(keys).__contains__)
        found = self.files.together(lambda key: self.get(kind, key), keys)
        return {key: commit for key, commit in zip(keys, found, strict=True) if commit is not None}

    def all(
        self, kind: str, wanted: Callable[[str], bool] = lambda _key: True
    ) -> dict[str, Commit]:
        """What ``each`` gives, at once: newest generation of every unit of a kind whose key is
        wanted, by key, sorted."""
        return dict(self.each(kind, wanted))

    def read_fresh(self, name: str) -> Commit:
        """A record by its path, read and verified now.

        Raises:
            StoreError: if it is damaged or newer than this zoo.
        """
        return self._parse(name, self.files.read(name))

    def forget(self) -> None:
        """Drop what was read before; for the few who move records aside."""
        self._cache.clear()

    def _read(self, name: str) -> Commit:
        if name not in self._cache:
            self._cache[name] = self._parse(name, self.files.read(name))
        return self._cache[name]

    def _parse(self, name: str, data: bytes) -> Commit:
        try:
            body = unsealed(data)
            format_version = int(body.get("format", 0))
        except (ValueError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{self.files.where(name)} is damaged: {error}. Set it aside with 'zoo fsck"
                " --repair' and run the command again."
            ) from None
        if format_version > COMMIT_FORMAT:
            raise StoreError(
                f"{self.files.where(name)} has format {format_version}, this zoo reads up to"
                f" {COMMIT_FORMAT}. Use a newer zoo."
            )
        refs = tuple(FileRef(ref["path"], ref["bytes"], ref["sha256"]) for ref in body["files"])
        return Commit(
            body["kind"],
            body["key"],
            body["generation"],
            body["identity"],
            body["facts"],
            refs,
            body["created"],
        )
