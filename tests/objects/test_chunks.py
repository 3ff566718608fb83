"""Chunks: every pixel is in one, every seam between two, and numbers keep their values whatever window is read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from useg.errors import SizeError
from useg.objects.chunks import Grid, Held, Numbers, Piece, Window, read_values

Edges = tuple[tuple[int, ...], ...]


@st.composite
def edges_of_chunks(draw: st.DrawFn, dims: int = 2, longest: int = 12) -> Edges:
    """A beartype check inside a strategy would draw random numbers; grids are made in the tests."""
    edges = []
    for _ in range(dims):
        n = draw(st.integers(1, longest))
        cuts = draw(st.sets(st.integers(1, n - 1))) if n > 1 else set()
        edges.append((0, *sorted(cuts), n))
    return tuple(edges)


@st.composite
def edges_and_windows(draw: st.DrawFn, dims: int) -> tuple[Edges, Window]:
    edges = draw(edges_of_chunks(dims))
    spans = [sorted((draw(st.integers(0, e[-1] - 1)), draw(st.integers(1, e[-1])))) for e in edges]
    return edges, tuple(slice(a, max(a + 1, b)) for a, b in spans)


@given(st.integers(2, 3).flatmap(edges_and_windows))
def test_a_window_is_shared_among_chunks(case: tuple[Edges, Window]) -> None:
    grid, window = Grid(case[0]), case[1]
    times, chunk = np.zeros(grid.size, int), np.full(grid.size, -1)
    for k in range(len(grid)):
        chunk[grid.window(k)] = k
    assert (chunk >= 0).all()
    for k, part in grid.crossing(window):
        assert (chunk[part] == k).all()
        times[part] += 1
    assert (times[window] == 1).all()
    assert times.sum() == times[window].sum()


@given(edges_of_chunks(3))
def test_every_seam_is_crossed_once(drawn: Edges) -> None:
    grid = Grid(drawn)
    found = np.zeros((3, *grid.size), int)
    for k in range(len(grid)):
        for axis, slab in grid.seams(k):
            found[axis][tuple(slice(s.start, s.stop - (a == axis)) for a, s in enumerate(slab))] += 1
    for axis, edges in enumerate(grid.edges):
        here = np.isin(np.arange(grid.size[axis]) + 1, edges[1:-1])
        assert (np.moveaxis(found[axis], axis, -1) == here).all()


@given(edges_and_windows(2), st.integers(0, 2**32 - 1))
def test_values_are_those_of_each_chunk(case: tuple[Edges, Window], seed: int) -> None:
    grid, window = Grid(case[0]), case[1]
    numbers = Numbers([k % 3 for k in range(len(grid))])
    rng = np.random.default_rng(seed)
    values = rng.integers(-50, 50, len(numbers)).astype(np.int32)
    stored, expected = np.zeros(grid.size, np.int32), np.zeros(grid.size, np.int32)
    for k in range(len(grid)):
        stored[grid.window(k)] = rng.integers(0, k % 3 + 1, stored[grid.window(k)].shape)
        for n in range(1, k % 3 + 1):
            expected[grid.window(k)][stored[grid.window(k)] == n] = values[numbers.of(k)][n - 1]
    pieces = [Piece(part, (numbers.table(k, values),) * 2) for k, part in grid.crossing(window)]
    np.testing.assert_array_equal(read_values((Held(stored),) * 2, window, pieces), 2 * expected[window])


@pytest.mark.parametrize("edges", [(), (1, 3), (0, 2, 2), (0, 3, 2)])
def test_wrong_edges_are_told(edges: tuple[int, ...]) -> None:
    with pytest.raises(SizeError, match="ascending"):
        Grid((edges, (0, 4)))


def test_wrong_shapes_are_told() -> None:
    for shape in ((2,), (2, 0)):
        with pytest.raises(SizeError, match="1 or more an axis"):
            Grid.regular((4, 4), shape)


def test_too_many_pieces_are_told() -> None:
    with pytest.raises(SizeError, match="raise the threshold"):
        Numbers([2**30, 2**30])
