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

from models import files_of, make_card, make_image, make_model
from useg.engines.runner import ExportedRunner
from useg.errors import ModelError, SettingsError, SizeError
from useg.export import export_onnx
from useg.predict import Predictor, PredictSettings
from useg.predict_files import JOURNAL, Outputs, predict_files
from useg.store_plan import StoreSettings
from useg.unet.model import read_card
from useg.unet.settings import UNetSettings

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; import useg.cli; useg.cli.main()"
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


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("tta", [False, True])
def test_any_image_any_tile(tmp_path: Path, padding: str, tta: bool) -> None:
    model = make_model(tmp_path, depth=2, padding=padding)
    done = export_onnx(model, tmp_path / "m.onnx").path
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
    # The model itself does need it.
    assert useg("predict", pair[0], *images, "-o", tmp_path / "none").returncode != 0


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
