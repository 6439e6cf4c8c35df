"""Which columns of a source are the features: all, those that were asked for, or those of a fit."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.errors import DataError, DataTypeError, ParameterError
from dgmm.rules import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dgmm.inputs.table import Request

_MOST_NAMES = 10


def listed(names: Iterable[Any]) -> str:
    """Names as a message shows them: a few of them, if they are many."""
    known = list(names)
    shown = ", ".join(repr(name) for name in known[:_MOST_NAMES]) or "none"
    return shown if len(known) <= _MOST_NAMES else f"{shown} and {len(known) - _MOST_NAMES} more"


def choose(names: tuple[str, ...] | None, count: int, request: Request, where: str) -> list[int] | None:
    """Numbers of the columns that are the features, in the order of the features; None for all as they come.

    Parameters
    ----------
    names : tuple of str or None
        Of the columns.
    count : int
        Columns that there are.
    request : Request
    where : str
        What holds them, for messages.

    Raises
    ------
    DataError
        If a column that was asked for, or that the fit had, is not there.
    ParameterError
        If ``features`` is no list of names or numbers.
    """
    if request.features is None:
        if request.fitted is None or names is None or names == request.fitted:
            return None
        return _fitted(names, request.fitted)
    wanted = request.features
    if isinstance(wanted, str) or not isinstance(wanted, (list, tuple, np.ndarray)) or len(wanted) == 0:
        raise ParameterError(f"features is {wanted!r}; it must be a list of names, or of numbers, of columns")
    chosen = [_column(item, names, count, where) for item in wanted]
    if len({*chosen}) < len(chosen):
        raise ParameterError(f"features names a column twice: {list(wanted)}; name each once")
    return chosen


def _column(item: Any, names: tuple[str, ...] | None, count: int, where: str) -> int:
    if isinstance(item, (int, np.integer)) and not isinstance(item, bool):
        if not 0 <= item < count:
            raise DataError(f"features: there is no column {item} in {where}; allowed: 0 to {count - 1}")
        return int(item)
    if names is None:
        raise DataError(f"features: {item!r} is a name, but {where} names no columns; give numbers, 0 to {count - 1}")
    if item not in names:
        raise DataError(f"features: {absent(item, names, where)}")
    _require_once([item], names)
    return names.index(item)


def _require_once(wanted: Iterable[str], names: Sequence[str]) -> None:
    """Refuse to choose among columns of one name."""
    counts = Counter(names)
    if several := sorted({name for name in wanted if counts[name] > 1}):
        raise DataError(
            f"X has several columns named {listed(several)}, so that they cannot be told apart; name each differently"
        )


def absent(item: Any, names: Sequence[Any], where: str) -> str:
    """What is said of a name that is not there."""
    return f"{item!r} is not in {where}{did_you_mean(str(item), map(str, names))}; it has: {listed(names)}"


def _fitted(names: tuple[str, ...], fitted: tuple[str, ...]) -> list[int]:
    """The columns of a fit, by name; scikit-learn's words where some are missing."""
    missing, unseen = sorted({*fitted} - {*names}), sorted({*names} - {*fitted})
    if missing:
        text = "The feature names should match those that were passed during fit.\n"
        if unseen:
            text += "Feature names unseen at fit time:\n" + _bullets(unseen)
        raise DataError(text + "Feature names seen at fit time, yet now missing:\n" + _bullets(missing))
    _require_once(fitted, names)
    return [names.index(name) for name in fitted]


def _bullets(names: list[str], most: int = 5) -> str:
    return "".join(f"- {name}\n" for name in names[:most]) + ("- ...\n" if len(names) > most else "")


def text_names(names: Sequence[Any]) -> tuple[str, ...] | None:
    """Column names, if all are text; None if none is, as in scikit-learn.

    Raises
    ------
    DataTypeError
        If only some are.
    """
    kinds = sorted({type(name).__name__ for name in names})
    if kinds == ["str"]:
        return tuple(names)
    if "str" in kinds:
        raise DataTypeError(
            "Feature names are only supported if all input features have string names, but your input has "
            f"{kinds} as feature name / column name types. If you want feature names to be stored and validated, "
            "you must convert them all to strings, by using X.columns = X.columns.astype(str) for example"
        )
    return None
