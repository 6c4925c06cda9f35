import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from digits.cores import ProcessEndedError, in_processes, process_count


def describe(task):
    print("a word on standard output")
    time.sleep(0.02 * (task % 3))
    return task, os.getpid(), sys.stdin.read()


def fail(task):
    raise ValueError(f"task {task}")


class Deadly:
    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGTERM)


def end_itself(task):
    Deadly().__reduce__()


def end_while_answering(task):
    return bytes(10**6), Deadly()


def end_when_idle(task):
    signal.setitimer(signal.ITIMER_REAL, 0.05)


def is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_answers_come_in_order_from_several_processes():
    tasks, processes, read = zip(*in_processes(describe, range(20)))
    assert tasks == tuple(range(20)) and not any(read)
    assert os.getpid() not in processes and len(set(processes)) == process_count()


def test_what_reads_pictures_does_not_load_tensorflow():
    code = "import picture_folders, sys; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


@pytest.mark.parametrize("tasks", [[], [7]])
def test_a_single_task_is_done_here(tasks):
    assert list(in_processes(lambda task: (task, os.getpid()), tasks)) == [
        (task, os.getpid()) for task in tasks
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="signal 0 is no question on Windows")
def test_tasks_without_end_are_taken_as_answers_are(capfd):
    tasks = itertools.count()
    answers = in_processes(describe, tasks)
    processes = {process for _, process, _ in itertools.islice(answers, 20)}
    assert next(tasks) <= 20 + process_count()
    answers.close()
    assert not any(map(is_running, processes))
    assert "Traceback" not in capfd.readouterr().err


def test_an_error_is_raised_here():
    with pytest.raises(ValueError, match="task 0"):
        list(in_processes(fail, range(5)))


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals on Windows")
@pytest.mark.parametrize("end", [end_itself, end_while_answering])
def test_a_killed_process_is_an_error(end):
    with pytest.raises(ProcessEndedError, match="with status -15"):
        list(in_processes(end, range(5)))


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals on Windows")
def test_a_process_that_ends_between_two_tasks_is_an_error():
    def tasks():
        yield from range(process_count())
        time.sleep(1)
        yield 99

    with pytest.raises(ProcessEndedError, match="with status -14"):
        list(in_processes(end_when_idle, tasks()))
