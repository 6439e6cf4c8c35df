"""Stored chunks that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bad_input.files import BAD_DATA, Make, command, store
from bad_input.kinds import CHUNK, Kind, blobs
from zarr.codecs import Crc32cCodec

KINDS: list[Kind] = []


def spoil_chunk(change: Callable[[Path], object], **options: Any) -> Make:
    def make(folder: Path) -> None:
        store(blobs(), chunks=(CHUNK, 3), **options)(folder)
        change(folder / "bad" / "c" / "2" / "0")

    return make


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[5] ^= 1
    file.write_bytes(content)


UNREADABLE = {
    "a chunk cut short": spoil_chunk(lambda file: file.write_bytes(file.read_bytes()[:50])),
    "a plain chunk cut short": spoil_chunk(lambda file: file.write_bytes(file.read_bytes()[:50]), compressors=None),
    "a chunk of something else": spoil_chunk(lambda file: file.write_bytes(b"hello")),
    "a flipped bit under a checksum": spoil_chunk(flip, compressors=[Crc32cCodec()]),
    "a shard cut short": lambda folder: [
        store(blobs(), chunks=(10, 3), shards=(CHUNK, 3))(folder),
        (folder / "bad" / "c" / "2" / "0").write_bytes((folder / "bad" / "c" / "2" / "0").read_bytes()[:-10]),
    ],
}
for name, make in UNREADABLE.items():
    what, to_do = "could not be read", "check what it comes from"
    arguments = ["bad", "-k", "2", "-o", "new.zarr"]
    command("dgmm fit", name, arguments, BAD_DATA, what, r"chunk 2 of X .*chunk \(2, 0\) of .*bad", to_do, make, KINDS)
    arguments = ["m.zarr", "bad", "new.zarr"]
    command("dgmm predict", name, arguments, BAD_DATA, what, r"chunk \(2, 0\) of .*bad", to_do, make, KINDS)
