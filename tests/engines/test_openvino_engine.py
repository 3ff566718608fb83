"""A model for OpenVINO predicts as the model does, without torch, and says so when its two files do not fit."""

import os
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from models import files_of, make_image, make_model
from useg.engines.openvino_engine import HINTS
from useg.errors import ModelError
from useg.export import export_openvino
from useg.predict import Predictor, PredictSettings
from useg.unet.model import read_card
from useg.unet.openvino_header import weights_of

openvino = pytest.importorskip("openvino")

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; import useg.cli; useg.cli.main()"
FLOAT32 = {"device": "cpu", "precision": "float32"}


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A model, and its export."""
    model = make_model(tmp_path, depth=2, classes=3)
    return model, export_openvino(model, tmp_path / "model.xml").path


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


def test_the_parts_stay_together_in_a_work_folder(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    from useg.unet.model import copy_model

    (tmp_path / "work").mkdir()
    copy_model(pair[1], tmp_path / "work", "model")
    assert sorted(files_of(tmp_path / "work")) == ["model.bin", "model.xml"]
    assert read_card(tmp_path / "work" / "model.xml") == read_card(pair[0])
