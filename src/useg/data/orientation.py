"""Do these images have an upright orientation, or do they look alike when mirrored or turned?

    images -> gray, small -> profiles of strips -> "order" down the image and across it -> Symmetries

What stands upright (streets, layers of a retina) has an *order*: the profile of any vertical strip, read from
top to bottom, resembles the profile of any other strip of any image, and resembles it less when read upwards.
The measure is the difference of these two likenesses, averaged over pairs of strips that lie apart:

    order = mean over pairs of strips (p, q) of  max_d z(p, shift_d q) - max_d z(p, shift_d flip q)

where z = arctanh(correlation), Fisher's scale on which correlations may be subtracted (R. A. Fisher, On the
"probable error" of a coefficient of correlation deduced from a small sample, Metron 1, 1921). The order is 0
on average where the flip is a symmetry. Two choices make it robust:

* Strips are compared only with *other*, distant strips, in one image and across images. Frames of one film
  or sections of one block show the same place, so equal strips agree whatever the subject is.
* The best shift d is taken, up to a quarter of the image, because layers and horizons move up and down.

The uncertainty is the larger of two delete-a-group jackknife errors (Efron and Tibshirani, An Introduction to
the Bootstrap, 1993, chapter 11): over the images, and over blocks of strips. A film is many images of one
place, and only the second error knows that.

Quarter turns raise two more questions. Does texture run along one axis (balance of the gradient energies)? Do
the images share a centred frame or pose, such as the round field of a fundus camera? A frame is no proof that
the subject stands upright, but somebody placed it, so only mirroring and small turns are taken as natural.

What is not judged: slanted light (DIC microscopy, shadows seen from the air). A flip moves the light to the
other side, but the labels stay true and the objects recognisable, so a network gains more from eight times
the variety than it loses by the light. Nor is writing recognised (strips of it hold no order from left to
right), nor a left and right that only single organs show, such as the heart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from useg.data.dataset import evenly
from useg.errors import DataError
from useg.labels import IGNORE

FREE_TURN = 180.0  # degrees, to either side
UPRIGHT_TURN = 15.0

# Orders of real sets: micrographs 0.1 or less (0.25 with an error as large), streets and retinal layers 0.6
# and more; five images of these 0.5 and more, one sometimes only 0.2, where the errors must tell.
ORDERED = 0.35
CERTAIN = 2.5  # standard errors, for "there is an order"
ANISOTROPIC = 0.25  # micrographs stay below 0.1, single ones below 0.15
FRAMED = 0.5  # fundus photographs have 0.9, all others below 0.1, single ones below 0.35

MOST_IMAGES = 16
MOST_CLASSES = 6
STRIPS = 8
APART = 3  # strips: nearer ones share objects
ROWS = 48
MOST_ALIKE = 0.95  # correlations above say no more than this one
SHIFT = 2  # rows: the step in which profiles are shifted against each other
CELLS = 8
SMALL = 256  # pixels of the shorter side, at which the image is judged


@dataclass(frozen=True)
class Symmetries:
    """Which mirrorings and turns leave these images looking natural, and how that is known.

    `certain` is False where the images cannot tell; the answer is then the careful one: mirrored left-right
    and turned a little, as nearly every subject allows.
    """

    mirror_x: bool
    """Left-right mirroring is natural."""
    mirror_y: bool
    """Upside-down mirroring is natural."""
    turn: float
    """Largest natural turn in degrees, to either side: 180 is any."""
    transpose: bool
    """Quarter turns, and with the mirrorings all eight symmetries of the square, are natural."""
    reason: str
    """One sentence for the user."""
    certain: bool
    """The images settle it."""
    images: int
    """How many images were judged (constant ones tell nothing and do not count)."""
    order_y: float
    """How much more strips agree upright than upside-down; 0 is none."""
    order_y_error: float
    """Standard error of `order_y`."""
    order_x: float
    """The same from left to right."""
    order_x_error: float
    """Standard error of `order_x`."""
    anisotropy: float
    """Balance of the gradient energies, (down - across) / (down + across) in [-1, 1]; 0 is none."""
    anisotropy_error: float
    """Standard error of `anisotropy`."""
    frame: float
    """Share of the coarse brightness that is common to all images and that no turn changes, in [0, 1]."""


def find_symmetries(images: Sequence[NDArray[Any]], labels: Sequence[NDArray[Any]] | None = None) -> Symmetries:
    """Judge which mirrorings and turns are natural for these images.

    Args:
        images: each `C Y X`, any numeric type and range; sizes may differ. At most 16, evenly spread over the
            sequence, are looked at.
        labels: for each image its `Y X` integers. The order of classes counts beside the order of brightness.

    Returns:
        The symmetries, with one sentence why and the evidence. It takes about 10 ms for a megapixel and 10 ms
        for each image that is looked at.

    Raises:
        DataError: no images, an image that is not `C Y X` or is empty, labels that do not fit the images.
    """
    _check(images, labels)
    chosen = evenly(len(images), MOST_IMAGES)
    classes = _classes([labels[i] for i in chosen]) if labels is not None else []
    grays, masks = [], []
    for i in chosen:
        gray = _small_gray(images[i])
        if gray is None:
            continue
        grays.append(gray)
        masks.append([_shrink(labels[i][None], k) for k in classes] if labels is not None else [])
    if not grays:
        return _decide(0, (0.0, np.inf), (0.0, np.inf), (0.0, np.inf), 0.0)
    down = np.stack([_profiles(g, m) for g, m in zip(grays, masks, strict=True)])
    across = np.stack([_profiles(g.T, [a.T for a in m]) for g, m in zip(grays, masks, strict=True)])
    return _decide(len(grays), _order(down), _order(across), _anisotropy(grays), _frame(grays))


def _check(images: Sequence[NDArray[Any]], labels: Sequence[NDArray[Any]] | None) -> None:
    """Raise DataError for what cannot be judged."""
    if len(images) == 0:
        raise DataError("no images to judge the orientation of; give at least one")
    if labels is not None and len(labels) != len(images):
        raise DataError(f"{len(images)} images but {len(labels)} label images; give one for each image")
    for i, image in enumerate(images):
        if image.ndim != 3 or image.size == 0:
            raise DataError(f"image {i} has shape {image.shape}; give C Y X with no size of 0")
        if labels is not None and labels[i].shape != image.shape[1:]:
            raise DataError(
                f"label image {i} has shape {labels[i].shape}, its image {image.shape[1:]}; give equal sizes"
            )


def _classes(labels: Sequence[NDArray[Any]]) -> list[int]:
    """The most frequent classes, without IGNORE (255); none where there are too many to be classes."""
    counts: dict[int, float] = {}
    for label in labels:
        step = max(1, min(label.shape) // SMALL)
        values, n = np.unique(label[::step, ::step], return_counts=True)
        for value, share in zip(values.tolist(), (n / n.sum()).tolist(), strict=True):
            if value != IGNORE:
                counts[int(value)] = counts.get(int(value), 0.0) + share
    if len(counts) > 32:  # numbered objects, not classes
        return []
    return sorted(counts, key=lambda k: -counts[k])[:MOST_CLASSES]


def _shrink(image: NDArray[Any], value: int | None = None) -> Float[np.ndarray, "h w"]:
    """Block means of the mean channel of `C Y X` (or of where it is `value`), its shorter side then 256..511.

    A side shorter than 64 is repeated to reach that, so that strips and rows always hold pixels.
    """
    coarse = max(1, min(image.shape[1:]) // (4 * SMALL))  # skipped pixels: cheap, and 4 x 4 remain for a mean
    planes = image[:, ::coarse, ::coarse]
    mean: NDArray[Any] = np.zeros(planes.shape[1:], np.float32)
    for plane in planes:
        mean += (plane if value is None else plane == value).astype(np.float32) / np.float32(len(planes))
    b = max(1, min(mean.shape) // SMALL)
    h, w = mean.shape[0] // b * b, mean.shape[1] // b * b
    a = np.zeros((h // b, w // b), np.float32)
    for y, x in np.ndindex(b, b):  # a sum of slices is several times faster than a mean over two short axes
        a += mean[y:h:b, x:w:b] / np.float32(b * b)
    grow = -(-64 // min(a.shape))
    return a.repeat(grow, 0).repeat(grow, 1) if grow > 1 else a


def _small_gray(image: NDArray[Any]) -> Float[np.ndarray, "h w"] | None:
    """Mean of the channels, small, its 1st..99th percentile stretched to 0..1; None if it is constant."""
    gray = _shrink(image)
    finite = np.isfinite(gray)
    if not finite.any():
        return None
    low, high = np.percentile(gray[finite], [1, 99])
    if not high - low > 1e-6 * max(abs(float(high)), abs(float(low)), 1e-30):
        return None
    filled = np.where(finite, gray, np.float32(np.median(gray[finite])))
    stretched: NDArray[Any] = (filled.clip(low, high) - low) / (high - low)
    return stretched.astype(np.float32)


def _bins(a: Float[np.ndarray, "h w"], ny: int, nx: int) -> Float[np.ndarray, "ny nx"]:
    """Means over a grid of about equal cells, the same from either end (up to a pixel)."""
    h, w = a.shape
    y, x = (np.arange(ny) * h) // ny, (np.arange(nx) * w) // nx
    sums = np.add.reduceat(np.add.reduceat(a, y, axis=0), x, axis=1)
    counts = np.outer(np.diff(np.append(y, h)), np.diff(np.append(x, w)))
    means: NDArray[Any] = (sums / counts).astype(a.dtype)
    return means


def _energies(gray: Float[np.ndarray, "h w"]) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """Squared gradients down and across."""
    return np.gradient(gray, axis=0) ** 2, np.gradient(gray, axis=1) ** 2


def _profiles(
    gray: Float[np.ndarray, "h w"], masks: Sequence[Float[np.ndarray, "h w"]]
) -> Float[np.ndarray, "strips features rows"]:
    """Each vertical strip from top to bottom: brightness, roughness, and the shares of the classes."""
    down, across = _energies(gray)
    features = [_bins(gray, ROWS, STRIPS), np.sqrt(_bins(down + across, ROWS, STRIPS))]
    features += [_bins(mask, ROWS, STRIPS) for mask in masks]
    stacked = np.stack(features).astype(np.float32)
    stacked /= np.maximum(stacked.std((1, 2), keepdims=True), 1e-6)
    return stacked.transpose(2, 0, 1)


def _likeness(
    p: Float[np.ndarray, "features strips rows"], q: Float[np.ndarray, "features strips rows"]
) -> Float[np.ndarray, "strips strips"]:
    """Fisher's z of all profiles in p with all in q, each at its best shift of up to a quarter of the rows.

    It is averaged over features: brightness and roughness count one each, all classes together one; a feature
    that is constant in either profile says nothing and does not count. Where none counts the likeness is 0.
    """
    weights = [1.0, 1.0] + [1 / max(len(p) - 2, 1)] * (len(p) - 2)
    best = np.full((p.shape[1], q.shape[1]), -np.inf, np.float32)
    for d in range(-ROWS // 4, ROWS // 4 + 1, SHIFT):
        total, counted = np.zeros((2, *best.shape), np.float32)
        for weight, one, other in zip(weights, p, q, strict=True):
            a, a_says = _unit(one[:, max(0, d) : ROWS + min(0, d)])
            b, b_says = _unit(other[:, max(0, -d) : ROWS + min(0, -d)])
            total += np.float32(weight) * np.arctanh((a @ b.T).clip(-MOST_ALIKE, MOST_ALIKE))
            counted += np.float32(weight) * np.outer(a_says, b_says)
        best = np.maximum(best, total / np.maximum(counted, np.float32(1e-6)))
    return best


def _unit(
    profiles: Float[np.ndarray, "strips rows"],
) -> tuple[Float[np.ndarray, "strips rows"], Float[np.ndarray, " strips"]]:
    """Profiles with mean 0 and length 1, and 1 for each; 0 and 0 where a profile is constant."""
    centred = profiles - profiles.mean(1, keepdims=True)
    length = np.sqrt((centred**2).sum(1, keepdims=True))
    says = (length > 0.1).astype(np.float32)  # features have standard deviation 1 in the whole image
    return says * centred / np.maximum(length, np.float32(0.1)), says[:, 0]


def _order(profiles: Float[np.ndarray, "n strips features rows"]) -> tuple[float, float]:
    """The order along the profiles and its standard error (see the top of this file)."""
    n = len(profiles)
    p = profiles.transpose(2, 0, 1, 3).reshape(profiles.shape[2], n * STRIPS, ROWS)
    gain = _likeness(p, p) - _likeness(p, p[..., ::-1])
    image, strip = np.divmod(np.arange(n * STRIPS), STRIPS)
    used = np.abs(strip[:, None] - strip) >= APART
    if n >= 4:  # then only different images are compared: an image always agrees with itself
        used &= image[:, None] != image

    def without(left_out: NDArray[Any]) -> float:
        return float(gain[used & ~left_out[:, None] & ~left_out].mean())

    blocks = np.array([without(strip // 2 == b) for b in range(STRIPS // 2)])
    images = np.array([without(image == k) for k in range(n)] if n > 2 else [])
    return float(gain[used].mean()), max(_jackknife(blocks), _jackknife(images))


def _jackknife(left_out: NDArray[Any]) -> float:
    """Standard error, given the estimates with one group left out each (Efron and Tibshirani, eq. 11.5)."""
    n = len(left_out)
    return float(np.sqrt((n - 1) * np.var(left_out))) if n > 1 else 0.0


def _anisotropy(grays: Sequence[Float[np.ndarray, "_ _"]]) -> tuple[float, float]:
    """Balance of the gradient energies, and its error, at the finer or coarser scale that shows more."""
    coarse = [_bins(gray, gray.shape[0] // 4, gray.shape[1] // 4) for gray in grays]
    return max(_balance(grays), _balance(coarse), key=lambda found: abs(found[0]) - CERTAIN * found[1])


def _balance(grays: Sequence[Float[np.ndarray, "_ _"]]) -> tuple[float, float]:
    """(down - across) / (down + across) of the gradient energies, all images weighing the same."""
    sums, differences = np.zeros((2, len(grays), CELLS // 2, CELLS // 2))
    for k, gray in enumerate(grays):
        down, across = (_bins(e, CELLS // 2, CELLS // 2) for e in _energies(gray))
        total = max(float((down + across).mean()), 1e-12)
        sums[k], differences[k] = (down + across) / total, (down - across) / total
    value = float(differences.sum() / sums.sum())
    # Leave out one part of the image, in all images, or one image.
    d, s = differences.sum(0).ravel(), sums.sum(0).ravel()
    parts = (d.sum() - d) / (s.sum() - s)
    d, s = differences.sum((1, 2)), sums.sum((1, 2))
    images = (d.sum() - d) / (s.sum() - s) if len(grays) > 2 else np.zeros(1)
    return value, max(_jackknife(parts), _jackknife(images))


def _frame(grays: Sequence[Float[np.ndarray, "_ _"]]) -> float:
    """Share of the coarse brightness that is common to all images and the same under all eight symmetries."""
    maps = []
    for gray in grays:
        cells = _bins(gray, CELLS, CELLS).astype(np.float64)
        maps.append((cells - cells.mean()) / max(float(cells.std()), 1e-9))
    mean = np.mean(maps, axis=0)
    mean = (mean + mean[::-1]) / 2
    mean = (mean + mean[:, ::-1]) / 2
    mean = (mean + mean.T) / 2
    return float((mean**2).mean())


def _decide(
    n: int,
    y: tuple[float, float],
    x: tuple[float, float],
    anisotropy: tuple[float, float],
    frame: float,
) -> Symmetries:
    """From the evidence to the answer; in doubt left-right mirroring stays, everything else goes."""
    # One image is one place: its strips are the whole evidence, so more of it is asked.
    flat_y = y[0] < ORDERED / 2 and y[0] + y[1] * (1 if n > 1 else 2) < ORDERED
    # Left-right order is rare and mirroring worth much: one or two images do not prove it.
    has_y, has_x = _has_order(*y), _has_order(*x) and n > 2
    grain = abs(anisotropy[0]) > max(ANISOTROPIC, CERTAIN * anisotropy[1])
    framed = frame > FRAMED
    mirror_x, mirror_y = not has_x, flat_y
    # Mirroring left-right and a quarter turn make the upside-down mirroring, so the turn needs both.
    transpose = mirror_x and mirror_y and not grain and not framed
    certain = flat_y or has_y
    which = f"the {n} images" if n > 1 else "the one image"
    if n == 0:
        reason = "no image has any contrast, so it is unknown which way up they are; assumed upright"
    elif has_y and has_x:
        reason = f"{which} have a top and a bottom, a left and a right: kept upright and not mirrored"
    elif has_y:
        reason = f"{which} have a top and a bottom: kept upright, mirrored left-right only"
    elif not flat_y:
        reason = f"{which} do not tell which way up they are (unknown); assumed upright to be safe"
    elif has_x:
        reason = f"{which} have a left and a right but no top and bottom: mirrored upside-down only"
    elif framed:
        reason = f"{which} show a centred field of view or pose: mirrored both ways, turned only a little"
    elif grain:
        reason = f"texture runs along one axis in {which}: mirrored both ways, turned only a little"
    else:
        reason = f"{which} look alike mirrored and turned: all flips and turns are natural"
    return Symmetries(
        mirror_x=mirror_x,
        mirror_y=mirror_y,
        turn=FREE_TURN if transpose else UPRIGHT_TURN,
        transpose=transpose,
        reason=reason,
        certain=certain,
        images=n,
        order_y=y[0],
        order_y_error=y[1],
        order_x=x[0],
        order_x_error=x[1],
        anisotropy=anisotropy[0],
        anisotropy_error=anisotropy[1],
        frame=frame,
    )


def _has_order(order: float, error: float) -> bool:
    """An order that is large, and that chance does not explain."""
    return order > max(ORDERED, CERTAIN * error)
