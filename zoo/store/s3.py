"""A workspace in an S3 bucket. Needs the extra ``s3`` (boto3).

One PUT is atomic, so a file goes straight to its final name; a commit record is a PUT with
``If-None-Match: *``, which S3 grants to exactly one writer. (pyarrow's S3 file system has no
conditional PUT, so everything goes through boto3.) Files with a hash in their name never change and
are kept in a local cache once they were read; readers map that copy.
"""

from __future__ import annotations

import email.utils
import hashlib
import os
import re
import secrets
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from zoo.errors import StoreError
from zoo.machine import user_folder
from zoo.store.files import FileRef, Files, sha256_of

__all__ = ["SIDE_BY_SIDE", "S3Files", "parse_s3"]

_CONTENT_NAMED = re.compile(r"-[0-9a-f]{16}\.[a-z]+$")
_ABSENT = {"404", "NoSuchKey", "NotFound"}
_LOST = {"412", "PreconditionFailed"}
_RETRIES = 5
SIDE_BY_SIDE = 256
"""Requests under way at once where many objects are asked for. S3 answers one in tens of
milliseconds and thousands a second."""

_Item = TypeVar("_Item")
_Found = TypeVar("_Found")


def parse_s3(location: str) -> tuple[str, str]:
    """``s3://bucket/some/prefix/`` -> ("bucket", "some/prefix").

    Raises:
        StoreError: if there is no bucket.
    """
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    if not bucket:
        raise StoreError(f"{location!r} names no bucket. Write s3://bucket/folder.")
    return bucket, prefix.strip("/")


class S3Files(Files):
    """Files of a workspace under ``s3://bucket/prefix``; credentials, region and endpoint come from
    the environment, as for any AWS tool."""

    def __init__(
        self, bucket: str, prefix: str, cache: Path | None = None, client: Any = None
    ) -> None:
        self.bucket, self.prefix = bucket, prefix
        base = user_folder("XDG_CACHE_HOME", ".cache")
        if cache is None and base is None:
            raise StoreError(
                f"s3://{bucket}/{prefix}: no folder for local copies, since this account has no"
                " home. Set HOME or XDG_CACHE_HOME."
            )
        self._cache = cache or Path(base or "") / "zoo" / "s3" / bucket / prefix
        self._client = client if client is not None else _connect()

    @property
    def local_folder(self) -> Path:
        """Folder of this machine where local copies, pages and caches go."""
        return self._cache

    def where(self, relative: str) -> str:
        return f"s3://{self.bucket}/{self._key(relative)}"

    def _key(self, relative: str) -> str:
        return f"{self.prefix}/{relative}" if self.prefix else relative

    def exists(self, relative: str) -> bool:
        return self._head(relative) is not None

    def size(self, relative: str) -> int:
        head = self._head(relative)
        if head is None:
            raise StoreError(f"{self.where(relative)} does not exist. Run 'zoo fsck'.")
        return int(head["ContentLength"])

    def age(self, relative: str) -> float:
        head = self._head(relative)
        if head is None:
            return 0.0
        now = email.utils.parsedate_to_datetime(head["ResponseMetadata"]["HTTPHeaders"]["date"])
        return float((now - head["LastModified"]).total_seconds())

    def _head(self, relative: str) -> dict[str, Any] | None:
        try:
            with self._storage("read", relative):
                found: dict[str, Any] = self._client.head_object(
                    Bucket=self.bucket, Key=self._key(relative)
                )
                return found
        except _AbsentError:
            return None

    def stamp(self, relative: str) -> str | None:
        head = self._head(relative)
        return None if head is None else f"{head['ETag']}-{head['LastModified'].isoformat()}"

    def touch(self, relative: str) -> bool:
        # An object is modified by being written: copied onto itself, which S3 allows where its
        #     metadata are replaced.
        try:
            with self._storage("write", relative):
                place = {"Bucket": self.bucket, "Key": self._key(relative)}
                self._client.copy_object(**place, CopySource=place, MetadataDirective="REPLACE")
        except _AbsentError:
            return False
        return True

    def hold(self, relative: str) -> bool:
        # No more than a look: touching copies the object, and ``discard`` would not see it anyway.
        return self.exists(relative)

    def read(self, relative: str) -> bytes:
        try:
            with self._storage("read", relative):
                data: bytes = self._client.get_object(Bucket=self.bucket, Key=self._key(relative))[
                    "Body"
                ].read()
                return data
        except _AbsentError:
            raise StoreError(f"{self.where(relative)} does not exist. Run 'zoo fsck'.") from None

    def digest(self, relative: str) -> str:
        return hashlib.sha256(self.read(relative)).hexdigest()

    def local(self, relative: str) -> Path:
        path = self._cache / relative
        if not (path.exists() and _CONTENT_NAMED.search(relative)):
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                file.write(self.read(relative))
            Path(file.name).replace(path)
        return path

    def names(self, folder: str, *, temporary: bool = False) -> list[str]:
        start = self._key(folder) + "/" if folder else (f"{self.prefix}/" if self.prefix else "")
        found: list[str] = []
        with self._storage("list", folder):
            for page in self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=start, Delimiter="/"
            ):
                found += [entry["Key"][len(start) :] for entry in page.get("Contents", ())]
                found += [
                    entry["Prefix"][len(start) :].rstrip("/")
                    for entry in page.get("CommonPrefixes", ())
                ]
        return sorted(filter(None, found))

    def together(self, call: Callable[[_Item], _Found], items: Iterable[_Item]) -> Iterator[_Found]:
        waiting: deque[Future[_Found]] = deque()
        pool = ThreadPoolExecutor(SIDE_BY_SIDE)
        try:
            for item in items:
                waiting.append(pool.submit(call, item))
                # Twice as many, or all would wait for the slowest of each round.
                if len(waiting) >= 2 * SIDE_BY_SIDE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # the reader may have had enough, or one have failed
            pool.shutdown(cancel_futures=True)

    def seal(self, folder: str, stem: str, suffix: str, write: Callable[[Path], None]) -> FileRef:
        self._cache.mkdir(parents=True, exist_ok=True)
        temporary = self._cache / f".tmp-{os.getpid()}-{secrets.token_hex(4)}{suffix}"
        try:
            write(temporary)
            digest = sha256_of(temporary)
            ref = FileRef(
                f"{folder}/{stem}-{digest[:16]}{suffix}", temporary.stat().st_size, digest
            )
            head = self._head(ref.path) if self.touch(ref.path) else None
            if head is None or head["ContentLength"] != ref.bytes:
                with self._storage("write", ref.path):
                    self._client.upload_file(str(temporary), self.bucket, self._key(ref.path))
            cached = self._cache / ref.path
            cached.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(cached)
            return ref
        except OSError as error:
            raise StoreError(
                f"cannot write {self._cache}: {error.strerror or error}. It holds the local copies"
                f" of {self.where('')}."
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def publish(self, relative: str, data: bytes) -> bool:
        for attempt in range(_RETRIES):
            try:
                with self._storage("write", relative):
                    self._client.put_object(
                        Bucket=self.bucket, Key=self._key(relative), Body=data, IfNoneMatch="*"
                    )
                    return True
            except _LostError:
                # A retried request may meet its own earlier success: a record names its attempt, so
                # equal bytes are ours.
                return self.read(relative) == data
            except _ConflictError:
                time.sleep(0.1 * 2**attempt)
        raise StoreError(
            f"cannot write {self.where(relative)}: other writers were in the way {_RETRIES} times."
            " Run the same command again."
        )

    def replace(self, relative: str, data: bytes) -> None:
        with self._storage("write", relative):
            self._client.put_object(Bucket=self.bucket, Key=self._key(relative), Body=data)

    def remove(self, relative: str) -> None:
        with self._storage("remove", relative):
            self._client.delete_object(Bucket=self.bucket, Key=self._key(relative))
        (self._cache / relative).unlink(missing_ok=True)

    def discard(self, relative: str, stamp: str) -> bool:
        # S3 deletes by name, or by a content that touching does not change: what is touched between
        # these two calls is lost. A commit looks whether its files are there, so that would be an
        # error of the fill and no hole in the store.
        if self.stamp(relative) != stamp:
            return False
        self.remove(relative)
        return True

    def move(self, relative: str, target: str) -> None:
        with self._storage("move", relative):
            source = {"Bucket": self.bucket, "Key": self._key(relative)}
            self._client.copy_object(Bucket=self.bucket, Key=self._key(target), CopySource=source)
        self.remove(relative)

    @contextmanager
    def _storage(self, verb: str, relative: str) -> Iterator[None]:
        import botocore.exceptions

        try:
            yield
        except botocore.exceptions.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _ABSENT:
                raise _AbsentError from None
            if code in _LOST:
                raise _LostError from None
            if code in ("409", "ConditionalRequestConflict"):
                raise _ConflictError from None
            raise StoreError(
                f"cannot {verb} {self.where(relative)}: {error}. Check the bucket's name and your"
                " permissions."
            ) from error
        except botocore.exceptions.BotoCoreError as error:
            raise StoreError(
                f"cannot {verb} {self.where(relative)}: {error}. Check network and credentials; the"
                " same command goes on."
            ) from error


class _AbsentError(Exception):
    """The object does not exist."""


class _LostError(Exception):
    """A conditional PUT found the object there."""


class _ConflictError(Exception):
    """Another conditional PUT was under way."""


def _connect() -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise StoreError(
            "s3:// workspaces need boto3. In the clone of zoo: .venv/bin/pip install -e '.[s3]'"
        ) from None
    retries = {"max_attempts": 8, "mode": "adaptive"}
    return boto3.client("s3", config=Config(retries=retries, max_pool_connections=SIDE_BY_SIDE))
