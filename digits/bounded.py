"""Decode what strangers send, with little time and memory: small pictures here, others apart.

A picture whose header does not promise that it is light is decoded in a process of its own, which
the system ends when it has used up its CPU time or memory. `python -m digits.bounded` is that
process: it reads a file at its standard input, and writes a line of JSON and the pixels.
"""

import contextlib
import io
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from digits.budget import BUSY, DEADLINE, Budget, BusyError
from digits.files import open_header, open_picture, upright
from digits.headers import count_scans, is_light

ROOT = Path(__file__).parents[1]
ENDING = 0.05  # of CPU time that a process takes to end
MEMORY = 225_000_000  # bytes that it may allocate: 50 million pixels of four bytes, and some more
PROCESSES = 2  # at a time
QUEUE = 8  # pictures that are decoded or wait for it; others are refused
MAX_SCANS = 100  # of a JPEG; a usual progressive one has 10
TOO_SLOW = "Expected a picture that takes less work to decode. Reduce it, or save it as a PNG."

_queue = threading.BoundedSemaphore(QUEUE)
_processes = threading.BoundedSemaphore(PROCESSES)


def decode(data: bytes, budget: Budget) -> tuple[Image.Image, int]:
    """Decode a picture, or refuse it, within the limits.

    Args:
        data: a whole file.
        budget: of its request.

    Returns:
        The picture, perhaps reduced, and the longest side of the picture in the file, in pixels.

    Raises:
        ValueError: it is no picture, damaged, or takes too much time or memory.
        BusyError: there is no time for it now.
    """
    left = budget.left()
    if is_light(data):
        return open_picture(io.BytesIO(data)), _longest(data)
    if data.startswith(b"\xff\xd8") and count_scans(data) > MAX_SCANS:
        raise ValueError(TOO_SLOW)
    fields, pixels = _decode_apart(data, left)
    budget.spend(fields.get("seconds", left) + ENDING)
    if "error" in fields:
        raise ValueError(fields["error"])
    return Image.frombytes(fields["mode"], fields["size"], pixels), fields["longest"]


def _decode_apart(data, seconds):
    """Return what `main` writes, from a process that is ended after some seconds of CPU time."""
    command = [sys.executable, "-m", "digits.bounded", str(seconds)]
    with _turn():
        try:
            done = subprocess.run(
                command, cwd=ROOT, input=data, capture_output=True, timeout=DEADLINE
            )
        except subprocess.TimeoutExpired as error:
            raise BusyError(BUSY) from error
    line, _, pixels = done.stdout.partition(b"\n")
    return json.loads(line) if done.returncode == 0 else {"error": TOO_SLOW}, pixels


@contextlib.contextmanager
def _turn() -> Iterator[None]:
    """Wait for one of the processes; raise BusyError if many wait already, or if it takes long."""
    if not _queue.acquire(blocking=False):
        raise BusyError(BUSY)
    try:
        if not _processes.acquire(timeout=DEADLINE):
            raise BusyError(BUSY)
        try:
            yield
        finally:
            _processes.release()
    finally:
        _queue.release()


def _longest(data):
    with open_header(io.BytesIO(data)) as image:
        return max(image.size)


def main(seconds: float) -> None:
    """Decode the picture at standard input: a line of JSON and its pixels, to standard output.

    Args:
        seconds: of CPU time after which the system ends this process, where it can.
    """
    _limit(seconds)
    data, pixels = sys.stdin.buffer.read(), b""
    try:
        image = upright(open_picture(io.BytesIO(data)))
        fields = {"mode": image.mode, "size": image.size, "longest": _longest(data)}
        pixels = image.tobytes()
    except ValueError as error:
        fields = {"error": str(error)}
    except MemoryError:
        fields = {"error": TOO_SLOW}
    fields["seconds"] = time.process_time()
    sys.stdout.buffer.write(json.dumps(fields).encode() + b"\n" + pixels)


def _limit(seconds):
    """Limit this process's CPU time, and on Linux the memory that it may allocate from now on."""
    if not hasattr(signal, "setitimer"):  # Windows: the deadline alone ends it
        return
    signal.setitimer(signal.ITIMER_PROF, seconds)
    statm = Path("/proc/self/statm")
    if statm.exists():
        import resource  # here, since Windows has none

        size = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))


if __name__ == "__main__":
    main(float(sys.argv[1]))
