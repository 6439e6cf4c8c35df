"""What is looked at in a zarr store before zarr opens it: files may come from strangers.

zarr finds the class of a codec by the name that the metadata give, among all that installed packages
offer, and one of numcodecs' (``pickle``) runs code that stands in the data. Here only codecs that
turn bytes into numbers or text pass.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgmm.errors import FormatError
from dgmm.storage.objects import UNFINISHED, child_urls, read_object
from dgmm.storage.paths import is_url

if TYPE_CHECKING:
    from collections.abc import Iterator

METADATA = ("zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata")
"""The files of a zarr store that hold metadata."""

_CODEC_NAMES = """
adler32 astype bitround blosc bytes bz2 crc32 crc32c delta endian fixedscaleoffset fletcher32 gzip jenkins_lookup3
lz4 lzma packbits pcodec quantize sharding_indexed shuffle transpose vlen-bytes vlen-utf8 zfpy zlib zstd
"""
CODECS = frozenset(_CODEC_NAMES.split())
"""Names of codecs, of both formats of zarr, that run no code of the data's; ``numcodecs.`` may stand before them."""

_MOST_BYTES = 2**28
_MOST_CHUNKS = 10_000_000
_ALWAYS = 2**26
_DEEPEST = 4
_MOST_EXPANSION = 1000


def vet_store(place: str | Path) -> dict[str, Any]:
    """Refuse a zarr array or group that must not be opened: the metadata of it and of what lies directly in it.

    Parameters
    ----------
    place : path or URL

    Returns
    -------
    dict
        The metadata of the array or group itself as JSON values, by file name; empty if there are none.

    Raises
    ------
    FormatError
        If metadata are no JSON or no regular file, name a codec that is not in :data:`CODECS`, or
        speak of more chunks than any machine could list.
    """
    look, children = (_look_remotely, child_urls) if is_url(place) else (_look_locally, _folders)
    found = look(place)
    _vet_metadata(str(place), found, CODECS)
    if node_type(found.get("zarr.json")) == UNFINISHED:
        raise FormatError(f"{place}: is being written, or its writer was ended; wait for it, or write it again")
    if is_group(found):
        for child in children(place):
            _vet_metadata(str(child), look(child), CODECS)
    return found


def is_group(found: dict[str, Any]) -> bool:
    """Whether metadata, by file name, are those of a group."""
    return ".zgroup" in found or node_type(found.get("zarr.json")) == "group"


def listed_names(found: dict[str, Any]) -> list[str]:
    """Names of the nodes directly in a group, as its consolidated metadata list them; empty if it has none."""
    group = found.get("zarr.json")
    for copies in (group.get("consolidated_metadata") if isinstance(group, dict) else None, found.get(".zmetadata")):
        inner = copies.get("metadata") if isinstance(copies, dict) else None
        if isinstance(inner, dict):
            paths = [str(path).removesuffix("/.zarray").removesuffix("/.zgroup") for path in inner]
            return [path for path in paths if "/" not in path and not path.startswith(".z")]
    return []


def _look_locally(path: str | Path) -> dict[str, Any]:
    return {name: read_json(Path(path, name)) for name in METADATA if Path(path, name).exists()}


def _folders(path: str | Path) -> list[Path]:
    return [child for child in Path(path).iterdir() if child.is_dir()]


def _look_remotely(url: str | Path) -> dict[str, Any]:
    """Read the metadata of a node in an object store: those of format 3, or else those of format 2."""
    found: dict[str, Any] = {}
    for name in METADATA:
        if "zarr.json" not in found and (data := read_object(str(url), name, most=_MOST_BYTES)) is not None:
            try:
                found[name] = parse_json(data)
            except ValueError as error:
                raise FormatError(
                    f"{url}: its zarr metadata cannot be read: {name}: {error}; write the store again"
                ) from error
    return found


def node_type(metadata: Any) -> Any:
    """Return ``"group"`` or ``"array"``, as metadata of format 3 say."""
    return metadata.get("node_type") if isinstance(metadata, dict) else None


def vet_node(path: Path, allowed: frozenset[str]) -> dict[str, Any]:
    """Return the metadata of one array or group as JSON values, by file name; empty if there are none.

    Raises
    ------
    FormatError
        As :func:`vet_store`.
    """
    found = _look_locally(path)
    _vet_metadata(str(path), found, allowed)
    return found


def _vet_metadata(place: str, found: dict[str, Any], allowed: frozenset[str]) -> None:
    # zarr takes whatever stands there, and fails when it is asked.
    for name, metadata in found.items():
        if isinstance(metadata, dict) and not isinstance(metadata.get("attributes", {}), dict):
            raise FormatError(f"{place}: the attributes in {name} are no JSON object")
    for metadata in (*found.values(), *_consolidated(found)):
        for codec in _codecs(metadata, 0):
            if not isinstance(codec, str) or codec.removeprefix("numcodecs.") not in allowed:
                raise FormatError(
                    f"{place}: the codec {str(codec)[:60]!r} is not one that dgmm lets read data; write the store again"
                )
        _vet_count(place, metadata)


def _consolidated(found: dict[str, Any]) -> Iterator[Any]:
    """Yield the copies of other nodes' metadata that a group of either format may hold."""
    group = found.get("zarr.json")
    for copies in (group.get("consolidated_metadata") if isinstance(group, dict) else None, found.get(".zmetadata")):
        inner = copies.get("metadata") if isinstance(copies, dict) else None
        if isinstance(inner, dict):
            yield from inner.values()


def read_json(file: Path) -> Any:
    """Read JSON from a regular file.

    Raises
    ------
    FormatError
        If it is something else.
    """
    if not file.is_file():
        raise FormatError(f"{file}: not a regular file")
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ValueError(f"larger than {_MOST_BYTES:,} bytes")
        return parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise FormatError(
            f"{file.parent}: its zarr metadata cannot be read: {file.name}: {error}; write the store again"
        ) from error


def parse_json(text: str | bytes) -> Any:
    """Read JSON text; raises ValueError if it is none, or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _codecs(metadata: Any, depth: int) -> Iterator[Any]:
    """Yield the names of all codecs, also those within others, that metadata of either format name.

    What is no codec, or lies too deep, comes as something that is no name.
    """
    if not isinstance(metadata, dict):
        return
    for key in ("codecs", "index_codecs", "filters", "compressor"):
        listed = metadata.get(key)
        for codec in listed if isinstance(listed, list) else [] if listed is None else [listed]:
            # Format 3 goes by the name and format 2 by the id, whatever else there is.
            names = [codec[word] for word in ("name", "id") if word in codec] if isinstance(codec, dict) else []
            yield from names if names and depth < _DEEPEST else [codec]
            if depth < _DEEPEST and isinstance(codec, dict):
                yield from _codecs(codec.get("configuration"), depth + 1)


def _vet_count(path: str, metadata: Any) -> None:
    shape, chunks = declared_shapes(metadata)
    if any(length and not size for length, size in zip(shape, chunks, strict=False)):
        raise FormatError(f"{path}: has chunks of length 0")
    count = math.prod(-(-length // size) for length, size in zip(shape, chunks, strict=False) if size > 0)
    if count > _MOST_CHUNKS:
        raise FormatError(
            f"{path}: speaks of {count:,} chunks; more than {_MOST_CHUNKS:,} cannot be worked with; "
            "write the store again in larger ones"
        )


def declared_shapes(metadata: Any) -> tuple[list[int], list[int]]:
    """Return the shape of an array and of its chunks, as far as metadata say so in the right form."""
    if not isinstance(metadata, dict):
        return [], []
    grid = metadata.get("chunk_grid")
    inner = grid.get("configuration") if isinstance(grid, dict) else None
    chunks = inner.get("chunk_shape") if isinstance(inner, dict) else metadata.get("chunks")
    return _lengths(metadata.get("shape")), _lengths(chunks)


def _lengths(value: Any) -> list[int]:
    if isinstance(value, list) and all(isinstance(x, int) and not isinstance(x, bool) and x >= 0 for x in value):
        return value
    return []


def vet_chunks(folder: Path, metadata: Any, *, itemsize: int) -> None:
    """Refuse an array of format 3 whose chunks are not all there, or could take far more memory than disk.

    Parameters
    ----------
    folder : path
        Of the array.
    metadata : JSON values
        Of the array, from :func:`vet_node`.
    itemsize : int
        Bytes of a value.

    Raises
    ------
    FormatError
        If anything in the folder is a link, a pipe or a device, if a chunk is missing, or if the
        array or one of its chunks would unpack to more than 1,000 times its files (64 MiB are always allowed).
    """
    shape, chunks = declared_shapes(metadata)
    if len(shape) != len(chunks) or 0 in chunks or (not shape and metadata.get("shape") != []):
        raise FormatError(f"{folder.name} has the shape {str(shape)[:60]} and chunks {str(chunks)[:60]}")
    files = [file for file in folder.rglob("*") if file.is_symlink() or not file.is_dir()]
    for file in files:
        if file.is_symlink() or not file.is_file():
            raise FormatError(f"{file.relative_to(folder.parent)} is not a regular file")
    # Beside those of the array there may be some that others had before it, in an object store that this is a copy of.
    content = [file for file in files if names_chunk(file.relative_to(folder).as_posix(), metadata)]
    expected = math.prod(-(-length // size) for length, size in zip(shape, chunks, strict=True))
    if len(content) != expected:
        raise FormatError(f"{folder.name} has {len(content)} chunks; expected {expected}")
    most = max(_ALWAYS, _MOST_EXPANSION * sum(file.stat().st_size for file in content))
    declared = itemsize * max(math.prod(shape), math.prod(chunks))
    unpacked = sum(max(file.stat().st_size, _zstd_size(file)) for file in content)
    if max(declared, unpacked) > most:
        raise FormatError(
            f"{folder.name} would take {max(declared, unpacked):,} bytes; its files hold at most {most:,}"
        )


def names_chunk(name: str, metadata: Any) -> bool:
    """Whether a name, from the folder of an array of format 3, is one of its chunks'."""
    shape, chunks = declared_shapes(metadata)
    encoding = metadata.get("chunk_key_encoding") if isinstance(metadata, dict) else None
    numbers = name
    if not (isinstance(encoding, dict) and encoding.get("name") == "v2"):
        if name[:1] != "c":
            return False
        numbers = name[2:]
    elif not shape:
        return name == "0"
    if not re.fullmatch(r"(\d{1,9}([./]\d{1,9})*)?", numbers, re.ASCII):
        return False
    index = [int(number) for number in re.findall(r"\d+", numbers)]
    grid = [-(-length // size) for length, size in zip(shape, chunks, strict=False) if size]
    return len(index) == len(grid) and all(number < count for number, count in zip(index, grid, strict=True))


def _zstd_size(file: Path) -> float:
    """Return to how many bytes a file unpacks by the header of its Zstandard frame; 0 if it has none.

    RFC 8878, section 3.1.1.1.
    """
    with file.open("rb") as opened:
        head = opened.read(18)
    if head[:4] != b"\x28\xb5\x2f\xfd" or len(head) < 6:
        return 0
    flag, single, dictionary = head[4] >> 6, head[4] >> 5 & 1, head[4] & 3
    size = (1 if single else 0, 2, 4, 8)[flag]
    if size == 0:
        return math.inf  # unknown until it is unpacked; no writer of zarr's does so
    start = 5 + (not single) + (0, 1, 2, 4)[dictionary]
    return int.from_bytes(head[start : start + size], "little") + 256 * (flag == 1)
