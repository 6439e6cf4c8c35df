"""What a parameter may be, as tests with their words: one table for each class, one kind of message."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dgmm.errors import ParameterError


@dataclass(frozen=True)
class Rule:
    """What a parameter may be, as a test and in words."""

    accepts: Callable[[Any], bool]
    words: str


def is_bool(value: object) -> bool:
    """Return True for True and False, numpy's too."""
    return isinstance(value, (bool, np.bool_))


def is_int(value: object, low: int) -> bool:
    """Return True for a whole number of at least ``low``; True and False are none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= low


def is_number(value: object) -> bool:
    """Return True for a number of at least 0 that float64 can hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return False
    try:
        return 0.0 <= float(value) < np.inf
    except OverflowError:
        return False


def at_least(low: int) -> Rule:
    """A whole number of at least ``low``."""
    return Rule(lambda value: is_int(value, low), f"an int of at least {low}")


def one_of(names: Iterable[str]) -> Rule:
    """One of some words."""
    allowed = tuple(names)
    return Rule(lambda v: isinstance(v, str) and v in allowed, f"one of {', '.join(map(repr, allowed))}")


def check(rules: Mapping[str, Rule], values: Mapping[str, Any]) -> None:
    """Refuse impossible values; raises ParameterError naming the first one."""
    for name, rule in rules.items():
        if not rule.accepts(values[name]):
            raise ParameterError(f"{name} is {_shortened(values[name])}; it must be {rule.words}")


def _shortened(value: object, most: int = 200) -> str:
    try:
        words = repr(value)
    except Exception:  # of the user's own class, or an int of thousands of digits
        words = f"a {type(value).__name__} that cannot be printed"
    return words if len(words) <= most else f"{words[: most // 2]}...{words[-most // 2 :]}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question with the word that may have been meant; nothing if there is none."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""
