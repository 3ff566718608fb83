"""Pyramids of random images: level 0 is the image, each level the mean of the one before, and nothing is read twice."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from useg.errors import ImageError, MissingError
from useg.images import Windows
from useg.viewing import build as build_module
from useg.viewing.pool import Pyramids
from useg.viewing.pyramid import TILE, Pyramid, count_levels, size_at
from useg.viewing.shrink import halve
from useg.viewing.tiles import render, render_layer

SMALL = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


@contextmanager
def pyramid_of(path: Path, cache: Path) -> Iterator[Pyramid]:
    pyramids = Pyramids(cache)
    try:
        with pyramids.borrow(path) as pyramid:
            yield pyramid
    finally:
        pyramids.close()


def noise(shape: Sequence[int], dtype: str = "u2", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def seen(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def whole(pyramid: Pyramid, level: int, z: int = 0) -> np.ndarray:
    """A level, tile by tile."""
    y, x = pyramid.size(level)
    rows = [
        [pyramid.read(level, z, slice(top, top + TILE), slice(left, left + TILE)) for left in range(0, x, TILE)]
        for top in range(0, y, TILE)
    ]
    return np.concatenate([np.concatenate(row, axis=2) for row in rows], axis=1)


@SMALL
@given(data=st.data())
def test_each_level_is_the_mean_of_the_one_before(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also where they are stored: with one level on the fly, a small image stores the others."""
    folder = tmp_path_factory.mktemp("image")
    sides = st.integers(1, 2500)
    shape = (data.draw(st.integers(1, 3)), data.draw(sides), data.draw(sides))
    array = noise(shape, data.draw(st.sampled_from(["u1", "u2"])))
    tifffile.imwrite(folder / "a.tif", array, photometric="minisblack", metadata={"axes": "CYX"})
    near = data.draw(st.sampled_from([0, 1, 2]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_module, "NEAR", near)
        patch.setattr(build_module, "_PIECE", 2 ** data.draw(st.integers(10, 22)))
        with pyramid_of(folder / "a.tif", folder / "cache") as pyramid:
            assert pyramid.count == count_levels(shape)
            assert max(pyramid.size(pyramid.count - 1)) <= TILE
            expected = array
            for level in range(pyramid.count):
                assert (whole(pyramid, level) == expected).all()
                expected = halve(expected)


@SMALL
@given(data=st.data())
def test_a_tile_is_that_part_of_the_image(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("image")
    shape = (data.draw(st.integers(1, 1300)), data.draw(st.integers(1, 1300)))
    colours = data.draw(st.booleans())
    array = noise((*shape, 3) if colours else shape, "u1")
    Image.fromarray(array).save(folder / "a.png")
    row, column = (data.draw(st.integers(0, (n - 1) // TILE)) for n in shape)
    with pyramid_of(folder / "a.png", folder / "cache") as pyramid:
        part = array[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
        assert (seen(render(pyramid, 0, row, column)) == part).all()
        for wrong in ((0, row, 3), (0, 3, column), (0, -1, 0), (0, 0, -1), (pyramid.count, 0, 0), (-1, 0, 0)):
            with pytest.raises(MissingError):
                render(pyramid, *wrong)
        with pytest.raises(MissingError, match="channel"):
            render(pyramid, 0, 0, 0, channel=4)
        with pytest.raises(MissingError, match="slice"):
            render(pyramid, 0, 0, 0, z=1)


def test_slices_of_a_stack_are_pyramids_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "NEAR", 0)
    stack = noise((3, 700, 600))
    tifffile.imwrite(tmp_path / "a.tif", stack, metadata={"axes": "ZYX"}, imagej=True, compression="zlib")
    with pyramid_of(tmp_path / "a.tif", tmp_path / "cache") as pyramid:
        assert (pyramid.slices, pyramid.count) == (3, 2)
        for z in range(3):
            assert (whole(pyramid, 0, z)[0] == stack[z]).all()
            assert (whole(pyramid, 1, z)[0] == halve(stack[z])).all()


def test_channels_are_shown_alone_in_gray_or_three_in_colour(tmp_path: Path) -> None:
    array = noise((4, 60, 50))
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", metadata={"axes": "CYX"})
    with pyramid_of(tmp_path / "a.tif", tmp_path / "cache") as pyramid:
        together = seen(render(pyramid, 0, 0, 0))
        for k in range(3):
            assert (together[..., k] == seen(render(pyramid, 0, 0, 0, channel=k))).all()
        assert seen(render(pyramid, 0, 0, 0, channel=3)).shape == (60, 50)


class Counted:
    """How many pixels of full resolution were decoded from the file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pixels = 0
        self.largest = 0
        plain = build_module.open_windows

        def open_counted(path: Path, *, level: int = 0) -> Windows:
            windows = plain(path, level=level)
            fetch = windows.fetch

            def counted(window: tuple[slice, ...]) -> np.ndarray:
                found = fetch(window)
                self.pixels += found.size
                self.largest = max(self.largest, found.nbytes)
                return found

            object.__setattr__(windows, "fetch", counted)
            return windows

        monkeypatch.setattr(build_module, "open_windows", open_counted)


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_an_image_is_decoded_once_and_later_visits_read_what_they_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(build_module, "_HELD", 2**20)
    monkeypatch.setattr(build_module, "_PIECE", 2**20)
    counted = Counted(monkeypatch)
    array, path, cache = noise((6000, 5000), "u1"), tmp_path / f"a{suffix}", tmp_path / "cache"
    if suffix == ".tif":
        tifffile.imwrite(path, array, compression="zlib", tile=(256, 256))
    else:
        Image.fromarray(array).save(path, compress_level=1)
    with pyramid_of(path, cache) as pyramid:
        assert counted.pixels == array.size
        assert counted.largest <= 2**21
        first = render(pyramid, pyramid.count - 1, 0, 0)
        counted.pixels = 0
        whole(pyramid, 1)
        assert counted.pixels == 0
    with pyramid_of(path, cache) as pyramid:  # as after the program was started again
        assert counted.pixels == 0
        assert render(pyramid, pyramid.count - 1, 0, 0) == first
        assert counted.pixels == 0
        tile = seen(render(pyramid, 0, 2, 3))
        assert (tile == array[1024:1536, 1536:2048]).all()
        # A PNG is copied, for it cannot be decoded in parts.
        assert counted.pixels == (TILE**2 if suffix == ".tif" else 0)


@pytest.mark.parametrize("own", [2, 3])
def test_levels_of_the_file_are_used_and_only_those_below_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: int
) -> None:
    counted = Counted(monkeypatch)
    array = noise((4002, 5000), "u1")
    levels = [array, array[::2, ::2], array[::4, ::4][:-1]][:own]  # the last one rounds down
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for n, level in enumerate(levels):
            options: dict[str, Any] = {"subifds": own - 1} if n == 0 else {"subfiletype": 1}
            file.write(level, tile=(256, 256), compression="zlib", **options)
    with pyramid_of(tmp_path / "a.tif", tmp_path / "cache") as pyramid:
        for level, pixels in enumerate(levels):
            found = whole(pyramid, level)[0]
            assert (found[: len(pixels)] == pixels).all()
            assert (found[-1] == pixels[-1]).all()
        counted.pixels = 0
        render(pyramid, pyramid.count - 1, 0, 0)
        if own == 3:
            assert sorted(pyramid.sources) == [0, 1, 2]
            assert not (tmp_path / "cache").exists()
            assert counted.pixels == levels[2].size
        else:
            assert sorted(pyramid.sources) == [0, 1, 2, 3, 4]
            assert counted.pixels == 0
            assert (whole(pyramid, 2)[0] == halve(levels[1])).all()


def test_a_file_that_changes_is_built_anew_and_a_broken_cache_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "NEAR", 0)
    path, cache = tmp_path / "a.tif", tmp_path / "cache"
    pyramids = Pyramids(cache)
    for seed in (1, 2):
        array = noise((1000, 900), seed=seed)
        tifffile.imwrite(path, array, description=f"another size {'.' * seed}")
        with pyramids.borrow(path) as pyramid:
            assert (whole(pyramid, 1)[0] == halve(array)).all()
    pyramids.close()
    for damage in ("1.raw", "meta.json"):
        (cache / "a.tif" / damage).write_bytes(b"{}")
        with pyramid_of(path, cache) as pyramid:
            assert (whole(pyramid, 1)[0] == halve(array)).all()
    assert sorted(each.name for each in cache.iterdir()) == ["a.tif"]


def test_many_who_ask_at_once_have_it_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "NEAR", 0)
    counted = Counted(monkeypatch)
    array = noise((1000, 900))
    tifffile.imwrite(tmp_path / "a.tif", array)
    pyramids, found = Pyramids(tmp_path / "cache"), []
    together = threading.Barrier(8)

    def ask() -> None:
        together.wait()
        with pyramids.borrow(tmp_path / "a.tif") as pyramid:
            found.append(pyramid)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted.pixels == array.size
    assert len({id(each) for each in found}) == 1
    pyramids.close()


def test_a_pyramid_in_use_stays_open_when_others_push_it_out(tmp_path: Path) -> None:
    for n in range(6):
        tifffile.imwrite(tmp_path / f"{n}.tif", noise((64, 64), seed=n), compression="zlib")
    pyramids = Pyramids(tmp_path / "cache")
    with pyramids.borrow(tmp_path / "0.tif") as first:
        for n in range(1, 6):
            with pyramids.borrow(tmp_path / f"{n}.tif"):
                pass
        assert (whole(first, 0)[0] == noise((64, 64), seed=0)).all()
    pyramids.close()


def test_what_is_no_image_or_damaged_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "NEAR", 0)
    pyramids = Pyramids(tmp_path / "cache")
    with pytest.raises(MissingError), pyramids.borrow(tmp_path / "a.tif"):
        pass
    tifffile.imwrite(tmp_path / "a.tif", noise((1000, 900)), compression="zlib")
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[:1000] + bytes(len(data) - 2000) + data[-1000:])
    for _ in range(2):
        with pytest.raises(ImageError), pyramids.borrow(tmp_path / "a.tif"):
            pass
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").iterdir())
    pyramids.close()


@SMALL
@given(st.data())
def test_layers_are_painted_the_more_opaque_the_greater_the_value(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.integers(1, 1200)) for _ in range(2))
    values = noise(shape, "u1")
    level = data.draw(st.integers(0, count_levels(shape) - 1))
    height, width = size_at(shape, level)
    row, column = data.draw(st.integers(0, (height - 1) // TILE)), data.draw(st.integers(0, (width - 1) // TILE))
    painted = np.asarray(Image.open(io.BytesIO(render_layer(values, level, row, column))).convert("RGBA"))
    expected = values
    for _ in range(level):
        expected = halve(expected)
    part = expected[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
    assert (painted[..., 3] == part).all()
    brightness = painted[..., :3].astype(float) @ [0.2126, 0.7152, 0.0722]
    assert brightness[part == part.max()].mean() >= brightness[part == part.min()].mean()
    for wrong in ((level, height // TILE + 1, 0), (level, 0, -1), (count_levels(shape), 0, 0)):
        with pytest.raises(MissingError):
            render_layer(values, *wrong)


def test_layers_of_large_images_are_read_in_a_few_places(tmp_path: Path) -> None:
    values = np.zeros((9000, 8000), np.uint8)
    values[:, 4000:] = 200
    shown = np.asarray(Image.open(io.BytesIO(render_layer(values, 5, 0, 0))).convert("RGBA"))
    assert shown.shape == (*size_at(values.shape, 5), 4)
    assert set(np.unique(shown[:, :120, 3])) == {0}
    assert set(np.unique(shown[:, 130:, 3])) == {200}
