"""Objects -> a table of their sizes, places, shapes and intensities, one row an object."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, Num, Shaped

from useg.atomic import write_text
from useg.errors import SettingsError, SizeError, extra

_PLAIN = {"µm": "um", "μm": "um", "micron": "um", "micrometer": "um", "millimeter": "mm", "nanometer": "nm"}
"""Units as a header can have them: two different letters look like µ, and some programs can read neither."""


def object_table(
    labels: Integer[np.ndarray, "..."],
    image: Num[np.ndarray, "..."] | None = None,
    spacing: Sequence[float] | None = None,
    unit: str | None = None,
) -> dict[str, Shaped[np.ndarray, "n"]]:
    """Measure the objects with `skimage.measure.regionprops_table`; see there how each number is defined.

    Lengths are in `unit` (um: micrometres; `units` where it has no name), or in pixels where `spacing` is None.

        label
        area_px, area_um2                pixels, and the area where spacing is known; volume_px, volume_um3 in 3-D
        centroid_z_px, _y_px, _x_px      pixels from the corner of the image: the first pixel's centre is at 0.5
        begin_z_px, .. end_z_px, ..      the box around the object, of the same pixels, the end not included
        intensity_mean_c0, _min_, _max_  of each channel, if there is an image
        equivalent_diameter_um           of the circle or ball of this area or volume
        major_axis_um, minor_axis_um     of the ellipse with the same second moments; 2-D only, as all below
        eccentricity                     of this ellipse, 0 (circle) .. 1
        perimeter_um                     only of square pixels
        solidity                         part of the convex hull, 0..1

    Args:
        labels: `Y X` or `Z Y X`, 0 for background.
        image: `C Y X` or `C Z Y X`, of the same size.
        spacing: size of a pixel along each axis of the labels, in `unit`.
        unit: such as "µm".

    Returns:
        The columns in the order above, each with one number an object, the objects sorted by label.

    Raises:
        SizeError: labels and image differ in size, or the labels are neither 2-D nor 3-D.
        SettingsError: the spacing is not one positive number an axis.
        MissingExtraError: scikit-image is not here.
    """
    with extra("a table of objects", "measure"):
        from skimage.measure import regionprops_table

    dims = labels.ndim
    if dims not in (2, 3) or (image is not None and image.shape[1:] != labels.shape):
        raise SizeError(
            f"a table of labels {labels.shape} on an image {None if image is None else image.shape}; "
            "give Y X on C Y X, or Z Y X on C Z Y X"
        )
    if spacing is not None and (len(spacing) != dims or not all(math.isfinite(s) and s > 0 for s in spacing)):
        raise SettingsError(f"a spacing of {tuple(spacing)} for {dims} axes; give one positive number an axis")
    steps = tuple(float(s) for s in spacing) if spacing is not None else (1.0,) * dims
    wanted = ["label", "bbox", "centroid", "num_pixels", "area", "equivalent_diameter_area"]
    if dims == 2:
        wanted += ["axis_major_length", "axis_minor_length", "eccentricity", "solidity"]
        wanted += ["perimeter"] if len(set(steps)) == 1 else []
    if image is not None:
        wanted += ["intensity_mean", "intensity_min", "intensity_max"]
    found: dict[str, Any] = regionprops_table(  # type: ignore[no-untyped-call]
        labels, None if image is None else np.moveaxis(image, 0, -1), wanted, spacing=steps
    )
    length = "px" if spacing is None else _PLAIN.get(unit or "units", unit or "units").replace(" ", "_")
    size, axes = ("area", "yx") if dims == 2 else ("volume", "zyx")

    columns = {"label": found["label"], f"{size}_px": found["num_pixels"].astype(np.int64)}
    if spacing is not None:
        columns[f"{size}_{length}{dims}"] = found["area"]
    for k, axis in enumerate(axes):
        columns[f"centroid_{axis}_px"] = found[f"centroid-{k}"] / steps[k] + 0.5
    for k, edge in enumerate(("begin", "end")):
        for j, axis in enumerate(axes):
            columns[f"{edge}_{axis}_px"] = found[f"bbox-{k * dims + j}"]
    for channel in range(0 if image is None else len(image)):
        for what in ("mean", "min", "max"):
            columns[f"intensity_{what}_c{channel}"] = found[f"intensity_{what}-{channel}"]
    columns[f"equivalent_diameter_{length}"] = found["equivalent_diameter_area"]
    if dims == 2:
        columns[f"major_axis_{length}"] = found["axis_major_length"]
        columns[f"minor_axis_{length}"] = found["axis_minor_length"]
        columns["eccentricity"] = found["eccentricity"]
        if "perimeter" in found:
            columns[f"perimeter_{length}"] = found["perimeter"]
        columns["solidity"] = found["solidity"]
    return columns


def write_table(path: Path, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
    """Write a CSV file: the columns' names, then one row an object; an empty field is no number.

    Raises:
        SettingsError: the columns differ in length.
        OutputError: the file cannot be written.
    """
    lists = [np.asarray(column).tolist() for column in columns.values()]
    if len({len(column) for column in lists}) > 1:
        lengths = ", ".join(f"{name}: {len(column)}" for name, column in zip(columns, lists, strict=True))
        raise SettingsError(f"columns of different lengths ({lengths}); give each one value an object")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_field(value) for value in row] for row in zip(*lists, strict=True))
    write_text(path, text.getvalue())


def _field(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.8g}"
    return value
