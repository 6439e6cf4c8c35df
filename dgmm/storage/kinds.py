"""Kinds of values that a stored record may hold, and the table of records: what a checkpoint's format is made of.

A kind says what a field is: its type, and of an array the dtype, the number of dimensions and which
of them are as long as those of other fields. Values are checked against it when they are packed and
again when they are unpacked, so that whatever a file says, a record is built only of what its class expects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from enum import Enum
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

import numpy as np

from dgmm.errors import FormatError

Sizes: TypeAlias = dict[str, int]
"""Lengths of the named dimensions of one record, as far as they are known."""


@dataclass(frozen=True)
class Scope:
    """What the kinds of one record's fields share."""

    table: Schemas
    sizes: Sizes


class Kind(Protocol):
    """What a field may hold."""

    def check(self, value: Any, where: str, scope: Scope) -> None:
        """Raise FormatError if a value is of another kind; new names of dimensions are added to ``scope``."""
        ...


def expect(right: bool, where: str, expected: str, value: Any) -> None:
    """Raise FormatError, naming what was expected and the type that was found, if ``right`` is False."""
    if not right:
        raise FormatError(f"{where}: expected {expected}; found {describe(value)}")


def describe(value: Any) -> str:
    """A value in a few words: its type, or dtype and shape, and the value itself if it is a number."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype.name} of shape {value.shape}"
    if isinstance(value, int) and abs(value) >= 2**64:
        return "an integer beyond 64 bits"
    return repr(value) if isinstance(value, bool | int | float | None) else type(value).__name__


@dataclass(frozen=True)
class Flag:
    """A bool."""

    def check(self, value: Any, where: str, scope: Scope) -> None:
        """See :class:`Kind`."""
        expect(type(value) is bool, where, "a bool", value)


@dataclass(frozen=True)
class Integer:
    """An int from ``low`` to ``high``."""

    low: int = 0
    high: int = 2**63 - 1

    def check(self, value: Any, where: str, scope: Scope) -> None:
        """See :class:`Kind`."""
        right = type(value) is int and self.low <= value <= self.high
        expect(right, where, f"an integer from {self.low} to {self.high}", value)


@dataclass(frozen=True)
class Real:
    """A float: any, also NaN and infinite."""

    def check(self, value: Any, where: str, scope: Scope) -> None:
        """See :class:`Kind`."""
        expect(isinstance(value, float), where, "a float", value)


@dataclass(frozen=True)
class Text:
    """A str."""

    def check(self, value: Any, where: str, scope: Scope) -> None:
        """See :class:`Kind`."""
        expect(type(value) is str, where, "a str", value)


class Floats:
    """An array of float64.

    Parameters
    ----------
    *shapes : tuple
        One of which the array has. A name of a dimension stands for the same length wherever it is
        used in a record, a number for itself.
    like : str, optional
        A name for the whole shape: the same wherever it is used in a record.
    """

    dtypes: tuple[str, ...] = ("float64",)

    def __init__(self, *shapes: tuple[str | int, ...], like: str | None = None) -> None:
        self._shapes = shapes
        self._like = like

    def check(self, value: Any, where: str, scope: Scope) -> None:
        """See :class:`Kind`."""
        expect(isinstance(value, np.ndarray), where, "an array", value)
        allowed = [np.dtype(name) for name in self.dtypes]
        right = value.dtype in allowed or (not allowed and value.dtype.kind in "biuf")
        expect(right, where, f"an array of {' or '.join(self.dtypes) or 'numbers'}", value)
        sizes = scope.sizes
        found = next((new for shape in self._shapes if (new := _match(shape, value.shape, sizes)) is not None), None)
        if found is None:
            known = "".join(f", {name} = {size}" for name, size in sizes.items() if not name.startswith("*"))
            shapes = " or ".join(_words(shape) for shape in self._shapes)
            raise FormatError(f"{where}: expected an array of shape {shapes}{known}; found {describe(value)}")
        sizes.update(found)
        if self._like is not None:
            # The length of a dimension says nothing of their number, so each gets a name.
            own = {f"*{self._like}": value.ndim} | {f"*{self._like}{i}": size for i, size in enumerate(value.shape)}
            right = all(sizes.setdefault(name, size) == size for name, size in own.items())
            expect(right, where, f"the shape of the other {self._like}", value)


class Flags(Floats):
    """An array of bool."""

    dtypes = ("bool",)


class Integers(Floats):
    """An array of int64."""

    dtypes = ("int64",)


class Hashes(Floats):
    """An array of uint32."""

    dtypes = ("uint32",)


class Keys(Floats):
    """An array of keys that rows are drawn by: hashes or, where they are weighted, float64."""

    dtypes = ("uint64", "float64")


class Numbers(Floats):
    """An array of any dtype that holds bool, integers or floats."""

    dtypes = ()


def _match(wanted: tuple[str | int, ...], shape: tuple[int, ...], sizes: Sizes) -> Sizes | None:
    """Return the lengths that ``shape`` gives to new names; None if it is not as wanted."""
    if len(wanted) != len(shape):
        return None
    new: Sizes = {}
    for name, size in zip(wanted, shape, strict=True):
        if isinstance(name, int):
            known = name
        elif (known := sizes.get(name, new.get(name, -1))) < 0:
            known = new[name] = size
        if known != size:
            return None
    return new


def _words(shape: tuple[str | int, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


@dataclass(frozen=True)
class Maybe:
    """None, or a value of a kind."""

    kind: Kind

    def check(self, value: Any, where: str, scope: Scope) -> None:
        """See :class:`Kind`."""
        if value is not None:
            self.kind.check(value, where, scope)


@dataclass(frozen=True)
class Many:
    """A tuple of any number of values of one kind, ``least`` or more."""

    kind: Kind
    least: int = 0

    def check(self, value: Any, where: str, scope: Scope) -> None:
        """See :class:`Kind`."""
        right = type(value) is tuple and len(value) >= self.least
        expect(right, where, f"a tuple of at least {self.least}" if self.least else "a tuple", value)
        for number, item in enumerate(value):
            self.kind.check(item, f"{where}[{number}]", scope)


class Fixed:
    """A tuple of as many values as there are kinds."""

    def __init__(self, *kinds: Kind) -> None:
        self._kinds = kinds

    def check(self, value: Any, where: str, scope: Scope) -> None:
        """See :class:`Kind`."""
        right = type(value) is tuple and len(value) == len(self._kinds)
        expect(right, where, f"a tuple of {len(self._kinds)}", value)
        for number, (kind, item) in enumerate(zip(self._kinds, value, strict=True)):
            kind.check(item, f"{where}[{number}]", scope)


@dataclass(frozen=True)
class Named:
    """A dict of values of one kind."""

    kind: Kind

    def check(self, value: Any, where: str, scope: Scope) -> None:
        """See :class:`Kind`."""
        expect(type(value) is dict, where, "a dict", value)
        for key, item in value.items():
            self.kind.check(item, f"{where}[{key!r}]", scope)


@dataclass(frozen=True)
class Anything:
    """Whatever can be packed: a record has been checked by its own entry."""

    def check(self, value: Any, where: str, scope: Scope) -> None:
        """See :class:`Kind`."""


class OneOf:
    """A record or an enumeration of one of some classes.

    Parameters
    ----------
    *classes : type
        Each with an entry of its own in the table.
    shared : str
        Names, a blank between them, of dimensions that have the same length inside it as in the record it is in.
    """

    def __init__(self, *classes: type, shared: str = "") -> None:
        self._classes = classes
        self._shared = shared.split()

    def check(self, value: Any, where: str, scope: Scope) -> None:
        """See :class:`Kind`."""
        expect(type(value) in self._classes, where, " or ".join(cls.__name__ for cls in self._classes), value)
        inner = scope.table.sizes(value) if self._shared else {}
        for name in self._shared:
            size = scope.sizes.setdefault(name, inner[name])
            if size != inner[name]:
                raise FormatError(
                    f"{where}: expected {name} = {size} as in the rest of the record; found {inner[name]}"
                )


@dataclass(frozen=True)
class Record:
    """Entry of the table: a frozen dataclass, and the kind of each of its fields.

    Raises
    ------
    TypeError
        If the class has other fields.
    """

    cls: type
    kinds: Mapping[str, Kind]

    def __init__(self, cls: type, /, **kinds: Kind) -> None:
        found = tuple(field.name for field in fields(cls))
        if found != tuple(kinds):
            raise TypeError(f"{cls.__name__} has the fields {found}; the table says {tuple(kinds)}")
        object.__setattr__(self, "cls", cls)
        object.__setattr__(self, "kinds", MappingProxyType(kinds))

    @property
    def name(self) -> str:
        """Name of the class."""
        return self.cls.__name__

    def optional(self) -> dict[str, Any]:
        """Fields that a file may lack, and what they are then."""
        return {field.name: _default(field) for field in fields(self.cls) if _has_default(field)}


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


@dataclass(frozen=True)
class Enumeration:
    """Entry of the table: an enumeration, whose members are stored by name."""

    cls: type[Enum]

    @property
    def name(self) -> str:
        """Name of the class."""
        return self.cls.__name__


class Schemas:
    """The table: what may be stored besides plain values.

    Parameters
    ----------
    *entries : Record or Enumeration
        A file holds the name of the class; nothing that is not here is ever made from a file.
    """

    def __init__(self, *entries: Record | Enumeration) -> None:
        self.records = {entry.name: entry for entry in entries if isinstance(entry, Record)}
        self.enumerations = {entry.name: entry.cls for entry in entries if isinstance(entry, Enumeration)}
        if len(self.records) + len(self.enumerations) != len(entries):
            raise TypeError("two entries of the table have one name")
        self.names = {entry.cls: entry.name for entry in entries}

    def check(self, name: str, values: Mapping[str, Any], where: str) -> Sizes:
        """Check the fields of a record; return the lengths of its named dimensions.

        Raises
        ------
        FormatError
            If a field is of another kind than its entry says.
        """
        scope = Scope(self, {})
        for field, kind in self.records[name].kinds.items():
            kind.check(values[field], f"{where}.{field}", scope)
        return scope.sizes

    def sizes(self, record: Any) -> Sizes:
        """Lengths of the named dimensions of a record."""
        entry = self.records[self.names[type(record)]]
        return self.check(entry.name, {field: getattr(record, field) for field in entry.kinds}, entry.name)

    def with_entries(self, *entries: Record | Enumeration) -> Schemas:
        """The same table with more entries."""
        own = (Enumeration(cls) for cls in self.enumerations.values())
        return Schemas(*self.records.values(), *own, *entries)
