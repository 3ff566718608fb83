"""`useg benchmark` from model to prediction: every way gives the labels of torch, and what is missing is told."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from models import files_of, make_image, make_model, make_sharp_model
from useg import machine
from useg.backends import benchmark as benchmarks
from useg.backends.benchmark import BenchmarkSettings, benchmark
from useg.backends.choose import choose_backend
from useg.backends.note import Note, read_note
from useg.backends.ways import SUFFIXES, WAYS, file_of, folder_of
from useg.cli import app
from useg.errors import MissingError, ModelError, OutputError
from useg.export import quantise
from useg.export.quantise import samples_of
from useg.predict import Predictor, PredictSettings
from useg.unet.model import digest

pytest.importorskip("onnxruntime")
pytest.importorskip("nncf")

QUICK = {"rounds": 1, "seconds": 1e-6}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for k in range(5):
        iio.imwrite(folder / f"{k}.png", make_image((70, 40 + k), seed=k)[0])
    return folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, images: Path) -> tuple[Path, Note]:
    """A model of which everything was measured."""
    model = make_sharp_model(tmp_path_factory.mktemp("model"))
    return model, benchmark(model, BenchmarkSettings.model_validate(QUICK | {"images": images}))


def test_every_way_is_measured_and_remembered(measured: tuple[Path, Note]) -> None:
    model, note = measured
    assert [row.way for row in note.rows] == list(WAYS)
    assert read_note(model) == note
    assert (note.model, note.tiles, note.tile) == (digest(model), 2, [70, 40])
    there = [row for row in note.rows if row.missing is None]
    assert {row.backend for row in there} == {"torch", *SUFFIXES}
    for row in there:
        assert row.pace and row.ratio and row.ready and row.agreement is not None and row.agreement > 0.98
        assert row.export == (digest(file_of(model, row.backend)) if row.backend in SUFFIXES else None)
    assert note.rows[0].ratio == note.rows[0].agreement == 1
    assert [row.pace for row in note.rows if row.missing] == [None] * (len(note.rows) - len(there))


def test_every_backend_predicts(measured: tuple[Path, Note]) -> None:
    model, _ = measured
    image = make_image((61, 33), seed=9)
    plain = Predictor.load(model, PredictSettings(precision="float32")).predict(image)
    for backend in ("auto", *SUFFIXES):
        chosen = choose_backend(model, PredictSettings(), backend)
        assert (Predictor.load(chosen.model, chosen.settings).predict(image).labels == plain.labels).mean() > 0.98


def test_a_folder_of_predictions_is_of_one_backend(
    tmp_path: Path, measured: tuple[Path, Note], images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def predict(*words: str) -> str:
        app(["predict", str(measured[0]), str(images), "-o", str(tmp_path / "out"), *words], standalone_mode=False)
        return capsys.readouterr().err

    assert "5 predicted" in predict("--backend", "onnxruntime")
    said = predict()
    assert "backend: onnxruntime, with which the results here were begun" in said
    assert "5 were there already" in said
    with pytest.raises(OutputError, match="another model, another backend or other settings"):
        predict("--backend", "torch")


def test_without_images_only_the_pace_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through the command, on a machine that has one of the libraries and no instructions for bfloat16."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(machine, "computes_bfloat16", lambda device: False)
    monkeypatch.setattr(benchmarks, "EDGE", {2: 32})
    model = make_model(tmp_path)
    app(["benchmark", str(model), "--json"], standalone_mode=False)
    said = json.loads(capsys.readouterr().out)
    rows = {(row["backend"], row["precision"]): row for row in said["rows"]}
    assert {key for key, row in rows.items() if row["pace"]} == {("torch", "float32"), ("onnxruntime", "float32")}
    assert all(row["agreement"] is None for row in rows.values())
    assert "no instructions for bfloat16" in rows["torch", "bfloat16"]["missing"]
    assert "pip install 'useg[openvino]'" in rows["openvino", "float32"]["missing"]
    assert "calibrated on images" in rows["openvino-int8", "int8"]["missing"]
    assert said["best"]["precision"] == "float32"
    assert sorted(files_of(folder_of(model))) == ["backends.json", "onnxruntime.onnx"]


def test_labels_are_compared_with_those_of_torch(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that turns all labels round agrees in none of them."""
    monkeypatch.setattr(benchmarks, "WAYS", (WAYS[0], WAYS[2]))
    load = benchmarks.load_runner

    def turned(path: Path, settings: PredictSettings) -> object:
        card, runner = load(path, settings)

        def run(tile: np.ndarray, keep: Sequence[slice]) -> np.ndarray:
            return runner(tile, keep)[::-1]

        run.precision = settings.precision  # type: ignore[attr-defined]
        return card, run if path.suffix == ".onnx" else runner

    monkeypatch.setattr(benchmarks, "load_runner", turned)
    note = benchmark(make_sharp_model(tmp_path), BenchmarkSettings.model_validate(QUICK | {"images": images}))
    assert [row.agreement for row in note.rows] == [1, 0]
    assert note.best.backend == "torch"


def test_the_tile_is_one_of_those_predicted(tmp_path: Path, images: Path) -> None:
    samples = samples_of(make_model(tmp_path), images)
    assert samples.size == (70, 40)
    for changes in ({}, {"padding": "valid"}):
        card = Predictor.load(make_model(tmp_path, **changes)).card
        assert benchmarks._tile(card, samples).shape == tuple(
            axis.tiles(n, n)[0].length for axis, n in zip(card.network.axes, (70, 40), strict=True)
        )
        large = quantise.Samples([], [], False, (5000, 60))
        longest, shortest = benchmarks._tile(card, large).shape
        assert shortest <= longest <= benchmarks.MOST_EDGE[2]


def test_what_cannot_be_measured_is_told(measured: tuple[Path, Note], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is an export"):
        benchmark(file_of(measured[0], "onnxruntime"))
    with pytest.raises(MissingError, match="no such folder"):
        benchmark(measured[0], BenchmarkSettings(images=tmp_path / "none"))
