"""A workspace: one folder that holds everything a study makes. Every folder is named here.

::

    FORMAT.json               format and version; refused if newer than this zoo
    commits/<kind>/*.json     what is visible (zoo.store.commits)
    datasets/ checkpoints/ trainings/ answers/ selections/ snapshots/     immutable files behind the commits
    resume/<training_id>/     newest state of an unfinished training; removed when it is done
    attempts/                 diagnosis of failures; never trusted for truth
    cache/                    decoded pictures; may be deleted at any time
    results/*.csv figures/ report.html     derived, replaced as a whole
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zoo.errors import NotFoundError, StoreError, UsageError
from zoo.store.commits import KINDS, Commits, sealed_json, unsealed
from zoo.store.files import TEMPORARY, FileRef, Files, LocalFiles, attempt_id

__all__ = ["MARKER", "MARKER_BYTES", "PROBE", "WORKSPACE_VERSION", "Workspace"]


WORKSPACE_VERSION = 1
MARKER = "FORMAT.json"
PROBE = ".probe-"
"""Prefix of the files that find out whether a workspace can be written."""

_FORMAT = {"format": "zoo-workspace", "version": WORKSPACE_VERSION, "min_reader": WORKSPACE_VERSION}
MARKER_BYTES = sealed_json(_FORMAT).encode()


def _usable(folder: Path) -> bool:
    """Whether a workspace can be made here: nothing there yet, or nothing but what a writer that
    was killed left behind."""
    if not folder.exists():
        return True
    return folder.is_dir() and all(path.name.startswith(TEMPORARY) for path in folder.iterdir())


class Workspace:
    """An open workspace. ``Workspace.open`` verifies before anything is written, and never deletes
    to create.

    ``location`` is what ``open`` takes again, in any process. ``root`` is its folder; of a
    workspace in a bucket, the folder of this machine where its pages and caches go.

    Raises:
        UsageError: for a location this version cannot use.
        NotFoundError: if ``create`` is false and there is none.
        StoreError: if the place is not writable, is something else, or has a newer format.
    """

    def __init__(self, location: str, root: Path, files: Files) -> None:
        self.location, self.root, self.files = location, root, files
        self.commits = Commits(files)
        self._tables: Mapping[str, str] | None = None
        self._snapshot = ""

    @classmethod
    def open(cls, location: str | Path, *, create: bool = False, verify: bool = True) -> Workspace:
        text = str(location)
        if text.startswith("s3://"):
            from zoo.store.s3 import S3Files, parse_s3

            bucket = S3Files(*parse_s3(text))
            workspace = cls(text.rstrip("/"), bucket.local_folder, bucket)
        elif "://" in text:
            raise UsageError(
                f"workspace {text!r}: allowed are folders, local or on a network file system, and"
                " s3://bucket/folder. Use --workspace."
            )
        else:
            root = Path(text).expanduser().absolute()
            workspace = cls(str(root), root, LocalFiles(root))
        if workspace.files.exists(MARKER):
            if verify:
                workspace.verify_format()
            return workspace
        if not create:
            raise NotFoundError(
                f"no workspace at {workspace.location}. Make one with 'zoo demo', 'zoo train' or,"
                " from predictions made elsewhere, 'zoo import', or choose another with"
                " --workspace."
            )
        folder = workspace.root
        # Asked again at last: another command may have made the workspace since.
        if (
            isinstance(workspace.files, LocalFiles)
            and not _usable(folder)
            and not workspace.files.exists(MARKER)
        ):
            raise StoreError(
                f"{folder} exists and is not a zoo workspace. Choose a new or an empty folder with"
                " --workspace DIR."
            )
        workspace.files.publish(MARKER, MARKER_BYTES)
        return workspace

    def verify_format(self) -> None:
        """Refuse a format file that is damaged or asks for a newer zoo (``zoo fsck`` opens without,
        and looks itself)."""
        where = self.files.where(MARKER)
        try:
            needed = int(unsealed(self.files.read(MARKER))["min_reader"])
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{where} is damaged ({error}). Put it right with 'zoo fsck --repair', or choose"
                " another --workspace."
            ) from None
        if needed > WORKSPACE_VERSION:
            raise StoreError(
                f"{self.location} needs a zoo that reads workspace version {needed}; this one reads"
                f" {WORKSPACE_VERSION}. Use a newer zoo."
            )

    def snapshot(self, name: str) -> int:
        """Give a name to all records there are now, and to the derived tables beside them; returns
        how many records.

        The same name for the same content is no change.

        Raises:
            UsageError: if the name stands for other content already.
        """
        found = [
            f"commits/{kind}/{record}"
            for kind in KINDS
            for record in self.files.names(f"commits/{kind}")
        ]
        tables = [table for table in self.files.names("results") if table.endswith(".parquet")]
        # results/ is replaced as a whole by every score and comparison: what is there now is kept
        # under its content's name.
        refs = [self._kept(table.removesuffix(".parquet")) for table in tables]
        identity = {"records": found, "tables": {ref.path: ref.sha256 for ref in refs}}
        there = self.commits.get("snapshot", name)
        if there is not None and there.identity != identity:
            raise UsageError(
                f"snapshot {name!r} of {self.location} exists and stands for what was there on"
                f" {there.created}: {there.facts['count']} records; now there are {len(found)}, or"
                " other tables. Choose another name."
            )
        self.commits.publish(
            "snapshot", name, identity=identity, facts={"count": len(found)}, files=refs
        )
        return len(found)

    def _kept(self, table: str) -> FileRef:
        data = self.files.read(f"results/{table}.parquet")

        def write(path: Path) -> None:
            path.write_bytes(data)

        return self.files.seal("snapshots", table, ".parquet", write)

    def at(self, snapshot: str) -> Workspace:
        """This workspace as it was when the snapshot was made: newer records and tables do not
        exist for it.

        Raises:
            NotFoundError: if there is no such snapshot.
        """
        record = self.commits.get("snapshot", snapshot)
        if record is None:
            known = ", ".join(self.commits.all("snapshot")) or "none"
            raise NotFoundError(
                f"no snapshot {snapshot!r} in {self.location}. There are: {known}. Make one with"
                " 'zoo snapshot NAME'."
            )
        past = Workspace(self.location, self.root, self.files)
        past.commits = Commits(self.files, record.identity["records"])
        past._snapshot = snapshot
        if "tables" in record.identity:
            past._tables = {
                Path(ref.path).name.rpartition("-")[0]: ref.path for ref in record.files
            }
        return past

    @property
    def past(self) -> bool:
        """Whether this is the workspace as of a snapshot."""
        return bool(self._snapshot)

    @property
    def tables(self) -> Mapping[str, str] | None:
        """In a workspace as of a snapshot, the file of each derived table of then, by its name;
        else None.

        Raises:
            NotFoundError: if the snapshot is of an earlier zoo, which kept no tables.
        """
        if self.past and self._tables is None:
            raise NotFoundError(
                f"snapshot {self._snapshot!r} was made by an earlier zoo, which kept no derived"
                " tables: those of today would be no answer. Scores of then: zoo score --snapshot"
                f" {self._snapshot} -w {self.location}"
            )
        return self._tables

    def check_writable(self) -> None:
        """Probe with a real write before long work starts.

        Raises:
            StoreError: if the workspace cannot be written.
        """
        probe = f"attempts/{PROBE}{attempt_id()}"
        self.files.replace(probe, b"probe")
        self.files.remove(probe)

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    @property
    def report(self) -> Path:
        return self.root / "report.html"
