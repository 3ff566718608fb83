"""Score label images in files, whichever tool made them, against masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from useg.data.dataset import describe_size, files_by_stem, find_partners, require_folder
from useg.data.judge import legend_of, survey
from useg.data.legend import Legend, to_classes
from useg.data.legend_file import find_legend
from useg.errors import DataError
from useg.images.files import read, read_header, read_mask
from useg.labels import IGNORE
from useg.scores import Evaluation, Scored, Surfaces, score


def score_folders(
    predictions: str | Path,
    masks: str | Path,
    *,
    within: str | Path | None = None,
    region_class: int | None = None,
    surfaces: Surfaces = "volumes",
) -> tuple[list[str], Evaluation]:
    """Score label images that any tool made against masks of the same stems.

    `<stem>_probabilities.tif` beside a prediction is used for the regions. Where masks hold ids of objects, objects are
    scored as well; predictions that hold one value beside 0 are taken apart into their connected pieces for that.
    Surface distances are in the unit of the masks' pixel size; `surfaces` says of which images they are measured.
    Returns the names of the classes, which are found in the masks (and in predictions of a class that no mask holds),
    and the scores.

    Raises:
        DataError, ImageError, MissingError: files do not match or cannot be read.
    """
    masks = Path(masks)
    require_folder(masks, "give the folder that holds the masks")
    truths = files_by_stem(masks)
    predicted = find_partners(Path(predictions), truths, "prediction")
    inside = find_partners(Path(within), truths, "region") if within else {}
    legend, of_predictions = _legends(truths, predicted, masks)
    scored = []
    for name, mask in truths.items():
        values = read_mask(predicted[name])
        labels = to_classes(values, of_predictions, predicted[name])
        extra = predicted[name].with_name(f"{name}_probabilities.tif")
        probabilities = read(extra).array if region_class is not None and extra.is_file() else None
        region = read_mask(inside[name]) > 0 if within else None
        ids = read_mask(mask)
        truth = to_classes(ids, legend, mask)
        if probabilities is not None and probabilities.shape != (legend.classes, *truth.shape):
            raise DataError(
                f"{extra}: it has the shape {probabilities.shape}, but {legend.classes} classes of "
                f"{describe_size(truth.shape)} are needed; write one plane a class"
            )
        for path, found in ((predicted[name], labels), (inside.get(name), region)):
            if found is not None and found.shape != truth.shape:
                raise DataError(
                    f"{path}: it is {describe_size(found.shape)}, but {mask} is {describe_size(truth.shape)}; "
                    "give both the same size"
                )
        objects, predicted_objects = None, None
        if legend.kind == "instances":
            objects = np.where(truth == IGNORE, 0, ids)
            predicted_objects = _ids(values)
        size = read_header(mask)
        scored.append(
            Scored(
                name,
                truth,
                labels,
                probabilities,
                region,
                objects,
                predicted_objects,
                spacing=size.spacing,
                unit=size.unit,
            )
        )
    return legend.names, score(scored, legend.classes, region_class, surfaces=surfaces)


def _ids(values: Integer[np.ndarray, "*size"]) -> Integer[np.ndarray, "*size"]:
    """Ids of objects as they are; of a mask with one value beside 0, its connected pieces (8-connected)."""
    if values.size and np.array_equal(np.unique(values[values > 0]), [values.max()]):
        from scipy import ndimage

        corners_too = ndimage.generate_binary_structure(values.ndim, values.ndim)
        pieces: Integer[np.ndarray, "*size"] = ndimage.label(values, corners_too)[0]
        return pieces
    return values


def _legends(truths: Mapping[str, Path], predicted: Mapping[str, Path], masks: Path) -> tuple[Legend, Legend]:
    """What the values of masks and of predictions mean.

    The masks, and a legend file beside them, decide for both, but predictions may hold a class that no mask has (a
    false alarm), and the class numbers 0, 1, ... of `useg predict` where the masks are colour-coded.
    """
    in_masks = [survey(read_mask(path), path) for path in truths.values()]
    own = find_legend(masks) or find_legend(masks.parent)
    legend = legend_of(in_masks, entries=own[1] if own else ())
    in_predictions = [survey(read_mask(predicted[name]), predicted[name]) for name in truths]
    values = {value for seen in in_predictions for value in seen.counts}
    if legend.coloured and values <= set(range(legend.classes)):
        return legend, legend.model_copy(update={"values": list(range(legend.classes)), "ignore": None})
    beyond = values - {*legend.values, legend.ignore}
    together = {*legend.values, *beyond}
    # Anything but further class numbers is left to the reading of the predictions, which names the file and the value.
    if legend.kind == "classes" and not own and beyond and together == set(range(len(together))):
        legend = legend_of([*in_masks, *in_predictions])
    return legend, legend
