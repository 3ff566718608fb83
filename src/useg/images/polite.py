"""Keep the libraries that read and write files polite: one error of ours, no warnings, no words on the terminal."""

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from useg.atomic import replacing, replacing_folder
from useg.errors import ImageError, UsegError

# What a library logs would be printed to standard error where no handler takes it.
for _name in ("tifffile", "rasterio", "pydicom", "highdicom", "nibabel"):
    logging.getLogger(_name).addHandler(logging.NullHandler())
# nibabel brings a handler of its own that prints what it finds odd in a header.
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)


@contextmanager
def decoding(path: Path | str, part: str = "") -> Iterator[None]:
    """Run a third-party decoder: whatever it raises becomes one ImageError, its warnings stay unheard.

    Args:
        path: the file.
        part: what of it is decoded, for the message; ends with a space.
    """
    with _silence:
        try:
            yield
        except UsegError:
            raise
        # A decoder fed a damaged file may raise anything at all, from KeyError to struct.error.
        except Exception as error:
            raise ImageError(
                f"{path}: {part}cannot be decoded ({_said(error)}); it is damaged or incomplete"
            ) from error


@contextmanager
def encoding(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """Yield a temporary name to write to; it becomes `path` when the block ends well, else one error of ours.

    What the disk refuses is an OutputError, what the format cannot hold an ImageError. Warnings stay unheard.
    """
    with _silence:
        try:
            with (replacing_folder if folder else replacing)(path) as temporary:
                yield temporary
        except UsegError:
            raise
        # highdicom and GDAL refuse in words of their own what their formats cannot hold.
        except Exception as error:
            raise ImageError(f"{path}: cannot be written ({_said(error)}); choose another --format") from error


def _said(error: Exception) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= 160 else said[:157] + "..."


class _Silence:
    """Warnings, and errors in the callbacks of GDAL, off while any thread decodes.

    `warnings.catch_warnings` swaps a list that all threads share, so nested use from two threads may restore
    the wrong one; here the first to enter switches off and the last to leave switches on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._caught = warnings.catch_warnings()
        self._hook, self._print = sys.unraisablehook, sys.excepthook

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")
                self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
                self._print, sys.excepthook = sys.excepthook, self._uncaught
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._caught.__exit__(None, None, None)
                sys.unraisablehook, sys.excepthook = self._hook, self._print

    # rasterio fails to log what GDAL says of a damaged file when that is no UTF-8; Python prints so through both hooks.
    # Everything else is passed on, for another thread may fail in earnest meanwhile.
    def _uncaught(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, UnicodeDecodeError):
            self._print(kind, error, trace)

    def _unraisable(self, told: "sys.UnraisableHookArgs") -> None:
        if "rasterio" not in str(told.object):
            self._hook(told)


_silence = _Silence()
