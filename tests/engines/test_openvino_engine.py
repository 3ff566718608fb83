"""A model for OpenVINO predicts as the model does, without torch, and says so when its two files do not fit."""

import os
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from models import files_of, make_card, make_image, make_model
from useg.engines.openvino_engine import HINTS
from useg.engines.runner import ExportedRunner
from useg.errors import ModelError, SettingsError, SizeError
from useg.export import export_openvino
from useg.predict import Predictor, PredictSettings
from useg.predict_files import Outputs, predict_files
from useg.store_plan import StoreSettings
from useg.unet.model import read_card
from useg.unet.openvino_header import weights_of
from useg.unet.settings import UNetSettings

openvino = pytest.importorskip("openvino")

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; import useg.cli; useg.cli.main()"
FLOAT32 = {"device": "cpu", "precision": "float32"}


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A model, and its export."""
    model = make_model(tmp_path, depth=2, classes=3)
    return model, export_openvino(model, tmp_path / "model.xml").path


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_any_image_any_tile(tmp_path: Path, padding: str) -> None:
    model = make_model(tmp_path, depth=2, padding=padding)
    done = export_openvino(model, tmp_path / "m.xml").path
    image, chosen = make_image((131, 77)), FLOAT32 | {"uncertainty": True, "tta": True}
    ours, whole, tiled = (
        Predictor.load(path, PredictSettings.model_validate(chosen | {"max_memory": most}))
        for path, most in ((model, None), (done, None), (done, 101_000_000))
    )
    expected = ours.predict(image)
    for found in (whole.predict(image), tiled.predict(image)):
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)
        np.testing.assert_allclose(found.uncertainty, expected.uncertainty, atol=1e-3)


def test_files_and_blocks_are_the_same(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    images = [tmp_path / "images" / "a.png"]
    images[0].parent.mkdir()
    iio.imwrite(images[0], make_image((61, 90))[0])
    chosen, outputs = PredictSettings.model_validate(FLOAT32), Outputs(probabilities=True)
    for name, path, store in (("ours", pair[0], None), ("files", pair[1], None), ("blocks", pair[1], StoreSettings())):
        results = predict_files(Predictor.load(path, chosen), path, images, tmp_path / name, outputs, store=store)
        assert [result.error for result in results] == [None]
    for other in ("files", "blocks"):
        found, expected = (iio.imread(tmp_path / where / "a_probabilities.tif") for where in (other, "ours"))
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_command_line_needs_no_torch(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    iio.imwrite(tmp_path / "a.png", make_image((61, 90))[0])
    command = [sys.executable, "-c", WITHOUT_TORCH, "predict", pair[1], tmp_path / "a.png", "-o", tmp_path / "out"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=os.environ, timeout=120)
    assert done.returncode == 0, done.stderr
    assert iio.imread(tmp_path / "out" / "a.png").shape[:2] == (61, 90)


@pytest.mark.parametrize("precision", sorted(HINTS.values()))
def test_the_precision_is_what_was_asked_for(pair: tuple[Path, Path], precision: str) -> None:
    predictor = Predictor.load(pair[1], PredictSettings.model_validate({"precision": precision}))
    assert predictor.settings.precision == precision
    exact = Predictor.load(pair[1], PredictSettings(precision="float32")).predict(make_image((40, 40)))
    found = predictor.predict(make_image((40, 40)))
    np.testing.assert_allclose(found.probabilities, exact.probabilities, atol=0.05)


def test_the_precision_that_suits_the_machine_is_told(pair: tuple[Path, Path]) -> None:
    able = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert Predictor.load(pair[1]).settings.precision in (("bfloat16", "float32") if able else ("float32",))


def test_a_mixed_pair_is_not_believed(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    other = export_openvino(make_model(tmp_path, seed=1, depth=2, classes=3), tmp_path / "other.xml").path
    weights_of(pair[1]).write_bytes(weights_of(other).read_bytes())
    with pytest.raises(ModelError, match=r"model\.bin: are not the weights that model\.xml was written with"):
        Predictor.load(pair[1])
    weights_of(pair[1]).unlink()
    with pytest.raises(ModelError, match=r"model\.bin: the weights of model\.xml cannot be read"):
        Predictor.load(pair[1])


def test_a_damaged_network_is_told(pair: tuple[Path, Path]) -> None:
    text = pair[1].read_text(encoding="utf-8")
    for wrong, damaged in (("", text[:-30]), ("Convolution", text.replace('type="Convolution"', 'type="Konvolution"'))):
        assert wrong in text
        pair[1].write_text(damaged, encoding="utf-8")
        with pytest.raises(ModelError, match=r"model\.xml: ") as error:
            Predictor.load(pair[1])
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("changes", [{"in_channels": 2}, {"classes": 2}, {"dims": 3}])
def test_a_card_of_another_network_is_told(pair: tuple[Path, Path], changes: dict[str, int]) -> None:
    card = read_card(pair[1])
    other = make_card(UNetSettings.model_validate(card.network.model_dump() | changes))
    with pytest.raises(ModelError, match="not the one that its card describes"):
        ExportedRunner(pair[1], other)
    with pytest.raises(ModelError, match="not the one that its card describes"):
        ExportedRunner(pair[1], card.model_copy(update={"members": 2}), spread=True)


def test_what_an_exported_model_cannot_do_is_told(pair: tuple[Path, Path]) -> None:
    with pytest.raises(SettingsError, match="choose folds when you export"):
        Predictor.load(pair[1], PredictSettings(folds=(0,)))
    with pytest.raises(SettingsError, match="run on the CPU"):
        Predictor.load(pair[1], PredictSettings(device="cuda"))
    with pytest.raises(SizeError, match="nearest sizes"):
        Predictor.load(pair[1]).runner(np.zeros((1, 9, 8), np.float32), [slice(0, 8)] * 2)


def test_the_parts_stay_together_in_a_work_folder(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    from useg.unet.model import copy_model

    (tmp_path / "work").mkdir()
    copy_model(pair[1], tmp_path / "work", "model")
    assert sorted(files_of(tmp_path / "work")) == ["model.bin", "model.xml"]
    assert read_card(tmp_path / "work" / "model.xml") == read_card(pair[0])
