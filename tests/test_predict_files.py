"""Many files: finished ones are skipped, bad ones reported, and no file is ever half written."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
import torch
from PIL import Image as Pillow

from images.dicoms import save as save_dicom
from useg.errors import DataError, MissingError, OutputError, SettingsError
from useg.images import Image, is_image_file, read, read_mask, write_labels
from useg.images.image import InBody, InStore, OnMap
from useg.predict import Predictor, PredictSettings
from useg.predict_files import EXPECTED, JOURNAL, FileResult, Outputs, begun_with, find_inputs, predict_files
from useg.unet.model import ClassInfo, InputSeen, ModelCard, digest, save_model
from useg.unet.network import UNet
from useg.unet.normalise import NormaliseSettings
from useg.unet.settings import UNetSettings

CPU = PredictSettings(device="cpu", precision="float32", max_memory=10**9)
COLOURS = [(0, 0, 0), (255, 128, 0), (0, 90, 200)]


def make_model(path: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    settings = UNetSettings(depth=1, width=2, classes=3, padding="same", norm="batch")
    card = ModelCard(
        version="0",
        network=settings,
        normalise=NormaliseSettings(),
        classes=[ClassInfo(name=str(k), colour=COLOURS[k], value=k) for k in range(3)],
        score_shift=[0.0] * 3,
        flips=["x"],
        input=InputSeen(dtype="uint8", low=[0], high=[255]),
    )
    save_model(path, card, UNet.from_settings(settings).state_dict())
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model.safetensors")


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index, name in enumerate("abcd"):
        Pillow.fromarray(rng.integers(0, 255, (20 + index, 31)).astype(np.uint8)).save(folder / f"{name}.png")
    return sorted(folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in folder.iterdir()}


def test_each_image_gets_its_labels_under_its_stem(tmp_path: Path, model: Path, sources: list[Path]) -> None:
    predictor, out = Predictor.load(model, CPU), tmp_path / "out"
    seen: list[FileResult] = []
    results = predict_files(predictor, model, sources, out, Outputs(probabilities=True), watch=seen.append)
    assert results == seen
    assert [r.source for r in results] == sources
    for source, result in zip(sources, results, strict=True):
        assert result.error is None
        assert not result.skipped
        expected = predictor.predict(read(source))
        assert result.target == out / source.name
        np.testing.assert_array_equal(read_mask(result.target), expected.labels)
        with Pillow.open(result.target) as picture:
            assert picture.mode == "P"
            palette = picture.getpalette()
            assert palette is not None
            assert [tuple(palette[3 * k : 3 * k + 3]) for k in range(3)] == COLOURS
        stored = tifffile.imread(out / f"{source.stem}_probabilities.tif")
        assert stored.dtype == np.float32
        np.testing.assert_array_equal(stored, expected.probabilities)
    assert len(contents(out)) == 2 * len(sources) + 1


def test_labels_as_tiff(tmp_path: Path, model: Path, sources: list[Path]) -> None:
    predictor = Predictor.load(model, CPU)
    (result,) = predict_files(predictor, model, sources[:1], tmp_path / "out", Outputs(suffix=".tif"))
    assert result.target.name == "a.tif"
    np.testing.assert_array_equal(read_mask(result.target), predictor.predict(read(sources[0])).labels)


def test_labels_have_the_format_and_the_place_of_their_image(tmp_path: Path, model: Path, sources: list[Path]) -> None:
    """Read, predict, write, read again: nothing that the file knew of its pixels' size and place is lost."""
    gray = np.asarray(Pillow.open(sources[0]))
    like = Image(gray[None], "CYX", (0.5, 0.25), "µm")
    on_map = OnMap((0.5, 0.0, 7e5, 0.0, -0.5, 3e6), rasterio.CRS.from_epsg(32616).to_wkt())
    in_body = InBody(((-0.5, 0.0, 0.0, 9.0), (0.0, 0.25, 0.0, 8.0), (0.0, 0.0, 2.0, 7.0), (0.0, 0.0, 0.0, 1.0)), "mni")
    folder = tmp_path / "all"
    write_labels(folder / "tiff.tiff", gray, like=like)
    write_labels(folder / "geo.tif", gray, like=replace(like, place=on_map))
    write_labels(folder / "nifti.nii.gz", gray, like=replace(like, unit="mm", place=in_body))
    write_labels(folder / "zarr.ome.zarr", gray, like=replace(like, place=InStore((3.0, 4.0), "0.4")))
    write_labels(folder / "numpy.npy", gray)
    Pillow.fromarray(gray).save(folder / "jpeg.jpg")
    save_dicom(folder / "dicom.dcm", gray)
    predictor, out = Predictor.load(model, CPU), tmp_path / "out"
    results = predict_files(predictor, model, find_inputs([folder]), out, Outputs(probabilities=True))
    assert [r.error for r in results] == [None] * 7
    assert {r.target.name for r in results} == {
        "tiff.tiff", "geo.tif", "nifti.nii.gz", "zarr.ome.zarr", "numpy.npy", "jpeg.png", "dicom.dcm",
    }  # fmt: skip
    for result in results:
        image, labels = read(result.source), read(result.target)
        expected = predictor.predict(image).labels
        np.testing.assert_array_equal(read_mask(result.target), expected)
        assert (labels.place, labels.spacing, labels.unit) == (image.place, image.spacing, image.unit)
        assert labels.axes == image.axes
    assert read(out / "geo_probabilities.tif").place == read(folder / "geo.tif").place
    assert read(out / "nifti_probabilities.tif").spacing == (0.25, 0.5)


def test_a_folder_of_slices_is_a_volume_for_a_model_of_volumes(tmp_path: Path) -> None:
    folder = tmp_path / "scan"
    folder.mkdir()
    for z in range(3):
        save_dicom(folder / f"{z}.dcm", np.zeros((4, 5), np.uint8), position=(0, 0, z))
    assert find_inputs([folder]) == sorted(folder.iterdir())
    assert find_inputs([folder], volumes=True) == [folder]
    # In a folder of such folders each is one, under its whole name.
    for name in ("scan.1", "scan.2"):
        shutil.copytree(folder, tmp_path / "scans" / name)
    assert [path.name for path in find_inputs([tmp_path / "scans"], volumes=True)] == ["scan.1", "scan.2"]


def test_a_volume_is_refused_by_a_model_of_images(tmp_path: Path, model: Path) -> None:
    write_labels(tmp_path / "a.nii.gz", np.ones((3, 4, 5), int))
    (result,) = predict_files(Predictor.load(model, CPU), model, [tmp_path / "a.nii.gz"], tmp_path / "out")
    assert result.error is not None and "has 3 axes besides channels, but the model works on 2-D" in result.error


def test_finished_files_are_skipped(tmp_path: Path, model: Path, sources: list[Path]) -> None:
    predictor, out = Predictor.load(model, CPU), tmp_path / "out"
    predict_files(predictor, model, sources[:2], out)
    before = contents(out)
    results = predict_files(Predictor.load(model, CPU), model, sources, out)
    assert [r.skipped for r in results] == [True, True, False, False]
    after = contents(out)
    assert all(after[name] == content for name, content in before.items() if name != JOURNAL)
    assert all(r.skipped for r in predict_files(predictor, model, sources, out))


def test_an_image_that_changed_is_predicted_anew(tmp_path: Path, model: Path, sources: list[Path]) -> None:
    predictor, out = Predictor.load(model, CPU), tmp_path / "out"
    predict_files(predictor, model, sources, out)
    Pillow.fromarray(np.eye(40, 50, dtype=np.uint8) * 200).save(sources[0])
    results = predict_files(predictor, model, sources, out)
    assert [r.skipped for r in results] == [False, True, True, True]
    assert read_mask(out / "a.png").shape == (40, 50)


def test_another_image_of_the_same_name_is_not_taken_for_the_first(
    tmp_path: Path, model: Path, sources: list[Path]
) -> None:
    predictor, out, other = Predictor.load(model, CPU), tmp_path / "out", tmp_path / "other" / "a.png"
    predict_files(predictor, model, sources, out)
    before = contents(out)
    other.parent.mkdir()
    Pillow.fromarray(np.eye(40, 50, dtype=np.uint8) * 200).save(other)
    (result,) = predict_files(predictor, model, [other], out)
    assert result.error is not None and str(sources[0]) in result.error and str(other) in result.error
    assert contents(out) == before


def test_a_file_as_output_folder_and_memory_for_no_tile_are_refused_once(
    tmp_path: Path, model: Path, sources: list[Path]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        predict_files(Predictor.load(model, CPU), model, sources, tmp_path / "file")
    tight = Predictor.load(model, CPU.model_copy(update={"max_memory": 1000}))
    with pytest.raises(SettingsError, match="--max-memory"):
        predict_files(tight, model, sources, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_lacks_its_probabilities_is_not_finished(tmp_path: Path, model: Path, sources: list[Path]) -> None:
    predictor, out = Predictor.load(model, CPU), tmp_path / "out"
    predict_files(predictor, model, sources, out)
    results = predict_files(predictor, model, sources, out, Outputs(probabilities=True))
    assert not any(r.skipped for r in results)
    assert all((out / f"{s.stem}_probabilities.tif").is_file() for s in sources)


def test_another_model_is_refused(tmp_path: Path, model: Path, sources: list[Path]) -> None:
    out = tmp_path / "out"
    predict_files(Predictor.load(model, CPU), model, sources[:1], out)
    before = contents(out)
    other = make_model(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(OutputError, match="another model, another backend or other settings"):
        predict_files(Predictor.load(other, CPU), other, sources, out)
    turned = CPU.model_copy(update={"tta": True})
    with pytest.raises(OutputError, match="another model, another backend or other settings"):
        predict_files(Predictor.load(model, turned), model, sources, out)
    assert contents(out) == before
    # The same model under another name, or in a run folder, is the same model.
    run = tmp_path / "run"
    run.mkdir()
    (run / "model.safetensors").write_bytes(model.read_bytes())
    assert predict_files(Predictor.load(run, CPU), run, sources[:1], out)[0].skipped


def test_images_that_useg_did_not_write_are_not_overwritten(tmp_path: Path, model: Path, sources: list[Path]) -> None:
    folder = sources[0].parent
    before = contents(folder)
    with pytest.raises(OutputError, match="images that useg did not predict"):
        predict_files(Predictor.load(model, CPU), model, sources, folder)
    assert contents(folder) == before
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "readme.txt").write_text("no image")
    assert predict_files(Predictor.load(model, CPU), model, sources[:1], notes)[0].error is None


def test_a_bad_file_is_reported_and_the_others_go_on(tmp_path: Path, model: Path, sources: list[Path]) -> None:
    sources[0].write_bytes(sources[0].read_bytes()[:50])
    Pillow.fromarray(np.zeros((9, 9, 3), np.uint8) + np.arange(3, dtype=np.uint8)).save(sources[2])
    out = tmp_path / "out"
    results = predict_files(Predictor.load(model, CPU), model, sources, out, Outputs(probabilities=True))
    assert [r.error is None for r in results] == [False, True, False, True]
    for index in (0, 2):
        error = results[index].error
        assert error is not None
        assert str(sources[index]) in error
        assert len(error.splitlines()) == 1
        assert results[index].warnings == ()
        assert not results[index].skipped
    assert "3 channels" in str(results[2].error)
    made = {f.stem.removesuffix("_probabilities") for f in out.iterdir() if is_image_file(f)}
    assert made == {"b", "d"}


def test_a_file_that_failed_is_tried_again(tmp_path: Path, model: Path, sources: list[Path]) -> None:
    good = sources[0].read_bytes()
    sources[0].write_bytes(b"broken")
    predictor, out = Predictor.load(model, CPU), tmp_path / "out"
    assert predict_files(predictor, model, sources, out)[0].error is not None
    sources[0].write_bytes(good)
    results = predict_files(predictor, model, sources, out)
    assert [r.skipped for r in results] == [False, True, True, True]
    assert results[0].error is None


def test_what_inputs_mean(tmp_path: Path, sources: list[Path]) -> None:
    folder = sources[0].parent
    (folder / "notes.txt").write_text("no image")
    assert find_inputs([folder]) == sources
    assert find_inputs([sources[2], sources[0]]) == [sources[2], sources[0]]
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    inside = data / "images" / "z.png"
    inside.write_bytes(sources[0].read_bytes())
    assert find_inputs([data, *sources]) == [inside, *sources]


def test_inputs_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such file or folder"):
        find_inputs([tmp_path / "nowhere.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match="no images in this folder"):
        find_inputs([tmp_path / "empty"])


def test_two_inputs_of_one_stem_are_refused(tmp_path: Path, sources: list[Path]) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    twin = other / "b.tif"
    tifffile.imwrite(twin, np.zeros((9, 9), np.uint8))
    with pytest.raises(DataError) as caught:
        find_inputs([sources[0].parent, other])
    assert str(twin) in str(caught.value)
    assert str(sources[1]) in str(caught.value)


class Interrupted:
    """A runner that a person stops while it works on a certain tile."""

    def __init__(self, inner: Callable[[np.ndarray, Sequence[slice]], np.ndarray], at: int) -> None:
        self.inner, self.left = inner, at

    def __call__(self, tile: np.ndarray, keep: Sequence[slice]) -> np.ndarray:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.inner(tile, keep)


def test_an_interruption_leaves_whole_files_only(tmp_path: Path, model: Path, sources: list[Path]) -> None:
    predictor, out = Predictor.load(model, CPU), tmp_path / "out"
    stopped = Predictor(predictor.card, Interrupted(predictor.runner, 2), CPU)
    with pytest.raises(KeyboardInterrupt):
        predict_files(stopped, model, sources, out, Outputs(probabilities=True))
    assert set(contents(out)) == {JOURNAL, "a.png", "b.png", "a_probabilities.tif", "b_probabilities.tif"}
    results = predict_files(predictor, model, sources, out, Outputs(probabilities=True))
    assert [r.skipped for r in results] == [True, True, False, False]


def finished(folder: Path) -> list[Path]:
    """The images that stand under their own names."""
    return [f for f in folder.iterdir() if is_image_file(f)] if folder.is_dir() else []


KILLED = """
import sys
from pathlib import Path
from useg.predict import Predictor, PredictSettings
from useg.predict_files import Outputs, find_inputs, predict_files
model, folder, out = map(Path, sys.argv[1:])
settings = PredictSettings(device="cpu", precision="float32", max_memory=10**9)
predict_files(Predictor.load(model, settings), model, find_inputs([folder]), out, Outputs(probabilities=True))
"""


def test_a_killed_process_leaves_whole_files_only(tmp_path: Path, model: Path) -> None:
    """SIGKILL in the middle of many files: what stands under its name is complete, and the rest is made later."""
    folder, out, whole = tmp_path / "many", tmp_path / "out", tmp_path / "whole"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(25):
        Pillow.fromarray(rng.integers(0, 255, (110, 120)).astype(np.uint8)).save(folder / f"{index:02}.png")
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(model), str(folder), str(out)])
    try:
        while process.poll() is None and sum(f.suffix == ".png" for f in finished(out)) < 3:
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    sources, predictor = find_inputs([folder]), Predictor.load(model, CPU)
    predict_files(predictor, model, sources, whole, Outputs(probabilities=True))
    before = finished(out)
    assert len(before) >= 6
    # A label image comes last: where it stands, its probabilities stand too.
    assert all(f.with_name(f"{f.stem}_probabilities.tif") in before for f in before if f.suffix == ".png")
    for file in before:
        theirs, ours = read(file).array, read(whole / file.name).array
        assert theirs.shape == ours.shape
        if file.suffix == ".tif":
            np.testing.assert_allclose(theirs, ours, atol=1e-5)
    results = predict_files(predictor, model, sources, out, Outputs(probabilities=True))
    # The last one may not have been written down as finished; then it is made again.
    assert sum(f.suffix == ".png" for f in before) - sum(r.skipped for r in results) in (0, 1)
    assert {f.name for f in finished(out)} == {f.name for f in finished(whole)}


def test_the_journal_names_the_model(tmp_path: Path, model: Path, sources: list[Path]) -> None:
    out = tmp_path / "out"
    predict_files(Predictor.load(model, CPU), model, sources[:1], out)
    header, *made = map(json.loads, (out / JOURNAL).read_text(encoding="utf-8").splitlines())
    assert len(header["model"]) == 64
    assert [record["target"] for record in made] == ["a.png"]
    # Hidden, so that the folder can be given to other tools as a folder of images.
    assert not is_image_file(out / JOURNAL)


def test_a_repeated_call_knows_the_precision_and_probes_nothing(
    tmp_path: Path, model: Path, sources: list[Path]
) -> None:
    out = tmp_path / "out"
    assert begun_with(out) == (None, "auto")
    predict_files(Predictor.load(model, CPU), model, sources[:1], out)
    assert begun_with(out) == (digest(model), "float32")
    (out / JOURNAL).write_text("cut sho", encoding="utf-8")
    assert begun_with(out) == (None, "auto")
    with pytest.raises(OutputError):
        predict_files(Predictor.load(model, CPU), model, sources[:1], out)


def test_where_not_to_trust(tmp_path: Path, model: Path, sources: list[Path]) -> None:
    out = tmp_path / "out"
    predictor = Predictor.load(model, CPU.model_copy(update={"uncertainty": True}))
    results = predict_files(predictor, model, sources, out, Outputs(uncertainty=True))
    rows = (out / EXPECTED).read_text().splitlines()
    assert rows[0] == "image,expected_dice"
    worst_first = sorted((f"{r.expected_dice:.4f}", r.target.name) for r in results if r.expected_dice is not None)
    assert rows[1:] == [f"{name},{dice}" for dice, name in worst_first]
    assert len(worst_first) > 1
    for result in results:
        prediction = predictor.predict(read(result.source))
        found = read(out / f"{result.target.stem}_uncertainty.tif").array
        np.testing.assert_array_equal(found, prediction.uncertainty)
        assert result.expected_dice == prediction.expected_dice
    # A second call finds all done, and writes the same table.
    again = predict_files(predictor, model, sources, out, Outputs(uncertainty=True))
    assert all(result.skipped for result in again)
    assert (out / EXPECTED).read_text().splitlines() == rows
    with pytest.raises(SettingsError, match=r"PredictSettings\.uncertainty is off"):
        predict_files(Predictor.load(model, CPU), model, sources, tmp_path / "b", Outputs(uncertainty=True))
