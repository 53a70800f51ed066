"""``tools.bench.fill_shares``: the account of a small fill."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.bench.fill_shares import _SIDES, Accounts
from tools.bench.filling import Passes, with_classifiers, write_pictures
from zoo.fill import predict, program


def test_an_account_of_a_fill_has_all_its_parts_and_leaves_the_fill_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(program.SETTING, "single")
    dataset = write_pictures(tmp_path / "pictures", 24)
    template = with_classifiers(tmp_path / "template", dataset, ("lenet5",) * 2, 1)
    accounts, load = Accounts(Passes(template, dataset, tmp_path)), predict.load_classifiers
    for side in _SIDES:
        assert accounts.fill(side) > 0
        (spent,) = accounts.kept[side]
        assert set(Accounts.parts) <= set(spent)
        parts = [spent[part] for part in Accounts.parts if part != "whole"]
        assert all(seconds > 0 for seconds in parts)
        assert sum(parts) <= spent["whole"]
    assert predict.load_classifiers is load
