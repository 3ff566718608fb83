"""A program of torch.export gives what the model gives, at any size, or it is not there."""

from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from test_to_onnx import write_model

from models import files_of, make_card, make_model
from useg.errors import ExportError, SettingsError
from useg.export import to_torch
from useg.export.parity import TOLERANCE
from useg.export.to_torch import export_torch
from useg.predict import PredictSettings, load_runner
from useg.unet.model import KEY, ModelCard, read_card
from useg.unet.settings import UNetSettings


@pytest.fixture(autouse=True)
def sizes_that_are_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests check that sizes are ints, and while torch looks on they are symbols."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


CARDS = {
    "ensemble": make_card(
        UNetSettings(padding="same", norm="batch", depth=2, width=2, classes=3),
        score_shift=[0, 1, -1],
        temperature=2,
        members=2,
    ),
    "valid": make_card(UNetSettings(padding="valid", depth=1, width=2, up_kernel=3, in_channels=2)),
    "patches": make_card(UNetSettings(padding="same", depth=1, width=2, patch=2)),
    "volumes": make_card(UNetSettings(padding="same", depth=1, width=2, dims=3)),
    "slices": make_card(UNetSettings(padding="valid", depth=1, width=2, dims=3, neighbours=1, patch=2)),
    "flat": make_card(UNetSettings(padding="same", depth=0, width=2)),
}


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_a_program_gives_what_torch_gives(tmp_path: Path, card: ModelCard) -> None:
    model = write_model(tmp_path / "m.safetensors", card)
    done = export_torch(model, tmp_path / "m.pt2")
    assert 0 <= done.difference <= TOLERANCE
    told = {KEY: "", "useg.sizes": ""}
    program: Any = torch.export.load(done.path, extra_files=told).module()
    assert ModelCard.model_validate_json(told[KEY]) == read_card(model)
    axes = card.network.axes
    size = [g.smallest + g.stride * step for g, step in zip(axes, (9, 1, 4), strict=False)]
    tile = np.random.default_rng(0).normal(size=(card.network.in_channels, *size)).astype(np.float32)
    _, ours = load_runner(model, PredictSettings(device="cpu", precision="float32"))
    expected = ours(tile, [slice(0, g.output_size(n)) for g, n in zip(axes, size, strict=True)])
    with torch.inference_mode():
        np.testing.assert_allclose(program(torch.from_numpy(tile)[None])[0].numpy(), expected, atol=TOLERANCE)


def test_a_program_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = to_torch._trace
    warmer = {"temperature": 1.1}
    monkeypatch.setattr(to_torch, "_trace", lambda card, nets: trace(card.model_copy(update=warmer), nets))
    with pytest.raises(ExportError, match="nothing was kept"):
        export_torch(make_model(tmp_path), tmp_path / "out" / "m.pt2")
    assert not files_of(tmp_path / "out")


def test_names_are_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"named \.pt2"):
        export_torch(make_model(tmp_path), tmp_path / "m.pt")
