"""Where an export goes: standard output, a file or a folder, written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from zoo.data.files import EXPORTED
from zoo.errors import StoreError, UsageError
from zoo.store.workspace import Workspace

__all__ = ["Request", "check_free", "new_folder", "put", "write_file", "write_table", "write_text"]


@dataclass(frozen=True)
class Request:
    """What is asked for. ``split``: None = train, or the split a selection was made of. ``output``:
    None = text for stdout. ``say``: is told what a user should know of it."""

    what: str
    to: str
    output: Path | None = None
    split: str | None = None
    where: str | None = None
    selection: str | None = None
    data: str | None = None
    probabilities: bool = False
    force: bool = False
    say: Callable[[str], object] = lambda _line: None


# ---------------------------------------------------------------- places


def check_free(path: Path, *, force: bool) -> None:
    """Refuse to write over what somebody else may need."""
    if path.is_symlink() or not path.exists():
        if path.is_symlink():
            raise UsageError(f"{path} is a link. Choose a place that is free with -o PATH.")
        return
    if not force:
        raise UsageError(
            f"{path} exists already. Choose another place with -o PATH, or replace it with"
            " --replace."
        )
    if not path.is_file() and not path.is_dir():
        raise UsageError(
            f"{path} is a device or a pipe, not a file. It is not replaced: choose another place"
            " with -o PATH."
        )
    if path.is_dir() and not (path / EXPORTED).is_file():
        raise UsageError(
            f"{path} is a folder that no export made (it has no {EXPORTED}). It is not replaced,"
            " even with --replace: choose another."
        )


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Trouble with the target as an error of ours."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}. Nothing there was changed: choose"
            " another place with -o PATH."
        ) from error


def write_file(path: Path, write: Callable[[BinaryIO], object], *, force: bool) -> Path:
    """Write a file as a whole: under a temporary name in the same folder, synced, then renamed."""
    temporary = path.parent / f".tmp-{path.name[:80]}-{secrets.token_hex(4)}"
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if path.is_dir():
                raise UsageError(
                    f"{path} is a folder; a file is to be written. Choose another place with -o"
                    " PATH."
                )
            check_free(path, force=force)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def write_text(request: Request, text: str) -> str | Path:
    """A text to its place, or back to the caller."""
    if request.output is None:
        return text
    return write_file(request.output, lambda file: put(file, text.encode()), force=request.force)


def put(file: BinaryIO, data: bytes | memoryview) -> None:
    file.write(data)


def write_table(request: Request, table: pa.Table) -> Path:
    assert request.output is not None
    return write_file(
        request.output,
        lambda file: pq.write_table(table, file, compression="zstd"),
        force=request.force,
    )


@contextlib.contextmanager
def new_folder(workspace: Workspace, request: Request) -> Iterator[Path]:
    """A temporary folder beside the place asked for, that takes its name when everything is in
    it."""
    path = request.output
    assert path is not None
    if path.exists() and not path.is_dir():
        raise UsageError(
            f"{path} is a file; a folder is to be written. Choose another place with -o PATH."
        )
    token = secrets.token_hex(4)
    temporary, old = (path.parent / f".{kind}-{path.name[:80]}-{token}" for kind in ("tmp", "old"))
    with _writing(path):
        temporary.mkdir(parents=True)
        try:
            yield temporary
            about = {
                "workspace": workspace.location,
                "what": request.what,
                "to": request.to,
                "selection": request.selection,
                "where": request.where,
            }
            (temporary / EXPORTED).write_text(
                json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
            check_free(path, force=request.force)
            if path.exists():
                path.rename(old)
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
