"""Checkpoints and states to go on from: what is in the file, what is refused, what is kept."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from factories import Tiny, workspace
from torch import nn

from zoo import models
from zoo.errors import StoreError
from zoo.spec import Preprocessing
from zoo.store import ledger
from zoo.store.commits import Commit
from zoo.store.files import FileRef
from zoo.store.workspace import Workspace
from zoo.training import checkpoint
from zoo.training.checkpoint import (
    drop_resume,
    load_classifier,
    load_resume,
    pack,
    save_checkpoint,
    save_resume,
    unpack,
)

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


def network(seed: int = 0, arch: str = "nin_mini") -> nn.Module:
    torch.manual_seed(seed)
    return models.build(arch, num_classes=3, in_channels=1, size=12)


def facts(arch: str = "nin_mini") -> dict[str, object]:
    shape = Preprocessing(size=12, channels=1, fit="pad", mean=(0.5,), std=(0.25,))
    return {"arch": arch, "num_classes": 3, "preprocessing": shape.as_json()}


def saved(space: Workspace, model: nn.Module, arch: str = "nin_mini") -> Commit:
    ref = save_checkpoint(space.files, "abcd-e0001", model, {"epoch": 1})
    return space.commits.publish(
        "checkpoint", "abcd-e0001", identity={"epoch": 1}, facts=facts(arch), files=[ref]
    )


def test_a_checkpoint_comes_back_bit_for_bit_and_ready_to_answer(tmp_path: Path) -> None:
    """Weights and running statistics are equal, in evaluation mode, without gradients; the
    preprocessing is the stored one."""
    space, model = workspace(tmp_path), network()
    model(torch.randn(4, 1, 12, 12))  # moves the running statistics away from their start
    loaded, shape = load_classifier(space.files, saved(space, model), CPU)
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True)
    )
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert shape == Preprocessing(size=12, channels=1, fit="pad", mean=(0.5,), std=(0.25,))


def test_a_checkpoint_explains_itself(trained: Tiny) -> None:
    """The metadata of a lone file hold spec, epoch, class list and preprocessing; no pickle is in
    it."""
    commit = next(iter(ledger.population(trained.workspace).values()))
    data = trained.workspace.files.read_verified(commit.files[0])
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    about = json.loads(header["__metadata__"]["zoo"])
    assert about["spec"] in [job.identity for job in trained.trainings]
    assert {
        name: about[name]
        for name in ("training_id", "epoch", "arch", "num_classes", "preprocessing")
    } == {
        name: commit.facts[name]
        for name in ("training_id", "epoch", "arch", "num_classes", "preprocessing")
    }
    assert commit.files[0].path.startswith(
        f"checkpoints/{commit.key[:2]}/{commit.key}-{commit.files[0].sha256[:16]}"
    )


def test_equal_weights_make_equal_files(tmp_path: Path) -> None:
    """A file depends on weights and metadata alone, not on memory layout: the same name, hence the
    same bytes."""
    space = workspace(tmp_path)
    plain = save_checkpoint(space.files, "x", network(), {})
    last = save_checkpoint(space.files, "x", network().to(memory_format=torch.channels_last), {})  # type: ignore[call-overload]
    other = save_checkpoint(space.files, "x", network(seed=1), {})
    assert plain == last
    assert plain != other


def test_a_flipped_byte_anywhere_is_found(tmp_path: Path) -> None:
    """safetensors itself loads flipped weights without a word; the commit's sha256 does not."""
    space = workspace(tmp_path)
    commit = saved(space, network())
    path = space.files.path(commit.files[0].path)
    good = path.read_bytes()
    for position in (0, len(good) // 2, len(good) - 1):
        bad = bytearray(good)
        bad[position] ^= 1
        path.write_bytes(bytes(bad))
        with pytest.raises(
            StoreError, match=r"is damaged: \d+ bytes with sha256 [0-9a-f]{16}, its commit says"
        ):
            load_classifier(space.files, commit, CPU)
    path.write_bytes(good[:-1])
    with pytest.raises(StoreError, match="is damaged"):
        load_classifier(space.files, commit, CPU)
    path.unlink()
    with pytest.raises(StoreError, match="is missing although a commit names it"):
        load_classifier(space.files, commit, CPU)
    # Twin: the undamaged file is accepted.
    path.write_bytes(good)
    load_classifier(space.files, commit, CPU)


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    """A checkpoint whose architecture has changed since: named, in one line."""
    space = workspace(tmp_path)
    commit = saved(space, network(), arch="mlp")
    with pytest.raises(
        StoreError,
        match=r"^checkpoint abcd-e0001 does not fit architecture 'mlp': .*\. Train it again\.$",
    ) as caught:
        load_classifier(space.files, commit, CPU)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- states to go on from


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    loss = model(torch.randn(8, 1, 12, 12, generator=generator)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (torch.optim.Adam, {"lr": 0.01}),
        (torch.optim.AdamW, {"lr": 0.01}),
        (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
        (torch.optim.SGD, {"lr": 0.1}),
    ],
)
def test_an_unpacked_state_goes_on_bit_for_bit(
    kind: type[torch.optim.Optimizer], settings: dict[str, float], channels_last: bool
) -> None:
    """Two steps, packed, through a file, unpacked into a fresh pair, one more step: equal to three
    steps in one go."""

    def pair(seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        model = network(seed)
        if channels_last:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model, kind(model.parameters(), fused=True, **settings)  # type: ignore[call-arg]

    model, optimizer = pair(0)
    step(model, optimizer, 1)
    step(model, optimizer, 2)
    stored = safetensors.torch.load(safetensors.torch.save(pack(model, optimizer)))
    fresh_model, fresh_optimizer = pair(9)
    unpack(stored, fresh_model, fresh_optimizer)
    step(model, optimizer, 3)
    step(fresh_model, fresh_optimizer, 3)
    for name, value in model.state_dict().items():
        assert torch.equal(value, fresh_model.state_dict()[name]), name


def state(value: float) -> dict[str, torch.Tensor]:
    return {"model.w": torch.full((3,), value)}


def test_the_newest_state_is_kept_and_found(tmp_path: Path) -> None:
    """Epochs 1, 2, 10: one file is left, and it is epoch 10 with its tensors and progress."""
    files = workspace(tmp_path).files
    for epoch in (1, 2, 10):
        save_resume(files, "abcd", epoch, state(epoch), {"metrics": [], "epoch": epoch})
    assert len(files.names("resume/abcd")) == 1
    found = load_resume(files, "abcd")
    assert found is not None
    assert (found[0], found[1]["model.w"].tolist(), found[2]) == (
        10,
        [10.0] * 3,
        {"metrics": [], "epoch": 10},
    )


def test_a_damaged_newest_state_falls_back_to_the_one_before(tmp_path: Path) -> None:
    """Two states (a kill came before the older was dropped), the newer flipped: the older counts.
    Both flipped: none."""
    files = workspace(tmp_path).files
    save_resume(files, "abcd", 2, state(2), {})
    (older,) = files.names("resume/abcd")
    kept = files.read(f"resume/abcd/{older}")
    save_resume(files, "abcd", 3, state(3), {})
    (newer,) = files.names("resume/abcd")
    files.path(f"resume/abcd/{older}").write_bytes(kept)

    def flip(name: str) -> None:
        data = bytearray(files.read(f"resume/abcd/{name}"))
        data[-1] ^= 1
        files.path(f"resume/abcd/{name}").write_bytes(bytes(data))

    assert (load_resume(files, "abcd") or (0,))[0] == 3
    flip(newer)
    assert (load_resume(files, "abcd") or (0,))[0] == 2
    flip(older)
    assert load_resume(files, "abcd") is None


def test_strangers_in_the_folder_are_no_states(tmp_path: Path) -> None:
    """A file of another name, and the temporary file of a killed writer, are passed over; an absent
    folder is no state."""
    files = workspace(tmp_path).files
    assert load_resume(files, "abcd") is None
    save_resume(files, "abcd", 1, state(1), {})
    files.path("resume/abcd/zzzz.safetensors").write_bytes(b"?")
    files.path("resume/abcd/.tmp-killed.safetensors").write_bytes(b"?")
    assert (load_resume(files, "abcd") or (0,))[0] == 1


def test_dropping_removes_the_states_of_one_training(tmp_path: Path) -> None:
    files = workspace(tmp_path).files
    for name in ("abcd", "beef"):
        save_resume(files, name, 1, state(1), {})
    drop_resume(files, "abcd")
    assert load_resume(files, "abcd") is None
    assert load_resume(files, "beef") is not None
    drop_resume(files, "abcd")  # nothing there is fine


def test_a_full_disk_is_a_storage_error(tmp_path: Path) -> None:
    """Writing a checkpoint or a state beyond what the storage takes raises StoreError and leaves no
    file, visible or temporary.

    In a process of its own whose files may have 4,096 bytes: that limit holds for the writes of
    every library.
    """
    code = f"""
import resource, sys
from pathlib import Path
import torch
from zoo.training.checkpoint import save_checkpoint, save_resume
from zoo.errors import StoreError
from zoo.store.files import LocalFiles
files = LocalFiles(Path({str(tmp_path)!r}))
big = torch.nn.Linear(100, 100)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for write in (lambda: save_checkpoint(files, "x", big, {{}}), lambda: save_resume(files, "x", 1, {{"w": big.weight.data}}, {{}})):
    try:
        write()
    except StoreError as error:
        print(error)
"""  # noqa: E501
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = run.stdout.splitlines()
    assert len(lines) == 2, run.stderr
    assert all(
        line.startswith(f"cannot write {tmp_path}/") and "Nothing committed is lost" in line
        for line in lines
    )
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_packing_leaves_the_originals_alone(tmp_path: Path) -> None:
    """What is packed is names to contiguous CPU tensors of model and optimiser; nothing of the
    model changes."""
    model = network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    step(model, optimizer, 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    packed = checkpoint.pack(model, optimizer)
    assert all(value.is_contiguous() for value in packed.values())
    assert {name.split(".")[0] for name in packed} == {"model", "optimizer"}
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    count = sum(1 for _ in model.parameters())
    assert sorted(name for name in packed if name.endswith(".exp_avg")) == sorted(
        f"optimizer.{i}.exp_avg" for i in range(count)
    )
    assert np.prod(packed["optimizer.0.exp_avg"].shape) == next(model.parameters()).numel()


def test_a_published_file_is_named_by_its_hash(tmp_path: Path) -> None:
    """Saving again gives the same reference and does not write: the file stays the one it was."""
    files = workspace(tmp_path).files
    first = save_checkpoint(files, "abcd-e0001", network(), {"epoch": 1})
    inode = files.path(first.path).stat().st_ino
    assert save_checkpoint(files, "abcd-e0001", network(), {"epoch": 1}) == first
    assert files.path(first.path).stat().st_ino == inode
    assert isinstance(first, FileRef)
    assert first.path == f"checkpoints/ab/abcd-e0001-{first.sha256[:16]}.safetensors"
