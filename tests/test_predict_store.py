"""Images larger than memory: the same labels as in memory, and nothing is done twice after a kill."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import files_of, make_image, make_model
from useg import blocks, store_plan
from useg import predict_store as room
from useg.errors import ImageError, OutputError, UsegError
from useg.images.files import read, read_mask, write_labels
from useg.images.windows import Windows, windows_of
from useg.objects import grow
from useg.objects.settings import SeparateSettings
from useg.predict import Predictor, PredictSettings
from useg.predict_store import FINISHED, StoreResult, StoreWatch, predict_store, work_folder
from useg.store_plan import StoreSettings
from useg.unet.model import load_model, save_model
from useg.unet.normalise import NormaliseSettings

CPU = PredictSettings(device="cpu", precision="float32")


def with_many_objects(path: Path, image: np.ndarray) -> Path:
    """The model with thresholds between which the probabilities of this image lie."""
    card, (network,) = load_model(path)
    low, high = np.percentile(Predictor.load(path, CPU).predict(image).probabilities[1], (75, 88))
    found = SeparateSettings(threshold=float(low), seed_threshold=float(high), smallest=3)
    save_model(path, card.model_copy(update={"objects": found}), network.state_dict())
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Blocks of 32 pixels, as if there were memory for no more, and objects that grow no farther than a block."""
    monkeypatch.setattr(store_plan, "choose_block", lambda *given: ((16,) * len(given[1]), (32,) * len(given[1])))
    monkeypatch.setattr(grow, "STEPS", 2)
    for dims in (2, 3):
        monkeypatch.setitem(grow.LEVELS, dims, 5)
        monkeypatch.setitem(grow.REACH, dims, 10)
    yield


def in_blocks(model: Path, image: np.ndarray, target: Path, tta: bool = False, **options: object) -> StoreResult:
    unsure = "uncertainty" in options.get("beside", {})  # type: ignore[operator]
    predictor = Predictor.load(model, CPU.model_copy(update={"tta": tta, "uncertainty": unsure}))
    return predict_store(predictor, model, windows_of(image), target, **options)  # type: ignore[arg-type]


def in_memory(model: Path, image: np.ndarray, tta: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    predictor = Predictor.load(model, CPU.model_copy(update={"tta": tta}))
    prediction = predictor.predict(image)
    return prediction.labels, prediction.probabilities, predictor.objects(prediction)


def clear(probabilities: np.ndarray) -> np.ndarray:
    """Pixels whose label no rounding can change."""
    ordered = np.sort(probabilities, 0)
    return ordered[-1] - ordered[-2] > 1e-4


@settings(max_examples=12)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    chunk=st.sampled_from([16, 32]),
    times=st.integers(1, 3),
    padding=st.sampled_from(["same", "valid"]),
    patch=st.sampled_from([1, 2]),
    tta=st.booleans(),
    seed=st.integers(0, 99),
)
def test_in_blocks_as_in_memory(
    tmp_path_factory: pytest.TempPathFactory,
    size: tuple[int, int],
    chunk: int,
    times: int,
    padding: str,
    patch: int,
    tta: bool,
    seed: int,
) -> None:
    folder = tmp_path_factory.mktemp("blocks")
    model = make_model(folder, seed, padding=padding, patch=patch, classes=3, depth=2)
    image = make_image(size, seed=seed)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store_plan, "choose_block", lambda *given: ((chunk,) * 2, (chunk * times,) * 2))
        beside = {"probabilities": folder / "p.tif", "uncertainty": folder / "u.tif"}
        in_blocks(model, image, folder / "out.tif", tta, beside=beside)
    labels, probabilities, _ = in_memory(model, image, tta)
    asked = CPU.model_copy(update={"tta": tta, "uncertainty": True})
    uncertainty = Predictor.load(model, asked).predict(image).uncertainty
    np.testing.assert_allclose(read(folder / "u.tif").array, uncertainty, atol=1e-4)
    np.testing.assert_allclose(read(folder / "p.tif").array, probabilities, atol=1e-5)
    sure = clear(probabilities)
    np.testing.assert_array_equal(read_mask(folder / "out.tif")[sure], labels[sure])
    assert sorted(path.name for path in folder.iterdir()) == [f"model{seed}.safetensors", "out.tif", "p.tif", "u.tif"]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("size", "kind"), [((150, 131), {}), ((20, 50, 41), {}), ((34, 40, 24), {"neighbours": 2})])
def test_objects_in_blocks_as_in_memory(
    tmp_path: Path, size: tuple[int, ...], kind: dict[str, int], padding: str
) -> None:
    image = make_image(size)
    model = with_many_objects(make_model(tmp_path, dims=len(size), padding=padding, **kind), image)
    done = in_blocks(model, image, tmp_path / "out.ome.zarr", instances=True)
    *_, ids = in_memory(model, image)
    assert done.objects == ids.max() > 20
    np.testing.assert_array_equal(read_mask(tmp_path / "out.ome.zarr"), ids)


@pytest.mark.usefixtures("small_blocks")
def test_bounds_of_gray_values_hold_in_blocks_too(tmp_path: Path, model: Path) -> None:
    card, (network,) = load_model(model)
    ct = NormaliseSettings(kind="fixed", mean=[100], std=[30], bounds=[(60, 140)])
    save_model(tmp_path / "ct.safetensors", card.model_copy(update={"normalise": ct}), network.state_dict())
    image = make_image((70, 50))
    in_blocks(tmp_path / "ct.safetensors", image, tmp_path / "out.tif", beside={"probabilities": tmp_path / "p.tif"})
    _, probabilities, _ = in_memory(tmp_path / "ct.safetensors", image)
    np.testing.assert_allclose(read(tmp_path / "p.tif").array, probabilities, atol=1e-5)
    _, clipped, _ = in_memory(tmp_path / "ct.safetensors", image.clip(60, 140))
    np.testing.assert_allclose(probabilities, clipped, atol=1e-6)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("suffix", [".ome.zarr", ".tif", ".npy", ".png"])
def test_every_format_holds_the_same(tmp_path: Path, model: Path, suffix: str) -> None:
    image = make_image((70, 45))
    in_blocks(model, image, tmp_path / f"out{suffix}")
    np.testing.assert_array_equal(read_mask(tmp_path / f"out{suffix}"), in_memory(model, image)[0])


class Stop(Exception):
    """Raised by a test in the middle of a prediction."""


def stopping_after(count: int) -> StoreWatch:
    def on_block(done: int, total: int) -> None:
        if done == count:
            raise Stop

    return StoreWatch(on_block=on_block)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("damage", ["", '{"block": 7, "any', "\x00\x00garbage"])
def test_the_same_call_goes_on_with_what_is_missing(tmp_path: Path, model: Path, damage: str) -> None:
    image, target = make_image((100, 120)), tmp_path / "out.ome.zarr"
    with pytest.raises(Stop):
        in_blocks(model, image, target, watch=stopping_after(5))
    assert not target.exists()
    with (work_folder(target) / FINISHED).open("a") as file:
        file.write(damage)  # as a power cut may leave it
    done = in_blocks(model, image, target)
    assert (done.blocks, done.before) == (16, 5)
    whole = tmp_path / "whole.ome.zarr"
    in_blocks(model, image, whole)
    assert files_of(target) == files_of(whole)
    assert not work_folder(target).exists()


@pytest.mark.usefixtures("small_blocks")
def test_work_on_another_image_or_with_other_options_begins_anew(tmp_path: Path, model: Path) -> None:
    image, target = make_image((100, 120)), tmp_path / "out.tif"
    with pytest.raises(Stop):
        in_blocks(model, image, target, watch=stopping_after(5))
    assert in_blocks(model, make_image((100, 120), seed=1), target).before == 0
    with pytest.raises(Stop):
        in_blocks(model, image, target, watch=stopping_after(5))
    assert in_blocks(model, image, target, tta=True).before == 0


KILLED = """
import sys
from pathlib import Path
from useg import predict_store as room, store_plan
from useg.predict import Predictor, PredictSettings

store_plan.choose_block = lambda *given: ((16, 16), (32, 32))
model, source, target = map(Path, sys.argv[1:4])
predictor = Predictor.load(model, PredictSettings(device="cpu", precision="float32"))
watch = room.StoreWatch(on_block=lambda done, total: print(done, flush=True))
room.predict_store(predictor, model, source, target, instances=True, watch=watch)
"""


@pytest.mark.usefixtures("small_blocks")
def test_killed_at_any_moment_it_ends_with_the_same_bytes(tmp_path: Path, model: Path) -> None:
    """A real process and a real SIGKILL, at moments drawn at random; the long form of this test does it ten times."""
    kill_and_repeat(tmp_path, model, kills=2, size=(164, 164))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.long
def test_killed_ten_times(tmp_path: Path, model: Path) -> None:
    kill_and_repeat(tmp_path, model, kills=10, size=(1000, 1000))


def kill_and_repeat(folder: Path, model: Path, kills: int, size: tuple[int, int]) -> None:
    source, target = folder / "image.npy", folder / "out.ome.zarr"
    np.save(source, make_image(size)[0])
    command = [sys.executable, "-c", KILLED, str(model), str(source), str(target)]
    rng = np.random.default_rng()
    for _ in range(kills):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            # Somewhere after the first new block, so that there is something to lose.
            for _ in range(int(rng.integers(1, 8))):
                process.stdout.readline()
            time.sleep(float(rng.uniform(0, 0.05)))
            os.kill(process.pid, signal.SIGKILL)
    reached = []
    watch = StoreWatch(on_block=lambda done, total: reached.append(done))
    done = predict_store(Predictor.load(model, CPU), model, source, target, instances=True, watch=watch)
    assert not work_folder(target).exists()
    # What was done before is not done again: the last call did what was missing.
    assert done.before >= kills
    assert reached == list(range(done.before + 1, (-(-size[0] // 32)) ** 2 + 1))
    undisturbed = folder / "undisturbed.ome.zarr"
    predict_store(Predictor.load(model, CPU), model, source, undisturbed, instances=True)
    assert files_of(target) == files_of(undisturbed)


def test_a_source_that_has_gone_or_is_damaged_is_told(tmp_path: Path, model: Path) -> None:
    target, image = tmp_path / "out.tif", windows_of(make_image((64, 64)), path=Path("there.npy"))

    def vanished(window: object) -> np.ndarray:
        raise OSError(5, "Input/output error")

    bad = Windows(image.path, image.header, image.chunk, image.levels, vanished)
    with pytest.raises(ImageError, match=r"there\.npy"):
        predict_store(Predictor.load(model, CPU), model, bad, target)
    assert not target.exists()


@pytest.mark.usefixtures("small_blocks")
def test_a_full_disk_is_told_and_what_is_done_is_kept(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, target, real = make_image((64, 64)), tmp_path / "out.tif", blocks.LabelStore.sync

    def full(store: blocks.LabelStore, window: Sequence[slice]) -> None:
        if window[0].start and window[1].start:
            with room.telling(store.path):
                raise OSError(28, "No space left on device")
        real(store, window)

    monkeypatch.setattr(blocks.LabelStore, "sync", full)
    with pytest.raises(OutputError, match="No space left"):
        in_blocks(model, image, target)
    monkeypatch.undo()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store_plan, "choose_block", lambda *given: ((16, 16), (32, 32)))
        assert in_blocks(model, image, target).before == 3


@pytest.mark.usefixtures("small_blocks")
def test_blocks_outside_of_a_coarse_mask_are_left_out(tmp_path: Path, model: Path) -> None:
    image, where = make_image((96, 128)), np.zeros((3, 4), np.uint8)
    where[1, 2] = 1
    write_labels(tmp_path / "where.png", where)
    texts: list[str] = []
    done = in_blocks(
        model,
        image,
        tmp_path / "out.tif",
        settings=StoreSettings(where=tmp_path / "where.png"),
        watch=StoreWatch(on_text=texts.append),
    )
    assert (done.blocks, done.skipped) == (12, 11)
    expected = np.zeros((96, 128), np.uint8)
    expected[32:64, 64:96] = in_memory(model, image)[0][32:64, 64:96]
    np.testing.assert_array_equal(read_mask(tmp_path / "out.tif"), expected)
    assert any("11 of 12 blocks were left out (92%)" in text for text in texts)


@pytest.mark.parametrize("size", [None, (2, 3, 4)])
def test_a_coarse_mask_that_is_none_is_told(tmp_path: Path, model: Path, size: tuple[int, ...] | None) -> None:
    where = tmp_path / "where.tif"
    if size:
        write_labels(where, np.ones(size, np.uint8))
    with pytest.raises(UsegError, match=r"where\.tif: (there is no such file|is no mask of 2 axes)"):
        in_blocks(model, make_image((20, 20)), tmp_path / "out.tif", settings=StoreSettings(where=where))
    assert not work_folder(tmp_path / "out.tif").exists()


@pytest.mark.usefixtures("small_blocks")
def test_blocks_without_signal_are_left_out_and_the_rule_is_told(tmp_path: Path, model: Path) -> None:
    image = make_image((128, 128))
    image[:, :, 64:] = 40 + image[:, :, 64:] % 5
    image[0, 100, 100] = 255  # one bright pixel is something
    texts: list[str] = []
    skip = StoreSettings(skip_empty=True)
    done = in_blocks(model, image, tmp_path / "out.tif", settings=skip, watch=StoreWatch(on_text=texts.append))
    assert 0 < done.skipped < 8
    assert any("differ by less than 10%" in text for text in texts)
    found, labels = read_mask(tmp_path / "out.tif"), in_memory(model, image)[0]
    np.testing.assert_array_equal(found[:, :64], labels[:, :64])
    np.testing.assert_array_equal(found[96:128, 96:128], labels[96:128, 96:128])
