"""What the border weights of training images are made of: computed once an image, kept in files beside the run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import numpy as np
from jaxtyping import Float16

from useg.atomic import replacing
from useg.data.dataset import Example
from useg.parts import bytes_of
from useg.scratch import reserve
from useg.unet.borders import BorderSettings, border_fields, field_count

MOST_OPEN = 256
"""Files that are mapped into memory at a time."""


class KeptFields:
    """The fields of each image, see `unet.borders.border_fields`: made when they are first asked for, and kept.

    Half precision is a thousandth off, which no weight minds. A file is named by a checksum of all that it was made of,
    so that other data or settings never find it.

    Args:
        examples: images with ids of objects.
        folder: where the files stand; made if missing.
    """

    def __init__(self, examples: Sequence[Example], settings: BorderSettings, folder: Path) -> None:
        self._examples, self._settings, self._folder = examples, settings, folder
        self._held: dict[int, Float16[np.ndarray, "f *space"]] = {}
        self._making = Lock()  # samples are drawn by several threads

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, which: int) -> Float16[np.ndarray, "f *space"]:
        with self._making:
            if which not in self._held:
                if len(self._held) >= MOST_OPEN:
                    self._held.pop(next(iter(self._held)))
                self._held[which] = self._read(self._examples[which])
            return self._held[which]

    def _read(self, example: Example) -> Float16[np.ndarray, "f *space"]:
        objects = example.objects
        assert objects is not None
        made_of = hashlib.blake2b(digest_size=12)
        for part in bytes_of(objects):
            made_of.update(part)
        made_of.update(f"{objects.shape} {example.spacing} {self._settings.model_dump_json()}".encode())
        path = self._folder / f"{made_of.hexdigest()}.npy"
        try:
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError):  # not there, or cut short: it can be computed
            with replacing(path) as temporary:
                shape = (field_count(self._settings), *objects.shape)
                out = np.lib.format.open_memmap(temporary, "w+", np.float16, shape)
                with temporary.open("r+b") as file:
                    reserve(file, temporary.stat().st_size)
                border_fields(objects, self._settings, example.spacing, out)
                del out
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def kept_fields(examples: Sequence[Example], settings: BorderSettings, folder: Path) -> KeptFields | None:
    """The fields of all examples; None where pixels are not weighed, by the settings or for lack of objects."""
    if not settings.on or any(example.objects is None for example in examples):
        return None
    return KeptFields(examples, settings, folder)
