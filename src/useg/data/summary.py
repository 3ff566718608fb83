"""What stays of a pair after a look at its pixels, and the counts over all pairs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from useg.data.dataset import Pair
from useg.data.judge import Seen
from useg.data.legend import Legend


@dataclass(frozen=True, eq=False)
class Look:
    """What is kept of one pair after its pixels are gone.

    Attributes:
        gray: all channels are equal (gray saved as RGB).
        digest: of the image's pixels. thumbnail: a small picture of it, see `similar.thumbnail`.
        seen: the values of the mask.
        objects, touching: painted objects, and those of them that touch another one.
        cut: painted objects that the edge of the image cuts.
        alike: places that look like them and are not painted.
    """

    pair: Pair
    size: tuple[int, ...]
    channels: int
    gray: bool
    dtype: str
    low: float
    high: float
    digest: bytes
    thumbnail: Float[np.ndarray, "t t"]
    seen: Seen
    objects: int = 0
    touching: int = 0
    cut: int = 0
    alike: int = 0


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
    `without_foreground` the number of masks that hold class 0 only; `groups`
    counts images where the data set names groups. `objects` and `touching` count objects, and those that touch another,
    where masks hold ids of them.
    """

    images: int
    sizes: dict[str, int]
    channels: dict[int, int]
    dtypes: dict[str, int]
    class_shares: tuple[float, ...]
    share_ignored: float
    without_foreground: int
    objects: int
    touching: int
    groups: dict[str, int]
    rows: tuple[Row, ...]


def class_counts(seen: Seen, legend: Legend) -> tuple[list[int], int]:
    """Pixels of each class in one mask, and pixels that nobody annotated."""
    ignored = seen.counts.get(legend.ignore, 0) if legend.ignore is not None else 0
    if legend.kind == "instances":
        background = seen.counts.get(0, 0)
        return [background, sum(seen.counts.values()) - background - ignored], ignored
    return [seen.counts.get(value, 0) for value in legend.values], ignored


def summarise(looks: Sequence[Look], legend: Legend | None) -> Summary:
    """Counts over all looks; shares of classes only with a legend."""
    rows, without_foreground = [], 0
    total, ignored_total, pixels_total = np.zeros(legend.classes if legend else 0, np.int64), 0, 0
    for look in looks:
        counts, ignored = class_counts(look.seen, legend) if legend else ([], 0)
        annotated, pixels = max(sum(counts), 1), max(sum(look.seen.counts.values()), 1)
        shares = tuple(count / annotated for count in counts)
        ranges = (look.low, look.high)
        share = ignored / pixels
        rows.append(Row(look.pair.name, look.size, look.channels, look.dtype, *ranges, shares, share))
        total += np.array(counts, np.int64)
        ignored_total, pixels_total = ignored_total + ignored, pixels_total + pixels
        without_foreground += bool(counts and counts[0] and not any(counts[1:]))
    instances = legend is not None and legend.kind == "instances"
    return Summary(
        images=len(looks),
        sizes=dict(Counter(" x ".join(map(str, look.size)) for look in looks).most_common()),
        channels=dict(Counter(look.channels for look in looks).most_common()),
        dtypes=dict(Counter(look.dtype for look in looks).most_common()),
        class_shares=tuple((total / max(int(total.sum()), 1)).tolist()),
        share_ignored=ignored_total / max(pixels_total, 1),
        without_foreground=without_foreground,
        objects=sum(look.objects for look in looks) if instances else 0,
        touching=sum(look.touching for look in looks) if instances else 0,
        groups=dict(Counter(look.pair.group for look in looks if look.pair.group is not None).most_common()),
        rows=tuple(rows),
    )
