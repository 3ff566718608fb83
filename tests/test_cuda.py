"""What is promised on a CPU holds on a GPU of NVIDIA: skipped where torch finds none."""

from pathlib import Path

import numpy as np
import pytest
import torch

import useg
from models import SMALL, make_card, make_network
from useg import machine
from useg.demo import draw_data_set
from useg.predict import Predictor, PredictSettings
from useg.runner import WORKSPACE, TorchRunner, bytes_per_pixel
from useg.unet.settings import UNetSettings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU of NVIDIA")

NETWORKS = {
    "images, same": UNetSettings(**SMALL),
    "images, valid": UNetSettings(depth=2, width=4, norm="batch"),
    "patches": UNetSettings(**SMALL | {"patch": 2, "in_channels": 3}),
    "volumes": UNetSettings(**SMALL | {"dims": 3, "flat": (1, 0, 0)}),
}


def predictor(network: UNetSettings, device: str, precision: str = "float32", memory: int = 10**10) -> Predictor:
    runner = TorchRunner(make_network(network, seed=1), device, precision)
    settings = PredictSettings(device=device, precision=precision, max_memory=memory)
    return Predictor(make_card(network), runner, settings)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_a_gpu_gives_what_a_cpu_gives_whatever_the_tiles(network: UNetSettings) -> None:
    size = (150, 211) if network.dims == 2 else (24, 50, 61)
    image = np.random.default_rng(2).normal(size=(network.in_channels, *size)).astype(np.float32)
    few = WORKSPACE + int(bytes_per_pixel(make_card(network)) * image[0].size / 3) + 4 * 3 * image.size
    there = predictor(network, "cpu").predict(image).probabilities
    whole, tiled = (predictor(network, "cuda", memory=m).predict(image).probabilities for m in (10**10, few))
    assert np.abs(whole - there).max() < 1e-4
    assert np.abs(tiled - whole).max() < 1e-5


def test_lower_precision_changes_few_labels() -> None:
    network = NETWORKS["images, same"]
    image = np.random.default_rng(2).normal(size=(1, 200, 200)).astype(np.float32)
    full, lower = (predictor(network, "cuda", p).predict(image).labels for p in ("float32", "bfloat16"))
    assert (full == lower).mean() > 0.97


def test_training_resumes_and_its_model_predicts_on_either(tmp_path: Path) -> None:
    draw_data_set(tmp_path / "cells")
    seen: list[float] = []
    stopping = useg.Watcher(on_progress=lambda p: seen.append(p.fraction), should_stop=lambda: len(seen) > 20)
    first = useg.train(tmp_path / "cells", tmp_path / "run", steps=40, device="cuda", watch=stopping)
    assert not first.finished
    result = useg.train(None, tmp_path / "run", resume=True)
    assert result.finished and result.steps == 40
    assert "cuda" in (tmp_path / "run" / "settings.toml").read_text(encoding="utf-8")
    image = useg.read(next((tmp_path / "cells" / "test" / "images").iterdir()))
    labels = [
        useg.load(tmp_path / "run", PredictSettings(device=d, precision="float32")).predict(image).labels
        for d in ("cpu", "cuda")
    ]
    assert (labels[0] == labels[1]).mean() > 0.999


def test_tiles_fit_into_the_memory_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    network = UNetSettings(padding="same", norm="batch", depth=4, width=32)
    image = np.zeros((1, 2048, 2048), np.float32)
    free = 600_000_000
    monkeypatch.setattr(machine, "network_memory", lambda device: free if device == "cuda" else 1e12)
    ready = predictor(network, "cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    ready.predict(image)
    assert torch.cuda.max_memory_allocated() - before < free
