"""What training would see: every problem of a data set, each with its file and what to do about it.

Headers are read first; then each image and its mask is read once, one pair at a time, and only counts stay.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Num

from useg.data.dataset import Pair, describe_size, size_fault
from useg.data.legend import Legend, Seen, judge_values, survey
from useg.errors import DataError, ImageError, MissingError
from useg.images import files

VERY_DIFFERENT = 32
"""Ratio between the widest and the narrowest range of gray values that is worth a warning."""


@dataclass(frozen=True)
class Problem:
    """An error keeps training from starting; a warning is worth a look. `line` is how a door prints it."""

    severity: Literal["error", "warning"]
    path: Path
    message: str
    remedy: str

    @property
    def line(self) -> str:
        """The problem as one line: file, what is wrong, what to do."""
        return f"{self.path}: {self.message}" + (f"; {self.remedy}" if self.remedy else "")


@dataclass(frozen=True)
class Row:
    """One pair: size (y, x) and number type of the image, its lowest and highest finite value, and its mask.

    `shares[k]` is the share of class k among the annotated pixels (empty where the masks have no legend),
    `ignored` the share of all pixels that nobody annotated.
    """

    name: str
    size: tuple[int, ...]
    channels: int
    dtype: str
    low: float
    high: float
    shares: tuple[float, ...]
    ignored: float


@dataclass(frozen=True)
class Summary:
    """Counts over all pairs that could be read.

    `sizes`, `channels` and `dtypes` count images; `class_shares[k]` is the share of class k among all
    annotated pixels, `share_ignored` the share of all pixels that nobody annotated, and
    `without_foreground` the number of masks that hold class 0 only.
    """

    images: int
    sizes: dict[str, int]
    channels: dict[int, int]
    dtypes: dict[str, int]
    class_shares: tuple[float, ...]
    share_ignored: float
    without_foreground: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Check:
    """What `check_pairs` found; `legend` is None where the values of the masks have no one meaning."""

    problems: list[Problem]
    legend: Legend | None
    summary: Summary
    folder: Path

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


@dataclass(frozen=True, eq=False)
class _Look:
    """What is kept of one pair after its pixels are gone."""

    pair: Pair
    size: tuple[int, ...]
    channels: int
    dtype: str
    low: float
    high: float
    digest: bytes
    seen: Seen


def check_pairs(
    pairs: Sequence[Pair],
    *,
    ignore: int | None = None,
    kind: Literal["classes", "instances"] | None = None,
    min_images: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Check:
    """Look at every pair as training would.

    `ignore` is the file value of pixels that nobody annotated; `kind` overrides the choice between classes
    and ids of objects; `min_images` is how few images are an error (evaluation needs one only). Whatever is
    wrong with the data ends up in `Check.problems` and is not raised; an empty list raises DataError.
    """
    if not pairs:
        raise DataError("there is no pair of image and mask to check; put images into images/, masks into masks/")
    folder = pairs[0].image.parent.parent
    problems, flat = _check_headers(pairs)
    looks: list[_Look] = []
    for done, pair in enumerate(pairs, 1):
        if pair in flat:
            look, found = _look(pair)
            problems += found
            looks += [look] if look else []
        if progress is not None:
            progress(done, len(pairs))
    if len(pairs) < min_images:
        problems.append(
            _error(
                pairs[0].image,
                f"there is only {'this one image' if len(pairs) == 1 else f'{len(pairs)} images'}, and "
                f"{min_images} are needed: nothing would be left to judge with",
                "annotate one more, or cut it in pieces",
            )
        )
    legend: Legend | None = None
    if looks:
        judged = judge_values([look.seen for look in looks], ignore, kind)
        if isinstance(judged, Legend):
            legend = judged
            problems += _check_classes(looks, legend)
        else:
            problems += [_error(fault.path, fault.message, fault.remedy) for fault in judged]
        problems += _compare(looks)
    problems.sort(key=lambda problem: problem.severity)  # "error" before "warning", else as found
    return Check(problems, legend, _summarise(looks, legend), folder)


def _error(path: Path, message: str, remedy: str) -> Problem:
    return Problem("error", path, message, remedy)


def _warning(path: Path, message: str, remedy: str) -> Problem:
    return Problem("warning", path, message, remedy)


def _unreadable(path: Path, error: ImageError | MissingError) -> Problem:
    """The reader's own line, cut into its parts: it starts with the file and ends with the remedy."""
    message, _, remedy = str(error).removeprefix(f"{path}: ").rpartition("; ")
    return _error(path, message or remedy, remedy if message else "")


def _check_headers(pairs: Sequence[Pair]) -> tuple[list[Problem], set[Pair]]:
    """Problems that show before a pixel is decoded, and the pairs that are worth decoding."""
    problems: list[Problem] = []
    headers = {}
    for pair in pairs:
        try:
            headers[pair] = files.read_header(pair.image)
        except (ImageError, MissingError) as error:
            problems.append(_unreadable(pair.image, error))
    flat = {pair for pair, header in headers.items() if len(header.size) == 2}
    problems += [
        _error(
            pair.image,
            f"this is a volume of {describe_size(header.size)} pixels (depth x height x width), and "
            f"volumes are not trained on yet",
            "save its slices as single images, masks likewise",
        )
        for pair, header in headers.items()
        if pair not in flat
    ]
    channels = Counter(headers[pair].channels for pair in pairs if pair in flat)
    if len(channels) > 1:
        (usual, count), *_ = channels.most_common()
        problems += [
            _error(
                pair.image,
                f"it has {_channels(headers[pair].channels)}, but {count} of {len(flat)} images have "
                f"{_channels(usual)}",
                "save all images with the same channels",
            )
            for pair in pairs
            if pair in flat and headers[pair].channels != usual
        ]
    return problems, flat


def _channels(number: int) -> str:
    return "1 channel" if number == 1 else f"{number} channels"


def _look(pair: Pair) -> tuple[_Look | None, list[Problem]]:
    """Read one pair and keep counts; a pair with an unreadable file gives no look."""
    problems: list[Problem] = []
    path = pair.image
    try:
        array = files.read(path).array
        size, channels, dtype = tuple(int(n) for n in array.shape[1:]), int(array.shape[0]), array.dtype.name
        low, high, broken = _range(array)
        digest = hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16).digest()
        del array  # before the mask is read
        path = pair.mask
        mask = files.read_mask(path)
    except (ImageError, MissingError) as error:
        return None, [_unreadable(path, error)]
    if broken:
        problems.append(
            _error(
                pair.image,
                f"{broken} pixels are not finite (NaN or infinite)",
                "replace them by a number, for example the lowest value",
            )
        )
    elif low == high:
        problems.append(_error(pair.image, f"every pixel is {low:g}: there is nothing to see", "export it again"))
    if mask.shape != size:
        fault = size_fault(pair, size, mask.shape)
        problems.append(_error(fault.path, fault.message, fault.remedy))
    return _Look(pair, size, channels, dtype, low, high, digest, survey(mask, pair.mask)), problems


def _range(array: Num[np.ndarray, "c *space"]) -> tuple[float, float, int]:
    """Lowest and highest finite value (0, 0 where there is none), and how many values are not finite."""
    if array.dtype.kind != "f":
        return float(array.min()), float(array.max()), 0
    finite = np.isfinite(array)
    broken = int(array.size - np.count_nonzero(finite))
    if broken == array.size:
        return 0.0, 0.0, broken
    low, high = array.min(where=finite, initial=np.inf), array.max(where=finite, initial=-np.inf)
    return float(low), float(high), broken


def _class_counts(seen: Seen, legend: Legend) -> tuple[list[int], int]:
    """Pixels of each class in one mask, and pixels that nobody annotated."""
    ignored = seen.counts.get(legend.ignore, 0) if legend.ignore is not None else 0
    if legend.kind == "instances":
        background = seen.counts.get(0, 0)
        return [background, sum(seen.counts.values()) - background - ignored], ignored
    return [seen.counts.get(value, 0) for value in legend.values], ignored


def _check_classes(looks: Sequence[_Look], legend: Legend) -> list[Problem]:
    """What the masks, taken together, can and cannot teach."""
    problems: list[Problem] = []
    masks = looks[0].pair.mask.parent
    counted = [_class_counts(look.seen, legend) for look in looks]
    total = np.sum([counts for counts, _ in counted], axis=0)
    if np.count_nonzero(total) < 2:
        only = legend.values[int(np.argmax(total))]
        problems.append(
            _error(
                masks,
                f"every annotated pixel of every mask is {only}: there is only one class",
                "paint what is to be found with another value",
            )
        )
        return problems
    empty = [look for look, (counts, _) in zip(looks, counted, strict=True) if counts[0] and not any(counts[1:])]
    if empty:
        problems.append(
            _warning(
                masks,
                f"{len(empty)} of {len(looks)} masks hold only {legend.names[0]} ({_names(empty)})",
                "this is right where there is nothing to find; otherwise annotate them",
            )
        )
    problems += [
        _warning(
            look.pair.mask,
            f"every pixel is {legend.ignore}, not annotated: it teaches nothing",
            "annotate part of it or take the pair out",
        )
        for look, (counts, _) in zip(looks, counted, strict=True)
        if not any(counts)
    ]
    if legend.ignore is not None and not any(ignored for _, ignored in counted):
        problems.append(
            _warning(
                masks,
                f"no mask holds the value {legend.ignore} that means not annotated",
                f"look whether data.ignore={legend.ignore} is the value you meant",
            )
        )
    if legend.kind == "instances":
        problems.append(
            _warning(
                masks,
                "the masks hold ids of objects; for now all objects are learned as one foreground class",
                "objects that touch will come out as one unless a line of background parts them",
            )
        )
    return problems


def _compare(looks: Sequence[_Look]) -> list[Problem]:
    """Images that are the same, and images whose gray values differ too much to be one kind of picture."""
    problems: list[Problem] = []
    first: dict[tuple[bytes, str, tuple[int, ...]], _Look] = {}
    for look in looks:
        twin = first.setdefault((look.digest, look.dtype, look.size), look)
        if twin is not look:
            problems.append(
                _warning(
                    look.pair.image,
                    f"it has the same pixels as {twin.pair.image.name}",
                    "keep one: a copy on both sides of a split makes scores too good",
                )
            )
    images = looks[0].pair.image.parent
    dtypes = Counter(look.dtype for look in looks)
    spans = {look: look.high - look.low for look in looks if look.high > look.low}
    if len(dtypes) > 1:
        held = " and ".join(f"{count} x {dtype}" for dtype, count in dtypes.most_common())
        problems.append(
            _warning(
                images,
                f"number types are mixed ({held}): gray values differ in range",
                "export them all alike",
            )
        )
    elif spans and set(dtypes) != {"uint8"} and max(spans.values()) > VERY_DIFFERENT * min(spans.values()):
        narrow, wide = min(spans, key=spans.__getitem__), max(spans, key=spans.__getitem__)
        problems.append(
            _warning(
                narrow.pair.image,
                f"its values go from {narrow.low:g} to {narrow.high:g}, those of {wide.pair.image.name} from "
                f"{wide.low:g} to {wide.high:g}",
                "export them all alike",
            )
        )
    return problems


def _names(looks: Sequence[_Look]) -> str:
    names = [look.pair.name for look in looks]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _summarise(looks: Sequence[_Look], legend: Legend | None) -> Summary:
    rows, without_foreground = [], 0
    total, ignored_total, pixels_total = np.zeros(legend.classes if legend else 0, np.int64), 0, 0
    for look in looks:
        counts, ignored = _class_counts(look.seen, legend) if legend else ([], 0)
        annotated, pixels = max(sum(counts), 1), max(sum(look.seen.counts.values()), 1)
        shares = tuple(count / annotated for count in counts)
        ranges = (look.low, look.high)
        share = ignored / pixels
        rows.append(Row(look.pair.name, look.size, look.channels, look.dtype, *ranges, shares, share))
        total += np.array(counts, np.int64)
        ignored_total, pixels_total = ignored_total + ignored, pixels_total + pixels
        without_foreground += bool(counts and counts[0] and not any(counts[1:]))
    return Summary(
        images=len(looks),
        sizes=dict(Counter(" x ".join(map(str, look.size)) for look in looks).most_common()),
        channels=dict(Counter(look.channels for look in looks).most_common()),
        dtypes=dict(Counter(look.dtype for look in looks).most_common()),
        class_shares=tuple((total / max(int(total.sum()), 1)).tolist()),
        share_ignored=ignored_total / max(pixels_total, 1),
        without_foreground=without_foreground,
        rows=tuple(rows),
    )
