"""A data set that is too large for memory is the same data set: examples, plan, samples and losses."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from useg import parts as parts_room
from useg.data import decode as room
from useg.data.augment import AugmentSettings
from useg.data.dataset import Example
from useg.data.layouts import find_layout
from useg.data.prepare import Annotated, decoder_of, prepare, read_annotated
from useg.data.samples import Batch, Sampler, SampleSettings
from useg.errors import OutputError
from useg.images import write_labels
from useg.plan import make_plan
from useg.settings import Settings
from useg.train import train
from useg.unet.borders import BorderSettings
from useg.unet.normalise import NormaliseSettings
from useg.watch import Watcher

few = settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path: Path, array: np.ndarray, mask: bool) -> None:
    """An image or a mask in the format of the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".ome.zarr"):
        names = [{"name": name, "type": "space"} for name in "zyx"[-array.ndim :]]
        level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [2.0] * array.ndim}]}
        attributes = {"ome": {"version": "0.5", "multiscales": [{"axes": names, "datasets": [level]}]}}
        group = zarr.create_group(str(path), zarr_format=3, attributes=attributes)
        group.create_array("0", shape=array.shape, dtype=array.dtype, chunks=(5, 16, 9)[-array.ndim :])[...] = array
    elif path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".tif":
        palette = {"photometric": "palette", "colormap": np.arange(768, dtype=np.uint16).reshape(3, 256) << 8}
        options: dict[str, Any] = palette if mask and array.dtype == np.uint8 else {"photometric": "minisblack"}
        tifffile.imwrite(path, array, tile=(16, 16), compression="deflate", **options)
    elif path.suffix == ".png":
        Pillow.fromarray(array).save(path)
    else:
        write_labels(path, array)


def data_set(folder: Path, seed: int, dims: int, kind: str, suffix: str, count: int) -> None:
    rng = np.random.default_rng(seed)
    for number in range(count):
        size = tuple(int(n) for n in rng.integers(34, 48, dims))
        coarse = rng.integers(0, {"classes": 3, "instances": 40, "ignore": 2}[kind], [-(-n // 6) for n in size])
        mask = np.kron(coarse, np.ones([6] * dims, int))[tuple(map(slice, size))]
        mask[..., -3:] = 0
        if kind == "ignore":
            mask[..., :5] = 7
        image = 20 * (mask % 5) + rng.integers(0, 50, size)
        wide = np.uint16 if seed % 2 and suffix != ".png" else np.uint8
        write(folder / "images" / f"s{number}{suffix}", image.astype(wide), mask=False)
        write(folder / "masks" / f"s{number}{suffix}", mask.astype(np.uint8), mask=True)


def both(folder: Path, kind: str) -> tuple[Annotated, Annotated]:
    """Read into memory, and onto the disk."""
    how: dict[str, Any] = {"ignore": 7 if kind == "ignore" else None}
    how["masks"] = "instances" if kind == "instances" else "classes"
    return read_annotated(folder, **how), read_annotated(folder, **how, scratch=folder, max_memory=1)


def assert_same(one: Example, other: Example) -> None:
    for field in fields(Example):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype and np.array_equal(a, b), field.name
        else:
            assert a == b, field.name


def batch_of(examples: list[Example], kind: str, folder: Path, name: str) -> Batch:
    from useg.data.border_fields import kept_fields

    dims = examples[0].labels.ndim
    return Sampler(
        examples,
        SampleSettings(crop=(16,) * dims, batch=4, rare_share=0.5, rare_classes=[1]),
        AugmentSettings(),
        NormaliseSettings(),
        classes=3,
        widen=1,
        fields=kept_fields(examples, BorderSettings(), folder / name) if kind == "instances" else None,
    ).batch(3)


@few
@given(
    seed=st.integers(0, 999),
    dims_suffix=st.sampled_from([(2, ".png"), (2, ".tif"), (2, ".npy"), (3, ".tif"), (3, ".ome.zarr"), (3, ".nii.gz")]),
    kind=st.sampled_from(["classes", "instances", "ignore"]),
    count=st.sampled_from([2, 5]),
)
def test_what_is_kept_on_disk_is_what_would_be_in_memory(
    seed: int,
    dims_suffix: tuple[int, str],
    kind: str,
    count: int,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path_factory.mktemp("data")
    data_set(folder, seed, dims_suffix[0], kind, dims_suffix[1], count)
    here, there = both(folder, kind)
    assert (here.on_disk, there.on_disk > 0) == (0, True)
    assert here.legend == there.legend
    assert here.check.problems == there.check.problems and here.check.summary == there.check.summary
    for one, other in zip(here.examples, there.examples, strict=True):
        assert_same(one, other)
    in_memory = batch_of(here.examples, kind, folder, "one")
    plan = make_plan(here.examples, here.legend, Settings())
    # However small the parts are in which it is looked at.
    monkeypatch.setattr(parts_room, "PART", 20000)
    on_disk = batch_of(there.examples, kind, folder, "other")
    assert np.array_equal(in_memory.labels, on_disk.labels)
    np.testing.assert_allclose(in_memory.images, on_disk.images, rtol=1e-5, atol=1e-5)
    if in_memory.weights is not None and on_disk.weights is not None:
        assert np.array_equal(in_memory.weights, on_disk.weights)
    assert make_plan(there.examples, there.legend, Settings()) == plan
    monkeypatch.undo()


def test_gray_among_colours_and_colours_in_masks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(3):
        image = rng.integers(0, 255, (40, 44, 3)).astype(np.uint8)
        write(tmp_path / "images" / f"{number}.png", image[..., 0] if number == 1 else image, mask=False)
        mask = np.zeros((40, 44, 3), np.uint8)
        mask[:, 20:] = (255, 0, 9)
        write(tmp_path / "masks" / f"{number}.png", mask, mask=True)
    here, there = both(tmp_path, "classes")
    assert [e.image.shape[0] for e in there.examples] == [3, 3, 3]
    for one, other in zip(here.examples, there.examples, strict=True):
        assert_same(one, other)


def test_a_plain_array_needs_no_copy_and_each_file_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_set(tmp_path, 1, 2, "classes", ".npy", 5)
    monkeypatch.setattr(room, "_MAPPED", 0)
    copied: list[Path | None] = []
    opened = room.files.open_once
    monkeypatch.setattr(room.files, "open_once", lambda path, **how: copied.append(path) or opened(path, **how))
    found = read_annotated(tmp_path, scratch=tmp_path, max_memory=1)
    assert len(copied) == len(set(copied)) == 5
    mapped = found.examples[0].image
    while isinstance(mapped, np.ndarray) and not isinstance(mapped, np.memmap):
        mapped = mapped.base
    assert isinstance(mapped, np.memmap) and Path(str(mapped.filename)).name == "s0.npy"


def test_a_check_reads_one_pair_at_a_time_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_set(tmp_path, 1, 3, "classes", ".ome.zarr", 2)
    layout = find_layout(tmp_path)
    assert decoder_of(layout, tmp_path) is not None
    monkeypatch.setattr("useg.machine.free_memory", lambda: 1)
    decoder = decoder_of(layout, tmp_path)
    first, second = (decoder.image(layout.train[0].image).array for _ in range(2))
    assert np.array_equal(first, second) and not np.shares_memory(first, second)


def test_too_large_for_memory_and_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_set(tmp_path, 1, 2, "classes", ".png", 5)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(OutputError, match="GB decoded, too much for memory, and on this disk"):
        read_annotated(tmp_path, scratch=tmp_path, max_memory=1)
    assert prepare(tmp_path).on_disk == 0


def test_losses_are_the_same_to_the_bit(tmp_path: Path) -> None:
    data_set(tmp_path / "data", 1, 3, "classes", ".ome.zarr", 2)
    tiny = {
        "network.width": 4,
        "network.depth": 1,
        "network.pools": [],
        "network.flat": [],
        "samples.crop": [16, 16, 16],
        "samples.batch": 2,
    }
    tiny |= {"machine.precision": "float32", "machine.threads": 1, "validations": 1}
    told: list[str] = []
    for name, more in (("one", {}), ("other", {"data.max_memory": 1})):
        train(
            tmp_path / "data", tmp_path / name, steps=3, overrides={**tiny, **more}, watch=Watcher(on_text=told.append)
        )
    one, other = ((tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("one", "other"))
    assert [json.loads(line).get("loss") for line in one] == [json.loads(line).get("loss") for line in other]
    assert sum(line.startswith("memory: ") and "kept on the disk" in line for line in told) == 1
