"""Gray values -> network input. Part of the model: what training saw is what prediction gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Shaped
from pydantic import BaseModel, ConfigDict, model_validator

SAMPLE_EDGE = 1024
"""Statistics of an image come from a strided subsample of at most this many pixels an axis: the same numbers for an
image in memory and for one read in windows."""


class NormaliseSettings(BaseModel):
    """How gray values become network input.

    Attributes:
        kind: "image", each channel of each image to mean 0 and standard deviation 1, padding left out (its own
            exposure does not matter); "fixed", by the `mean` and `std` of the training images (the unit means
            something, as in CT); "none", as they are.
        mean, std: one a channel, for "fixed".
        bounds: lowest and highest gray value, one pair a channel, to which "fixed" clips before; () clips nothing.
        clip: percentiles of the image beyond which values do not count in its mean and standard deviation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["image", "fixed", "none"] = "image"
    mean: list[float] = []
    std: list[float] = []
    bounds: list[tuple[float, float]] = []
    clip: tuple[float, float] = (0.1, 99.9)

    @model_validator(mode="after")
    def _possible(self) -> NormaliseSettings:
        if not 0 <= self.clip[0] < self.clip[1] <= 100:
            raise ValueError(f"normalise.clip is {self.clip}; give two percentiles, the lower one first, in 0..100")
        if any(deviation <= 0 for deviation in self.std):
            raise ValueError(f"normalise.std is {self.std}; deviations are above 0")
        if any(low > high for low, high in self.bounds) or (self.bounds and len(self.bounds) != len(self.mean)):
            raise ValueError(f"normalise.bounds is {self.bounds}; give each channel the lower one first")
        return self

    @property
    def clipped(self) -> list[tuple[float, float]]:
        """The bounds, where they hold."""
        return self.bounds if self.kind == "fixed" else []


PADDING_SHARE = 0.005
"""Fewer pixels than this share do not move a mean."""
PADDING_SPIKE = 100
"""How many times as many pixels have the value of the padding as have one within a hundredth of the range of it."""


@dataclass(frozen=True)
class Intensity:
    """The map of one image: (value - shift) / scale, one pair a channel, of values clipped to `bounds` where given."""

    shift: Float[np.ndarray, " c"]
    scale: Float[np.ndarray, " c"]
    bounds: Sequence[tuple[float, float]] = ()

    def apply(self, image: Shaped[np.ndarray, "c *size"]) -> Float[np.ndarray, "c *size"]:
        """Normalised float32. Pixels that are not finite become 0, the mean."""
        shape = (-1,) + (1,) * (image.ndim - 1)
        values = image.astype(np.float32)
        for channel, (low, high) in zip(values, self.bounds, strict=False):
            np.clip(channel, low, high, out=channel)
        result = (values - self.shift.reshape(shape)) / self.scale.reshape(shape)
        if image.dtype.kind == "f":
            np.nan_to_num(result, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        return result


def measure(image: Shaped[np.ndarray, "c *size"], settings: NormaliseSettings) -> Intensity:
    """The map that `settings` give this image. A constant channel gets scale 1."""
    channels = image.shape[0]
    if settings.kind == "none":
        return Intensity(np.zeros(channels, np.float32), np.ones(channels, np.float32))
    if settings.kind == "fixed":
        return Intensity(np.array(settings.mean, np.float32), np.array(settings.std, np.float32), settings.clipped)
    shift, scale = np.zeros(channels, np.float32), np.ones(channels, np.float32)
    small = subsample(image).reshape(channels, -1)
    seen = ~_padding(small)
    for channel, values in enumerate(small):
        counted = values[seen & np.isfinite(values)].astype(np.float64)
        if not counted.size:
            continue
        low, high = np.percentile(counted, settings.clip)
        clipped = counted.clip(low, high)
        shift[channel] = clipped.mean()
        # Of equal numbers, numpy's deviation can be a rounding error instead of 0.
        scale[channel] = (clipped.std() if low < high else 0.0) or 1.0
    return Intensity(shift, scale)


def _padding(values: Shaped[np.ndarray, "c n"]) -> Bool[np.ndarray, " n"]:
    """Pixels that only fill the frame: white wedges of a registered scan, -2000 around a CT slice.

    Padding is one value at an end of the range, in all channels, that many pixels share and hardly any comes near,
    unlike a dark background or a bright sky. Its area differs from image to image, so it would change the look of all
    else.
    """
    finite = np.isfinite(values).all(0)
    found = np.zeros(finite.shape, bool)
    if finite.any():
        known = values if finite.all() else values[:, finite]
        for ends in (known.min(1), known.max(1)):
            filled = (values == ends[:, None]).all(0)
            count = np.count_nonzero(filled)
            if count <= PADDING_SHARE * filled.size:
                continue
            near = np.ptp(known, axis=1) / 100
            away = np.abs(values.astype(np.float64) - ends.astype(np.float64)[:, None])
            close = np.count_nonzero((away <= near[:, None]).all(0))
            if count > PADDING_SPIKE * (close - count):
                found |= filled
    # What fills almost all of an image is no padding.
    return found if np.count_nonzero(found) < 0.9 * found.size else np.zeros_like(found)


def subsample(image: Shaped[np.ndarray, "c *size"]) -> Shaped[np.ndarray, "c *small"]:
    """A strided view of at most SAMPLE_EDGE pixels an axis."""
    return image[(slice(None), *(slice(None, None, step) for step in sample_steps(image.shape[1:])))]


def sample_steps(size: Sequence[int]) -> list[int]:
    """Every how many pixels of each axis `subsample` takes one."""
    return [-(-n // SAMPLE_EDGE) for n in size]
