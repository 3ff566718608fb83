"""What a model suggests to annotate, for people: a contact sheet, and a data set of its proposals to correct.

DIR/  images/NAME.*   the image or volume as it is, or a region cut out of it
      masks/NAME.*    the model's proposal, in the values that the training masks have
      legend.csv      what these mean
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8

from useg.atomic import replacing, replacing_folder, require_output_folder, write_text
from useg.data.legend import value_text
from useg.errors import ImageError, OutputError
from useg.images.files import (
    image_suffix,
    is_image_file,
    is_series,
    label_suffix,
    write_image,
    write_labels,
    write_picture,
)
from useg.images.image import COLOUR
from useg.objects.separate import separate
from useg.pictures.overlay import overlay, to_gray_rgb
from useg.pictures.palette import object_colours
from useg.pictures.planes import fullest, sheet_of
from useg.pictures.sheet import Captioned, contact_sheet
from useg.predict import Predictor
from useg.suggest.candidates import Part, parts_of
from useg.suggest.ranking import Suggestion
from useg.unet.model import ModelCard

TILE = 320
A_ROW = 2
LINES = 4
"""For a reason."""
VOID = "void"
"""What a legend calls pixels that nobody annotated."""


def contact_sheet_of(predictor: Predictor, chosen: Sequence[Suggestion]) -> UInt8[np.ndarray, "height width 3"]:
    """A picture of the suggestions, the best first: each image, and beside it what the model proposes and why.

    Raises:
        SizeError: there is no suggestion. ImageError, MissingError: a file has changed or gone since.
    """
    card, pictures = predictor.card, []
    numbers = {_key(one): number for number, one in enumerate(chosen, 1)}
    for one, part in _parts(predictor, chosen):
        image, proposal, colours = part.image.array, _proposal(part, card), [c.colour for c in card.classes]
        if proposal.ndim == 3:
            sheet = sheet_of(proposal.shape, fullest(proposal > 0), part.image.spacing)
            image, proposal = sheet.draw(image, np.nan), sheet.draw(proposal)
        step = max(1, max(proposal.shape) // (2 * TILE))
        below = to_gray_rgb(image[:, ::step, ::step])
        painted = overlay(below, proposal[::step, ::step], object_colours() if card.masks == "instances" else colours)
        number = numbers[_key(one)]
        pictures.append((number, [(f"{number}. {one.name}", below), (one.reason, painted)]))
    pairs: list[list[Captioned]] = [pair for _, pair in sorted(pictures, key=lambda each: each[0])]
    rows = [[tile for pair in pairs[i : i + A_ROW] for tile in pair] for i in range(0, len(pairs), A_ROW)]
    legend = [] if card.masks == "instances" else [(c.name, c.colour) for c in card.classes[1:]]
    return contact_sheet(rows, tile=TILE, lines=LINES, legend=legend)


def export_suggestions(
    predictor: Predictor,
    chosen: Sequence[Suggestion],
    out: Path,
    *,
    watch: Callable[[Suggestion], None] | None = None,
) -> None:
    """Write the suggestions as a data set: images, and the model's proposals as the masks to correct.

    Masks have the values of the training masks, and what `legend.csv` calls void where these had it; objects are
    numbered. A region is cut out of its image, with the pixel size where a file of it holds one.

    Args:
        out: a new folder, or an empty one: masks that somebody corrected are never written over.
        watch: told of each one that is written.

    Raises:
        OutputError: `out` is not empty, or cannot be written.
        ImageError, MissingError: a file has changed or gone since, or is a volume that is not one file or folder.
    """
    require_new_folder(out)
    for one, part in _parts(predictor, chosen):
        image, mask = _names(one, part, predictor.card)
        if part.labels.ndim == 3 and (not _is_copied(one) or one.source.name.lower().endswith(".nhdr")):
            raise ImageError(f"{one.source}: cannot be copied as one file; save it as .nrrd, .nii.gz or .tif")
        if _is_copied(one):
            _copy(one.source, out / "images" / image)
        else:
            write_image(out / "images" / image, part.image.array, like=part.image)
        _write_mask(out / "masks" / mask, part, predictor.card)
        if watch:
            watch(one)
    if predictor.card.masks == "classes":
        write_text(out / "legend.csv", _legend(predictor.card))


def require_new_folder(out: Path) -> None:
    """See that suggestions can be written to a folder, before they are looked for.

    Raises:
        OutputError: it, or a part of its path, is a file, or it is not empty.
    """
    require_output_folder(out)
    if out.exists() and any(out.iterdir()):
        raise OutputError(f"{out}: is not empty, and may hold masks that somebody corrected; name a new folder")


def _key(one: Suggestion) -> tuple[Path, str]:
    return one.source, one.name


def _parts(predictor: Predictor, chosen: Sequence[Suggestion]) -> Iterator[tuple[Suggestion, Part]]:
    """The chosen ones predicted again, those of one file together."""
    for source in dict.fromkeys(one.source for one in chosen):
        mine = [one for one in chosen if one.source == source]
        parts = parts_of(predictor, source, [one.region for one in mine])
        yield from zip(mine, parts, strict=True)


def _names(one: Suggestion, part: Part, card: ModelCard) -> tuple[str, str]:
    """Of the image and of its mask, which has the image's kind where that can hold it."""
    copied = _is_copied(one)
    suffix = image_suffix(part.image.channels, part.image.dtype, part.image.spacing)
    mask = label_suffix(one.source) if copied else suffix
    if card.masks == "instances":  # more than a PNG holds, perhaps
        mask = ".tif" if mask == ".png" else mask
    elif _coloured(card):
        mask = ".png"
    if mask == ".dcm":  # a DICOM SEG numbers its segments itself
        mask = ".nii.gz" if part.labels.ndim == 3 else ".tif"
    return one.source.name if copied else f"{one.name}{suffix}", f"{one.name}{mask}"


def _is_copied(one: Suggestion) -> bool:
    """Whether the file, or folder of slices, goes into the data set as it is: a whole image that is known as one."""
    return one.region is None and (is_image_file(one.source) or is_series(one.source))


def _copy(source: Path, target: Path) -> None:
    """A file, or a folder that is an image, as it is."""
    if source.is_dir():
        with replacing_folder(target) as temporary:
            shutil.copytree(source, temporary)
    else:
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)


def _proposal(part: Part, card: ModelCard) -> Integer[np.ndarray, "*size"]:
    """Class of each pixel, or the number of its object."""
    return separate(part.probabilities[1], card.objects) if card.masks == "instances" else part.labels


def _write_mask(path: Path, part: Part, card: ModelCard) -> None:
    """The proposal, in the values of the training masks."""
    proposal = _proposal(part, card)
    if card.masks == "instances":
        write_labels(path, proposal, like=part.image)
        return
    values = np.array([c.value for c in card.classes])
    if _coloured(card):
        rgb = np.where(values >= COLOUR, values - COLOUR, values * 0x10101)
        table = np.stack([rgb >> 16, rgb >> 8, rgb], axis=-1).astype(np.uint8)
        write_picture(path, table[proposal])
        return
    colour = {c.value: c.colour for c in card.classes}
    colours = [colour.get(value, (value, value, value)) for value in range(min(256, max(colour) + 1))]
    write_labels(path, values[proposal], colours=colours, like=part.image)


def _coloured(card: ModelCard) -> bool:
    return any(c.value >= COLOUR for c in card.classes)


def _legend(card: ModelCard) -> str:
    """The text of a legend file."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["value", "colour", "name"])
    for each in card.classes:
        lines.writerow([value_text(each.value), "#{:02x}{:02x}{:02x}".format(*each.colour), each.name])
    if card.ignore is not None:
        lines.writerow([value_text(card.ignore), "", VOID])
    return text.getvalue()
