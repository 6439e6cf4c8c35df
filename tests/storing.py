"""Values through the bytes of a stored part, and values as what is equal only if every bit of them is."""

import struct
from dataclasses import fields, is_dataclass

import numpy as np

from dgmm.storage.documents import Manifest, part_objects, read_part
from dgmm.storage.packing import pack, unpack
from dgmm.storage.states import STATES

MANIFEST = Manifest(1, False, "now", {}, {"x": "x-1-00000000"})


def stored(value, table=STATES):
    """A value through the bytes of a part."""
    objects = part_objects("x", pack(value, table), MANIFEST)
    chunk, metadata = (b"".join(map(bytes, buffers)) for buffers in objects.values())
    return unpack(*read_part(metadata, chunk), table)


def bits(value):
    """A value as something that is equal only if all bits, types and layouts are."""
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        # Strides say nothing where there are no elements, nor along sides of length 1.
        strides = tuple(s for s, n in zip(array.strides, array.shape, strict=True) if n > 1) if array.size else ()
        return type(value), array.dtype.str, array.shape, strides, array.tobytes()
    if isinstance(value, float):
        return float, struct.pack("d", value)
    if isinstance(value, tuple):
        return tuple, [bits(item) for item in value]
    if isinstance(value, dict):
        return dict, [(key, bits(item)) for key, item in value.items()]
    if is_dataclass(value):
        return type(value), [bits(getattr(value, field.name)) for field in fields(value)]
    return type(value), value
