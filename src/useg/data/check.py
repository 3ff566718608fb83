"""What training would see: every problem of a data set, each with its file and what to do about it.

Headers are read first; then each image and its mask is read once, one pair at a time, and only counts stay.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Num

from useg.data.check_objects import check_objects
from useg.data.dataset import (
    IN_MEMORY,
    Pair,
    describe_size,
    middle_plane,
    read_image_of,
    read_mask_of,
    size_fault,
)
from useg.data.decode import Decoder
from useg.data.judge import SPARSE_REMEDY, judge_values, survey
from useg.data.legend import Entry, Legend, ignored_value, is_noisy
from useg.data.problem import Problem, error, names_of, warning
from useg.data.similar import nearly_equal, thumbnail
from useg.data.sparse import count_alike
from useg.data.splits import can_be_cut, series_of
from useg.data.summary import Look, Summary, class_counts, summarise
from useg.errors import DataError, ImageError, MissingError
from useg.images import files
from useg.parts import bytes_of, parts, same
from useg.unet.borders import touching_share

VERY_DIFFERENT = 32
"""Ratio between the widest and the narrowest range of gray values that is worth a warning."""


@dataclass(frozen=True)
class Check:
    """What `check_pairs` found.

    Attributes:
        legend: None where the values of the masks have no one meaning.
        used: the pairs that training sees, without those that are left out.
        channels: of the images in training; gray saved as RGB is gray among gray images.
        alike: names of images that nearly equal one another.
        partial: names of images whose objects are painted in part: what is unpainted there is not annotated.
        margin: pixels along the edges of all images in which what is unpainted is not annotated either.
    """

    problems: list[Problem]
    legend: Legend | None
    summary: Summary
    folder: Path
    used: list[Pair]
    channels: int | None
    alike: list[tuple[str, str]]
    partial: set[str]
    margin: int

    @property
    def errors(self) -> list[Problem]:
        """The problems that keep training from starting."""
        return [problem for problem in self.problems if problem.severity == "error"]

    def raise_errors(self) -> None:
        """Raise DataError with the first error, and say how to see the others; do nothing without errors."""
        errors = self.errors
        if errors:
            more = f" (and {len(errors) - 1} more: `useg check {self.folder}` lists them)"
            raise DataError(errors[0].line + (more if len(errors) > 1 else ""))


def check_pairs(
    pairs: Sequence[Pair],
    *,
    ignore: int | None = None,
    kind: Literal["classes", "instances"] | None = None,
    unlabelled: Literal["auto", "background", "ignore"] = "auto",
    entries: Sequence[Entry] = (),
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    decoder: Decoder = IN_MEMORY,
) -> Check:
    """Look at every pair as training would.

    Args:
        pairs: at least one.
        ignore: file value of pixels that nobody annotated.
        kind: overrides the choice between classes and ids of objects.
        unlabelled: what 0 means where few of many objects are painted: "background", or "ignore" for pixels that
            nobody annotated; "auto" takes it for background and refuses masks that speak against it.
        entries: of a legend file.
        folder: the data set, for messages.
        progress: called with (done, total) after each pair.
        decoder: reads the files.

    Whatever is wrong with the data ends up in `Check.problems` and is not raised; an empty list raises DataError,
    and SettingsError says that `ignore` and `unlabelled` contradict each other.
    """
    if not pairs:
        raise DataError("there is no pair of image and mask to check; put images into images/, masks into masks/")
    folder = folder or pairs[0].image.parent.parent
    ignore = ignored_value(ignore, unlabelled)
    problems, kept = _check_headers(pairs)
    looks: list[Look] = []
    for done, pair in enumerate(pairs, 1):
        if pair in kept:
            look, found = _look(pair, decoder)
            problems += found
            looks += [look] if look else []
        if progress is not None:
            progress(done, len(pairs))
    if len(looks) == 1 and not any(p.severity == "error" for p in problems):
        problems.append(_alone(looks[0]))
    legend: Legend | None = None
    channels: int | None = None
    alike: list[tuple[str, str]] = []
    partial: set[str] = set()
    margin = 0
    if looks:
        judged = judge_values([look.seen for look in looks], ignore, kind, entries)
        if isinstance(judged, Legend):
            legend = judged
            problems += _check_classes(looks, legend)
            if legend.kind == "instances" and unlabelled == "auto" and len(looks[0].size) == 2:
                more, partial, margin = check_objects(looks)
                problems += more
        else:
            problems += [error(fault.path, fault.message, fault.remedy) for fault in judged]
        channels, found = _check_channels(looks)
        more, alike = _compare(looks)
        problems += found + more
    problems.sort(key=lambda problem: problem.severity)  # "error" before "warning", else as found
    used = [pair for pair in pairs if pair in kept]
    return Check(problems, legend, summarise(looks, legend), folder, used, channels, alike, partial, margin)


def _alone(look: Look) -> Problem:
    """What to know of a single image: a strip of it judges."""
    if can_be_cut(look.size):
        told = "there is only this one image: the score, that of a strip of it, says little of others"
        return warning(look.pair.image_told, told, "annotate some of another image")
    told = f"there is only this one image, of {describe_size(look.size)} pixels: nothing would be left to judge with"
    return error(look.pair.image_told, told, "annotate one more")


def _unreadable(path: Path, told: Path, failure: ImageError | MissingError) -> Problem:
    """The reader's own line, cut into its parts: it starts with the file and ends with the remedy."""
    message, _, remedy = str(failure).removeprefix(f"{path}: ").rpartition("; ")
    return error(told, message or remedy, remedy if message else "")


def _check_headers(pairs: Sequence[Pair]) -> tuple[list[Problem], set[Pair]]:
    """Problems that show before a pixel is decoded, and the pairs that are worth decoding.

    Images and volumes are not trained on together: of the two kinds, the fewer are left out.
    """
    problems: list[Problem] = []
    headers = {}
    for pair in pairs:
        try:
            headers[pair] = files.read_header(pair.image, page=pair.page)
        except (ImageError, MissingError) as failure:
            problems.append(_unreadable(pair.image, pair.image_told, failure))
    flat = {pair for pair, header in headers.items() if len(header.size) == 2}
    kept = flat if 2 * len(flat) >= len(headers) else headers.keys() - flat
    kind, others, remedy = (
        ("a volume", "images", "save its slices as single images, masks likewise")
        if kept is flat
        else ("an image", "volumes", "put it into a data set of its own")
    )
    for pair, header in headers.items():
        if pair not in kept:
            told = (
                f"this is {kind} of {describe_size(header.size)} pixels, and {len(kept)} of {len(headers)} are {others}"
            )
            problems.append(warning(pair.image_told, f"{told}: it is left out", remedy))
    return problems, set(kept)


def _check_channels(looks: Sequence[Look]) -> tuple[int, list[Problem]]:
    """The channels of most images, and those that cannot be brought to them without a loss."""
    usual, count = Counter(look.channels for look in looks).most_common(1)[0]
    adapted = [k for k in looks if (k.gray and k.channels == 3 and usual == 1) or (k.channels == 1 and usual == 3)]
    problems = [
        error(
            look.pair.image_told,
            f"it has {_channels(look.channels)}, but {count} of {len(looks)} images have {_channels(usual)}",
            "save all images with the same channels",
        )
        for look in looks
        if look.channels != usual and look not in adapted
    ]
    if adapted:
        told = f"{len(adapted)} of {len(looks)} images are {'gray saved as RGB' if usual == 1 else 'gray'} "
        told += f"({names_of(adapted)}), the others have {_channels(usual)}: read as such"
        problems.append(
            warning(adapted[0].pair.image_told, told, "nothing needs to be done if they show the same kind")
        )
    return usual, problems


def _channels(number: int) -> str:
    return "1 channel" if number == 1 else f"{number} channels"


def _look(pair: Pair, decoder: Decoder) -> tuple[Look | None, list[Problem]]:
    """Read one pair and keep counts; a pair with an unreadable file gives no look."""
    problems: list[Problem] = []
    path, told = pair.image, pair.image_told
    try:
        array = read_image_of(pair, decoder).array
        size, channels, dtype = tuple(int(n) for n in array.shape[1:]), int(array.shape[0]), array.dtype.name
        low, high, broken = _range(array)
        gray = channels == 1 or (channels == 3 and all(same(array[0], other) for other in array[1:]))
        small = thumbnail(middle_plane(array, len(size)))
        digest = hashlib.blake2b(digest_size=16)
        for part in bytes_of(array):
            digest.update(part)
        path, told = pair.mask, pair.mask_told
        mask = read_mask_of(pair, decoder)
    except (ImageError, MissingError) as failure:
        return None, [_unreadable(path, told, failure)]
    if broken:
        problems.append(
            error(
                pair.image_told,
                f"{broken} pixels are not finite (NaN or infinite)",
                "replace them by a number, for example the lowest value",
            )
        )
    elif low == high:
        problems.append(error(pair.image_told, f"every pixel is {low:g}: there is nothing to see", "export it again"))
    if mask.shape != size:
        fault = size_fault(pair, size, mask.shape)
        problems.append(error(fault.path, fault.message, fault.remedy))
    seen = survey(mask, pair.mask_told)
    ids = mask.shape == size and (mask.dtype.itemsize > 1 or len(seen.counts) > 3)
    look = Look(pair, size, channels, gray, dtype, low, high, digest.digest(), small, seen)
    if ids:
        touching, objects = touching_share(mask)
        look = replace(look, objects=objects, touching=touching)
        if mask.ndim == 2:
            cut = int(np.count_nonzero(np.unique(np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]))))
            look = replace(look, cut=cut, alike=count_alike(array, mask))
    return look, problems


def _range(array: Num[np.ndarray, "c *space"]) -> tuple[float, float, int]:
    """Lowest and highest finite value (0, 0 where there is none), and how many values are not finite."""
    ends: list[float] = []
    broken = 0
    for part in parts(array):
        known = part
        if array.dtype.kind == "f" and not (finite := np.isfinite(part)).all():
            known = part[finite]
            broken += part.size - known.size
        ends += [float(known.min()), float(known.max())] if known.size else []
    return (min(ends), max(ends), broken) if ends else (0.0, 0.0, broken)


def _check_classes(looks: Sequence[Look], legend: Legend) -> list[Problem]:
    """What the masks, taken together, can and cannot teach."""
    problems: list[Problem] = []
    masks = looks[0].pair.mask.parent
    counted = [class_counts(look.seen, legend) for look in looks]
    total = np.sum([counts for counts, _ in counted], axis=0)
    if np.count_nonzero(total) < 2:
        only = legend.values[int(np.argmax(total))]
        problems.append(
            error(
                masks,
                f"every annotated pixel of every mask is {only}: there is only one class",
                SPARSE_REMEDY if legend.ignore == 0 else "paint what is to be found with another value",
            )
        )
        return problems
    if legend.kind == "classes" and (noisy := [k for k in looks if is_noisy(k.seen.counts, k.pair.mask)]):
        problems.append(
            warning(
                noisy[0].pair.mask_told,
                f"{len(noisy)} of {len(looks)} masks are black and white but for the noise of compression "
                f"({names_of(noisy)}): values above 127 are read as 255, all others as 0",
                "look at the borders; save masks as PNG",
            )
        )
    empty = [look for look, (counts, _) in zip(looks, counted, strict=True) if counts[0] and not any(counts[1:])]
    if empty:
        problems.append(
            warning(
                masks,
                f"{len(empty)} of {len(looks)} masks hold only {legend.names[0]} ({names_of(empty)})",
                "this is right where there is nothing to find; otherwise annotate them",
            )
        )
    problems += [
        warning(
            look.pair.mask_told,
            f"every pixel is {legend.ignore}, not annotated: it teaches nothing",
            "annotate part of it or take the pair out",
        )
        for look, (counts, _) in zip(looks, counted, strict=True)
        if not any(counts)
    ]
    if legend.ignore is not None and not any(ignored for _, ignored in counted):
        problems.append(
            warning(
                masks,
                f"no mask holds the value {legend.ignore} that means not annotated",
                f"look whether --ignore {legend.ignore} is the value you meant",
            )
        )
    return problems


def _compare(looks: Sequence[Look]) -> tuple[list[Problem], list[tuple[str, str]]]:
    """Images that are the same or nearly (their names come second), and gray values too unlike to be of one kind."""
    problems: list[Problem] = []
    first: dict[tuple[bytes, str, tuple[int, ...]], Look] = {}
    for look in looks:
        twin = first.setdefault((look.digest, look.dtype, look.size), look)
        if twin is not look:
            problems.append(
                warning(
                    look.pair.image_told,
                    f"it has the same pixels as {twin.pair.image_told.name}",
                    "keep one: a copy on both sides of a split makes scores too good",
                )
            )
    close = [(looks[i], looks[j]) for i, j, _ in nearly_equal([look.thumbnail for look in looks])]
    # Copies are named above; neighbours in a film or of one group are never divided.
    apart = [(a, b) for a, b in close if a.digest != b.digest and _belongs(a.pair) != _belongs(b.pair)]
    if apart:
        shown = ", ".join(f"{a.pair.name} and {b.pair.name}" for a, b in apart[:3])
        problems.append(
            warning(
                apart[0][0].pair.image_told,
                f"{len(apart)} pairs of images are nearly identical ({shown}{' ...' if len(apart) > 3 else ''})",
                "keep one of each, or name what belongs together in a table with a column group",
            )
        )
    images = looks[0].pair.image.parent
    dtypes = Counter(look.dtype for look in looks)
    spans = {look: look.high - look.low for look in looks if look.high > look.low}
    if len(dtypes) > 1:
        held = " and ".join(f"{count} x {dtype}" for dtype, count in dtypes.most_common())
        problems.append(
            warning(
                images,
                f"number types are mixed ({held}): gray values differ in range",
                "export them all alike",
            )
        )
    elif spans and set(dtypes) != {"uint8"} and max(spans.values()) > VERY_DIFFERENT * min(spans.values()):
        narrow, wide = min(spans, key=spans.__getitem__), max(spans, key=spans.__getitem__)
        problems.append(
            warning(
                narrow.pair.image_told,
                f"its values go from {narrow.low:g} to {narrow.high:g}, those of {wide.pair.image_told.name} from "
                f"{wide.low:g} to {wide.high:g}",
                "export them all alike",
            )
        )
    return problems, [(a.pair.name, b.pair.name) for a, b in close]


def _belongs(pair: Pair) -> str:
    return pair.group if pair.group is not None else series_of(pair.name)[0]
