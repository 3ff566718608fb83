"""Every error that useg raises on purpose.

    UsegError                  the root: a door prints it as one line and exits with 2
    ├── DataError              a data set cannot be used as it is             (ValueError)
    ├── ImageError             a file does not hold an image that we can read (ValueError)
    ├── ModelError             a file is not a useg model, or is damaged      (ValueError)
    ├── SettingsError          a setting has a value that it cannot have      (ValueError)
    ├── SizeError              a size that this network cannot take           (ValueError)
    ├── OutputError            something stands where we would write          (FileExistsError)
    ├── MissingError           a file or folder that is not there             (FileNotFoundError)
    ├── MissingExtraError      an optional library that is not installed      (ImportError)
    ├── TrainingError          training cannot go on                          (RuntimeError)
    ├── ExportError            a model cannot be exported, or not faithfully  (RuntimeError)
    └── WorkerError            workers that are not there, or die             (RuntimeError)

A message names the file, says what is wrong with the value that was seen, and what to do. Anything else that
leaves the library is a bug.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


class UsegError(Exception):
    """Root of the errors that useg raises on purpose."""


class DataError(UsegError, ValueError):
    """A data set cannot be used as it is."""


class ImageError(UsegError, ValueError):
    """A file does not hold an image that we can read."""


class ModelError(UsegError, ValueError):
    """A file is not a useg model, or is damaged."""


class SettingsError(UsegError, ValueError):
    """A setting has a value that it cannot have."""


class SizeError(UsegError, ValueError):
    """A size that this network cannot take; the message names the nearest ones that fit."""


class OutputError(UsegError, FileExistsError):
    """Something stands where the output would go."""


class MissingError(UsegError, FileNotFoundError):
    """A file or folder that is not there."""


class MissingExtraError(UsegError, ImportError):
    """An optional library that is not installed; the message names the extra that brings it."""


class TrainingError(UsegError, RuntimeError):
    """Training cannot go on."""


class ExportError(UsegError, RuntimeError):
    """A model that cannot be exported, or whose export does not give the same result."""


class WorkerError(UsegError, RuntimeError):
    """Workers that are not there, or that die of what they are given."""


@contextmanager
def extra(path: str | os.PathLike[str], name: str) -> Iterator[None]:
    """Import optional libraries inside this block; a missing one is told with the extra that brings it.

    Raises:
        MissingExtraError: a library is not installed.
    """
    try:
        yield
    except ImportError as error:
        missing = error.name or str(error)
        raise MissingExtraError(f"{path}: needs {missing}, which is not here; pip install 'useg[{name}]'") from error
