"""Checkpoints written while the next pass runs."""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING, Any

from dgmm.errors import CheckpointWarning, DgmmError, StoreError

if TYPE_CHECKING:
    from dgmm.storage.checkpoint import CheckpointStore


class CheckpointWriter:
    """Saves in one thread of its own, while the caller goes on.

    Parameters
    ----------
    store : CheckpointStore
        Not used by anyone else until :meth:`close`.
    fingerprint : dict
        JSON values, stored with every checkpoint.

    Attributes
    ----------
    failure : OSError or None
        Why the last save failed, if it did.
    """

    def __init__(self, store: CheckpointStore, fingerprint: dict[str, Any]) -> None:
        self._store = store
        self._fingerprint = fingerprint
        self._changed = threading.Condition()
        self._waiting: tuple[dict[str, Any], bool] | None = None
        self._thread: threading.Thread | None = None
        self._busy = False
        self._closing = False
        self._error: BaseException | None = None
        self._unheard: OSError | None = None
        self._heard: set[tuple[type, int | None]] = set()
        self.failure: OSError | None = None

    def submit(self, parts: dict[str, Any], *, finished: bool = False) -> None:
        """Save soon, and return at once; what was submitted before and has not been begun is dropped.

        Raises
        ------
        CheckpointInUseError
            If another process has taken the place over; also any error of an earlier save that is no OSError.

        Warns
        -----
        CheckpointWarning
            If an earlier save failed, as on a full disk, in a way that has not been told yet.
        """
        with self._changed:
            self._report()
            self._waiting = (parts, finished)
            if self._thread is None:
                self._closing = False
                self._thread = threading.Thread(target=self._work, name="dgmm-checkpoint", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until what was submitted last is written, or has failed; raises and warns as :meth:`submit`."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is None and not self._busy)
            self._report()

    def close(self) -> None:
        """Flush, and end the thread."""
        try:
            self.flush()
        finally:
            with self._changed:
                self._closing, thread = True, self._thread
                self._changed.notify_all()
            if thread is not None:
                thread.join()
                self._thread = None

    def _report(self) -> None:
        if self._error is not None:
            raise self._error
        failure, self._unheard = self._unheard, None
        if failure is not None and (kind := (type(failure), failure.errno)) not in self._heard:
            self._heard.add(kind)
            message = f"the checkpoint could not be written, the fit goes on without it: {failure}"
            warnings.warn(message, CheckpointWarning, stacklevel=3)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None or self._closing)
                if self._waiting is None:
                    return
                (parts, finished), self._waiting, self._busy = self._waiting, None, True
            failure: OSError | None = None
            error: BaseException | None = None
            try:
                self._store.save(self._fingerprint, parts, finished=finished)
            except StoreError as caught:
                failure = caught
            except DgmmError as caught:  # some of which are OSErrors too
                error = caught
            except OSError as caught:
                failure = caught
            except BaseException as caught:
                error = caught
            del parts
            with self._changed:
                self.failure = failure
                self._unheard = failure or self._unheard
                self._error = error or self._error
                self._busy = False
                self._changed.notify_all()
