"""Commit records: what is visible, what is refused, and that damage does not pass."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import StoreError
from zoo.spec import canonical_json
from zoo.store.commits import COMMIT_FORMAT, Commit, Commits
from zoo.store.files import FileRef, LocalFiles

REF = FileRef("checkpoints/ab/x-0123456789abcdef.bin", 5, "0" * 64)


def fresh(root: Path) -> Commits:
    """A reader without any cache."""
    return Commits(LocalFiles(root))


def publish(
    root: Path, key: str = "key", identity: object = 1, facts: object = 2, generation: int = 1
) -> Commit:
    (root / REF.path).parent.mkdir(parents=True, exist_ok=True)
    (root / REF.path).write_bytes(b"bytes")
    return fresh(root).publish(
        "kind",
        key,
        identity={"i": identity},
        facts={"f": facts},
        files=[REF],
        generation=generation,
    )


def record(root: Path, key: str = "key", generation: int = 1) -> Path:
    return root / f"commits/kind/{key}.g{generation:04d}.json"


def test_a_record_comes_back_as_it_was_published(tmp_path: Path) -> None:
    """Kind, key, generation, identity, facts and files; one canonical-JSON file; an absent key is
    None."""
    made = publish(tmp_path)
    found = fresh(tmp_path).get("kind", "key")
    assert found == made
    assert found is not None
    assert (found.kind, found.key, found.generation, found.identity, found.facts, found.files) == (
        "kind",
        "key",
        1,
        {"i": 1},
        {"f": 2},
        (REF,),
    )
    text = record(tmp_path).read_text()
    assert text == canonical_json(json.loads(text))
    assert fresh(tmp_path).get("kind", "other") is None
    assert fresh(tmp_path).all("other") == {}


def test_publishing_the_same_again_returns_what_is_there(tmp_path: Path) -> None:
    """Same identity, other facts (seconds, say): success, the first record stays untouched and is
    what both get."""
    first = publish(tmp_path, facts="first")
    before = record(tmp_path).stat().st_mtime_ns
    second = publish(tmp_path, facts="second")
    assert second == first
    assert second.facts == {"f": "first"}
    assert record(tmp_path).stat().st_mtime_ns == before


def test_another_identity_under_the_same_key_names_both(tmp_path: Path) -> None:
    """A conflict says what is there, what was to come, and what to do; the record stays."""
    publish(tmp_path, identity="mine")
    before = record(tmp_path).read_bytes()
    with pytest.raises(
        StoreError,
        match=(
            r"^kind 'key' is committed already with another identity: there \{\"i\":\"mine\"\},"
            r" here \{\"i\":\"yours\"\}\. Use another"
        ),
    ):
        publish(tmp_path, identity="yours")
    assert record(tmp_path).read_bytes() == before


def test_the_newest_generation_counts(tmp_path: Path) -> None:
    """Generations 1, 2, 3 of one key: get and all give 3; the older records stay as they were."""
    for generation in (1, 2, 3):
        publish(tmp_path, identity=generation, generation=generation)
    publish(tmp_path, key="other")
    assert (fresh(tmp_path).get("kind", "key") or publish(tmp_path)).identity == {"i": 3}
    assert {key: commit.generation for key, commit in fresh(tmp_path).all("kind").items()} == {
        "key": 3,
        "other": 1,
    }
    assert record(tmp_path).exists()


def test_keys_and_wanted_records_leave_the_others_unread(tmp_path: Path) -> None:
    """Keys with their newest generation come from names alone; of three units, one damaged, the two
    that are wanted are read, in turn."""
    for key, generations in (("b", (1, 2)), ("a", (1,)), ("c", (1, 2, 3))):
        for generation in generations:
            publish(tmp_path, key=key, identity=generation, generation=generation)
    record(tmp_path, "b", 2).write_bytes(b"{}")
    commits = fresh(tmp_path)
    assert list(commits.keys("kind").items()) == [("a", 1), ("b", 2), ("c", 3)]
    assert [
        (key, commit.generation) for key, commit in commits.each("kind", lambda key: key != "b")
    ] == [("a", 1), ("c", 3)]
    assert commits.all("kind", {"c"}.__contains__) == {"c": fresh(tmp_path).get("kind", "c")}
    turns = commits.each("kind")
    assert next(turns)[0] == "a"
    with pytest.raises(StoreError, match="is damaged"):
        next(turns)


def test_all_is_sorted_by_key_and_ignores_strangers(tmp_path: Path) -> None:
    """Keys in order whatever the order of publishing; a temporary file, a text file and a folder
    are no records."""
    for key in ("b", "a.b", "a", "c-1"):
        publish(tmp_path, key=key)
    record(tmp_path).with_name(".tmp-x").write_bytes(b"half")
    record(tmp_path).with_name("notes.txt").write_bytes(b"?")
    record(tmp_path).with_name("folder").mkdir()
    assert list(fresh(tmp_path).all("kind")) == ["a", "a.b", "b", "c-1"]


def test_a_flipped_byte_anywhere_is_found(tmp_path: Path) -> None:
    """Every byte of a record, changed in one bit (each of three): reading raises StoreError, never
    wrong facts."""
    publish(tmp_path, facts={"seconds": 1.5, "name": "ä", "list": [1, 20]})
    good = record(tmp_path).read_bytes()
    for position in range(len(good)):
        for bit in (1, 4, 128):
            bad = bytearray(good)
            bad[position] ^= bit
            record(tmp_path).write_bytes(bytes(bad))
            with pytest.raises(StoreError, match=r"is damaged|has format"):
                fresh(tmp_path).get("kind", "key")
    # Twin: the good bytes are read.
    record(tmp_path).write_bytes(good)
    assert fresh(tmp_path).get("kind", "key") is not None


@given(cut=st.integers(0, 300), data=st.data())
def test_a_cut_record_is_damaged(
    tmp_path_factory: pytest.TempPathFactory, cut: int, data: st.DataObject
) -> None:
    """Any prefix of a record, followed by nothing or by zeros (a lost tail), is damaged."""
    root = tmp_path_factory.mktemp("commits")
    publish(root)
    good = record(root).read_bytes()
    cut = min(cut, len(good) - 1)
    tail = b"\0" * data.draw(st.sampled_from([0, 1, len(good) - cut]))
    record(root).write_bytes(good[:cut] + tail)
    with pytest.raises(StoreError, match=r"is damaged: .*\. .* run the command again\."):
        fresh(root).get("kind", "key")


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"3", b'"text"', b"{}", b'{"sha256":1}', b"\xff\xfe", b"[1,2]"]
)
def test_what_is_no_record_is_damaged(tmp_path: Path, content: bytes) -> None:
    publish(tmp_path)
    record(tmp_path).write_bytes(content)
    with pytest.raises(StoreError, match="is damaged"):
        fresh(tmp_path).get("kind", "key")


def test_a_damaged_record_is_not_taken_for_success(tmp_path: Path) -> None:
    """Publishing over a damaged record fails: it neither overwrites it nor believes it."""
    publish(tmp_path)
    record(tmp_path).write_bytes(b"{}")
    with pytest.raises(StoreError, match="is damaged"):
        publish(tmp_path)
    assert record(tmp_path).read_bytes() == b"{}"


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """A record of a later zoo, correctly hashed: refused by its format, with advice."""
    publish(tmp_path)
    body = json.loads(record(tmp_path).read_bytes())
    del body["sha256"]
    body["format"] = COMMIT_FORMAT + 1
    record(tmp_path).write_text(
        canonical_json(
            {**body, "sha256": hashlib.sha256(canonical_json(body).encode()).hexdigest()}
        )
    )
    with pytest.raises(
        StoreError,
        match=(
            rf"has format {COMMIT_FORMAT + 1}, this zoo reads up to {COMMIT_FORMAT}\. Use a newer"
            r" zoo\."
        ),
    ):
        fresh(tmp_path).get("kind", "key")


def test_of_many_threads_all_get_the_same_record(tmp_path: Path) -> None:
    """Sixteen writers of one key with different facts: one record, and everyone is handed that
    one."""
    gate, got = threading.Barrier(16), []

    def race(me: int) -> None:
        commits = fresh(tmp_path)
        gate.wait()
        got.append(commits.publish("kind", "key", identity={"i": 1}, facts={"f": me}))

    threads = [threading.Thread(target=race, args=(me,)) for me in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({commit.facts["f"] for commit in got}) == 1
    assert len(got) == 16


def _conflict(root: str, me: int, gate: object, results: object) -> None:
    gate.wait()  # type: ignore[attr-defined]
    outcome = []
    for trial in range(30):
        # A loser gets a StoreError; anything else ends the process, and its exit code tells.
        with contextlib.suppress(StoreError):
            Commits(LocalFiles(Path(root))).publish(
                "kind", f"key{trial}", identity={"i": me}, facts={}
            )
            outcome.append(trial)
    results.put(outcome)  # type: ignore[attr-defined]


def test_of_processes_in_conflict_one_wins_and_the_others_are_told(tmp_path: Path) -> None:
    """Three processes claim the same keys for different things: each key has one owner, the losers
    get an error."""
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(3), context.Queue()
    workers = [
        context.Process(target=_conflict, args=(str(tmp_path), me, gate, results))
        for me in range(3)
    ]
    for worker in workers:
        worker.start()
    won = [trial for _ in workers for trial in results.get(timeout=500)]
    for worker in workers:
        worker.join(timeout=500)
        assert worker.exitcode == 0
    assert sorted(won) == list(range(30))


def test_what_is_not_kept_is_read_and_forgotten(tmp_path: Path) -> None:
    """Three records without keeping: all of them come, and none stays in memory. Twin: kept, they
    stay; one that was read before is given as it is."""
    for key in "abc":
        publish(tmp_path, key)
    reader = fresh(tmp_path)
    known = reader.get("kind", "b")
    found = dict(reader.each("kind", keep=False))
    assert list(found) == ["a", "b", "c"]
    assert found["b"] is known
    assert len(reader._cache) == 1
    dict(reader.each("kind"))
    assert len(reader._cache) == 3
