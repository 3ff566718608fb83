"""One writer at a time in a folder, and files that are whole before they have their name.

The lock is the write lock of an empty SQLite database, which is a lock of the operating system on every system that
Python runs on. It is let go of when its process ends, however it ends, so there is no stale lock to break.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from useg.atomic import telling
from useg.errors import OutputError

LOCK = ".lock"
SECONDS = 30.0
"""To wait for another writer, who holds the lock only while files are renamed."""
MARK = ".new-"
"""Names of files that are being written begin so; they are no images to anyone."""
FORGOTTEN = 3600.0
"""Seconds after which nobody is writing a file any more."""


@contextmanager
def locked(folder: Path, seconds: float = SECONDS) -> Iterator[None]:
    """Hold the lock of a folder, among threads and processes. Not to be nested.

    Raises:
        OutputError: another writer does not let go of it, or the folder cannot be written to.
    """
    path = folder / LOCK
    try:
        # isolation_level: transactions begin where we say so. Closing rolls the empty one back.
        connection = sqlite3.connect(path, timeout=seconds, isolation_level=None)
    except sqlite3.Error as error:
        raise _refused(path, error) from error
    with closing(connection):
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise _refused(path, error) from error
        yield


def _refused(path: Path, error: sqlite3.Error) -> OutputError:
    return OutputError(
        f"{path}: the project cannot be locked for writing ({error}); see that its folder may be written to, and that "
        "no other program holds it"
    )


@contextmanager
def new_beside(target: Path) -> Iterator[Path]:
    """A name beside the target, for a file that is renamed in the block; what is left of it afterwards goes.

    Raises:
        OutputError: the disk is full, or may not be written.
    """
    written = target.with_name(f"{MARK}{uuid.uuid4().hex[:12]}{target.suffix}")
    try:
        with telling(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield written
    finally:
        with suppress(OSError):
            written.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Take away what writers who were killed left in a folder."""
    for pattern in (f"{MARK}*", f".{MARK}*"):  # useg.atomic puts a dot before
        for path in folder.glob(pattern) if folder.is_dir() else ():
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > FORGOTTEN:
                    path.unlink()
