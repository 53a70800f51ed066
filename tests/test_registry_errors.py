"""Tables of named things, and the errors with their exit codes and wording."""

from __future__ import annotations

import inspect

import pytest

from zoo import errors
from zoo.errors import UnknownNameError, UsageError, ZooError
from zoo.registry import Registry

EXIT_CODES = {
    "ZooError": 1,
    "DataError": 1,
    "StoreError": 1,
    "UsageError": 2,
    "UnknownNameError": 2,
    "FailedTrainingsError": 3,
    "NotFoundError": 4,
    "Interrupted": 130,
}
"""As the command line documents them: 0 done, 1 failed, 2 wrong usage, 3 some trainings failed, 4
nothing found, 130 interrupted."""


def error_classes() -> dict[str, type[ZooError]]:
    return {
        name: thing
        for name, thing in vars(errors).items()
        if inspect.isclass(thing) and issubclass(thing, ZooError)
    }


def test_every_error_has_its_exit_code() -> None:
    assert {name: error.exit_code for name, error in error_classes().items()} == EXIT_CODES


def test_every_error_is_public_and_drawn_in_the_tree() -> None:
    assert set(errors.__all__) == set(error_classes())
    for name, code in EXIT_CODES.items():
        drawn = next(
            line
            for line in (errors.__doc__ or "").splitlines()
            if f" {name} " in f" {line.lstrip('│├└─ ')} "
        )
        assert f"exit {code} " in drawn, drawn


def test_an_unknown_name_lists_the_near_ones_then_all() -> None:
    error = UnknownNameError("model", "lenet", ["vgg16", "lenet5"], "See zoo models.")
    assert (
        str(error)
        == "unknown model 'lenet'. Did you mean 'lenet5'? Known: lenet5, vgg16. See zoo models."
    )
    assert isinstance(error, UsageError)
    assert (error.kind, error.name, error.known) == ("model", "lenet", ["lenet5", "vgg16"])


def test_an_unknown_name_near_nothing() -> None:
    assert (
        str(UnknownNameError("model", "zzz", ["lenet5"])) == "unknown model 'zzz'. Known: lenet5."
    )
    assert str(UnknownNameError("model", "zzz", [])) == "unknown model 'zzz'. Known: none."


def test_at_most_three_near_names() -> None:
    names = [f"densenet{n}" for n in (121, 161, 169, 201, 264)]
    assert str(UnknownNameError("model", "densenet", names)).count(" or ") == 2


def test_a_table_is_a_mapping_in_the_order_of_its_entries() -> None:
    table: Registry[int] = Registry("number", {"two": 2, "one": 1})
    assert list(table) == ["two", "one"]
    assert (len(table), table["one"], "one" in table, "three" in table) == (2, 1, True, False)
    assert dict(table) == {"two": 2, "one": 1}


def test_looking_up_an_unknown_name_is_a_usage_error() -> None:
    table: Registry[int] = Registry("number", {"one": 1})
    with pytest.raises(
        UnknownNameError, match=r"^unknown number 'on'\. Did you mean 'one'\? Known: one\.$"
    ):
        table["on"]


def test_a_table_does_not_see_later_changes_of_its_source() -> None:
    source = {"one": 1}
    table: Registry[int] = Registry("number", source)
    source["two"] = 2
    assert "two" not in table
