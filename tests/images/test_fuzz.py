"""Damaged files of every format load or are refused in one line, quickly; nothing else happens."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from dicoms import save as save_dicom
from PIL import Image as Pillow

from useg.errors import UsegError
from useg.images import read, read_header, read_mask, write_labels
from useg.images.image import Image, OnMap

LABELS = np.arange(20 * 24).reshape(20, 24) % 3
MOST_SECONDS = 2.0


def make_samples(folder: Path) -> list[Path]:
    """A small file of every format and of the ways that it may be stored."""
    gray, rng = LABELS.astype(np.uint8), np.random.default_rng(0)
    noise = rng.integers(0, 255, (20, 24, 3), np.uint8)
    for suffix in ("png", "jpg", "bmp", "gif", "webp"):
        Pillow.fromarray(noise).save(folder / f"noise.{suffix}")
    for compression in (None, "zlib", "lzw", "zstd"):
        tifffile.imwrite(folder / f"{compression}.tif", noise, compression=compression)
    tifffile.imwrite(folder / "a.ome.tif", noise[..., 0], metadata={"axes": "YX", "PhysicalSizeX": 0.5})
    np.save(folder / "a.npy", noise)
    place = OnMap((0.5, 0.0, 7e5, 0.0, -0.5, 3e6), rasterio.CRS.from_epsg(32616).to_wkt())
    write_labels(folder / "geo.tif", LABELS, like=Image(gray[None], "CYX", place=place))
    for name in ("a.nii", "a.nii.gz", "a.nrrd", "a.ome.zarr"):
        write_labels(folder / name, LABELS)
    write_labels(folder / "b.ome.zarr", np.stack([LABELS] * 3))
    save_dicom(folder / "a.dcm", noise[..., 0].astype("<u2"))
    save_dicom(folder / "rgb.dcm", noise)
    write_labels(folder / "seg.dcm", LABELS, like=read(folder / "a.dcm"))
    return sorted(folder.iterdir())


def damage(source: Path, target: Path, rng: np.random.Generator) -> None:
    """Copy a file with a part cut off, or some bytes changed; of a folder, one of its files."""
    if target.is_dir():
        shutil.rmtree(target)
    if source.is_dir():
        shutil.copytree(source, target)
        inside = sorted(file for file in target.rglob("*") if file.is_file())
        source = target = inside[rng.integers(len(inside))]
    data = bytearray(source.read_bytes())
    if rng.random() < 0.3:
        del data[rng.integers(len(data)) :]
    else:
        # Headers are where sizes and types stand; half of the flips go there.
        end = min(len(data), 400) if rng.random() < 0.5 else len(data)
        for place in rng.integers(end, size=rng.integers(1, 6)):
            data[place] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
    target.write_bytes(data)


def fuzz(samples: list[Path], folder: Path, count: int) -> tuple[int, int]:
    """How many of `count` damaged files loaded, and how many were refused."""
    readers: list[Callable[[Path], object]] = [read, read_header, read_mask]
    loaded = refused = 0
    for number in range(count):
        source = samples[number % len(samples)]
        target = folder / source.name
        damage(source, target, np.random.default_rng([7, number]))
        begun = time.process_time()
        for reader in readers:
            try:
                reader(target)
            except UsegError as error:
                refused += 1
                assert str(target) in str(error) and "\n" not in str(error), f"{number}: {error}"
            else:
                loaded += 1
        assert time.process_time() - begun < MOST_SECONDS, f"{number}: {target} took too long"
    return loaded, refused


def test_damaged_files_load_or_are_refused(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    samples = make_samples(tmp_path / "good")
    for sample in samples:
        read(sample)
    loaded, refused = fuzz(samples, tmp_path / "bad", 8 * len(samples))
    assert loaded and refused


@pytest.mark.long
@pytest.mark.real
def test_2000_damaged_files(tmp_path: Path, real_data: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    files = [*(real_data / "odd-inputs").iterdir(), *(real_data / "mri-hippocampus-3d/test").rglob("*.nii.gz")]
    small = [file for file in sorted(files) if file.stat().st_size < 100_000 and file.suffix != ".md"]
    fuzz([*make_samples(tmp_path / "good"), *small], tmp_path / "bad", 2000)
