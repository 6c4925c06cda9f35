"""Share work among processes that import no more than the work needs.

Python's own pools fork, which does not go with TensorFlow's threads, or import the main script in
every process: here that would be TensorFlow again, or the script of a user.
"""

import collections
import contextlib
import itertools
import os
import pickle
import signal
import subprocess
import sys

MOST = 8  # more would mostly wait for the disk and for each other
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
START = "import sys; sys.path[:] = sys.argv[1:]; from digits import cores; cores.work()"


class ProcessEndedError(RuntimeError):
    """A process that had a task ended by itself, or was killed."""


def process_count():
    """Return how many processes share the work: one for each core, 8 at most."""
    if hasattr(os, "sched_getaffinity"):  # a container may have some of the machine's cores
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return min(cores, MOST)


def in_processes(function, tasks):
    """Yield `function(task)` for each task, in the order of the tasks, worked on by several cores.

    Args:
        function: one that pickle finds by its name in a module, or functools.partial of one.
        tasks: iterable; it is read at most a task for each process ahead of the results. A single
            task is not worth a process, and is done here.

    Raises:
        ProcessEndedError: a process was killed.
        Exception: what `function` raises.
    """
    tasks = iter(tasks)
    first = list(itertools.islice(tasks, process_count()))
    if len(first) < 2 or not sys.executable:
        yield from map(function, itertools.chain(first, tasks))
        return
    with contextlib.ExitStack() as stack:
        processes = collections.deque(_start(function, stack) for _ in first)
        for process, task in zip(processes, first):
            _send(process, task)
        for task in tasks:
            result = _receive(processes[0])
            _send(processes[0], task)  # first: it works while the result is used
            processes.rotate(-1)
            yield result
        yield from map(_receive, processes)


def _start(function, stack):
    """Start a process for `function` that ends with `stack`, or with this process."""
    command = [sys.executable, "-W", "ignore", "-c", START, HERE, *sys.path]
    alone = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, env=alone, **pipes)
    stack.callback(_end, process)
    _send(process, function)
    return process


def _end(process):
    process.kill()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):  # nobody takes what is left for it
            pipe.close()
    return process.wait()


def _send(process, message):
    try:
        pickle.dump(message, process.stdin)
        process.stdin.flush()
    except OSError:
        raise _ended(process) from None


def _receive(process):
    try:
        result, error = pickle.load(process.stdout)
    except (EOFError, OSError, pickle.UnpicklingError):
        raise _ended(process) from None
    if error:
        raise error
    return result


def _ended(process):
    return ProcessEndedError(
        f"A process that read pictures ended too early, with status {_end(process)}. "
        "-9 stands for one that was killed, perhaps since the memory was full"
    )


def work():
    """Answer tasks from standard input until it ends, or nobody takes the answers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    tasks, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # so that nothing else is read from there,
    os.dup2(2, 1)  # nor written to it
    with contextlib.suppress(EOFError, BrokenPipeError):
        function = pickle.load(tasks)
        while True:
            task = pickle.load(tasks)
            try:
                answer = function(task), None
            except Exception as error:
                answer = None, error
            pickle.dump(answer, answers)
            answers.flush()
