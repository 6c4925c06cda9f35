"""Share work among processes that import no more than the work needs.

The pools of Python's own import the main script anew in every process: here that would be
TensorFlow, or the script of a user who calls these functions.
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
START = "import sys; sys.path[:] = sys.argv[1:]; import workers; workers.work()"


def in_processes(function, tasks):
    """Yield `function(task)` for each task, in the order of the tasks, worked on by all cores.

    Args:
        function: one that pickle finds by its name in a module, or functools.partial of one.
        tasks: iterable, of which no more are taken than there are cores ahead of the results. A
            single task is not worth a process, and is done here.

    Raises:
        OSError: a process was killed.
        Exception: what `function` raises.
    """
    tasks = iter(tasks)
    first = list(itertools.islice(tasks, 2))
    if len(first) < 2:
        yield from map(function, first)
        return
    busy = collections.deque()  # in the order of their tasks
    with contextlib.ExitStack() as stack:
        for task in itertools.chain(first, tasks):
            if len(busy) < min(os.cpu_count(), MOST):
                busy.append(_start(function, stack))
                _send(busy[-1], task)
            else:
                busy.rotate(-1)
                result = _receive(busy[-1])
                _send(busy[-1], task)  # first: it works while the result is used
                yield result
        yield from map(_receive, busy)


def _start(function, stack):
    """Start a process for `function` that ends with `stack`, or with this process."""
    command = [sys.executable, "-W", "ignore", "-c", START, *sys.path]
    alone = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = stack.enter_context(subprocess.Popen(command, env=alone, **pipes))
    stack.callback(process.kill)
    _send(process, function)
    return process


def _send(process, message):
    pickle.dump(message, process.stdin)
    process.stdin.flush()


def _receive(process):
    try:
        result, error = pickle.load(process.stdout)
    except EOFError:
        raise OSError("A process that read pictures was killed. Is the memory full?") from None
    if error:
        raise error
    return result


def work():
    """Answer tasks from standard input until it ends, or nobody takes the answers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # so that nothing printed comes between them
    with contextlib.suppress(EOFError, BrokenPipeError):
        function = pickle.load(sys.stdin.buffer)
        while True:
            task = pickle.load(sys.stdin.buffer)
            try:
                answer = function(task), None
            except Exception as error:
                answer = None, error
            pickle.dump(answer, answers)
            answers.flush()
