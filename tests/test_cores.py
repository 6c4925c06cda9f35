import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from digits.cores import ProcessEndedError, in_processes

ROOT = Path(__file__).parents[1]
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="no such signals on Windows")


def describe(task):
    time.sleep(0.02 * (task % 3))
    return task, os.getpid(), os.environ["OPENBLAS_NUM_THREADS"], "keras" in sys.modules


def fail(task):
    raise ValueError(f"task {task}")


def end_itself(task):
    os.kill(os.getpid(), signal.SIGKILL)


def is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(autouse=True)
def importable_helpers(monkeypatch):
    """Let helpers import this module by its name."""
    monkeypatch.syspath_prepend(Path(__file__).parent)


def test_results_come_in_order_from_other_processes_with_one_thread_and_no_keras():
    tasks, processes, threads, keras_loaded = zip(*in_processes(describe, range(20)))
    assert tasks == tuple(range(20)) and set(threads) == {"1"} and not any(keras_loaded)
    assert os.getpid() not in processes


def test_reading_pictures_imports_no_tensorflow():
    code = "import digits.folders, sys; sys.exit(bool({'keras', 'tensorflow'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("tasks", [[], [7]])
def test_a_single_task_is_done_in_this_process(tasks):
    results = list(in_processes(lambda task: (task, os.getpid()), tasks))
    assert results == [(task, os.getpid()) for task in tasks]


@needs_posix
def test_endless_tasks_are_read_as_results_are_taken(capfd):
    tasks = itertools.count()
    results = in_processes(describe, tasks)
    processes = {process for _, process, *_ in itertools.islice(results, 40)}
    assert next(tasks) <= 40 + 2 * 8  # two tasks ahead for each of eight processes at most
    results.close()
    assert not any(map(is_running, processes))
    assert capfd.readouterr().err == ""


def test_an_error_is_raised_here():
    with pytest.raises(ValueError, match="task 0"):
        list(in_processes(fail, range(5)))


@needs_posix
def test_a_killed_helper_is_an_error_that_says_what_to_do():
    with pytest.raises(ProcessEndedError, match="memory ran out: close other programs"):
        list(in_processes(end_itself, range(5)))


@needs_posix
def test_a_helper_killed_between_two_tasks_is_an_error():
    def tasks():
        yield from range(40)
        for process in processes:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.5)
        yield from range(40)

    processes = set()
    with pytest.raises(ProcessEndedError):
        for _, process, *_ in in_processes(describe, tasks()):
            processes.add(process)


SCRIPT = """
import time
from digits.cores import in_processes
print("running", flush=True)
list(in_processes(time.sleep, [60] * 8))
"""


@pytest.mark.slow
@needs_posix
@pytest.mark.parametrize("delay", np.linspace(0, 0.5, 6))
def test_helpers_say_nothing_at_ctrl_c_whenever_it_comes(delay):
    command = [sys.executable, "-c", SCRIPT]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        process.stdout.readline()
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the helpers as well
        _, errors = process.communicate(timeout=10)
    assert errors.count("Traceback") <= 1 and "popen_loky" not in errors
