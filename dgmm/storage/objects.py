"""Checkpoints in an object store (S3, Google Cloud Storage, Azure), with obstore (the extra ``s3``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, ClassVar

from dgmm.errors import MissingExtraError

SCHEMES = ("s3", "gs", "az")
"""Of the URLs of object stores."""

POINTER = "zarr.json"
# Six pauses of 0.1 to 3.2 s: a server that refuses is given up after some six seconds, and one that does
# not answer at all after a minute (obstore waits 30 s for each answer; AWS_TIMEOUT in the environment).
# The next save asks again.
_RETRIES = {"max_retries": 6, "retry_timeout": timedelta(seconds=30)}


class StalePointerError(Exception):
    """The pointer is not the one that was read last: another process has swapped it."""


class ObjectPlace:
    """A prefix in an object store.

    Credentials, region and endpoint come from the environment alone. There is no lock: the pointer is
    put on the condition that it is still the one that was read.
    """

    exclusive: ClassVar[bool] = False
    DURABLE: ClassVar[tuple[str, ...]] = ("put_object", "put_pointer", "delete_object")

    def __init__(self, url: str) -> None:
        try:
            import obstore
            from obstore.exceptions import BaseError
            from obstore.store import from_url
        except ImportError as error:
            raise MissingExtraError("obstore", "s3", "a checkpoint in an object store") from error
        self._obstore = obstore
        self._failures = BaseError
        self._url = url
        self._version: dict[str, Any] | None = None
        with self._asking("opened"):
            self._store: Any = from_url(url, retry_config=_RETRIES)  # type: ignore[call-overload]

    def __str__(self) -> str:
        return self._url

    @contextmanager
    def _asking(self, deed: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise FileNotFoundError(f"{self}: the bucket or object to be {deed} is not there") from None
        except self._failures as error:
            # The store's own words may repeat what was sent, keys included.
            kind = type(error).__name__.removesuffix("Error")
            raise OSError(
                f"{self}: could not be {deed} ({kind}); see to the bucket, the network, and the credentials, region "
                "and endpoint in the environment"
            ) from None

    # -- what a kill can come between -----------------------------------------------------------

    def put_object(self, key: str, data: bytes) -> None:
        """Write an object."""
        with self._asking("written"):
            self._obstore.put(self._store, key, data)

    def put_pointer(self, data: bytes, mode: Any) -> dict[str, Any]:
        """Write the pointer on a condition; returns its version."""
        return dict(self._obstore.put(self._store, POINTER, data, mode=mode, use_multipart=False))

    def delete_object(self, key: str) -> None:
        """Remove an object."""
        with suppress(FileNotFoundError), self._asking("removed"):
            self._obstore.delete(self._store, key)

    # -- a place --------------------------------------------------------------------------------

    def acquire(self) -> None:
        """See :class:`~dgmm.storage.places.Place`."""

    def release(self) -> None:
        """See :class:`~dgmm.storage.places.Place`."""

    def names(self) -> list[str] | None:
        """See :class:`~dgmm.storage.places.Place`."""
        with self._asking("listed"):
            found = self._obstore.list_with_delimiter(self._store)
        return sorted([*found["common_prefixes"], *(item["path"] for item in found["objects"])]) or None

    def read(self, folder: str, name: str) -> bytes | None:
        """See :class:`~dgmm.storage.places.Place`."""
        found = self._get(f"{folder}/{name}" if folder else name)
        return None if found is None else found[0]

    def _get(self, key: str) -> tuple[bytes, dict[str, Any]] | None:
        try:
            with self._asking("read"):
                result = self._obstore.get(self._store, key)
                return bytes(result.bytes()), dict(result.meta)
        except FileNotFoundError:
            return None

    def put(self, folder: str, objects: Mapping[str, Sequence[Any]]) -> None:
        """See :class:`~dgmm.storage.places.Place`."""
        for name, buffers in objects.items():
            self.put_object(f"{folder}/{name}", b"".join(buffers))

    def read_pointer(self) -> bytes | None:
        """See :class:`~dgmm.storage.places.Place`."""
        found = self._get(POINTER)
        self._version = None if found is None else found[1]
        return None if found is None else found[0]

    def swap_pointer(self, data: bytes) -> None:
        """See :class:`~dgmm.storage.places.Place`."""
        version = self._version or {}
        condition = {name: version[name] for name in ("e_tag", "version") if version.get(name) is not None}
        try:
            self._version = self.put_pointer(data, condition or "create")
        except (self._failures, FileNotFoundError) as error:
            # An answer that was lost on its way is asked for again, and then our own pointer is in the way.
            found = self._get(POINTER)
            if found is not None and found[0] == data:
                self._version = found[1]
                return
            removed = isinstance(error, FileNotFoundError) and condition
            if removed or type(error).__name__ in ("PreconditionError", "AlreadyExistsError"):
                raise StalePointerError(str(self)) from None
            with self._asking("written"):
                raise

    def is_temporary(self, name: str) -> bool:
        """See :class:`~dgmm.storage.places.Place`."""
        return False

    def remove(self, folder: str, names: Iterable[str]) -> None:
        """See :class:`~dgmm.storage.places.Place`."""
        for name in names:
            self.delete_object(f"{folder}/{name}")
