"""Where the planes of a DICOM file lie: pixel size, order along their normal, and the affine that they make."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from useg.images.image import InBody


def frames_of(one: Any) -> int:
    """Number of frames of a data set."""
    return int(one.get("NumberOfFrames") or 1)


def shared_group(one: Any) -> Any:
    """What holds for all frames of an enhanced data set; empty where there is nothing of the kind."""
    return (one.get("SharedFunctionalGroupsSequence") or [{}])[0]


def pixel_size(one: Any) -> tuple[float, float] | None:
    """Pixel size (y, x) in mm at the patient, or None; the size at a detector is another thing."""
    measures = (shared_group(one).get("PixelMeasuresSequence") or [{}])[0]
    found = one.get("PixelSpacing") or measures.get("PixelSpacing")
    if not found or len(found) != 2 or not all(math.isfinite(float(n)) and float(n) > 0 for n in found):
        return None
    return float(found[0]), float(found[1])


def depth(orientation: Sequence[Any], position: Sequence[Any]) -> float:
    """How far a plane lies along its normal, in mm."""
    return float(_normal(orientation) @ np.array([float(n) for n in position]))


def step(orientation: Sequence[Any] | None, positions: Sequence[Any]) -> float | None:
    """Distance of neighbouring planes in mm, or None where it is not known."""
    if orientation is None or len(positions) < 2 or any(position is None for position in positions):
        return None
    found = float(f"{np.median(np.diff([depth(orientation, position) for position in positions])):.6g}")
    return found if math.isfinite(found) and found > 0 else None


def place(
    orientation: Sequence[Any] | None, first: Sequence[Any] | None, edge: tuple[float, float] | None, between: float
) -> InBody | None:
    """The affine of planes of this orientation, the first at `first`, with pixels of `edge` (y, x), `between` apart.

    DICOM counts millimetres towards left and posterior, `InBody` towards right and anterior.
    """
    if orientation is None or first is None or edge is None:
        return None
    affine = np.eye(4)
    affine[:3, 0] = np.array([float(n) for n in orientation[:3]]) * edge[1]
    affine[:3, 1] = np.array([float(n) for n in orientation[3:]]) * edge[0]
    affine[:3, 2] = _normal(orientation) * between
    affine[:3, 3] = [float(n) for n in first]
    affine[:2] *= -1
    # Adding 0 turns -0 into 0.
    return InBody(tuple(tuple(float(n) + 0.0 for n in row) for row in affine), "scanner")


def _normal(orientation: Sequence[Any]) -> np.ndarray:
    row, column = (np.array([float(n) for n in orientation[i : i + 3]]) for i in (0, 3))
    normal: np.ndarray = np.cross(row, column)
    return normal
