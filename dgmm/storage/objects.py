"""Object stores (S3, Google Cloud Storage, Azure), with obstore (the extra ``s3``): arrays, and checkpoints.

Credentials, region and endpoint come from the environment of the process that opens a store; they never travel.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from typing import Any, ClassVar

from dgmm.errors import MissingExtraError, StoreError

SCHEMES = ("s3", "gs", "az")
"""Of the URLs of object stores."""

POINTER = "zarr.json"
# Six pauses of 0.1 to 3.2 s: a server that refuses is given up after some six seconds, and one that does
# not answer at all after a minute (obstore waits 30 s for each answer; AWS_TIMEOUT in the environment).
# The next save asks again.
_RETRIES = {"max_retries": 6, "retry_timeout": timedelta(seconds=30)}

AT_ONCE = 1000
"""How many objects S3 removes in one request."""

UNFINISHED = "unfinished"
"""What the ``zarr.json`` of a store that is being written calls the node, where zarr has array or group."""


class _NotThereError(StoreError, FileNotFoundError):
    """A bucket, or an object, that is not there."""


@contextmanager
def asking(url: str, deed: str) -> Iterator[None]:
    """Say of what fails in an object store what it was, without the store's own words; raises StoreError."""
    failures = _library().exceptions.BaseError
    try:
        yield
    except FileNotFoundError:
        raise _NotThereError(f"{url}: the bucket or object to be {deed} is not there") from None
    except failures as error:
        # The store's own words may repeat what was sent, keys included.
        if " 404 Not Found" in str(error):
            raise _NotThereError(f"{url}: the bucket to be {deed} is not there") from None
        kind = type(error).__name__.removesuffix("Error")
        raise StoreError(
            f"{url}: could not be {deed} ({kind}); see to the bucket, the network, and the credentials, region "
            "and endpoint in the environment"
        ) from None


def _library() -> Any:
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError as error:
        raise MissingExtraError("obstore", "s3", "what lies in an object store") from error
    return obstore


def open_objects(url: str) -> Any:
    """Open the prefix of an object store that a URL means.

    Raises
    ------
    MissingExtraError
        If obstore is not installed.
    StoreError
        If it cannot be opened.
    """
    with asking(url, "opened"):
        return _library().store.from_url(url, retry_config=_RETRIES)


def read_object(url: str, name: str, *, most: int) -> bytes | None:
    """Read an object below a URL; None if there is none.

    Raises
    ------
    StoreError
        If it cannot be read, or has more than ``most`` bytes.
    """
    with asking(url, "read"):
        try:
            result = _library().get(open_objects(url), name)
        except FileNotFoundError:
            return None
        if result.meta["size"] > most:
            raise StoreError(f"{url}/{name}: larger than {most:,} bytes")
        return bytes(result.bytes())


def child_urls(url: str | os.PathLike[str]) -> list[str]:
    """List what lies directly below a URL and has something below it."""
    with asking(str(url), "listed"):
        found = _library().list_with_delimiter(open_objects(str(url)))
    return sorted(f"{str(url).rstrip('/')}/{prefix.rstrip('/')}" for prefix in found["common_prefixes"])


def list_objects(url: str) -> Iterator[Any]:
    """Yield what is known of each object at or below a URL: ``path``, ``size``, ``e_tag``, ``last_modified``.

    Raises
    ------
    OSError
        If they cannot be listed.
    """
    with asking(url, "listed"):
        for batch in _library().list(open_objects(url)):
            yield from batch


class StalePointerError(Exception):
    """The pointer is not the one that was read last: another process has swapped it."""


class ObjectPlace:
    """A prefix in an object store.

    Credentials, region and endpoint come from the environment alone. There is no lock: the pointer is
    put on the condition that it is still the one that was read.
    """

    exclusive: ClassVar[bool] = False
    DURABLE: ClassVar[tuple[str, ...]] = ("put_object", "put_if", "delete_objects")

    def __init__(self, url: str) -> None:
        self._url = url
        self._version: dict[str, Any] | None = None
        self._store = open_objects(url)
        self._obstore = _library()
        self._failures = self._obstore.exceptions.BaseError

    def __str__(self) -> str:
        return self._url

    def _asking(self, deed: str) -> AbstractContextManager[None]:
        return asking(self._url, deed)

    # -- what a kill can come between -----------------------------------------------------------

    def put_object(self, key: str, data: bytes) -> None:
        """Write an object; raises as obstore does."""
        self._obstore.put(self._store, key, data)

    def put_if(self, key: str, data: bytes, mode: Any) -> dict[str, Any]:
        """Write an object on a condition; returns its version, and raises as obstore does."""
        return dict(self._obstore.put(self._store, key, data, mode=mode, use_multipart=False))

    def delete_objects(self, keys: Sequence[str]) -> None:
        """Remove objects, as many as one request takes, also some that are not there."""
        with suppress(FileNotFoundError), self._asking("removed"):
            self._obstore.delete(self._store, list(keys))

    # -- objects --------------------------------------------------------------------------------

    def has(self, key: str) -> bool:
        """Whether there is an object."""
        try:
            with self._asking("read"):
                self._obstore.head(self._store, key)
        except FileNotFoundError:
            return False
        return True

    def versions(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """List all objects with the versions that they have."""
        with self._asking("listed"):
            for page in self._obstore.list(self._store):
                yield from ((str(item["path"]), dict(item)) for item in page)

    def write(self, key: str, data: bytes) -> None:
        """Write an object, whole or not at all."""
        with self._asking("written"):
            self.put_object(key, data)

    def write_if(self, key: str, data: bytes, seen: Mapping[str, Any] | None) -> dict[str, Any]:
        """Write an object if it is still the one that was seen, or there is still none.

        Returns
        -------
        dict
            Its version.

        Raises
        ------
        StalePointerError
            If it is another one now.
        """
        version = seen or {}
        condition = {name: version[name] for name in ("e_tag", "version") if version.get(name) is not None}
        try:
            return self.put_if(key, data, condition or "create")
        except (self._failures, FileNotFoundError) as error:
            # An answer that was lost on its way is asked for again, and then our own object is in the way.
            found = self._get(key)
            if found is not None and found[0] == data:
                return found[1]
            removed = isinstance(error, FileNotFoundError) and condition
            if removed or type(error).__name__ in ("PreconditionError", "AlreadyExistsError"):
                raise StalePointerError(f"{self}/{key}") from None
            with self._asking("written"):
                raise

    def erase(self, keys: Sequence[str]) -> None:
        """Remove objects, in their order."""
        for start in range(0, len(keys), AT_ONCE):
            self.delete_objects(keys[start : start + AT_ONCE])

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
            self.write(f"{folder}/{name}", b"".join(buffers))

    def read_pointer(self) -> bytes | None:
        """See :class:`~dgmm.storage.places.Place`."""
        found = self._get(POINTER)
        self._version = None if found is None else found[1]
        return None if found is None else found[0]

    def swap_pointer(self, data: bytes) -> None:
        """See :class:`~dgmm.storage.places.Place`."""
        self._version = self.write_if(POINTER, data, self._version)

    def is_temporary(self, name: str) -> bool:
        """See :class:`~dgmm.storage.places.Place`."""
        return False

    def remove(self, folder: str, names: Iterable[str]) -> None:
        """See :class:`~dgmm.storage.places.Place`."""
        for name in names:
            self.delete_objects([f"{folder}/{name}"])
