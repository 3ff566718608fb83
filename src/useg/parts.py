"""Arrays that may be larger than memory, part by part: what is counted and found here, numpy finds in one go."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped

PART = 1 << 22
"""Elements that are worked on at once."""
_DIGIT = 16
"""Bits by which numbers are sorted at once."""

Holds = Callable[[np.ndarray], np.ndarray]
"""Of each element whether something holds."""


def parts(array: Shaped[np.ndarray, "*size"]) -> Iterator[Shaped[np.ndarray, "..."]]:
    """Views of at most `PART` elements which, one behind the other, are the array in C order."""
    if array.size <= PART:
        yield array
    elif (row := array.size // len(array)) > PART:
        for each in array:
            yield from parts(each)
    else:
        rows = PART // row
        for start in range(0, len(array), rows):
            yield array[start : start + rows]


def boxes(size: Sequence[int], edges: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Windows of at most `edges` elements along each axis, which together are an array of this size."""
    counts = [-(-n // edge) for n, edge in zip(size, edges, strict=True)]
    for index in np.ndindex(*counts):
        starts = [i * edge for i, edge in zip(index, edges, strict=True)]
        yield tuple(slice(s, min(s + edge, n)) for s, edge, n in zip(starts, edges, size, strict=True))


def middle(size: Sequence[int], most: int) -> tuple[slice, ...]:
    """The window around the centre that has the proportions of the whole and at most so many elements; or the whole."""
    share = min(1.0, (most / max(1, math.prod(size))) ** (1 / len(size)))
    edges = [max(1, int(n * share)) if share < 1 else n for n in size]
    return tuple(slice((n - edge) // 2, (n - edge) // 2 + edge) for n, edge in zip(size, edges, strict=True))


def centre(size: Sequence[int], edge: int) -> tuple[slice, ...]:
    """The window around the centre that has at most `edge` elements along each axis."""
    return tuple(slice(max(0, (n - edge) // 2), min(n, (n + edge) // 2)) for n in size)


def bytes_of(array: Shaped[np.ndarray, "*size"]) -> Iterator[memoryview]:
    """The bytes of the array in C order, part by part."""
    for part in parts(array):
        yield np.ascontiguousarray(part).data


def crc32(array: Shaped[np.ndarray, "*size"], value: int = 0) -> int:
    """Checksum of these bytes, `value` being that of what comes before."""
    for part in bytes_of(array):
        value = zlib.crc32(part, value)
    return value


def same(one: Shaped[np.ndarray, "*size"], other: Shaped[np.ndarray, "*size"]) -> bool:
    """Whether two arrays of one size are equal in every element."""
    return all(np.array_equal(*pair) for pair in zip(parts(one), parts(other), strict=True))


def count(array: Shaped[np.ndarray, "*size"], holds: Holds) -> int:
    """How many elements hold."""
    return sum(int(np.count_nonzero(holds(part))) for part in parts(array))


def count_along(array: Shaped[np.ndarray, "*size"], axis: int, holds: Holds) -> Int64[np.ndarray, " n"]:
    """How many elements hold, for each place along an axis."""
    counts = np.zeros(array.shape[axis], np.int64)
    others = tuple(k for k in range(array.ndim) if k != axis)
    edges = [1] * array.ndim
    for k in reversed(range(array.ndim)):
        edges[k] = max(1, min(array.shape[k], PART // math.prod(edges)))
    for window in boxes(array.shape, edges):
        counts[window[axis]] += np.count_nonzero(holds(array[window]), axis=others)
    return counts


def find(array: Shaped[np.ndarray, "*size"], holds: Holds, ranks: Sequence[int] | np.ndarray) -> np.ndarray:
    """Where the elements that hold lie in the array in C order: `flatnonzero(holds(array))[ranks]`."""
    ranks = np.asarray(ranks, np.int64)
    found, begin, seen = np.zeros(ranks.shape, np.int64), 0, 0
    for part in parts(array):
        here = np.flatnonzero(holds(part))
        mine = (ranks >= seen) & (ranks < seen + here.size)
        found[mine] = begin + here[ranks[mine] - seen]
        begin, seen = begin + part.size, seen + here.size
    return found


def percentiles(values: Callable[[], Iterable[Shaped[np.ndarray, " _"]]], q: Sequence[float]) -> list[float]:
    """What `np.percentile` says of all these numbers as float64, to the bit; `values` gives them part by part, anew at
    each call, all of one type and none of them NaN. At least one is there.

    Of several parts found as cards are sorted by their digits: where the numbers of the wanted ranks fall, 16 bits of
    them after the other.
    """
    first = list(islice(values(), 2))
    if len(first) == 1:
        return [float(v) for v in np.percentile(first[0].astype(np.float64), q)]
    total = sum(part.size for part in values())
    places = (total - 1) * np.true_divide(q, 100)
    lower = np.floor(places)
    ranks = [int(rank) for rank in np.concatenate([lower, np.minimum(lower + 1, total - 1)])]
    found = _of_ranks(values, ranks)
    a, b = np.split(np.array([found[rank] for rank in ranks], np.float64), 2)
    weight, step = places - lower, b - a
    return [float(v) for v in np.where(weight >= 0.5, b - step * (1 - weight), a + step * weight)]


def _of_ranks(values: Callable[[], Iterable[np.ndarray]], ranks: Iterable[int]) -> dict[int, Any]:
    """The numbers that have these ranks, from 0."""
    dtype = next(part.dtype for part in values())
    unsigned = np.dtype(f"u{dtype.itemsize}")
    bits = 8 * dtype.itemsize
    # Of each rank the leading bits of its number, as far as they are known, and how many numbers are below them.
    known = dict.fromkeys(ranks, (0, 0))
    for shift in range(max(0, bits - _DIGIT), -1, -_DIGIT):
        counts = {lead: np.zeros(1 << _DIGIT, np.int64) for lead, _ in known.values()}
        for part in values():
            keys = _as_keys(part, unsigned)
            for lead, table in counts.items():
                mine = keys if shift + _DIGIT >= bits else keys[keys >> unsigned.type(shift + _DIGIT) == lead]
                table += np.bincount((mine >> unsigned.type(shift)).astype(np.uint16), minlength=1 << _DIGIT)
        for rank, (lead, below) in known.items():
            up_to = np.cumsum(counts[lead])
            digit = int(np.searchsorted(up_to, rank - below, side="right"))
            known[rank] = (lead << _DIGIT | digit, below + int(up_to[digit] - counts[lead][digit]))
    leads = np.array([lead for lead, _ in known.values()], unsigned)
    return dict(zip(known, _from_keys(leads, dtype), strict=True))


def _as_keys(part: np.ndarray, unsigned: np.dtype[Any]) -> np.ndarray:
    """Whole numbers without sign, in the order of the numbers."""
    keys, top = np.ascontiguousarray(part).view(unsigned), unsigned.type(1 << (8 * unsigned.itemsize - 1))
    if part.dtype.kind == "f":
        return np.where(keys & top, ~keys, keys | top)
    return keys ^ top if part.dtype.kind == "i" else keys


def _from_keys(keys: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    top = keys.dtype.type(1 << (8 * dtype.itemsize - 1))
    if dtype.kind == "f":
        return np.where(keys & top, keys & ~top, ~keys).view(dtype)
    return (keys ^ top if dtype.kind == "i" else keys).view(dtype)
