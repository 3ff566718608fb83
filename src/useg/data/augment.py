"""Augmentation: one random warp for image and labels, then random gray values for the image.

The warp joins rotation, scale, flips and elastic deformation (Ronneberger et al. 2015, section 3.1: displacements
on a coarse 3x3 grid, standard deviation 10 pixels, bicubic in between) into one field of coordinates, so that
every pixel is interpolated once, and only the crop that is needed. Beyond the border the image is mirrored.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Integer, Shaped
from pydantic import BaseModel, ConfigDict, Field


class AugmentSettings(BaseModel):
    """How far samples may differ from the annotated images.

    Attributes:
        rotate: largest rotation, degrees, to both sides.
        scale: standard deviation of the logarithm of the zoom.
        mirror_x, mirror_y: flip left-right, upside-down, each with probability 1/2.
        transpose: swap the axes with probability 1/2; with both flips, all quarter turns.
        elastic_grid: points of the displacement grid along an axis of the crop.
        elastic_sd: standard deviation of the displacements, pixels.
        contrast, brightness: standard deviations of a factor (as logarithm) and of an offset, in units of the
            image's own standard deviation.
        gamma: standard deviation of the logarithm of the exponent applied to gray values.
        noise: largest standard deviation of Gaussian noise, same unit; each sample draws its own.
        blur: largest standard deviation of Gaussian blur, pixels; a fifth of the samples is blurred.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rotate: float = Field(180.0, ge=0, le=180)
    scale: float = Field(0.15, ge=0, le=1)
    mirror_x: bool = True
    mirror_y: bool = True
    transpose: bool = True
    elastic_grid: int = Field(3, ge=2, le=32)
    elastic_sd: float = Field(10.0, ge=0)
    contrast: float = Field(0.2, ge=0, le=2)
    brightness: float = Field(0.2, ge=0, le=2)
    gamma: float = Field(0.15, ge=0, le=1)
    noise: float = Field(0.15, ge=0)
    blur: float = Field(1.0, ge=0)


NO_AUGMENTATION = AugmentSettings(
    rotate=0, scale=0, mirror_x=False, mirror_y=False, transpose=False, elastic_sd=0,
    contrast=0, brightness=0, gamma=0, noise=0, blur=0,
)  # fmt: skip


def warp_field(
    rng: np.random.Generator, centre: Sequence[float], shape: tuple[int, int], settings: AugmentSettings
) -> Float[np.ndarray, "2 y x"]:
    """Where in the image, in pixels (y, x), each pixel of a crop of `shape` around `centre` comes from."""
    height, width = shape
    y = np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2
    x = np.arange(width, dtype=np.float32)[None, :] - (width - 1) / 2
    if settings.elastic_sd:
        grid = rng.normal(0, settings.elastic_sd, (2, settings.elastic_grid, settings.elastic_grid))
        rows = _cubic_basis(settings.elastic_grid, height)
        columns = np.ascontiguousarray(_cubic_basis(settings.elastic_grid, width).T)
        # Not BLAS: its threads would wait for a core whenever something else on this computer has it.
        dy, dx = np.einsum("aik,kx->aix", np.einsum("yi,aik->ayk", rows, grid.astype(np.float32)), columns)
        y, x = y + dy, x + dx
    turn = _linear_map(rng, settings)
    return np.stack(
        [
            turn[0, 0] * y + turn[0, 1] * x + np.float32(centre[0]),
            turn[1, 0] * y + turn[1, 1] * x + np.float32(centre[1]),
        ]
    )


def resample_image(
    image: Shaped[np.ndarray, "c y0 x0"], field: Float[np.ndarray, "2 y x"]
) -> Float[np.ndarray, "c y x"]:
    """The image at the field's coordinates: bilinear, mirrored beyond the border, float32 in its own gray values."""
    # Five times as fast as scipy's map_coordinates, and threads may do it side by side.
    import torch
    from torch.nn.functional import grid_sample

    field = fold(field, image.shape[1:])
    # Only what the crop touches is turned into floats. Two pixels at least, for the scale of the coordinates.
    low = [min(int(c.min()), max(0, n - 2)) for c, n in zip(field, image.shape[1:], strict=True)]
    high = [max(int(c.max()) + 2, a + 2) for c, a in zip(field, low, strict=True)]
    window = image[:, low[0] : high[0], low[1] : high[1]].astype(np.float32)
    y, x = ((c - a) * np.float32(2 / max(1, n - 1)) - 1 for c, a, n in zip(field, low, window.shape[1:], strict=True))
    grid = torch.from_numpy(np.stack([x, y], axis=-1))
    taken = grid_sample(torch.from_numpy(window)[None], grid[None], padding_mode="border", align_corners=True)
    return np.asarray(taken[0].numpy())


def resample_labels(
    labels: Integer[np.ndarray, "y0 x0"], field: Float[np.ndarray, "2 y x"]
) -> Integer[np.ndarray, "y x"]:
    """The labels (or ids) at the field's coordinates: nearest neighbour, mirrored beyond the border."""
    y, x = (fold(field, labels.shape) + np.float32(0.5)).astype(np.int64)
    # A coordinate just below a half may be rounded up beyond the last pixel.
    y, x = np.minimum(y, labels.shape[0] - 1), np.minimum(x, labels.shape[1] - 1)
    # Looked up by one number in the part that the crop touches: three times as fast as by two.
    part = np.ascontiguousarray(labels[y.min() : y.max() + 1, x.min() : x.max() + 1])
    nearest: Integer[np.ndarray, "y x"] = part.reshape(-1).take((y - y.min()) * part.shape[1] + (x - x.min()))
    return nearest


def fold(field: Float[np.ndarray, "2 y x"], size: Sequence[int]) -> Float[np.ndarray, "2 y x"]:
    """Coordinates inside the image that hold what a mirror at its border pixels would show at those of `field`."""
    inside = []
    for c, n in zip(field, size, strict=True):
        last, low, high = np.float32(n - 1), c.min(), c.max()
        if low < -last or high > 2 * last:  # more than one reflection: rare, and five times as slow
            c = np.remainder(c + last, np.float32(max(1, 2 * (n - 1)))) - last
        if low < 0 or high > last:
            c = last - np.abs(last - np.abs(c))
        inside.append(c)
    return np.stack(inside)


def vary_gray_values(
    rng: np.random.Generator, image: Float[np.ndarray, "c y x"], settings: AugmentSettings
) -> Float[np.ndarray, "c y x"]:
    """Random gamma, contrast, brightness, blur and noise for a normalised image (mean near 0, deviation near 1)."""
    import torch
    from scipy.ndimage import gaussian_filter

    # Drawn whether used or not, so that one setting does not change what the next one draws.
    gamma, contrast, brightness = rng.normal(0, 1, 3)
    blurred, blur, noise = rng.random(3)
    if settings.gamma:
        low, high = float(image.min()), float(image.max())
        span = max(high - low, 1e-6)
        image = ((image - low) / span) ** np.float32(np.exp(settings.gamma * gamma)) * span + low
    image = image * np.float32(np.exp(settings.contrast * contrast)) + np.float32(settings.brightness * brightness)
    if settings.blur and blurred < 0.2:
        image = gaussian_filter(image, (0, settings.blur * blur, settings.blur * blur))
    if settings.noise:
        # Torch draws three times as fast as numpy, from an address as well.
        drawn = torch.randn(image.shape, generator=torch.Generator().manual_seed(int(rng.integers(2**63))))
        image += np.float32(settings.noise * noise) * drawn.numpy()
    return image.astype(np.float32, copy=False)


def _linear_map(rng: np.random.Generator, settings: AugmentSettings) -> Float[np.ndarray, "2 2"]:
    """Rotation times zoom times flips, acting on (y, x) offsets from the centre."""
    angle = np.deg2rad(settings.rotate) * rng.uniform(-1, 1)
    zoom = np.exp(settings.scale * rng.normal())
    flip_y, flip_x, transpose = rng.random(3) < 0.5
    matrix = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if settings.mirror_y and flip_y:
        matrix[:, 0] *= -1
    if settings.mirror_x and flip_x:
        matrix[:, 1] *= -1
    if settings.transpose and transpose:
        matrix = matrix[:, ::-1]
    return matrix.astype(np.float32)


@lru_cache(maxsize=64)
def _cubic_basis(points: int, pixels: int) -> Float[np.ndarray, "pixels points"]:
    """Weights of cubic spline interpolation from `points` on a line to `pixels`: bicubic is this along both axes."""
    from scipy.ndimage import zoom

    basis: Float[np.ndarray, "pixels points"] = zoom(
        np.eye(points, dtype=np.float32), (pixels / points, 1), order=3, mode="nearest"
    )
    return basis
