"""Share work among processes, one for each core.

Python's own pools fork, which TensorFlow's threads do not survive, or import the main script again
in each process, and TensorFlow with it. loky, the pool inside joblib, does neither.
"""

import collections
import contextlib
import itertools
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import loky

MAX_PROCESSES = 8  # more would mostly wait for the disk and for each other
IDLE = 20  # seconds without work after which a helper ends, in case this process was killed
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class ProcessEndedError(RuntimeError):
    """A helper process was killed, or crashed, while it had work to do."""


def in_processes(function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
    """Yield `function(task)` for each task, in the order of the tasks, computed on several cores.

    Args:
        function: importable by its name, or a functools.partial of such a function.
        tasks: read lazily, at most two tasks per process ahead of the results. A single task is not
            worth a process and is done in this one.

    Raises:
        ProcessEndedError: a helper was killed or crashed.
        Exception: whatever `function` raises.
    """
    tasks, count = iter(tasks), min(loky.cpu_count(), MAX_PROCESSES)
    first = list(itertools.islice(tasks, 2 * count))
    if len(first) < 2:
        yield from map(function, first)
        return
    with _pool(min(count, len(first))) as pool:
        results = collections.deque(pool.submit(function, task) for task in first)
        for task in tasks:
            yield results.popleft().result()
            results.append(pool.submit(function, task))
        while results:
            yield results.popleft().result()


@contextlib.contextmanager
def _pool(count: int) -> Iterator[loky.ProcessPoolExecutor]:
    """Provide `count` helpers; end them when the work is done, has failed or is abandoned."""
    options = {"timeout": IDLE, "initializer": _ignore_ctrl_c, "env": ONE_THREAD}
    pool = loky.ProcessPoolExecutor(count, **options)
    try:
        with _ctrl_c_ignored():
            pool.submit(_ignore_ctrl_c)  # the first task starts the helpers
        yield pool
    except loky.BrokenProcessPool as error:
        raise ProcessEndedError(
            "A helper process ended before its work was done. It may have been killed because "
            "memory ran out: close other programs, or try fewer or smaller pictures."
        ) from error
    finally:
        pool.shutdown(kill_workers=True)


def _ignore_ctrl_c() -> None:
    """Leave Ctrl-C to the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """Ignore Ctrl-C for a moment; processes started meanwhile inherit that, and print nothing."""
    if threading.current_thread() is not threading.main_thread():  # no other may change handlers
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
