"""Pixels between near objects cost more: the weight map of the paper, and the gap it needs between touching objects.

    w(x) = w_c(x) + w_0 exp(-(d_1(x) + d_2(x))² / 2σ²)

with d_1 and d_2 the distances to the nearest and the second nearest object (Ronneberger, Fischer and Brox 2015,
section 3, equation 2). Object ids are whole numbers, 0 is the background. Distances are Euclidean, between centres of
pixels, in pixels of the finest axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf, log, sqrt

import numpy as np
from jaxtyping import Float, Float32, Int32, Integer
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

from useg.errors import DataError
from useg.parts import boxes

NEGLIGIBLE = 1e-5
"""Weight below which the border term may be 0. It bounds how far an object has to be looked for."""
BLOCK = 1 << 16
"""Pixels worked on at once: few enough to stay in the processor's cache, enough for numpy's calls not to show."""
BOX = 1 << 24
"""Pixels of the boxes in which a larger image is looked at, so that memory stays bounded."""


class BorderSettings(BaseModel):
    """How much more the pixels between near objects cost; the paper's numbers unless told otherwise.

    Attributes:
        weight: w_0, what the border term adds where two objects meet; 0 turns it off.
        sigma: σ, how fast it falls with d_1 + d_2; pixels of the finest axis.
        background: v, to what the weight of the background falls far from all objects, as a share of its weight
            beside one; 1 leaves it as it is. Not in the paper: the factor v + (1 - v) exp(-d_1² / 2τ²) of the authors'
            later plug-in (Falk et al. 2019).
        background_sigma: τ, how fast it falls; pixels of the finest axis.
        widen: pixels by which the gap cut between touching objects is wider, at either side, than the one pixel that
            parts them; see `part_objects`. 0 in the paper.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: float = Field(default=10.0, ge=0, allow_inf_nan=False)
    sigma: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    background: float = Field(default=1.0, ge=0, le=1)
    background_sigma: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    widen: int = Field(default=0, ge=0, le=8)

    @property
    def on(self) -> bool:
        """Whether they weigh any pixel differently."""
        return self.weight > 0 or self.background < 1


PLUGIN = BorderSettings(weight=50.0, sigma=6.0, background=0.1, background_sigma=10.0)
"""The defaults of the authors' plug-in for ImageJ (Falk et al. 2019), which sees pixels of 0.5 µm."""


def border_weights(
    ids: Integer[np.ndarray, "*size"],
    settings: BorderSettings,
    class_weights: tuple[float, float] = (1.0, 1.0),
    spacing: tuple[float, ...] | None = None,
) -> Float32[np.ndarray, "*size"]:
    """The whole map, w(x): the class weight everywhere, the border term on the background.

    Args:
        ids: object of each pixel. Between touching objects there is no background to carry the term: see
            `part_objects`.
        settings: the terms.
        class_weights: w_c of the background and of the objects.
        spacing: pixel size of each axis in any one unit; None means equal.

    Raises:
        DataError: `spacing` is not one positive number an axis.
    """
    return weigh(border_fields(ids, settings, spacing), ids, class_weights)


def border_fields(
    ids: Integer[np.ndarray, "*size"],
    settings: BorderSettings,
    spacing: tuple[float, ...] | None = None,
    out: Float[np.ndarray, "f *size"] | None = None,
) -> Float[np.ndarray, "f *size"]:
    """What the map is made of, smooth everywhere, so that it can be resampled together with the ids.

    The border term, and second, where `settings` lower it, the weight of the background. Raises as `border_field`.

    Args:
        out: an array of floats to be filled, such as one on a disk; None makes one.
    """
    fields = np.empty((field_count(settings), *ids.shape), np.float32) if out is None else out
    # What is far does not count, so that a large image gives the same in boxes.
    halo = [int(_reach(settings) / step) for step in _steps(ids, spacing)]
    edge = round(BOX ** (1 / ids.ndim)) if ids.size > 2 * BOX else max(1, *ids.shape)
    for window in boxes(ids.shape, [edge] * ids.ndim):
        wide, core = _with_halo(window, halo, ids.shape)
        fields[0][window] = border_field(ids[wide], settings, spacing)[core]
    if len(fields) > 1:
        fields[1] = background_field(ids, settings, spacing)
    return fields


def field_count(settings: BorderSettings) -> int:
    """How many `border_fields` there are."""
    return 1 + (settings.background < 1)


def weigh(
    fields: Float32[np.ndarray, "f *size"],
    labels: Integer[np.ndarray, "*size"],
    class_weights: tuple[float, float] = (1.0, 1.0),
) -> Float32[np.ndarray, "*size"]:
    """The map w(x) of `border_fields` where label 0 is the background, resampled or not."""
    background, objects = class_weights
    around = fields[0] + np.float32(background) * (fields[1] if len(fields) > 1 else np.float32(1))
    return np.where(labels == 0, around, np.float32(objects))


def border_field(
    ids: Integer[np.ndarray, "*size"], settings: BorderSettings, spacing: tuple[float, ...] | None = None
) -> Float32[np.ndarray, "*size"]:
    """The border term, w_0 exp(-(d_1 + d_2)² / 2σ²), on every pixel; 0 with fewer than two objects.

    It goes on inside the objects, where d_1 is 0 and d_2 the distance to the nearest other one, so that it can be
    resampled together with the ids. At most NEGLIGIBLE below the formula. The time grows with the pixels and with σ,
    not with the number of objects; the memory is about 40 bytes a pixel.

    Raises:
        DataError: `spacing` is not one positive number an axis.
    """
    steps, reach = _steps(ids, spacing), _reach(settings)
    if not reach or not ids.any():
        return np.zeros(ids.shape, np.float32)
    field = _sum_of_two_nearest(_numbers(ids), steps, reach)
    # In place: images are large.
    np.square(field, out=field)
    field *= -0.5 / settings.sigma**2
    np.exp(field, out=field)
    field *= settings.weight
    return field


def _reach(settings: BorderSettings) -> float:
    """Where the border term counts, d_1 + d_2 is at most this."""
    return settings.sigma * sqrt(2 * log(max(settings.weight / NEGLIGIBLE, 1)))


def background_field(
    ids: Integer[np.ndarray, "*size"], settings: BorderSettings, spacing: tuple[float, ...] | None = None
) -> Float32[np.ndarray, "*size"]:
    """The factor v + (1 - v) exp(-d_1² / 2τ²) of the background's weight, on every pixel; 1 inside the objects.

    Without any object it is v everywhere, its limit far from all.

    Raises:
        DataError: `spacing` is not one positive number an axis.
    """
    steps = _steps(ids, spacing)
    if settings.background == 1 or not ids.any():
        return np.full(ids.shape, settings.background, np.float32)
    distance = ndimage.distance_transform_edt(ids == 0, sampling=steps).astype(np.float32)
    near = np.exp(-0.5 / settings.background_sigma**2 * np.square(distance))
    return settings.background + (1 - settings.background) * near


def part_objects(ids: Integer[np.ndarray, "*size"], widen: int = 0) -> Integer[np.ndarray, "*size"]:
    """Cut a gap of background between touching objects, so that every object is apart from all others.

    Afterwards no pixel has a neighbour of another object, corners counted (8 neighbours in 2-D, 26 in 3-D), so the
    connected components belong to one object each. The gap is as thin as that allows: one pixel along an axis. The
    larger of two objects gives the pixels, of equal ones the one with the higher id. What touches no other object
    stays as it is.

    An object vanishes only where all of its pixels touch smaller ones, or equal ones of lower id: of two single
    pixels side by side, one has to go. With `widen` the gap grows by so many pixels to either side, at the cost of both
    objects: a network learns a wider gap sooner, and what it costs is filled when objects grow to their edges.
    """
    numbers = _numbers(ids)
    order = np.argsort(np.bincount(numbers.ravel()), kind="stable")
    rank = np.empty(order.size, np.int32)
    rank[order] = np.arange(order.size, dtype=np.int32)
    # The background is nobody's neighbour, whatever its area.
    rank[:1] = order.size
    ranks = rank[numbers]
    parted = ids.copy()
    cut = _lowest(ranks, 1) < ranks
    if widen:
        cut &= ids != 0
        cut = _lowest(np.where(cut, np.int32(0), np.int32(1)), widen) == 0
    np.copyto(parted, 0, where=cut)
    return parted


def touching_share(ids: Integer[np.ndarray, "*size"], gap: int = 1) -> tuple[int, int]:
    """How many objects touch another one, and how many there are.

    Two touch when at most `gap` pixels of background lie between a pixel of each, along an axis or diagonally. With
    1, objects that are drawn with a line of background between them count: for a network they are as hard to part.
    """
    touching, there = [np.empty(0, ids.dtype)], [np.empty(0, ids.dtype)]
    nothing, edge = np.int32(np.iinfo(np.int32).max), round(BOX ** (1 / ids.ndim))
    for window in boxes(ids.shape, [edge] * ids.ndim):
        wide, core = _with_halo(window, [gap + 1] * ids.ndim, ids.shape)
        numbers = _numbers(ids[wide])
        lowest = _lowest(np.where(numbers == 0, nothing, numbers), gap + 1)
        highest = -_lowest(-numbers, gap + 1)
        beside = (numbers != 0) & ((lowest != numbers) | (highest != numbers))
        touching.append(np.unique(ids[window][beside[core]]))
        there.append(np.unique(ids[window]))
    return np.unique(np.concatenate(touching)).size, int(np.count_nonzero(np.unique(np.concatenate(there))))


def _with_halo(
    window: Sequence[slice], halo: Sequence[int], size: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The window with so many pixels around it as far as there are any, and the window in there."""
    wide = [slice(max(0, w.start - h), min(n, w.stop + h)) for w, h, n in zip(window, halo, size, strict=True)]
    core = [slice(w.start - large.start, w.stop - large.start) for w, large in zip(window, wide, strict=True)]
    return tuple(wide), tuple(core)


def _numbers(ids: Integer[np.ndarray, "*size"]) -> Int32[np.ndarray, "*size"]:
    """The same objects under numbers of 4 bytes, none above the number of pixels; 0 stays 0, the order stays."""
    if not ids.size or (ids.min() >= 0 and ids.max() <= min(ids.size, np.iinfo(np.int32).max)):
        return ids.astype(np.int32, copy=False)
    found, index = np.unique(ids, return_inverse=True)
    numbers = np.cumsum(found != 0, dtype=np.int32)
    numbers[found == 0] = 0
    return numbers[index].reshape(ids.shape)


def _steps(ids: Integer[np.ndarray, "*size"], spacing: tuple[float, ...] | None) -> tuple[float, ...]:
    """Distance between neighbours along each axis, 1 along the finest."""
    if spacing is None:
        return (1.0,) * ids.ndim
    if len(spacing) != ids.ndim or not all(0 < edge < inf for edge in spacing):
        raise DataError(f"pixel size {spacing} of {ids.ndim} axes; give one positive number an axis")
    return tuple(edge / min(spacing) for edge in spacing)


def _lowest(values: Int32[np.ndarray, "*size"], radius: int) -> Int32[np.ndarray, "*size"]:
    """The lowest value within `radius` pixels along every axis, a square or cube around each pixel."""
    for axis in range(values.ndim):
        along = np.moveaxis(values, axis, 0)
        lowest = along.copy()
        for shift in range(1, radius + 1):
            np.minimum(lowest[shift:], along[:-shift], out=lowest[shift:])
            np.minimum(lowest[:-shift], along[shift:], out=lowest[:-shift])
        values = np.moveaxis(lowest, 0, axis)
    return values


def _sum_of_two_nearest(
    numbers: Int32[np.ndarray, "*size"], steps: tuple[float, ...], reach: float
) -> Float32[np.ndarray, "*size"]:
    """d_1 + d_2; where it is above `reach`, something above `reach` or infinite.

    One axis after the other: of each pixel we know the two nearest objects along the axes before, with their squared
    distances. Along the next axis, the two nearest are among those of the pixels on that line: an object that is third
    at one of them is at best third here too, by way of that pixel.
    """
    first, second = numbers, np.zeros_like(numbers)
    near = np.where(numbers != 0, np.float32(0), np.float32(inf))
    far = np.full(numbers.shape, inf, np.float32)
    for axis, step in enumerate(steps):
        last = axis == numbers.ndim - 1
        # The axis at hand is the first one, so that shifted blocks are whole rows; after all axes the order is back.
        size = first.shape
        found = _along_first_axis(first, near, second, far, step, reach, last)
        first, near, second, far = (np.ascontiguousarray(np.moveaxis(a.reshape(size), 0, -1)) for a in found)
    return np.sqrt(near, out=near) + np.sqrt(far, out=far)


def _along_first_axis(
    first: Int32[np.ndarray, "*size"],
    near: Float32[np.ndarray, "*size"],
    second: Int32[np.ndarray, "*size"],
    far: Float32[np.ndarray, "*size"],
    step: float,
    reach: float,
    last: bool,
) -> tuple[Int32[np.ndarray, "n m"], Float32[np.ndarray, "n m"], Int32[np.ndarray, "n m"], Float32[np.ndarray, "n m"]]:
    """The two nearest objects and their squared distances, now along this axis too, as rows of pixels.

    Args:
        first: nearest object of each pixel along the axes before, 0 for none within reach.
        near: its squared distance; infinite for none.
        second: second nearest object, never the same as the first.
        far: its squared distance.
        step: distance between neighbours along this axis.
        reach: farther objects need not be found.
        last: this is the last axis; only the distances are asked for.
    """
    n = len(first)
    first, near, second, far = (a.reshape(n, -1) for a in (first, near, second, far))
    new_first, new_near = np.zeros_like(first), np.full_like(near, inf)
    new_second, new_far = np.zeros_like(first), np.full_like(near, inf)
    rows = max(1, BLOCK // max(1, near.shape[1]))
    # In the end, the nearest object counts only up to half of the reach, because the second is no nearer.
    nearest_shift, farthest_shift = int((reach / 2 if last else reach) / step), int(reach / step)
    for top in range(0, n, rows):
        for here, there, square in _shifts(n, top, min(n, top + rows), nearest_shift, step):
            _take(near[there] + square, first[there], new_near[here], new_first[here])
        for here, there, square in _shifts(n, top, min(n, top + rows), farthest_shift, step):
            distance = near[there] + square
            np.copyto(distance, np.float32(inf), where=first[there] == new_first[here])
            _take(distance, first[there], new_far[here], None if last else new_second[here])
            # After the other: where the second one there is the nearest here, the first one there has been taken just
            # now and is no farther, so this does not count an object twice.
            np.add(far[there], square, out=distance)
            _take(distance, second[there], new_far[here], None if last else new_second[here])
    return new_first, new_near, new_second, new_far


def _shifts(n: int, top: int, bottom: int, most: int, step: float) -> Iterator[tuple[slice, slice, np.float32]]:
    """Equally many rows, some of top..bottom and those up to `most` before or after; their distance squared."""
    for offset in sorted(range(-min(most, n - 1), min(most, n - 1) + 1), key=abs):
        low, high = max(top, -offset), min(bottom, n - offset)
        if low < high:
            yield slice(low, high), slice(low + offset, high + offset), np.float32((offset * step) ** 2)


def _take(
    distance: Float32[np.ndarray, "n m"],
    number: Int32[np.ndarray, "n m"],
    best: Float32[np.ndarray, "n m"],
    best_number: Int32[np.ndarray, "n m"] | None,
) -> None:
    """Keep the nearer of what is offered and what was best so far, in place."""
    if best_number is not None:
        np.copyto(best_number, number, where=distance < best)
    np.minimum(best, distance, out=best)
