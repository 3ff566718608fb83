"""Images as people can see them, labels painted over them, and where a prediction went wrong."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Integer, Num, UInt8

from useg.errors import SettingsError, SizeError
from useg.labels import IGNORE
from useg.pictures.palette import BACKGROUND, IGNORED

_LOW, _HIGH = 0.5, 99.5

HIT = (46, 174, 96)
MISSED = (214, 58, 190)
FALSE = (245, 150, 20)
MIXED_UP = (70, 120, 235)

ERROR_LEGEND: list[tuple[str, tuple[int, int, int]]] = [
    ("hit", HIT),
    ("missed", MISSED),
    ("false", FALSE),
    ("wrong class", MIXED_UP),
    ("not annotated", IGNORED),
]
"""What the colours of `error_map` mean, ready for a contact sheet; `error_kinds` counts by it."""


def to_gray_rgb(image: Num[np.ndarray, "c y x"]) -> UInt8[np.ndarray, "y x 3"]:
    """Make any image visible: stretch its 0.5 to 99.5 percentile to 0..255.

    One channel becomes gray. Three become RGB, stretched together so that colours stay true. Any other
    number of channels is stretched one by one and shown as gray, the brightest channel at each pixel, so that
    nothing in any of them is hidden. Non-finite values are black and do not count in the percentiles.

    Args:
        image: any real numbers, `C Y X`, at least one channel.
    """
    if image.shape[0] == 3:
        return np.ascontiguousarray(np.moveaxis(_stretched(image), 0, -1))
    gray = np.stack([_stretched(channel) for channel in image]).max(axis=0)
    return np.repeat(gray[..., None], 3, axis=-1)


def _stretched(values: Num[np.ndarray, "*n"]) -> UInt8[np.ndarray, "*n"]:
    values = values.astype(np.float64)  # float32 overflows between its own extremes
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    low, high = np.percentile(values[finite], (_LOW, _HIGH))
    if high <= low:  # almost all pixels are equal: show the few others too
        low, high = values[finite].min(), values[finite].max()
    # An even image has no contrast to show; the middle gray says "nothing here" better than black or white.
    scaled = (values - low) / (high - low) if high > low else np.full(values.shape, 0.5)
    scaled = np.where(finite, scaled, 0)
    grays: np.ndarray = np.rint(255 * np.clip(scaled, 0, 1)).astype(np.uint8)
    return grays


def overlay(
    rgb: UInt8[np.ndarray, "y x 3"],
    labels: Integer[np.ndarray, "_ _"],
    colours: Sequence[tuple[int, int, int]],
    *,
    opacity: float = 0.45,
    outline: bool = True,
) -> UInt8[np.ndarray, "y x 3"]:
    """Paint labels over a picture.

    Label 0 stays clear and IGNORE (255) becomes gray, unless `colours` has an entry for 255. Labels
    beyond the list (object numbers) go round through its colours 1, 2, ... again.

    Args:
        rgb: the picture below, `Y X 3`.
        labels: class or object numbers >= 0, `Y X`.
        colours: RGB 0..255 of label 0, 1, ....
        opacity: share of the label's colour in the inside of a region, 0..1.
        outline: draw the pixels along a region's border in its full colour.

    Raises:
        SizeError: the picture and the labels differ in size.
        SettingsError: there are fewer than two colours.
    """
    if rgb.shape[:2] != labels.shape:
        raise SizeError(f"labels of {labels.shape} pixels over a picture of {rgb.shape[:2]}; give equal sizes")
    if len(colours) < 2:
        raise SettingsError(f"{len(colours)} colours for an overlay; give one for label 0 and one for label 1")
    table = np.array(colours, np.float32)
    number = labels.astype(np.int64)
    index = np.where(number < len(table), number, 1 + (number - 1) % (len(table) - 1))
    paint = table[index]
    if len(colours) <= IGNORE:
        paint[number == IGNORE] = IGNORED
    share = np.where(number > 0, opacity, 0.0)
    if outline:
        share = np.where((number > 0) & border(number), 1.0, share)
    mixed = rgb + (paint - rgb) * share[..., None].astype(np.float32)
    painted: np.ndarray = np.rint(mixed).astype(np.uint8)
    return painted


def border(labels: Integer[np.ndarray, "y x"]) -> Bool[np.ndarray, "y x"]:
    """Pixels with a neighbour (above, below, left, right) of another label."""
    border = np.zeros(labels.shape, bool)
    down = labels[1:] != labels[:-1]
    right = labels[:, 1:] != labels[:, :-1]
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= right
    border[:, :-1] |= right
    return border


def error_kinds(truth: Integer[np.ndarray, "*size"], labels: Integer[np.ndarray, "..."]) -> UInt8[np.ndarray, "*size"]:
    """Where a prediction agrees with the truth: 0 where both are 0, else 1 + the position in `ERROR_LEGEND`.

    Args:
        truth: class numbers `[Z] Y X`, IGNORE where not annotated.
        labels: predicted class numbers of the same size.

    Raises:
        SizeError: the two differ in size.
    """
    if truth.shape != labels.shape:
        raise SizeError(f"a prediction of {labels.shape} pixels for a truth of {truth.shape}; give equal sizes")
    kinds = np.zeros(truth.shape, np.uint8)
    kinds[(truth > 0) & (labels == truth)] = 1
    kinds[(truth > 0) & (labels == 0)] = 2
    kinds[(truth == 0) & (labels > 0)] = 3
    kinds[(truth > 0) & (labels > 0) & (labels != truth)] = 4
    kinds[truth == IGNORE] = 5
    return kinds


def wrong(kinds: UInt8[np.ndarray, "*size"]) -> Bool[np.ndarray, "*size"]:
    """Pixels of which `error_kinds` says that truth and prediction differ."""
    return (kinds >= 2) & (kinds <= 4)


def error_map(truth: Integer[np.ndarray, "y x"], labels: Integer[np.ndarray, "_ _"]) -> UInt8[np.ndarray, "y x 3"]:
    """Where a prediction agrees with the truth; the colours are those of `ERROR_LEGEND`.

    Green: a class found. Magenta: a class missed (predicted 0). Orange: a class where the truth is 0. Blue:
    one class taken for another. Gray: IGNORE (255) in the truth. Near-black: 0 in both. See `error_kinds`.
    """
    colours = np.array([BACKGROUND, *(colour for _, colour in ERROR_LEGEND)], np.uint8)
    picture: np.ndarray = colours[error_kinds(truth, labels)]
    return picture
