"""An exported model predicts as the model does, without torch, and a damaged one says so."""

import os
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models import make_card, make_image, make_model
from useg.engines.runner import ExportedRunner
from useg.errors import ModelError
from useg.export import export_onnx
from useg.predict import Predictor, PredictSettings
from useg.predict_files import predict_files
from useg.unet.model import read_card

WITHOUT_TORCH = (
    "import sys; sys.modules |= dict.fromkeys(('torch', 'skimage', 'imagecodecs')); import useg.cli; useg.cli.main()"
)
FLOAT32 = {"device": "cpu", "precision": "float32"}


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A model, and its export."""
    model = make_model(tmp_path, depth=2, classes=3)
    return model, export_onnx(model, tmp_path / "model.onnx").path


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "images" / name for name in ("a.png", "b.png")]
    paths[0].parent.mkdir()
    for path, size in zip(paths, ((61, 90), (47, 33)), strict=True):
        iio.imwrite(path, make_image(size)[0])
    return paths


def test_the_command_line_needs_no_torch(tmp_path: Path, pair: tuple[Path, Path], images: list[Path]) -> None:
    ours, theirs, blocks = (tmp_path / name for name in ("ours", "theirs", "blocks"))
    predict_files(Predictor.load(pair[0], PredictSettings.model_validate(FLOAT32)), pair[0], images, ours)

    def useg(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=120)

    for out, more in ((theirs, []), (blocks, ["--skip-empty"])):
        done = useg("predict", pair[1], *images, "-o", out, *more)
        assert done.returncode == 0, done.stderr
        for name in ("a.png", "b.png"):
            np.testing.assert_array_equal(iio.imread(out / name), iio.imread(ours / name))
    assert useg("info", pair[1]).returncode == 0
    done = useg("predict", pair[1], *images, "-o", tmp_path / "objects", "--instances", "--table")
    assert done.returncode == 2
    assert "which is not here; pip install 'useg[measure]'" in done.stderr
    # The model itself does need it.
    done = useg("predict", pair[0], *images, "-o", tmp_path / "none")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("useg: this needs torch, which is not here; pip install 'useg[train]'")


def test_a_network_that_gives_another_size_is_told(pair: tuple[Path, Path]) -> None:
    card = read_card(pair[1])
    other = make_card(card.network.model_copy(update={"padding": "valid"}))
    with pytest.raises(ModelError, match=r"the network gives .* where its card says"):
        ExportedRunner(pair[1], other)(np.zeros((1, 44, 44), np.float32), [slice(0, 4)] * 2)


def test_a_network_that_fails_is_told(pair: tuple[Path, Path]) -> None:
    """Only when it runs: two maps that do not have the same size are joined."""
    proto = onnx.load(pair[1])
    crop = onnx.helper.make_node("MaxPool", ["image"], ["smaller"], kernel_shape=[2, 2], strides=[1, 1])
    proto.graph.node.insert(0, crop)
    proto.graph.node[1].input[0] = "smaller"
    pair[1].write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match="the network fails on a tile") as error:
        Predictor.load(pair[1]).predict(make_image((40, 40)))
    assert "\n" not in str(error.value)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_byte_is_told_or_does_no_harm(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    if not (folder / "whole.onnx").exists():
        folder.mkdir(exist_ok=True)
        export_onnx(make_model(folder), folder / "whole.onnx")
    content = bytearray((folder / "whole.onnx").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "m.onnx").write_bytes(content)
    try:
        probabilities = Predictor.load(folder / "m.onnx").predict(make_image((20, 20))).probabilities
    except ModelError as error:
        assert "\n" not in str(error)
    else:
        assert probabilities.shape[1:] == (20, 20)
