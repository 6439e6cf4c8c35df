"""Values through the bytes of a stored part, their bits, and checkpoints saved and loaded in a line."""

import struct
from dataclasses import fields, is_dataclass

import numpy as np

from dgmm.storage.checkpoint import Checkpoint, CheckpointStore
from dgmm.storage.documents import Manifest, part_objects, read_part
from dgmm.storage.packing import pack, unpack
from dgmm.storage.states import STATES

FINGERPRINT = {"rows": 10, "tol": 1e-3, "chunks": [[5, 5], [2]], "seed": 2**70, "name": None}
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


def opened(path, **options):
    return CheckpointStore(Checkpoint(path, **options))


def save(path, *states, finished=False, **options):
    """Save checkpoints whose part ``state`` is each of some values in turn."""
    with opened(path, **options) as store:
        for state in states:
            store.save(FINGERPRINT, {"state": state}, finished=finished)


def load(path, **options):
    with opened(path, **options) as store:
        return store.load()
