"""A bioimage.io package gives what the model gives, says how, and names nobody's images; or it is not there."""

import gc
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from models import axes_apart, files_of, make_card, make_model, make_network
from useg.cli import main
from useg.errors import ExportError
from useg.export import bioimageio_rdf as rdf
from useg.export import parity, to_bioimageio
from useg.export.about import Owner
from useg.export.to_bioimageio import draw_test_image, export_bioimageio
from useg.runner import TorchRunner
from useg.unet.geometry import Geometry
from useg.unet.model import InputSeen, ModelCard, save_model
from useg.unet.normalise import NormaliseSettings, measure
from useg.unet.settings import UNetSettings

spec = pytest.importorskip("bioimageio.spec", reason="needs the extra bioimageio")
load_model_description, ModelDescr = spec.load_model_description, spec.model.v0_5.ModelDescr

OWNER = Owner(("A. Maker", "B. Maker"), "CC-BY-4.0")
GEOMETRIES = st.builds(
    Geometry,
    depth=st.integers(0, 4),
    padding=st.sampled_from(["same", "valid"]),
    up_kernel=st.sampled_from([2, 3]),
    head_kernel=st.sampled_from([1, 3]),
    patch=st.sampled_from([1, 2, 4]),
)

# bioimageio.spec leaves the files open that it looks at.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module", autouse=True)
def few_sizes_and_closed_here() -> Iterator[None]:
    """Of the graph, tried at 20 sizes in its own tests, a few; and open files go while the filter above holds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "SIZES", 3)
        yield
    gc.collect()


@st.composite
def cards(draw: st.DrawFn) -> ModelCard:
    dims = draw(st.sampled_from([2, 2, 3]))
    depth = draw(st.integers(0, 2 if dims == 2 else 1))
    n = UNetSettings.model_validate(
        {
            "dims": dims,
            "in_channels": draw(st.integers(1, 3)),
            "classes": draw(st.integers(2, 4)),
            "depth": depth,
            **draw(axes_apart(dims, depth)),
            "width": draw(st.integers(1, 4)),
            "padding": draw(st.sampled_from(["valid", "same"])),
            "up_kernel": draw(st.sampled_from([2, 3])),
        }
    )
    kind = draw(st.sampled_from(["image", "fixed", "none"]))
    ends = (0.0, 1.0)
    if kind != "none":  # thousands in the network would be compared to 1e-4
        ends = draw(st.sampled_from([(-3e-4, 2e-4), (10.0, 40000.0), (-1000.0, 3000.0), (7.0, 7.0)]))
    channels = n.in_channels
    fixed: dict[str, Any] = {"mean": [ends[0]] * channels, "std": [ends[1] - ends[0] or 1.0] * channels}
    if ends[0] < ends[1] and draw(st.booleans()):
        fixed["bounds"] = [(0.9 * ends[0], 0.8 * ends[1])] * channels
    seen = InputSeen(dtype="float32", low=[ends[0]] * channels, high=[ends[1]] * channels)
    if draw(st.booleans()):
        seen = seen.model_copy(update={"spacing": [0.5, 0.25, 0.25][3 - dims :], "unit": "µm"})
    normalise = NormaliseSettings(kind=kind, **(fixed if kind == "fixed" else {}))
    return make_card(n, normalise=normalise, input=seen, temperature=draw(st.sampled_from([1.0, 1.7])))


def write(folder: Path, card: ModelCard) -> Path:
    save_model(folder / "m.safetensors", card, make_network(card.network, 0).state_dict())
    return folder / "m.safetensors"


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(card=cards())
def test_a_package_gives_what_the_model_gives(tmp_path: Path, card: ModelCard) -> None:
    done = export_bioimageio(write(tmp_path, card), tmp_path / "nuclei.zip", OWNER)
    assert 0 <= done.difference <= rdf.TOLERANCE
    assert done.bytes == done.path.stat().st_size
    assert done.exact == (card.normalise.kind != "image")
    # The library has read it again, test tensors and checksums included.
    told = load_model_description(done.path)
    assert isinstance(told, ModelDescr)
    assert [axis.id for axis in told.inputs[0].axes] == ["batch", "channel", *"zyx"[3 - card.network.dims :]]
    assert told.outputs[0].axes[1].channel_names == [one.name for one in card.classes]
    assert {axis.unit for axis in told.inputs[0].axes[2:]} == {"micrometer" if card.input.unit else None}
    assert (told.license, [one.name for one in told.authors]) == ("CC-BY-4.0", ["A. Maker", "B. Maker"])


@settings(max_examples=40, deadline=None)
@given(g=GEOMETRIES)
def test_tiles_fit_and_start_on_the_grid(g: Geometry) -> None:
    halo, least = rdf.halo(g), rdf.smallest(g)
    assert halo >= max(g.lead, g.trail)
    assert g.fits(least)
    core = least - g.shrink - 2 * halo
    assert core > 0
    assert core % g.stride == 0
    if g.padding == "same":
        assert halo % g.stride == 0


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("up_kernel", [2, 3])
def test_tiles_side_by_side_are_the_whole(padding: str, up_kernel: int) -> None:
    """As other programs tile: inputs of one size, their outputs without halo next to one another."""
    n = UNetSettings.model_validate({"padding": padding, "up_kernel": up_kernel, "depth": 2, "width": 2})
    g, runner = n.geometry, TorchRunner(make_network(n, 0), "cpu", "float32")
    halo, size = rdf.halo(g), rdf.smallest(g) + g.stride
    core = size - g.shrink - 2 * halo
    image = np.random.default_rng(0).normal(size=(1, size, size + 2 * core)).astype(np.float32)

    def run(part: np.ndarray) -> np.ndarray:
        whole = runner(part, [slice(0, g.output_size(edge)) for edge in part.shape[1:]])
        return whole[:, halo : whole.shape[1] - halo, halo : whole.shape[2] - halo]

    tiles = [run(image[:, :, start : start + size]) for start in range(0, 3 * core, core)]
    np.testing.assert_allclose(np.concatenate(tiles, 2), run(image), atol=1e-5)


@given(card=cards())
@settings(max_examples=30, deadline=None)
def test_nothing_in_the_test_image_is_an_outlier(card: ModelCard) -> None:
    image = draw_test_image(card)
    for channel, low, high in zip(image, card.input.low, card.input.high, strict=True):
        assert np.float32(low) <= channel.min() <= channel.max() <= np.float32(high) * (1 + 1e-6)
    found = measure(image, NormaliseSettings())
    np.testing.assert_allclose(found.shift, image.mean(axis=tuple(range(1, image.ndim)), dtype=np.float64), rtol=1e-5)


def test_a_page_a_cover_and_the_names_are_inside(tmp_path: Path) -> None:
    done = export_bioimageio(make_model(tmp_path, depth=2), tmp_path / "my <cells>.zip", Owner())
    with zipfile.ZipFile(done.path) as file:
        assert {*file.namelist()} == {
            rdf.WEIGHTS,
            rdf.PAGE,
            rdf.COVER,
            rdf.TEST_INPUT,
            rdf.TEST_OUTPUT,
            "rdf.yaml",
        }
        page = file.read(rdf.PAGE).decode()
        with file.open(rdf.COVER) as picture:
            assert Image.open(picture).size == (512, 256)
    assert "# my \\<cells\\>" in page
    assert "No licence was given" in page
    told = load_model_description(done.path)
    assert (told.name, told.license, told.authors) == ("my cells U-Net", None, [])


def test_the_command_tells_what_came_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.zip"

    model = make_model(tmp_path)

    def export(*words: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["useg", "export", str(model), "--to", "bioimageio", *words])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, capfd.readouterr().err

    for words, wrong in (
        (("-o", str(out), "--license", "freeware"), "--license freeware: not a licence"),
        (("-o", "m.bioimage"), "m.bioimage: a bioimage.io package is named .zip"),
    ):
        code, said = export(*words)
        assert (code, said.count("\n")) == (2, 1)
        assert wrong in said
    code, said = export("-o", str(out), "--author", "A. Maker", "--license", "mit")
    assert code == 0, said
    assert f"next: bioimageio test {out}" in said
    differences = [float(number) for number in re.findall(r"most (\S+) at \d+ random sizes, and (\S+) on", said)[0]]
    assert 0 <= max(differences) <= rdf.TOLERANCE
    told = load_model_description(out)
    assert (told.license, [one.name for one in told.authors]) == ("MIT", ["A. Maker"])


def test_a_package_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The preprocessing that it describes is not the model's."""
    model, out = make_model(tmp_path), tmp_path / "out" / "m.zip"
    out.parent.mkdir()
    out.write_bytes(b"of an earlier export")
    monkeypatch.setattr(rdf, "preprocessing", lambda card: [])
    with pytest.raises(ExportError, match=r"m\.zip: its probabilities of the test image differ .* nothing was kept"):
        export_bioimageio(model, out, OWNER)
    assert files_of(out.parent) == {"m.zip": b"of an earlier export"}


def test_what_the_format_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rdf, "smallest", lambda geometry: 1)
    with pytest.raises(ExportError, match=r"m\.zip: .* nothing was kept") as error:
        export_bioimageio(make_model(tmp_path), tmp_path / "m.zip", OWNER)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "m.zip").exists()


def test_size_of_the_test_image_tells_the_axes_apart() -> None:
    for dims in (2, 3):
        for padding in ("same", "valid"):
            size = to_bioimageio.test_size(UNetSettings(dims=dims, padding=padding, depth=2))
            assert size[-1] > size[-2]


@pytest.mark.long
@pytest.mark.parametrize("changes", [{}, {"padding": "valid", "depth": 2, "in_channels": 3}, {"dims": 3}])
def test_bioimageio_core_is_content(tmp_path: Path, changes: dict[str, Any]) -> None:
    """In a fresh environment, by its own command line. Version 0.11 cannot work with pydantic 2.14."""
    done = export_bioimageio(make_model(tmp_path, **changes), tmp_path / "m.zip", OWNER)
    python = tmp_path / "fresh" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "fresh"], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "bioimageio.core[onnx]", "pydantic<2.14"], check=True)
    subprocess.run([python.parent / "bioimageio", "test", done.path], check=True, cwd=tmp_path)
