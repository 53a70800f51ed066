"""Conditions over scores, such as ``x>0.95 and c<2`` or ``percentile(c) > 95``."""

from __future__ import annotations

import ast
import copy
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pandas as pd

from zoo.arrays import Floats, Ints, Mask
from zoo.errors import UnknownNameError, UsageError
from zoo.registry import position
from zoo.scores.catalog import SHORT_NAMES

__all__ = ["Condition", "condition", "finite_numbers", "smaller"]


def finite_numbers(scores: pd.DataFrame, name: str) -> Floats:
    """A numeric column (short names allowed) as float64 [E], null as NaN.

    Raises:
        UnknownNameError: no such column, or one that holds no numbers.
    """
    column = SHORT_NAMES.get(name, name)
    if column not in scores or not pd.api.types.is_numeric_dtype(scores[column].dtype):
        numeric = [str(c) for c in scores.columns if pd.api.types.is_numeric_dtype(scores[c].dtype)]
        raise UnknownNameError(
            "score column", name, [*numeric, *(s for s, c in SHORT_NAMES.items() if c in numeric)]
        )
    return scores[column].to_numpy(dtype=np.float64, na_value=np.nan)


def smaller(values: Floats) -> Ints:
    """How many of the values are smaller than each, int64 [E]; NaN is compared with nothing and has
    0.

    With n values, ``smaller(v) / (n - 1) <= q`` where, and only where, v is at most the quantile of
    q by linear interpolation: that first reaches v at v's first place in the sorted values.
    """
    there = ~np.isnan(values)
    below = np.searchsorted(np.sort(values[there]), values, side="left")
    return np.where(there, below, 0).astype(np.int64)


# --------------------------------------------------------------------------------------- conditions


@dataclass(frozen=True)
class Condition:
    """A parsed condition on scores, such as ``x > 0.95 and c < 2``; call it with a scores table to
    get a bool array [E].

    ``names``: the columns it reads, in full. Comparing with a missing value is false (also ``!=``),
        so its ``not`` is true.
    """

    text: str
    names: tuple[str, ...]
    _tree: ast.expr

    def __call__(self, scores: pd.DataFrame, class_names: Sequence[str] = ()) -> Mask:
        """bool [E].

        Args:
            class_names: M names, for classes that the condition names.

        Raises:
            UnknownNameError: if ``scores`` has no such numeric column, or there is no such class.
            UsageError: if several classes bear a name.
        """
        columns = {name: finite_numbers(scores, name) for name in self.names}
        named = _Numbered(class_names).visit(copy.deepcopy(self._tree))
        return _evaluate(named, columns, len(scores))


class _Numbered(ast.NodeTransformer):
    """Names of classes become their numbers."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = class_names

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if not isinstance(node.value, str):
            return node
        return ast.Constant(position(self.class_names, node.value, "class"))


_COMPARE: Final[dict[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Eq: operator.eq,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.NotEq: operator.ne,
}


CLASSES: Final = ("label", "label_true", "top_confusion", "top_probability")
"""Columns that hold classes, which a condition may name: ``label == 'cat'``."""


def condition(text: str) -> Condition:
    """Parse a condition: comparisons (``<  <=  >  >=  ==  !=``, also chained) of score columns,
    their percentiles and numbers, joined by and, or, not.

    Columns go by their names in the scores table or short: x, c, quality, margin, p_label. Those of
    ``CLASSES`` may be compared with the name of a class in quotes, by ``==`` and ``!=``.
    ``percentile(c)`` is where an example's C stands among those of all examples the condition is
    asked of: 100 (number of smaller ones) / (number - 1), so that ``percentile(c) > 95`` is C above
    the 95th percentile (linear interpolation). Nothing is evaluated as Python: the text is read
    into a tree of which only these nodes (and parentheses) are accepted.

    Raises:
        UsageError: anything else, naming the part that is not allowed.

    Example:
        >>> condition("x > 0.95 and c < 2").names
        ('c_perplexity', 'x_perplexity')
    """
    advice = (
        "Allowed: comparisons of score columns and numbers with and, or, not, parentheses,"
        " percentile(COLUMN), and classes by name, as in label == 'cat'. Write for example"
        " 'x > 0.95 and c < 2'."
    )
    if not isinstance(text, str) or not text.strip() or len(text) > 1000:
        shown = (
            "nothing"
            if not isinstance(text, str) or not text.strip()
            else f"{len(text)} characters"
        )
        raise UsageError(f"condition: found {shown}. {advice}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        names: set[str] = set()
        _check_tree(tree, text, advice, names, boolean=True)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "too deeply nested or unreadable"
        raise UsageError(f"condition {text[:200]!r} cannot be read: {reason}. {advice}") from None
    return Condition(text.strip(), tuple(sorted(names)), tree)


def _check_tree(node: ast.expr, text: str, advice: str, names: set[str], *, boolean: bool) -> None:
    """Walk the tree and raise UsageError for whatever is not in the grammar; collect the
    columns."""
    match node:
        case ast.BoolOp(values=values) if boolean:
            for value in values:
                _check_tree(value, text, advice, names, boolean=True)
        case ast.UnaryOp(op=ast.Not(), operand=operand) if boolean:
            _check_tree(operand, text, advice, names, boolean=True)
        case ast.Compare(left=left, ops=ops, comparators=comparators) if boolean and all(
            type(op) in _COMPARE for op in ops
        ):
            sides = (left, *comparators)
            for op, (one, other) in zip(ops, pairwise(sides), strict=True):
                _check_named(op, one, other, text, advice)
            for value in sides:
                if not _is_name_of_class(value):
                    _check_tree(value, text, advice, names, boolean=False)
        case ast.UnaryOp(
            op=ast.USub() | ast.UAdd(), operand=ast.Constant(value=int() | float() as number)
        ) if not boolean and not isinstance(number, bool):
            float(number)  # a whole number beyond float64 overflows here
        case ast.Constant(value=int() | float() as number) if not boolean and not isinstance(
            number, bool
        ):
            float(number)
        case (
            ast.Name(id=name)
            | ast.Call(func=ast.Name(id="percentile"), args=[ast.Name(id=name)], keywords=[])
        ) if not boolean:
            names.add(SHORT_NAMES.get(name, name))
        case _:
            part = ast.get_source_segment(text.strip(), node) or text
            wanted = "a comparison" if boolean else "a column, its percentile or a number"
            raise UsageError(f"condition {text[:200]!r}: {part[:80]!r} is not {wanted}. {advice}")


def _is_name_of_class(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _check_named(op: ast.cmpop, one: ast.expr, other: ast.expr, text: str, advice: str) -> None:
    """Refuse the name of a class but beside a column of classes, and any order of names."""
    for name, column in ((one, other), (other, one)):
        if not _is_name_of_class(name):
            continue
        of_classes = isinstance(column, ast.Name) and column.id in CLASSES
        if not of_classes or not isinstance(op, ast.Eq | ast.NotEq):
            part = ast.get_source_segment(text.strip(), name) or text
            raise UsageError(
                f"condition {text[:200]!r}: {part[:80]} is a name; it can be compared with"
                f" {', '.join(CLASSES)} by == and !=. {advice}"
            )


def _evaluate(node: ast.expr, columns: Mapping[str, Floats], examples: int) -> Mask:
    """Truth of a checked tree, bool [E]."""
    match node:
        case ast.BoolOp(op=op, values=values):
            join = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return np.asarray(
                join.reduce([_evaluate(value, columns, examples) for value in values]), dtype=bool
            )
        case ast.UnaryOp(operand=operand):
            return ~_evaluate(operand, columns, examples)
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            operands = [_operand(value, columns, examples) for value in (left, *comparators)]
            true = np.ones(examples, dtype=bool)
            for comparison, a, b in zip(ops, operands, operands[1:], strict=False):
                true &= _COMPARE[type(comparison)](a, b) & ~np.isnan(a) & ~np.isnan(b)
            return true
    raise AssertionError(f"unchecked node {node}")


def _operand(node: ast.expr, columns: Mapping[str, Floats], examples: int) -> Floats:
    match node:
        case ast.Name(id=name):
            return columns[SHORT_NAMES.get(name, name)]
        case ast.Call(args=[ast.Name(id=name)]):
            values = columns[SHORT_NAMES.get(name, name)]
            others = max(int((~np.isnan(values)).sum()) - 1, 1)
            return np.where(np.isnan(values), np.nan, 100.0 * smaller(values) / others)
        case ast.Constant(value=int() | float() as number):
            return np.full(examples, float(number))
        case ast.UnaryOp(op=op, operand=ast.Constant(value=int() | float() as number)):
            return np.full(examples, -float(number) if isinstance(op, ast.USub) else float(number))
    raise AssertionError(f"unchecked node {node}")
