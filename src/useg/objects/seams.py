"""The objects of an image that is read and written in chunks: those of the whole image, with no seams.

Each pass goes over all chunks, and what it does with a chunk is a function of what is stored and of small tables, so
it may be done twice, in any order, or by several workers. Between passes the numbers that chunks gave by themselves
are joined into those of the whole image: pieces that meet across a seam are one piece.

    1  regions and seeds of each chunk, numbered by itself   -> what meets across seams; seeds that are large enough
    2  regions with several seeds are parted: `grow.py`      -> sizes of objects; to whom goes what no seed reached
    3  background of each chunk, numbered by itself          -> which of it is a hole, and in which object
    4  final numbers, in the order of the objects' first pixels
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64, Integer

from useg.errors import SizeError
from useg.objects.chunks import Grid, Numbers, Piece, Source, Store, Window
from useg.objects.grow import REACH
from useg.objects.passes import (
    NEVER,
    Around,
    Counted,
    Found,
    Grow,
    Grown,
    GrowthJob,
    Holes,
    Label,
    Meet,
    Met,
    Slab,
    Write,
)
from useg.objects.settings import SeparateSettings

MapChunks = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""As the builtin `map`: calls a function on each of the items, and gives the results in their order."""

_NONE = np.zeros(0, np.int64)


def separate_chunked(
    confidence: Source,
    result: Store,
    grid: Grid,
    settings: SeparateSettings | None = None,
    *,
    scratch: Callable[[str], Store],
    map_chunks: MapChunks = map,
) -> int:
    """The objects of an image or volume, as `useg.objects.separate` finds them in memory, to the pixel and number.

    Memory: working on a chunk takes 20 to 30 bytes for each of its pixels and those of a halo of `REACH`, so chunks
    should be several times as wide; the tables grow with the number of objects and of the pixels along seams, not
    with the image. Chunks may be worked on at the same time if no two of them share a part that a store writes as a
    whole.

    Args:
        confidence: uint8 `Y X` or `Z Y X`, from `confidence` of `useg.objects`.
        result: int32; set to 0 for background and the objects 1..N. Only written.
        grid: how the image is cut into chunks.
        settings: see there.
        scratch: gives an int32 store of the image's size for each of the names "regions", "seeds", "objects" and
            "background". What it holds at first does not matter.
        map_chunks: does a pass. Function and items can be pickled if the stores can; an item may be done again while
            its pass goes on.

    Returns:
        N.

    Raises:
        SizeError: the image has neither 2 nor 3 axes, or more pieces than int32 can number.
    """
    if len(grid.size) not in REACH:
        raise SizeError(f"objects of an image with {len(grid.size)} axes; give Y X or Z Y X")
    settings = settings or SeparateSettings()
    low, high = settings.cuts
    chunks = range(len(grid))

    # 1. Without a higher threshold for seeds, regions are their own.
    regions = scratch("regions")
    seeds = scratch("seeds") if high > low else regions
    label = Label(confidence, regions, seeds, low, high, grid.size)
    found: list[Found] = list(map_chunks(label, map(grid.window, chunks)))
    region_numbers = Numbers(len(f.regions.sizes) for f in found)
    seed_numbers = Numbers(len(f.seeds.sizes) for f in found)
    region_groups = _join(regions, region_numbers, grid, map_chunks)
    seed_groups = region_groups if seeds is regions else _join(seeds, seed_numbers, grid, map_chunks)
    at = [begin - 1 + f.region for begin, f in zip(region_numbers.begins, found, strict=False)]
    owners, starters = _owners(
        region_groups,
        seed_groups,
        region_groups[np.concatenate([*at, _NONE])],
        _all([f.seeds for f in found]),
        settings.smallest_seed,
    )

    # 2. From here on the numbers of objects are those of their seeds, in the order of their first pixels.
    objects = scratch("objects")
    growing = Grow(confidence, regions, seeds, objects, low, high, grid.size)
    jobs = _growth(grid, region_numbers, owners, seed_numbers, starters)
    grown: list[Grown] = list(map_chunks(growing, jobs))
    del regions, seeds, label, growing  # stores in memory are freed
    counted = [c for f, g in zip(found, grown, strict=True) for c in (f.regions, g.taken, g.left)]
    object_numbers, owners, left, touching = _behind(grown, region_numbers, owners)
    if left:
        met = _meet((objects,), (object_numbers,), (owners,), grid, map_chunks)
        owners = _give_away(owners, left, [*touching, *met])
    finals = _finals(owners, _all(counted), settings.smallest)

    # 3.
    background = scratch("background")
    tables = [object_numbers.table(k, finals) for k in chunks]
    holes = Holes(objects, background, grid.size)
    around: list[Around] = list(map_chunks(holes, zip(map(grid.window, chunks), tables, strict=True)))
    hole_numbers = Numbers(len(a.low) for a in around)
    stores, numbers = (objects, background), (object_numbers, hole_numbers)
    met = _meet(stores, numbers, (finals, hole_numbers.apart()), grid, map_chunks, corners=True)
    fills = _fills(around, met)

    # 4.
    write = Write(objects, background, result)
    items = ((grid.window(k), tables[k], hole_numbers.table(k, fills)) for k in chunks)
    for _ in map_chunks(write, items):
        pass
    return int(finals.max(initial=0))


def _meet(
    stores: tuple[Store, ...],
    numbers: tuple[Numbers, ...],
    values: tuple[Int32[np.ndarray, "_"], ...],
    grid: Grid,
    map_chunks: MapChunks,
    *,
    corners: bool = False,
) -> list[Met]:
    """Which values of the chunks' numbers meet across all seams."""

    def slabs(chunk: int) -> Iterator[Slab]:
        for axis, window in grid.seams(chunk):
            if corners:
                window = (*grid.around(window, 1)[:axis], window[axis], *grid.around(window, 1)[axis + 1 :])
            yield Slab(axis, window, _pieces(grid, window, numbers, values))

    return list(map_chunks(Meet(stores, corners), (list(slabs(k)) for k in range(len(grid)))))


def _pieces(
    grid: Grid, window: Window, numbers: Sequence[Numbers], values: Sequence[Int32[np.ndarray, "_"]]
) -> list[Piece]:
    return [
        Piece(shared, tuple(n.table(chunk, v) for n, v in zip(numbers, values, strict=True)))
        for chunk, shared in grid.crossing(window)
    ]


def _join(store: Store, numbers: Numbers, grid: Grid, map_chunks: MapChunks) -> Integer[np.ndarray, "n"]:
    """For all numbers of all chunks the group of those that are one piece."""
    met = _meet((store,), (numbers,), (numbers.apart(),), grid, map_chunks)
    return _groups(len(numbers), _pairs(met))


def _groups(count: int, pairs: Int32[np.ndarray, "n 2"]) -> Integer[np.ndarray, "count"]:
    """Groups 0, 1, .. of the values -1, -2, .. -count that pairs, and pairs of pairs, hold together."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(pairs):
        return np.arange(count)
    graph = coo_matrix((np.ones(len(pairs), bool), tuple(-pairs.T - 1)), (count, count))
    groups: Integer[np.ndarray, "count"] = connected_components(graph, directed=False)[1]
    return groups


def _owners(
    region_groups: Integer[np.ndarray, "n"],
    seed_groups: Integer[np.ndarray, "m"],
    regions_of_seeds: Integer[np.ndarray, "m"],
    seeds: Counted,
    smallest: int,
) -> tuple[Int32[np.ndarray, "n"], Int32[np.ndarray, "m"]]:
    """Number the seeds that are large enough; give regions to their one seed.

    Returns:
        For the numbers of regions their object, 0 without any and -1 with several; for the numbers of seeds their
        object, 0 where it need not grow.
    """
    sizes, first = _sum_up(seed_groups, seeds)
    region = np.zeros(len(sizes), np.int64)
    region[seed_groups] = regions_of_seeds
    valid = np.flatnonzero(sizes >= smallest)
    valid = valid[np.argsort(first[valid])]
    numbers = np.zeros(len(sizes), np.int32)
    numbers[valid] = np.arange(1, len(valid) + 1)
    seeds_in = np.bincount(region[valid], minlength=int(region_groups.max(initial=-1)) + 1)
    owner = np.zeros(len(seeds_in), np.int32)
    owner[region[valid]] = numbers[valid]
    owner[seeds_in > 1] = -1
    return owner[region_groups], np.where(owner[regions_of_seeds] < 0, numbers[seed_groups], 0)


def _growth(
    grid: Grid,
    region_numbers: Numbers,
    owners: Int32[np.ndarray, "n"],
    seed_numbers: Numbers,
    starters: Int32[np.ndarray, "m"],
) -> Iterator[GrowthJob]:
    """The jobs of the pass that grows."""
    shared = (owners < 0).astype(np.int32)
    for chunk in range(len(grid)):
        core, regions = grid.window(chunk), region_numbers.of(chunk)
        count = regions.stop - regions.start
        if not shared[regions].any():
            yield GrowthJob(core, count, None, [], _NONE.astype(np.int32))
            continue
        around = grid.around(core, REACH[len(grid.size)])
        near = grid.crossing(around)
        # Numbered among the few of this neighbourhood, so that a chunk's tables are as small as the chunk.
        objects = np.unique(np.concatenate([starters[seed_numbers.of(k)] for k, _ in near]))
        objects = objects[objects > 0]
        pieces = []
        for k, window in near:
            some = seed_numbers.table(k, starters)
            places = np.where(some > 0, np.searchsorted(objects, some) + 1, 0).astype(np.int32)
            pieces.append(Piece(window, (region_numbers.table(k, shared), places)))
        yield GrowthJob(core, count, around, pieces, objects)


def _behind(
    grown: Sequence[Grown], region_numbers: Numbers, owners: Int32[np.ndarray, "n"]
) -> tuple[Numbers, Int32[np.ndarray, "m"], int, list[Met]]:
    """The numbers that chunks have after growth, and their objects; what is left over has -1, -2, ..

    Returns:
        Numbers, objects, how many pieces are left, and which objects they touch inside their chunks.
    """
    left = Numbers(len(g.left.sizes) for g in grown)
    apart = left.apart()
    values = [
        np.concatenate([owners[region_numbers.of(k)].clip(0), g.objects, apart[left.of(k)]])
        for k, g in enumerate(grown)
    ]
    touching = [
        Met(g.touching.pairs - np.array([begin, 0], np.int32), g.touching.counts)
        for g, begin in zip(grown, left.begins.astype(np.int32), strict=False)
    ]
    return Numbers(map(len, values)), np.concatenate([*values, _NONE]).astype(np.int32), len(left), touching


def _give_away(owners: Int32[np.ndarray, "n"], left: int, met: Sequence[Met]) -> Int32[np.ndarray, "n"]:
    """Give each connected piece that no seed reached to the object that it shares most edges of pixels with.

    Of equal ones it is the object whose seed comes first in the order of pixels.
    """
    pairs, counts = _pairs(met), np.concatenate([m.counts for m in met])
    kin = pairs[:, 1] < 0
    groups = _groups(left, pairs[kin])
    width = int(owners.max()) + 1
    contacts = groups[-pairs[~kin, 0] - 1].astype(np.int64) * width + pairs[~kin, 1]
    contacts, place = np.unique(contacts, return_inverse=True)
    edges = np.bincount(place, counts[~kin])
    group, owner = np.divmod(contacts, width)
    best = np.lexsort((owner, -edges, group))
    best = best[np.unique(group[best], return_index=True)[1]]  # each piece touches an object: its region has some
    given = owners < 0
    result = owners.copy()
    result[given] = owner[best][groups[-owners[given] - 1]]
    return result


def _finals(owners: Int32[np.ndarray, "n"], counted: Counted, smallest: int) -> Int32[np.ndarray, "n"]:
    """Drop small objects and number the others 1..N in the order of their first pixels."""
    sizes, first = _sum_up(owners, counted)
    kept = np.flatnonzero(sizes >= smallest)
    kept = kept[kept > 0]
    finals = np.zeros(len(sizes), np.int32)
    finals[kept[np.argsort(first[kept])]] = np.arange(1, len(kept) + 1)
    return finals[owners]


def _fills(around: Sequence[Around], met: Sequence[Met]) -> Int32[np.ndarray, "n"]:
    """For all pieces of background the object that they are a hole of, or 0."""
    pairs = _pairs(met)
    kin = pairs[:, 1] < 0
    low = np.concatenate([*(a.low for a in around), _NONE])
    groups = _groups(len(low), pairs[kin])
    count = int(groups.max(initial=-1)) + 1
    lowest, highest = np.full(count, np.iinfo(np.int32).max, np.int32), np.zeros(count, np.int32)
    beside, at = pairs[~kin, 1], groups[-pairs[~kin, 0] - 1]
    np.minimum.at(lowest, np.concatenate([groups, at]), np.concatenate([low, beside]).astype(np.int32))
    high = [*(a.high for a in around), beside]
    np.maximum.at(highest, np.concatenate([groups, at]), np.concatenate(high))
    at_edge = np.zeros(count, bool)
    np.logical_or.at(at_edge, groups, np.concatenate([*(a.at_edge for a in around), _NONE.astype(bool)]))
    return np.where((lowest == highest) & ~at_edge, highest, 0)[groups]


def _sum_up(
    places: Integer[np.ndarray, "n"], counted: Counted
) -> tuple[Int64[np.ndarray, "m"], Int64[np.ndarray, "m"]]:
    """Pixels, and the first of them, of what is at the same place."""
    count = int(places.max(initial=-1)) + 1
    sizes = np.bincount(places, counted.sizes, count).astype(np.int64)  # float64 in between: exact up to 2^53
    first = np.full(count, NEVER)
    np.minimum.at(first, places, counted.first)
    return sizes, first


def _all(counted: Sequence[Counted]) -> Counted:
    """Those of all chunks, one behind the other."""
    sizes, first = ([*(getattr(c, name) for c in counted), _NONE] for name in ("sizes", "first"))
    return Counted(np.concatenate(sizes), np.concatenate(first))


def _pairs(met: Sequence[Met]) -> Int32[np.ndarray, "n 2"]:
    return np.concatenate([*(m.pairs for m in met), np.zeros((0, 2), np.int32)])
