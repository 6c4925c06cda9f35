"""The CPU time that the service grants to the pictures of a request."""

import threading
import time

SECONDS = 1.5  # of CPU time, after which no other picture is decoded or read
MORE = 0.7  # seconds in which the last one may be finished: a large page takes 1 on a fast core
READERS = 12  # pictures at a time, each of which takes memory; 8 may wait to be decoded apart
DEADLINE = 30  # seconds to wait for others
BUSY = "The service is busy with other pictures. Send this one again in a few seconds."
_turns = threading.BoundedSemaphore(READERS)
_current = threading.local()


class BusyError(RuntimeError):
    """There is no time for a picture: its request holds too many, or others wait already."""


class Budget:
    """The CPU time that is left for the pictures of a request, which one thread reads.

    In its `with` block, which few threads enter at a time, `require_time` ends long work in this
    thread.
    """

    def __init__(self) -> None:
        self._end = time.thread_time() + SECONDS

    def __enter__(self) -> None:
        if not _turns.acquire(timeout=DEADLINE):
            raise BusyError(BUSY)
        _current.budget = self

    def __exit__(self, *_: object) -> None:
        del _current.budget
        _turns.release()

    def left(self, more: float = 0) -> float:
        """Return the seconds that are left, and some more.

        Raises:
            BusyError: there are none.
        """
        left = self._end + more - time.thread_time()
        if left <= 0:
            raise BusyError("These pictures take too long to read. Send fewer or smaller ones.")
        return left

    def spend(self, seconds: float) -> None:
        """Count CPU time that another process took."""
        self._end -= seconds


def require_time() -> None:
    """Raise BusyError if this thread has used up its budget; without one there is no limit."""
    if budget := getattr(_current, "budget", None):
        budget.left(MORE)
