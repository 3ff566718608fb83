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
from useg.unet.borders import BorderSettings, border_fields


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
                self._held[which] = self._read(self._examples[which])
        return self._held[which]

    def _read(self, example: Example) -> Float16[np.ndarray, "f *space"]:
        objects = example.objects
        assert objects is not None
        made_of = hashlib.blake2b(np.ascontiguousarray(objects).data, digest_size=12)
        made_of.update(f"{objects.shape} {example.spacing} {self._settings.model_dump_json()}".encode())
        path = self._folder / f"{made_of.hexdigest()}.npy"
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError):  # not there, or cut short: it can be computed
            fields = border_fields(objects, self._settings, example.spacing).astype(np.float16)
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.save(file, fields)
            return fields


def kept_fields(examples: Sequence[Example], settings: BorderSettings, folder: Path) -> KeptFields | None:
    """The fields of all examples; None where pixels are not weighed, by the settings or for lack of objects."""
    if not settings.on or any(example.objects is None for example in examples):
        return None
    return KeptFields(examples, settings, folder)
