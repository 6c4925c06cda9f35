import itertools
import os
import signal
import sys
import time

import pytest

from workers import in_processes


def describe(task):
    print("a word on standard output")
    time.sleep(0.02 * (task % 3))
    return task, os.getpid(), "tensorflow" in sys.modules


def fail(task):
    raise ValueError(f"task {task}")


def end_itself(task):
    os.kill(os.getpid(), signal.SIGTERM)


def is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_answers_come_in_order_from_processes_without_tensorflow():
    tasks, processes, loaded = zip(*in_processes(describe, range(20)))
    assert tasks == tuple(range(20))
    assert os.getpid() not in processes and len(set(processes)) == min(os.cpu_count(), 8)
    assert not any(loaded)


@pytest.mark.parametrize("tasks", [[], [7]])
def test_a_single_task_is_done_here(tasks):
    answers = list(in_processes(describe, tasks))
    assert [task for task, *_ in answers] == tasks
    assert all(process == os.getpid() for _, process, _ in answers)


@pytest.mark.skipif(sys.platform == "win32", reason="signal 0 is no question on Windows")
def test_tasks_without_end_are_taken_as_answers_are(capfd):
    tasks = itertools.count()
    answers = in_processes(describe, tasks)
    processes = {process for _, process, _ in itertools.islice(answers, 20)}
    assert next(tasks) <= 20 + min(os.cpu_count(), 8) + 1
    answers.close()
    assert not any(map(is_running, processes))
    assert "Traceback" not in capfd.readouterr().err


def test_an_error_is_raised_here():
    with pytest.raises(ValueError, match="task 0"):
        list(in_processes(fail, range(5)))


def test_a_killed_process_is_an_error():
    with pytest.raises(OSError, match="was killed"):
        list(in_processes(end_itself, range(5)))
