"""Augmentation: one random warp for image and labels, then random gray values for the image.

The warp joins rotation, scale, flips and elastic deformation (Ronneberger et al. 2015, section 3.1: displacements
on a coarse 3x3 grid, standard deviation 10 pixels, bicubic in between; in volumes likewise, Çiçek et al. 2016, section
3) into one field of coordinates, so that every pixel is interpolated once, and only the crop that is needed. Beyond
the border the image is mirrored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Integer, Shaped
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat


class AugmentSettings(BaseModel):
    """How far samples may differ from the annotated images.

    Attributes:
        rotate: largest rotation, degrees, to both sides; of volumes within their slices.
        tilt: of volumes, largest rotation out of the plane of the slices, about either of its axes.
        within_slices: of volumes, nothing moves along z but by `mirror_z`: each slice of a sample is one of the volume.
        scale: standard deviation of the logarithm of the zoom.
        mirror_x, mirror_y, mirror_z: flip left-right, upside-down, front to back, each with probability 1/2.
        transpose: swap y and x with probability 1/2; with both flips, all quarter turns.
        spacing: of volumes, edges of a voxel (z, y, x) in any one unit: turns and zoom act in space; () is a cube.
        elastic_grid: points of the displacement grid along an axis of the crop.
        elastic_sd: standard deviation of the displacements, pixels of the finest axis.
        contrast, brightness: standard deviations of a factor (as logarithm) and of an offset, in units of the
            image's own standard deviation.
        gamma: standard deviation of the logarithm of the exponent applied to gray values.
        noise: largest standard deviation of Gaussian noise, same unit; each sample draws its own.
        blur: largest standard deviation of Gaussian blur, pixels; a fifth of the samples is blurred.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rotate: float = Field(default=180.0, ge=0, le=180)
    tilt: float = Field(default=0.0, ge=0, le=180)
    within_slices: bool = False
    scale: float = Field(default=0.15, ge=0, le=1)
    mirror_x: bool = True
    mirror_y: bool = True
    mirror_z: bool = False
    transpose: bool = True
    spacing: tuple[PositiveFloat, ...] = ()
    elastic_grid: int = Field(default=3, ge=2, le=32)
    elastic_sd: float = Field(default=10.0, ge=0)
    contrast: float = Field(default=0.2, ge=0, le=2)
    brightness: float = Field(default=0.2, ge=0, le=2)
    gamma: float = Field(default=0.15, ge=0, le=1)
    noise: float = Field(default=0.15, ge=0)
    blur: float = Field(default=1.0, ge=0)


NO_AUGMENTATION = AugmentSettings(
    rotate=0, scale=0, mirror_x=False, mirror_y=False, transpose=False, elastic_sd=0,
    contrast=0, brightness=0, gamma=0, noise=0, blur=0,
)  # fmt: skip


def warp_field(
    rng: np.random.Generator, centre: Sequence[float], shape: Sequence[int], settings: AugmentSettings
) -> Float[np.ndarray, "d *crop"]:
    """Where in the image each pixel of a crop of `shape` around `centre` comes from, in pixels along each axis."""
    dims, grid = len(shape), settings.elastic_grid
    edges = np.array(settings.spacing or (1.0,) * dims)
    edges = (edges / edges.min()).astype(np.float32)
    moves = rng.normal(0, settings.elastic_sd, (dims, *(grid,) * dims)) / edges.reshape(-1, *(1,) * dims)
    moves[: int(settings.within_slices)] = 0
    # In space, where turns are turns: pixels -> lengths -> turned -> pixels.
    turn = _linear_map(rng, dims, settings) * edges[None, :] / edges[:, None]
    # Displacements are turned while they are few.
    field: Float[np.ndarray, "d *crop"] = np.tensordot(turn, moves, 1).astype(np.float32)
    for axis, n in enumerate(shape, start=1):
        basis = np.ascontiguousarray(_cubic_basis(grid, n).T)
        # Not BLAS: its threads would wait for a core whenever something else on this computer has it.
        field = np.moveaxis(np.einsum("...i,ip->...p", np.moveaxis(field, axis, -1), basis), -1, axis)
    offsets = np.ix_(*(np.arange(n, dtype=np.float32) - np.float32((n - 1) / 2) for n in shape))
    for coordinates, factors, middle in zip(field, turn, centre, strict=True):
        lines = [factor * offset for factor, offset in zip(factors, offsets, strict=True)]
        lines[0] += np.float32(middle)
        for line in lines:
            coordinates += line
    if settings.within_slices:
        field[0] = np.floor(field[0] + np.float32(0.5))
    return field


@dataclass(frozen=True)
class Places:
    """Where in an image the pixels of a crop are taken from.

    Attributes:
        coordinates: in pixels along each axis, none beyond the border.
        window: whole pixels around them, with the neighbours that a linear interpolation between them needs.
    """

    coordinates: Float[np.ndarray, "d *crop"]
    window: tuple[slice, ...]

    def __getitem__(self, part: tuple[slice, ...]) -> Places:
        """Those of a part of the crop."""
        return Places(self.coordinates[(slice(None), *part)], self.window)


def fold(field: Float[np.ndarray, "d *crop"], size: Sequence[int]) -> Places:
    """Places in an image of `size` that hold what a mirror at its border pixels would show at those of `field`."""
    inside, window = [], []
    for c, n in zip(field, size, strict=True):
        last, low, high = np.float32(n - 1), c.min(), c.max()
        if low < 0 or high > last:
            if low < -last or high > 2 * last:  # more than one reflection: rare, and five times as slow
                c = np.remainder(c + last, np.float32(max(1, 2 * (n - 1)))) - last
            c = last - np.abs(last - np.abs(c))
            low, high = c.min(), c.max()
        inside.append(c)
        # Two pixels at least, where there are, for the scale of the coordinates.
        first = min(int(low), max(0, n - 2))
        window.append(slice(first, min(n, max(int(high), first) + 2)))
    return Places(np.stack(inside), tuple(window))


def resample_image(image: Shaped[np.ndarray, "c *size"], places: Places) -> Float[np.ndarray, "c *crop"]:
    """The image at these places: linear, float32 in its own gray values."""
    # Five times as fast as scipy's map_coordinates, and threads may do it side by side.
    import torch
    from torch.nn.functional import grid_sample

    window = image[(slice(None), *places.window)].astype(np.float32)  # only what the crop touches
    # From -1 to 1 in the window, the last axis first.
    grid = np.empty((*places.coordinates.shape[1:], len(places.window)), np.float32)
    for axis, (c, side) in enumerate(zip(places.coordinates, places.window, strict=True), start=1):
        scaled = c - np.float32(side.start)
        scaled *= np.float32(2 / max(1, side.stop - side.start - 1))
        np.subtract(scaled, np.float32(1), out=grid[..., -axis])
    there = torch.from_numpy(window)[None], torch.from_numpy(grid)[None]
    return np.asarray(grid_sample(*there, padding_mode="border", align_corners=True)[0].numpy())


def resample_labels(labels: Integer[np.ndarray, "*size"], places: Places) -> Integer[np.ndarray, "*crop"]:
    """The labels (or ids) at these places: nearest neighbour."""
    part = np.ascontiguousarray(labels[places.window])
    nearest = (places.coordinates + np.float32(0.5)).astype(np.int32)
    # Looked up by one number in the part that the crop touches: three times as fast as by one an axis.
    index = np.zeros_like(nearest[0])
    for c, side, n in zip(nearest, places.window, part.shape, strict=True):
        index *= n
        index += c
        index -= side.start
    return part.reshape(-1).take(index)


def vary_gray_values(
    rng: np.random.Generator, image: Float[np.ndarray, "c *size"], settings: AugmentSettings
) -> Float[np.ndarray, "c *size"]:
    """Random gamma, contrast, brightness, blur and noise for a normalised image (mean near 0, deviation near 1)."""
    import torch
    from scipy.ndimage import gaussian_filter

    # Drawn whether used or not, so that one setting does not change what the next one draws.
    gamma, contrast, brightness = rng.normal(0, 1, 3)
    blurred, blur, noise = rng.random(3)
    factor, offset = np.exp(settings.contrast * contrast), settings.brightness * brightness
    if settings.gamma:
        low, high = float(image.min()), float(image.max())
        span = max(high - low, 1e-6)
        image = (image - np.float32(low)) / np.float32(span)
        image **= np.float32(np.exp(settings.gamma * gamma))
        factor, offset = factor * span, factor * low + offset
    image = image * np.float32(factor)
    image += np.float32(offset)
    if settings.blur and blurred < 0.2:
        widths = np.full(image.ndim, settings.blur * blur)
        widths[: 1 + settings.within_slices] = 0
        image = gaussian_filter(image, widths)
    if settings.noise:
        # Torch draws three times as fast as numpy, from an address as well.
        drawn = torch.randn(image.shape, generator=torch.Generator().manual_seed(int(rng.integers(2**63)))).numpy()
        drawn *= np.float32(settings.noise * noise)
        image += drawn
    return image.astype(np.float32, copy=False)


def _linear_map(rng: np.random.Generator, dims: int, settings: AugmentSettings) -> Float[np.ndarray, "d d"]:
    """Rotation times zoom times flips, acting on (y, x) or (z, y, x) offsets from the centre."""
    angle = np.deg2rad(settings.rotate) * rng.uniform(-1, 1)
    zoom = np.exp(settings.scale * rng.normal())
    flip_y, flip_x, transpose = rng.random(3) < 0.5
    matrix = zoom * _rotation(dims, dims - 2, dims - 1, angle)
    if dims == 3:
        about_x, about_y = np.deg2rad(0 if settings.within_slices else settings.tilt) * rng.uniform(-1, 1, 2)
        matrix = _rotation(3, 0, 1, about_x) @ _rotation(3, 0, 2, about_y) @ matrix
        if settings.mirror_z and rng.random() < 0.5:
            matrix[:, 0] *= -1
    if settings.within_slices:
        matrix[0, 0] = np.sign(matrix[0, 0])
    if settings.mirror_y and flip_y:
        matrix[:, -2] *= -1
    if settings.mirror_x and flip_x:
        matrix[:, -1] *= -1
    if settings.transpose and transpose:
        matrix[:, [-2, -1]] = matrix[:, [-1, -2]]
    return matrix.astype(np.float32)


def _rotation(dims: int, first: int, second: int, angle: float) -> Float[np.ndarray, "d d"]:
    """By `angle` in the plane of two axes, from the second towards the first."""
    matrix = np.eye(dims)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


@lru_cache(maxsize=64)
def _cubic_basis(points: int, pixels: int) -> Float[np.ndarray, "pixels points"]:
    """Weights of cubic spline interpolation from `points` on a line to `pixels`: bicubic is this along both axes."""
    from scipy.ndimage import zoom

    basis: Float[np.ndarray, "pixels points"] = zoom(
        np.eye(points, dtype=np.float32), (pixels / points, 1), order=3, mode="nearest"
    )
    return basis
