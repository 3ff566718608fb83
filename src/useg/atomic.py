"""Files appear whole or not at all: a temporary name beside the target, fsync, then rename."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from useg.errors import OutputError, UsegError


def _writer() -> str:
    """This process, also among those of other machines that write to the same disk."""
    return f"{socket.gethostname()}.{os.getpid()}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path with the same suffix; when the block ends well, it becomes `path`.

    When the block fails the temporary file is removed and what stood at `path` is untouched.

    Raises:
        OutputError: the disk is full, may not be written, or a file stands where a folder is needed.
    """
    temporary = path.with_name(f".{path.stem}.{_writer()}{path.suffix}")
    with telling(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Made here, so that others may read it as far as the umask lets them; some writers would make it 0600.
            temporary.touch()
            mode = temporary.stat().st_mode
            yield temporary
            temporary.chmod(mode)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """As `replacing`, for a format that is a folder: yield a name for the new folder, then put it in place.

    A folder cannot be renamed over another, so the old one steps aside for a moment.
    """
    temporary = path.with_name(f".{path.stem}.{_writer()}.new")
    with telling(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            move_folder(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def move_folder(source: Path, target: Path) -> None:
    """Rename a folder, durably; what stood at `target` goes, and comes back where the renaming fails."""
    old = target.with_name(f".{target.stem}.{_writer()}.old")
    there = target.exists() and target != source
    if there:
        target.replace(old)
    try:
        source.replace(target)
    except OSError:
        if there:
            old.replace(target)
        raise
    sync(target.parent)
    if there:
        shutil.rmtree(old, ignore_errors=True)


def sync(path: Path) -> None:
    """Have what was written to a file, or which names a folder holds, on the disk, whatever happens to the power."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Tell what the disk says in one line of ours."""
    try:
        yield
    except UsegError:
        raise
    except OSError as error:
        what = error.strerror or str(error)
        raise OutputError(f"{path}: cannot be written ({what}); free the disk, or name another folder") from error


def require_output_folder(path: Path) -> None:
    """See that `path` can be a folder of results, before any work is done for it.

    Raises:
        OutputError: it, or a part of its path, is a file.
    """
    for part in (path, *path.parents):
        if part.exists():
            if not part.is_dir():
                raise OutputError(f"{part}: is a file, and a folder is needed for the results; name another folder")
            return


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
