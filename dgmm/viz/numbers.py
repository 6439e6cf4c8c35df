"""Numbers and lists as a person reads them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_DECIMALS = 8
_LARGEST = 1e9


def number(value: float, step: float) -> str:
    """A number to about a thousandth of ``step``, with signs for thousands.

    Examples
    --------
    >>> number(79.96812, 6.0), number(-12345.678, 250.0), number(3e-12, 1e-13)
    ('79.968', '−12,345.7', '3.0000e-12')
    """
    if not (math.isfinite(value) and math.isfinite(step)):
        return str(value)
    decimals = 4 if step <= 0.0 else max(3 - math.floor(math.log10(step)), 0)
    if decimals > _MOST_DECIMALS or abs(value) >= _LARGEST:
        size = math.floor(math.log10(abs(value))) if value else 0
        text = f"{value:.{min(max(size + decimals, 4), 12)}e}"
    else:
        text = f"{value:,.{decimals}f}"
    return signed(text)


def signed(text: str) -> str:
    """The text of a number with a minus sign in the place of a leading hyphen.

    Examples
    --------
    >>> signed("-1.5")
    '−1.5'
    """
    return "\N{MINUS SIGN}" + text[1:] if text.startswith("-") else text


def short(value: float) -> str:
    """A number to two or three digits.

    Examples
    --------
    >>> short(0.000123), short(-4.5678), short(1234567.0)
    ('0.000123', '−4.57', '1.23e+06')
    """
    return signed(f"{value:.3g}")


def count(value: float) -> str:
    """How many there are.

    Examples
    --------
    >>> count(273280), count(12.25)
    ('273,280', '12.25')
    """
    return f"{value:,.0f}" if float(value).is_integer() or value >= 1e6 else f"{value:,.4g}"


def percent(share: float) -> str:
    """A share in per cent.

    Examples
    --------
    >>> percent(0.3559), percent(0.9), percent(0.00021), percent(0.0)
    ('35.59%', '90%', '0.021%', '0%')
    """
    if share == 0.0:
        return "0%"
    return f"{100 * share:.2f}".removesuffix(".00") + "%" if share >= 0.001 else f"{100 * share:.2g}%"


def plural(n: float, word: str) -> str:
    """A count with its noun.

    Examples
    --------
    >>> plural(1, "row"), plural(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{count(n)} {word}{'s' * (n != 1)}"


def listed(items: Sequence[object], most: int = 8) -> str:
    """Some things in a sentence.

    Examples
    --------
    >>> listed([1, 2, 3]), listed([7]), listed(range(20), most=3)
    ('1, 2 and 3', '7', '0, 1, 2 and 17 others')
    """
    words = [str(item) for item in items]
    if len(words) > most + 1:
        words = [*words[:most], f"{len(words) - most} others"]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def duration(seconds: float) -> str:
    """A time as a person reads it.

    Examples
    --------
    >>> duration(0.0123), duration(3.21), duration(75.0), duration(7380.0)
    ('0.012 s', '3.2 s', '1 min 15 s', '2 h 03 min')
    """
    if seconds < 60.0:
        return f"{seconds:.1f} s" if seconds >= 1.0 else f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole // 60 % 60:02} min"
