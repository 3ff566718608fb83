"""Processes that a server starts, or that one left behind which was killed: watched, asked to end, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

import psutil

STEP_SECONDS = 0.05


class LeftProcess:
    """One that another server started, as far as a `Popen` is needed of it. How it ends nobody is told."""

    returncode = 0

    def __init__(self, process: psutil.Process | None) -> None:
        """Of a process of a group of its own; None has ended already."""
        self._process = process
        self.pid = process.pid if process else 0

    def poll(self) -> int | None:
        """None while it runs."""
        with suppress(psutil.NoSuchProcess):
            if self._process and self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE:
                return None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises `subprocess.TimeoutExpired` as a `Popen` does."""
        end = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(STEP_SECONDS)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        with suppress(psutil.NoSuchProcess):
            if self._process:
                self._process.send_signal(number)

    def kill(self) -> None:
        """End it, now."""
        with suppress(psutil.NoSuchProcess):
            if self._process:
                self._process.kill()


Child = subprocess.Popen[bytes] | LeftProcess


def start(arguments: Sequence[str], output: IO[bytes]) -> Child:
    """Start a command line; all that it says goes to a file.

    Raises:
        OSError: it cannot be started.
    """
    # In a group of its own, so that Ctrl-C reaches the server alone, which then stops its jobs in order.
    return subprocess.Popen(
        arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )


def ask_to_stop(child: Child) -> None:
    """As Ctrl-C does."""
    child.send_signal(signal.SIGTERM if os.name == "nt" else signal.SIGINT)


def kill(child: Child) -> None:
    """End a process and all that it started, now."""
    if child.poll() is not None:
        return
    if os.name == "nt":
        child.kill()
    else:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def last_line(output: IO[bytes]) -> str:
    """Of what a command said: there it tells why it ended."""
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - 4096))
    lines = output.read().decode("utf-8", "replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "it ended without a word")
    return said.removeprefix("useg: ")
