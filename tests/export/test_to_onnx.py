"""An exported model gives what the model gives, or it is not there."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models import axes_apart, files_of, make_card, make_model, make_network
from useg.errors import ExportError, ModelError, SettingsError
from useg.export import Exported, export_onnx, export_openvino, to_onnx
from useg.export.parity import SIZES, TOLERANCE, largest_difference, random_sizes
from useg.predict import PredictSettings, load_runner
from useg.runner import TorchRunner
from useg.unet.model import ModelCard, load_model, read_card, save_model
from useg.unet.settings import UNetSettings


def write_model(path: Path, card: ModelCard) -> Path:
    """A model with as many networks as its card says."""
    weights = {}
    for member in range(card.members):
        prefix = f"{member}." if card.members > 1 else ""
        network = make_network(card.network, member)
        weights |= {prefix + name: value for name, value in network.state_dict().items()}
    save_model(path, card, weights)
    return path


@st.composite
def cards(draw: st.DrawFn) -> ModelCard:
    head = draw(st.sampled_from(["1x1", "3x3"]))
    dims = draw(st.sampled_from([2, 2, 2, 3]))
    depth = draw(st.integers(0, 3 if dims == 2 else 1))
    chosen = UNetSettings.model_validate(
        {
            "dims": dims,
            "in_channels": draw(st.integers(1, 3)),
            "classes": draw(st.integers(2, 4)),
            "depth": depth,
            **draw(axes_apart(dims, depth)),
            "width": draw(st.integers(1, 5)),
            "doublings": draw(st.sampled_from([None, 0, 1])),
            "padding": draw(st.sampled_from(["valid", "same"])),
            "norm": draw(st.sampled_from(["none", "batch", "batch_after_relu"])),
            "up_kernel": draw(st.sampled_from([2, 3])),
            "head": head,
            "patch": draw(st.sampled_from([1, 2, 4])) if head == "1x1" else 1,
        }
    )
    shift = draw(st.lists(st.floats(-2, 2, width=32), min_size=chosen.classes, max_size=chosen.classes))
    temperature = draw(st.sampled_from([1.0, 0.6, 2.5]))
    return make_card(chosen, score_shift=shift, temperature=temperature, members=draw(st.sampled_from([1, 1, 3])))


@settings(max_examples=18, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(card=cards(), seed=st.integers(0, 1000), spread=st.booleans())
def test_an_export_gives_what_torch_gives(tmp_path: Path, card: ModelCard, seed: int, spread: bool) -> None:
    model = write_model(tmp_path / "m.safetensors", card)
    done = export_onnx(model, tmp_path / "m.onnx")
    assert 0 <= done.difference <= TOLERANCE
    assert (done.sizes, done.networks, done.bytes) == (SIZES, card.members, done.path.stat().st_size)
    chosen = PredictSettings(device="cpu", precision="float32", uncertainty=spread)
    ours, theirs = (load_runner(path, chosen)[1] for path in (model, done.path))
    sizes = random_sizes(card.network, seed)[:2]
    assert largest_difference(ours, theirs, card.network, sizes) <= TOLERANCE
    # Any window of a tile, too.
    n, out = sizes[0], [axis.output_size(edge) for axis, edge in zip(card.network.axes, sizes[0], strict=True)]
    keep = [slice(edge // 3, edge - edge // 4) for edge in out]
    tile = np.random.default_rng(seed).normal(size=(card.network.in_channels, *n)).astype(np.float32)
    np.testing.assert_allclose(theirs(tile, keep), ours(tile, keep), atol=TOLERANCE)


def test_the_file_carries_all_that_prediction_needs(tmp_path: Path) -> None:
    model = make_model(tmp_path, in_channels=3, padding="valid", depth=2)
    done = export_onnx(model, tmp_path / "new" / "m.onnx")
    assert read_card(done.path) == read_card(model)
    proto = onnx.load(done.path)
    onnx.checker.check_model(proto, full_check=True)
    assert [entry.version for entry in proto.opset_import] == [done.opset]
    told = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(told["useg"])["classes"][1]["name"] == "1"
    assert told["useg.sizes"] == "along each axis 44 + any multiple of 4 pixels; the output is 40 less"


def test_another_program_needs_the_graph_alone(tmp_path: Path) -> None:
    """As a program would that knows nothing of useg: onnxruntime, float32 in, probabilities out."""
    card = make_card(UNetSettings(padding="same", depth=2, width=3, classes=3), score_shift=[0, 1, -1], temperature=2)
    done = export_onnx(write_model(tmp_path / "m.safetensors", card), tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(done.path, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(None, {"image": np.ones((1, 1, 20, 36), np.float32)})
    assert probabilities.shape == (1, 3, 20, 36)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)


def test_chosen_folds_are_exported(tmp_path: Path) -> None:
    card = make_card(UNetSettings(padding="same", depth=1, width=2), members=3)
    model = write_model(tmp_path / "m.safetensors", card)
    done = export_onnx(model, tmp_path / "m.onnx", folds=[2, 0])
    assert done.networks == read_card(done.path).members == 2
    _, networks = load_model(model, [0, 2])
    _, theirs = load_runner(done.path, PredictSettings())
    ours = TorchRunner(networks, "cpu", "float32")
    assert largest_difference(ours, theirs, card.network, random_sizes(card.network)) <= TOLERANCE
    with pytest.raises(SettingsError, match="no fold 3"):
        export_onnx(model, tmp_path / "m.onnx", folds=[3])


@pytest.mark.parametrize("before", [None, b"of an earlier export"])
@pytest.mark.parametrize(
    ("export", "name", "library"), [(export_onnx, "m.onnx", "onnx"), (export_openvino, "m.xml", "openvino")]
)
def test_an_export_that_differs_is_not_kept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    export: Callable[[Path, Path], Exported],
    name: str,
    library: str,
    before: bytes | None,
) -> None:
    pytest.importorskip(library)

    def hotter(networks: Sequence[Any], shift: Sequence[float], temperature: float) -> Any:
        return build(networks, shift, 1.01 * temperature)

    build = to_onnx.build_graph
    monkeypatch.setattr(to_onnx, "build_graph", hotter)
    model, out = make_model(tmp_path), tmp_path / "out" / name
    out.parent.mkdir()
    if before:
        out.write_bytes(before)
    with pytest.raises(
        ExportError, match=rf"{re.escape(name)}: its probabilities differ from torch's .* nothing was kept"
    ):
        export(model, out)
    assert files_of(out.parent) == ({name: before} if before else {})


def test_a_network_of_nan_is_not_exported(tmp_path: Path) -> None:
    """A training that diverged."""
    card = make_card(UNetSettings(padding="same", depth=1, width=2))
    network = make_network(card.network, 0)
    network.head.weight.data[:] = np.nan
    save_model(tmp_path / "m.safetensors", card, network.state_dict())
    with pytest.raises(ExportError, match="nan"):
        export_onnx(tmp_path / "m.safetensors", tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_what_cannot_be_exported_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(tmp_path)
    with pytest.raises(SettingsError, match=r"named \.onnx"):
        export_onnx(model, tmp_path / "m.pb")
    done = export_onnx(model, tmp_path / "m.onnx").path
    with pytest.raises(ModelError, match="can predict but not learn"):
        export_onnx(done, tmp_path / "again.onnx")
    monkeypatch.setattr(to_onnx, "MOST_BYTES", 1000)
    with pytest.raises(ExportError, match="export fewer folds"):
        export_onnx(model, tmp_path / "m.onnx")
