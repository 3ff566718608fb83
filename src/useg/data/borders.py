"""What the border weights of training images are made of: computed once an image, kept in a file beside the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float16

from useg.atomic import replacing
from useg.data.dataset import Example
from useg.unet.borders import BorderSettings, border_fields


def kept_fields(
    examples: Sequence[Example], settings: BorderSettings, path: Path, fingerprint: str
) -> list[Float16[np.ndarray, "f *space"]] | None:
    """The fields of every example, see `unet.borders.border_fields`; None where pixels are not weighed.

    Those in the file at `path` are taken where it was made with the same settings for the same data (`fingerprint`);
    otherwise they are computed and written there. Half precision is a thousandth off, which no weight minds.
    """
    if not settings.on or any(example.objects is None for example in examples):
        return None
    key = f"{fingerprint} {len(examples)} {settings.model_dump_json()}"
    return _read(path, key) or _write(path, key, [_fields(example, settings) for example in examples])


def _fields(example: Example, settings: BorderSettings) -> Float16[np.ndarray, "f *space"]:
    assert example.objects is not None
    return border_fields(example.objects, settings, example.spacing).astype(np.float16)


def _read(path: Path, key: str) -> list[np.ndarray] | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("made of") != key:
                return None
            return [file.get_tensor(name) for name in sorted(file.keys())]
    except (SafetensorError, OSError):  # not there, or cut short: it can be computed
        return None


def _write(path: Path, key: str, fields: list[np.ndarray]) -> list[np.ndarray]:
    from safetensors.numpy import save_file

    with replacing(path) as temporary:
        save_file({f"{i:06d}": field for i, field in enumerate(fields)}, temporary, metadata={"made of": key})
    return fields
