"""An exported model predicts as the model does, whatever its engine, and what it cannot do is told."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest

from models import files_of, make_card, make_image, make_model
from useg.engines.runner import ExportedRunner
from useg.errors import ModelError, SettingsError, SizeError
from useg.export import export_onnx, export_openvino
from useg.predict import Predictor, PredictSettings
from useg.predict_files import JOURNAL, Outputs, predict_files
from useg.store_plan import StoreSettings
from useg.unet.model import read_card
from useg.unet.settings import UNetSettings

FLOAT32 = {"device": "cpu", "precision": "float32"}


@dataclass(frozen=True)
class Engine:
    """A library that runs exported models, how they are written, and what their file is called."""

    library: str
    suffix: str
    export: Callable[..., Any]


ENGINES = [Engine("onnxruntime", ".onnx", export_onnx), Engine("openvino", ".xml", export_openvino)]


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.library)
def engine(request: pytest.FixtureRequest) -> Engine:
    pytest.importorskip(request.param.library)
    found: Engine = request.param
    return found


@pytest.fixture
def pair(tmp_path: Path, engine: Engine) -> tuple[Path, Path]:
    """A model, and its export."""
    model = make_model(tmp_path, depth=2, classes=3)
    return model, engine.export(model, tmp_path / f"model{engine.suffix}").path


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "images" / name for name in ("a.png", "b.png")]
    paths[0].parent.mkdir()
    for path, size in zip(paths, ((61, 90), (47, 33)), strict=True):
        iio.imwrite(path, make_image(size)[0])
    return paths


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("tta", [False, True])
def test_any_image_any_tile(tmp_path: Path, engine: Engine, padding: str, tta: bool) -> None:
    model = make_model(tmp_path, depth=2, padding=padding)
    done = engine.export(model, tmp_path / f"m{engine.suffix}").path
    image, chosen = make_image((131, 77)), FLOAT32 | {"tta": tta, "uncertainty": True}
    ours, whole, tiled = (
        Predictor.load(path, PredictSettings.model_validate(chosen | {"max_memory": most}))
        for path, most in ((model, None), (done, None), (done, 101_000_000))
    )
    expected = ours.predict(image)
    assert ours.card == whole.card
    for found in (whole.predict(image), tiled.predict(image)):
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)
        np.testing.assert_allclose(found.uncertainty, expected.uncertainty, atol=1e-3)
        np.testing.assert_array_equal(found.labels, expected.labels)


def test_files_and_blocks_are_the_same(tmp_path: Path, pair: tuple[Path, Path], images: list[Path]) -> None:
    outputs = Outputs(probabilities=True, uncertainty=True)
    chosen = PredictSettings.model_validate(FLOAT32 | {"uncertainty": True})
    for name, path, store in (
        ("ours", pair[0], None),
        ("theirs", pair[1], None),
        ("blocks", pair[1], StoreSettings()),
    ):
        results = predict_files(Predictor.load(path, chosen), path, images, tmp_path / name, outputs, store=store)
        assert [result.error for result in results] == [None, None]
    ours = {name for name in files_of(tmp_path / "ours") if not name.startswith("expected")}
    for name in ours - {JOURNAL}:
        for other in ("theirs", "blocks"):
            found, expected = (iio.imread(tmp_path / where / name).astype(np.float32) for where in (other, "ours"))
            np.testing.assert_allclose(found, expected, atol=1e-3 if "uncertainty" in name else 1e-4)


def test_what_an_exported_model_cannot_do_is_told(pair: tuple[Path, Path]) -> None:
    with pytest.raises(SettingsError, match="choose folds when you export"):
        Predictor.load(pair[1], PredictSettings(folds=(0,)))
    with pytest.raises(SettingsError, match="run on the CPU"):
        Predictor.load(pair[1], PredictSettings(device="cuda"))
    runner = Predictor.load(pair[1]).runner
    with pytest.raises(SizeError, match="nearest sizes"):
        runner(np.zeros((1, 9, 8), np.float32), [slice(0, 8)] * 2)


@pytest.mark.parametrize("changes", [{"in_channels": 2}, {"classes": 2}, {"dims": 3}])
def test_a_card_of_another_network_is_told(pair: tuple[Path, Path], changes: dict[str, int]) -> None:
    card = read_card(pair[1])
    other = make_card(UNetSettings.model_validate(card.network.model_dump() | changes))
    with pytest.raises(ModelError, match="not the one that its card describes"):
        ExportedRunner(pair[1], other)
    several = card.model_copy(update={"members": 2})
    with pytest.raises(ModelError, match="not the one that its card describes"):
        ExportedRunner(pair[1], several, spread=True)
