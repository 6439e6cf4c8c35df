"""Values as a tree of JSON and a list of arrays, and back, bit for bit.

A value is None, a bool, an int, a float, a str, a tuple, a dict with str keys, a numpy array or scalar of
numbers, or a record or a member of an enumeration of the table (:class:`~dgmm.storage.kinds.Schemas`).
In the tree None, bools, strs, finite floats and ints of up to 53 bits stand for themselves and a
tuple is a list; all else is an object with one of these members:

========== ======================================================================================
``int``    a larger int, in hexadecimal
``float``  the 64 bits of a float that is not finite, in hexadecimal
``array``  number of an array in the list
``scalar`` number of an array without dimensions, of which a numpy scalar was made
``dict``   an object: the dict
``record`` name of a class; beside it ``fields``, an object
``member`` name of an enumeration; beside it ``name``, of the member
========== ======================================================================================
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.errors import FormatError
from dgmm.storage.kinds import describe

if TYPE_CHECKING:
    from dgmm.storage.kinds import Schemas
    from dgmm.typing import Array

_PLAIN = 2**53
# Deeper than any state; far from what Python can recurse.
_DEEPEST = 50
_LONGEST_NAME = 80

DTYPES = frozenset(
    ["|b1", "|i1", "|u1", *(f"{order}{kind}{size}" for order in "<>" for kind in "iu" for size in (2, 4, 8))]
    + [f"{order}f{size}" for order in "<>" for size in (2, 4, 8)]
)
"""Dtypes of arrays that can be stored, as numpy's ``dtype.str``."""


@dataclass(frozen=True)
class Packed:
    """A value, packed.

    Attributes
    ----------
    tree : JSON value
    arrays : list of arrays
        Those of the value itself, no copies; each once, however often it is in the value.
    """

    tree: Any
    arrays: list[Array]


def pack(value: Any, schemas: Schemas) -> Packed:
    """Take a value apart.

    Raises
    ------
    FormatError
        If something in it cannot be stored, or a field is of another kind than the table says.

    Examples
    --------
    >>> from dgmm.storage.kinds import Schemas
    >>> packed = pack({"a": (1, np.zeros(2))}, Schemas())
    >>> packed.tree
    {'dict': {'a': [1, {'array': 0}]}}
    >>> unpack(packed.tree, packed.arrays, Schemas())
    {'a': (1, array([0., 0.]))}
    """
    packer = _Packer(schemas)
    tree = packer.pack(value, "value", 0)
    return Packed(tree, packer.arrays)


def unpack(tree: Any, arrays: Sequence[Array], schemas: Schemas) -> Any:
    """Put a value together; arrays are used as they are.

    Raises
    ------
    FormatError
        If the tree is no value, names something that the table does not have, or a field is of
        another kind than the table says.
    """
    return _Unpacker(arrays, schemas).unpack(tree, "value", 0)


def _at_depth(where: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise FormatError(f"{where[:200]}...: values lie in one another more than {_DEEPEST} deep")


class _Packer:
    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self.arrays: list[Array] = []
        self._numbers: dict[int, int] = {}

    def pack(self, value: Any, where: str, depth: int) -> Any:
        _at_depth(where, depth)
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind is int:
            return value if abs(value) <= _PLAIN else {"int": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}
        if kind is tuple:
            return [self.pack(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
        if kind is dict:
            return {"dict": self._members(value, where, depth)}
        if kind is np.ndarray:
            return {"array": self._number(value, where)}
        if isinstance(value, np.generic):
            return {"scalar": self._number(np.asarray(value), where)}
        if kind in self._schemas.names:
            return self._entry(value, where, depth)
        raise FormatError(f"{where}: a value of type {kind.__name__} cannot be stored")

    def _members(self, value: dict[Any, Any], where: str, depth: int) -> dict[str, Any]:
        for key in value:
            if type(key) is not str:
                raise FormatError(f"{where}: keys of a dict must be str to be stored; found {describe(key)}")
        return {key: self.pack(item, f"{where}[{key!r}]", depth + 1) for key, item in value.items()}

    def _number(self, array: Array, where: str) -> int:
        if array.dtype.str not in DTYPES:
            raise FormatError(f"{where}: an array of dtype {array.dtype} cannot be stored")
        number = self._numbers.setdefault(id(array), len(self.arrays))
        if number == len(self.arrays):
            self.arrays.append(array)
        return number

    def _entry(self, value: Any, where: str, depth: int) -> dict[str, Any]:
        name = self._schemas.names[type(value)]
        if isinstance(value, Enum):
            return {"member": name, "name": value.name}
        values = {field.name: getattr(value, field.name) for field in fields(value)}
        self._schemas.check(name, values, f"{where}<{name}>")
        return {"record": name, "fields": self._fields(values, f"{where}<{name}>", depth)}

    def _fields(self, values: dict[str, Any], where: str, depth: int) -> dict[str, Any]:
        return {field: self.pack(item, f"{where}.{field}", depth + 1) for field, item in values.items()}


class _Unpacker:
    def __init__(self, arrays: Sequence[Array], schemas: Schemas) -> None:
        self._arrays = arrays
        self._schemas = schemas
        self._objects = {
            frozenset(["int"]): self._int,
            frozenset(["float"]): self._float,
            frozenset(["array"]): self._array,
            frozenset(["scalar"]): self._scalar,
            frozenset(["dict"]): self._dict,
            frozenset(["record", "fields"]): self._record,
            frozenset(["member", "name"]): self._member,
        }

    def unpack(self, tree: Any, where: str, depth: int) -> Any:
        _at_depth(where, depth)
        if tree is None or isinstance(tree, bool | str):
            return tree
        if isinstance(tree, int):
            if abs(tree) > _PLAIN:
                raise FormatError(f"{where}: an integer beyond 53 bits must be written in hexadecimal")
            return tree
        if isinstance(tree, float):
            if not math.isfinite(tree):
                raise FormatError(f"{where}: a float that is not finite must be written as its bits")
            return tree
        if isinstance(tree, list):
            return tuple(self.unpack(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(tree))
        if isinstance(tree, dict) and (make := self._objects.get(frozenset(tree))) is not None:
            return make(tree, where, depth)
        members = f"an object with the members {_short(sorted(map(str, tree)))}" if isinstance(tree, dict) else tree
        raise FormatError(f"{where}: expected a value; found {_short(members)}")

    def _int(self, tree: dict[str, Any], where: str, depth: int) -> int:
        try:
            return int(_text(tree["int"], where), 16)
        except ValueError:
            raise FormatError(f"{where}: expected an integer in hexadecimal; found {_short(tree['int'])}") from None

    def _float(self, tree: dict[str, Any], where: str, depth: int) -> float:
        try:
            (value,) = struct.unpack(">d", bytes.fromhex(_text(tree["float"], where)))
        except (ValueError, struct.error):
            raise FormatError(f"{where}: expected 64 bits in hexadecimal; found {_short(tree['float'])}") from None
        return float(value)

    def _array(self, tree: dict[str, Any], where: str, depth: int) -> Array:
        return self._numbered(tree["array"], where)

    def _scalar(self, tree: dict[str, Any], where: str, depth: int) -> Any:
        array = self._numbered(tree["scalar"], where)
        if array.ndim:
            raise FormatError(f"{where}: expected an array without dimensions; found {describe(array)}")
        return array[()]

    def _numbered(self, number: Any, where: str) -> Array:
        if type(number) is not int or not 0 <= number < len(self._arrays):
            raise FormatError(f"{where}: there is no array {_short(number)}; there are {len(self._arrays)}")
        return self._arrays[number]

    def _dict(self, tree: dict[str, Any], where: str, depth: int) -> dict[str, Any]:
        return self._members(tree["dict"], where, depth, "[{!r}]")

    def _members(self, members: Any, where: str, depth: int, step: str) -> dict[str, Any]:
        if not isinstance(members, dict):
            raise FormatError(f"{where}: expected an object; found {_short(members)}")
        return {key: self.unpack(item, where + step.format(key), depth + 1) for key, item in members.items()}

    def _record(self, tree: dict[str, Any], where: str, depth: int) -> Any:
        name = _text(tree["record"], where)
        entry = self._schemas.records.get(name)
        if entry is None:
            raise FormatError(
                f"{where}: this dgmm has no record {_short(name)}; it knows {_list(self._schemas.records)}"
            )
        where = f"{where}<{name}>"
        values = self._members(tree["fields"], where, depth, ".{}")
        if unknown := values.keys() - entry.kinds.keys():
            raise FormatError(f"{where}: it has no field {_short(min(unknown))}; its fields are {_list(entry.kinds)}")
        values = entry.optional() | values
        if missing := entry.kinds.keys() - values.keys():
            raise FormatError(f"{where}: the field {min(missing)!r} is missing")
        self._schemas.check(name, values, where)
        return entry.cls(**values)

    def _member(self, tree: dict[str, Any], where: str, depth: int) -> Enum:
        name, member = _text(tree["member"], where), _text(tree["name"], where)
        members: dict[str, Enum] = dict(getattr(self._schemas.enumerations.get(name), "__members__", {}))
        if member not in members:
            raise FormatError(f"{where}: this dgmm has no {_short(name)} {_short(member)}")
        return members[member]


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise FormatError(f"{where}: expected a string; found {_short(value)}")
    return value


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str | list) else describe(value)
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}..."


def _list(names: Any) -> str:
    return ", ".join(names)
