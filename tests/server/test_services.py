"""What the routes share: the model is loaded once, before it is needed, and nobody but predictions waits for it."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from servers import client_of, png_of

from models import make_model
from useg.predict import Predictor
from useg.runner import TorchRunner


def test_a_server_that_begins_does_not_wait_for_torch() -> None:
    code = "import sys, useg.server.listen; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_model_is_loaded_once_whoever_asks_and_meanwhile_the_rest_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Path] = []
    ran: list[tuple[int, ...]] = []
    go, load, run = threading.Event(), Predictor.load, TorchRunner.__call__

    def slow(path: Path, *options: object) -> Predictor:
        loaded.append(path)
        assert go.wait(60)
        return load(path, *options)

    def watched(self: TorchRunner, tile: np.ndarray, keep: object) -> np.ndarray:
        ran.append(tile.shape)
        return run(self, tile, keep)

    monkeypatch.setattr(Predictor, "load", slow)
    monkeypatch.setattr(TorchRunner, "__call__", watched)
    with client_of(model=make_model(tmp_path), device="cpu") as client, ThreadPoolExecutor() as threads:
        services = client.app.state.useg
        asked = [
            threads.submit(client.post, "/api/predict?name=x.png", content=png_of(np.zeros((9, 7), np.uint8)))
            for _ in range(2)
        ]
        direct = threads.submit(services.predictor)
        for path in ("/", "/api/model", "/api/health"):
            assert client.get(path).status_code == 200
        assert not any(each.done() for each in (*asked, direct))
        go.set()
        assert [each.result().status_code for each in asked] == [200, 200]
        assert direct.result() is services.predictor()
    assert len(loaded) == 1
    assert ran[0] == (1, 32, 32) and len(ran) == 3, "what is needed is tried before the first image comes"
