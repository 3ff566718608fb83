"""A model for OpenVINO gives what the model gives, or it is not there; in int8 it gives the same labels."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_to_onnx import cards, write_model

from models import files_of, make_image, make_model, make_network, make_sharp_model
from useg.errors import DataError, ExportError, ImageError, MissingError, ModelError, SettingsError
from useg.export import export_openvino, quantise, samples_of, to_openvino
from useg.export.parity import SIZES, TOLERANCE, largest_difference, random_sizes
from useg.predict import Predictor, PredictSettings, load_runner
from useg.unet.model import ModelCard, read_card
from useg.unet.openvino_header import weights_of

openvino = pytest.importorskip("openvino")


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(card=cards(), seed=st.integers(0, 1000), spread=st.booleans())
def test_an_export_gives_what_torch_gives(tmp_path: Path, card: ModelCard, seed: int, spread: bool) -> None:
    model = write_model(tmp_path / "m.safetensors", card)
    done = export_openvino(model, tmp_path / "m.xml")
    assert 0 <= done.difference <= TOLERANCE
    assert (done.sizes, done.networks, done.agreement) == (SIZES, card.members, None)
    assert done.bytes == sum(path.stat().st_size for path in (done.path, weights_of(done.path)))
    chosen = PredictSettings(device="cpu", precision="float32", uncertainty=spread)
    ours, theirs = (load_runner(path, chosen)[1] for path in (model, done.path))
    assert largest_difference(ours, theirs, card.network, random_sizes(card.network, seed)[:2]) <= TOLERANCE


def test_the_file_carries_all_that_prediction_needs(tmp_path: Path) -> None:
    model = make_model(tmp_path, in_channels=3, padding="valid", depth=2)
    done = export_openvino(model, tmp_path / "new" / "m.xml")
    assert read_card(done.path) == read_card(model)
    assert sorted(files_of(done.path.parent)) == ["m.bin", "m.xml"]
    network = openvino.Core().read_model(done.path)
    assert network.get_rt_info(["useg", "useg.sizes"]).value.startswith("along each axis 44 + any multiple of 4")


def test_float32_stays_float32(tmp_path: Path) -> None:
    model = make_model(tmp_path, width=16)
    weights = sum(value.numel() for value in make_network(read_card(model).network, 0).parameters())
    assert weights_of(export_openvino(model, tmp_path / "m.xml").path).stat().st_size > 0.95 * 4 * weights


def test_openvino_sends_nothing(tmp_path: Path) -> None:
    """The library that would send is kept out before OpenVINO and nncf look for it."""
    code = (
        "import sys; from pathlib import Path; from useg.export import export_openvino\n"
        "export_openvino(Path(sys.argv[1]), Path(sys.argv[2])); assert sys.modules['openvino_telemetry'] is None"
    )
    command = [sys.executable, "-c", code, str(make_model(tmp_path)), str(tmp_path / "m.xml")]
    subprocess.run(command, check=True, timeout=120)


def test_names_are_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"named \.xml"):
        export_openvino(make_model(tmp_path), tmp_path / "m.bin")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(5):
        iio.imwrite(folder / f"{k}.png", make_image((70, 40 + k), seed=k)[0])
    return folder


@pytest.fixture
def sharp(tmp_path: Path) -> Path:
    return make_sharp_model(tmp_path)


def test_int8_gives_the_same_labels(tmp_path: Path, sharp: Path, images: Path) -> None:
    pytest.importorskip("nncf")
    done = export_openvino(sharp, tmp_path / "m.xml", samples=samples_of(sharp, images))
    assert done.agreement is not None and quantise.LEAST_AGREEMENT <= done.agreement <= 1
    assert done.tiles == (3, 2) and not done.held_out
    kinds = {op.get_type_name() for op in openvino.Core().read_model(done.path).get_ops()}
    assert "FakeQuantize" in kinds
    assert read_card(done.path) == read_card(sharp)
    image = make_image((61, 33), seed=9)
    ours, theirs = (Predictor.load(path, PredictSettings(device="cpu")).predict(image) for path in (sharp, done.path))
    assert (ours.labels == theirs.labels).mean() > 0.98


def test_int8_that_gives_other_labels_is_not_kept(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nncf")
    monkeypatch.setattr(quantise, "LEAST_AGREEMENT", 1.01)
    model = make_model(tmp_path)
    with pytest.raises(ExportError, match=r"of the pixels keep their label, .* nothing was kept"):
        export_openvino(model, tmp_path / "out" / "m.xml", samples=samples_of(model, images))
    assert not files_of(tmp_path / "out")


def test_agreement_is_the_share_of_labels(tmp_path: Path, images: Path) -> None:
    model = make_model(tmp_path)
    samples = samples_of(model, images)
    _, runner = load_runner(model, PredictSettings(device="cpu", precision="float32"))
    assert quantise.require_agreement(tmp_path, runner, runner, samples) == 1
    with pytest.raises(ExportError, match=r"only 0\.00%"):
        quantise.require_agreement(tmp_path, runner, lambda tile, keep: runner(tile, keep)[::-1], samples)


def test_samples_are_what_prediction_feeds(tmp_path: Path, images: Path) -> None:
    model = make_model(tmp_path)
    seen = []

    def record(tile: np.ndarray, keep: Sequence[slice]) -> np.ndarray:
        seen.append(tile)
        return np.full((2, *(part.stop - part.start for part in keep)), 0.5, np.float32)

    predictor = Predictor(read_card(model), record)
    for k in (0, 4):
        predictor.predict(iio.imread(images / f"{k}.png"))
    samples = samples_of(model, images)
    for expected, (_, found) in zip(seen, samples.compare, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_images_to_calibrate_on_are_asked_for(tmp_path: Path, images: Path) -> None:
    model = make_model(tmp_path)
    with pytest.raises(SettingsError, match="--calibrate"):
        samples_of(model)
    with pytest.raises(MissingError, match="no such folder"):
        samples_of(model, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        samples_of(model, tmp_path / "empty")
    with pytest.raises(ImageError, match="trained on 3"):
        samples_of(make_model(tmp_path, in_channels=3), images)


def test_an_export_cannot_be_exported(tmp_path: Path) -> None:
    done = export_openvino(make_model(tmp_path), tmp_path / "m.xml")
    with pytest.raises(ModelError, match="can predict but not learn"):
        to_openvino.export_openvino(done.path, tmp_path / "again.xml")
