"""Run app.py as a user does, for the tests of the service and of its page."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
WINDOWS = os.name == "nt"


@contextlib.contextmanager
def serve(*flags: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """Start `python app.py` on a free port; yield its address, host:port, and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "app.py", "--port", str(port), *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # as in a terminal of its own
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )
    try:
        lines = iter(process.stdout.readline, "")
        assert any("Draw a digit at" in line for line in lines), "it did not start"
        yield f"127.0.0.1:{port}", process
    finally:
        stop(process)
        process.stdout.close()


def stop(process: subprocess.Popen) -> int:
    """End a server and its workers, and return its exit status."""
    if process.poll() is None:
        process.send_signal(signal.CTRL_BREAK_EVENT if WINDOWS else signal.SIGTERM)
    try:
        return process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
