"""Gray values -> network input. Part of the model: what training saw is what prediction gives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Shaped
from pydantic import BaseModel, ConfigDict, model_validator

from useg.parts import PART, parts, percentiles

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
        values = image.astype(np.float32, copy=bool(self.bounds))
        for channel, (low, high) in zip(values, self.bounds, strict=False):
            np.clip(channel, low, high, out=channel)
        result = values - self.shift.reshape(shape)
        result /= self.scale.reshape(shape)
        if image.dtype.kind == "f":
            # One pass tells whether there is anything to replace, which takes several.
            with np.errstate(invalid="ignore", over="ignore"):
                broken = not np.isfinite(result.sum())
            if broken:
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
    small = subsample(image)
    padding = _padding(small)
    for channel in range(channels):

        def counted(channel: int = channel) -> Iterator[np.ndarray]:
            for pixels in _pixels(small):
                values = pixels[channel]
                yield values[~_any_of(pixels, padding) & np.isfinite(values)]

        if small[0].size <= PART:
            counted = partial(iter, list(counted()))
        number = sum(values.size for values in counted())
        if not number:
            continue
        low, high = percentiles(counted, settings.clip)
        mean = sum(np.add.reduce(values.astype(np.float64).clip(low, high)) for values in counted()) / number
        off = (np.square(values.astype(np.float64).clip(low, high) - mean) for values in counted())
        shift[channel] = mean
        # Of equal numbers, the deviation can be a rounding error instead of 0.
        scale[channel] = (np.sqrt(sum(map(np.add.reduce, off)) / number) if low < high else 0.0) or 1.0
    return Intensity(shift, scale)


def _pixels(small: Shaped[np.ndarray, "c *small"]) -> Iterator[Shaped[np.ndarray, "c n"]]:
    """All pixels, part by part."""
    for planes in zip(*map(parts, small), strict=True):
        yield np.stack([plane.reshape(-1) for plane in planes])


def _any_of(pixels: Shaped[np.ndarray, "c n"], colours: Sequence[Shaped[np.ndarray, " c"]]) -> Bool[np.ndarray, " n"]:
    """Which pixels have one of these values, in all channels."""
    found = np.zeros(pixels.shape[1], bool)
    for colour in colours:
        found |= (pixels == colour[:, None]).all(0)
    return found


def _padding(small: Shaped[np.ndarray, "c *small"]) -> list[Shaped[np.ndarray, " c"]]:
    """What only fills the frame, a value a channel: white wedges of a registered scan, -2000 around a CT slice.

    Padding is one value at an end of the range, in all channels, that many pixels share and hardly any comes near,
    unlike a dark background or a bright sky. Its area differs from image to image, so it would change the look of all
    else.
    """
    size, ends = math.prod(small.shape[1:]), []
    for pixels in _pixels(small):
        finite = np.isfinite(pixels).all(0)
        known = pixels if finite.all() else pixels[:, finite]
        ends += [known.min(1), known.max(1)] if known.size else []
    if not ends:
        return []

    def filled(colours: Sequence[np.ndarray]) -> int:
        return sum(int(np.count_nonzero(_any_of(pixels, colours))) for pixels in _pixels(small))

    low, high = np.min(ends, axis=0), np.max(ends, axis=0)
    near, found = np.ptp([low, high], axis=0) / 100, []
    for end in (low, high):
        count = filled([end])
        if count <= PADDING_SHARE * size:
            continue
        close = 0
        for pixels in _pixels(small):
            away = np.abs(pixels.astype(np.float64) - end.astype(np.float64)[:, None])
            close += int(np.count_nonzero((away <= near[:, None]).all(0)))
        if count > PADDING_SPIKE * (close - count):
            found.append(end)
    # What fills almost all of an image is no padding.
    return found if filled(found) < 0.9 * size else []


def subsample(image: Shaped[np.ndarray, "c *size"]) -> Shaped[np.ndarray, "c *small"]:
    """A strided view of at most SAMPLE_EDGE pixels an axis."""
    return image[(slice(None), *(slice(None, None, step) for step in sample_steps(image.shape[1:])))]


def sample_steps(size: Sequence[int]) -> list[int]:
    """Every how many pixels of each axis `subsample` takes one."""
    return [-(-n // SAMPLE_EDGE) for n in size]
