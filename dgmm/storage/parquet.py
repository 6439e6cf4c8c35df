"""Parquet: tables in files of row groups, read with pyarrow (the extra ``parquet``) as a Dask DataFrame."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask

from dgmm.errors import DataError, FormatError, MissingExtraError
from dgmm.storage.paths import writing
from dgmm.storage.reading import patiently
from dgmm.storage.replacing import Form, replacing_folder
from dgmm.storage.storing import encoding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAGIC = b"PAR1"
"""How a Parquet file begins, and ends."""

# Of all columns of a partition, as they lie in the file but for its compression.
_PARTITION_BYTES = 2**26


def library() -> Any:
    """Import what reads and writes Parquet; raises MissingExtraError if it is not installed."""
    try:
        import dask.dataframe
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(str(error.name or "pyarrow").split(".")[0], "parquet", "a Parquet file") from error
    return pyarrow, dask.dataframe


@dataclass(frozen=True)
class _Part:
    """Row groups of a file that are one partition."""

    path: str
    first: int
    end: int

    def __str__(self) -> str:
        count = self.end - self.first
        which = f"row group {self.first}" if count == 1 else f"row groups {self.first} to {self.end - 1}"
        return f"{which} of {self.path}"


@dataclass(frozen=True)
class _Reader:
    """Reads a partition; pyarrow makes whole numbers with gaps float64 where they have some, here they always are."""

    gaps: frozenset[str]

    def __call__(self, part: _Part, columns: Sequence[str] | None = None) -> Any:
        return patiently(lambda: self._read(part, columns), str(part))

    def _read(self, part: _Part, columns: Sequence[str] | None) -> Any:
        pyarrow, _ = library()
        with pyarrow.parquet.ParquetFile(part.path) as file:
            table = file.read_row_groups(
                range(part.first, part.end), columns=columns, use_threads=False, use_pandas_metadata=True
            )
        frame = self.to_frame(table)
        return frame if columns is None else frame[list(columns)]

    def to_frame(self, table: Any) -> Any:
        """Make a pandas DataFrame of an arrow table."""
        pyarrow, _ = library()
        schema = table.schema
        for i, field in enumerate(schema):
            if field.name in self.gaps:
                schema = schema.set(i, field.with_type(pyarrow.float64()))
        return table.cast(schema).to_pandas()


def is_parquet(path: str) -> bool:
    """Whether a path means Parquet: a pattern, a folder or a file whose files are, by their names or first bytes."""
    if glob.has_magic(path) and not Path(path).exists():
        return True
    if Path(path).is_dir():
        return next(_files(path), None) is not None
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC or path.endswith(".parquet")


def _files(path: str) -> Iterator[Path]:
    given = Path(path)
    found = (
        given.rglob("*.parquet") if given.is_dir() else Path(given.anchor).glob(str(given.relative_to(given.anchor)))
    )
    return (file for file in found if file.is_file() and not file.name.startswith(("_", ".")))


def _natural(path: Path) -> list[Any]:
    """In the order that a person would put names with numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _sorted_files(path: str) -> list[Path]:
    files = [Path(path)] if Path(path).is_file() else sorted(_files(path), key=_natural)
    if not files:
        raise DataError(f"{path}: there is no Parquet file that this means; correct the path")
    return files


def count_rows(path: str) -> int:
    """How many rows Parquet holds, as its footers say; errors are those of :func:`open_parquet`."""
    pyarrow, _ = library()
    return sum(int(_footer(pyarrow, file).num_rows) for file in _sorted_files(path))


def open_parquet(path: str) -> Any:
    """Open a Parquet file, a folder of them or those that a pattern matches; nothing is read but their footers.

    Parameters
    ----------
    path : str
        Of a file; of a folder, at any depth of which files are named ``*.parquet``; or with ``*`` in it.

    Returns
    -------
    dask.dataframe.DataFrame
        Partitions are row groups, small ones joined within a file. Columns that are not used are not read.

    Raises
    ------
    DataError
        If no file matches.
    FormatError
        If a file is no Parquet, was cut short, or has other columns than the first.
    MissingExtraError
        If a package that it takes is not installed.
    """
    pyarrow, dataframe = library()
    files = _sorted_files(path)
    parts: list[_Part] = []
    gaps: set[str] = set()
    first: Any = None
    for file in files:
        metadata = _footer(pyarrow, file)
        schema = metadata.schema.to_arrow_schema()
        first = first or schema
        _require_same(file, schema, files[0], first)
        parts += _parts(file, metadata)
        gaps |= _gaps(pyarrow, metadata, schema)
    reader = _Reader(frozenset(gaps))
    meta = reader.to_frame(first.empty_table())
    # Any frame that pandas has written may name its rows by numbers; partitions cannot all begin with 0.
    return dataframe.from_map(reader, parts or [_Part(str(files[0]), 0, 0)], meta=meta, label="parquet")


def _footer(pyarrow: Any, file: Path) -> Any:
    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            return opened.metadata
    except (pyarrow.ArrowException, OSError) as error:
        raise FormatError(
            f"{file}: not a Parquet file that can be read, or one that was cut short: {error}; write it again"
        ) from error


def _require_same(file: Path, schema: Any, first_file: Path, first: Any) -> None:
    for name in {*schema.names} | {*first.names}:
        kinds = [str(each.field(name).type) if name in each.names else "not there" for each in (first, schema)]
        if kinds[0] != kinds[1]:
            raise FormatError(
                f"{file}: the column {name!r} is {kinds[1]} and in {first_file} {kinds[0]}; "
                "give files of the same columns"
            )


def _parts(file: Path, metadata: Any) -> Iterator[_Part]:
    first, size = 0, 0
    for group in range(metadata.num_row_groups):
        more = metadata.row_group(group).total_byte_size
        if group > first and size + more > _PARTITION_BYTES:
            yield _Part(str(file), first, group)
            first, size = group, 0
        size += more
    if metadata.num_row_groups:
        yield _Part(str(file), first, metadata.num_row_groups)


def _gaps(pyarrow: Any, metadata: Any, schema: Any) -> set[str]:
    """Columns of whole numbers or truth values in which some may be missing."""
    found = set()
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for i in range(row_group.num_columns):
            column = row_group.column(i)
            name = column.path_in_schema
            if name in schema.names and (
                pyarrow.types.is_integer(schema.field(name).type) or pyarrow.types.is_boolean(schema.field(name).type)
            ):
                statistics = column.statistics
                if statistics is None or not statistics.has_null_count or statistics.null_count:
                    found.add(name)
    return found


def _is_folder_of_parquet(path: Path) -> bool:
    return path.is_dir() and all(file.is_file() and file.suffix == ".parquet" for file in path.iterdir())


PARQUET = Form("folder of Parquet files", _is_folder_of_parquet)


def write_parquet(frames: Sequence[Any], path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write dataframes as the files of a folder, each by whoever computes it; whole or not at all.

    Parameters
    ----------
    frames : sequence of DataFrame, or of Delayed of one
        A file each, with their index.
    path : path
        Of the new folder. Workers must see the same files as the caller.
    overwrite : bool
        Replace a folder of Parquet files that is there already; anything else is never replaced.

    Raises
    ------
    ExistsError
        If something is in the way.
    MissingExtraError
        If pyarrow is not installed.
    """
    library()
    with replacing_folder(path, overwrite=overwrite, form=PARQUET) as folder:
        with writing(path):
            folder.mkdir()
        digits = len(str(len(frames) - 1))
        dask.compute(
            *(
                dask.delayed(_write_part, pure=False)(frame, str(folder), f"part.{i:0{digits}d}.parquet", str(path))
                for i, frame in enumerate(frames)
            )
        )


def _write_part(frame: Any, folder: str, name: str, path: str) -> None:
    with writing(path), encoding(path):
        # If the write was given up, the folder is gone, and this fails.
        frame.to_parquet(Path(folder, name), engine="pyarrow")
