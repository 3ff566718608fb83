"""Workers of dask.distributed: the same bytes as one process, also when one of them dies."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from models import files_of, make_image, make_model
from useg import store_plan
from useg import workers as room
from useg.blocks import Job
from useg.errors import WorkerError
from useg.predict import Predictor, PredictSettings
from useg.predict_store import predict_store
from useg.workers import Alone, WorkerSettings, hire

SCRIPT = """
import sys
from pathlib import Path
from useg import predict_store as room, store_plan
from useg.predict import Predictor, PredictSettings
from useg.workers import WorkerSettings

if __name__ == "__main__":
    store_plan.choose_block = lambda *given: ((32, 32), (64, 64))
    model, source, target = map(Path, sys.argv[1:4])
    predictor = Predictor.load(model, PredictSettings(device="cpu", precision="float32"))
    watch = room.StoreWatch(
        on_text=lambda text: print(text, flush=True), on_block=lambda done, total: print("block", done, flush=True)
    )
    crew = room.StoreSettings(workers=WorkerSettings(workers=2))
    room.predict_store(predictor, model, source, target, crew, instances=True, watch=watch)
"""


def test_two_workers_one_of_which_dies_give_the_bytes_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, source, model = tmp_path / "script.py", tmp_path / "image.npy", make_model(tmp_path)
    script.write_text(SCRIPT, encoding="utf-8")
    np.save(source, make_image((250, 250))[0])
    command = [sys.executable, str(script), str(model), str(source), str(tmp_path / "two.ome.zarr")]
    said = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if line == "block 5\n":
                os.kill(worker_of(process.pid), signal.SIGKILL)
    assert process.returncode == 0
    assert any("workers at work: http://127.0.0.1" in line for line in said)
    assert said.count("block 16\n") == 1
    monkeypatch.setattr(store_plan, "choose_block", lambda *given: ((32, 32), (64, 64)))
    predictor = Predictor.load(model, PredictSettings(device="cpu", precision="float32"))
    predict_store(predictor, model, source, tmp_path / "one.ome.zarr", instances=True)
    assert files_of(tmp_path / "two.ome.zarr") == files_of(tmp_path / "one.ome.zarr")


def worker_of(number: int) -> int:
    """A process that works, of those that a process started: it has the most memory."""
    children = psutil.Process(number).children(recursive=True)
    return int(max(children, key=lambda child: child.memory_info().rss).pid)


def test_a_scheduler_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PATIENCE", 0.5)
    with (
        pytest.raises(WorkerError, match=r"tcp://127\.0\.0\.1:9: no scheduler answers"),
        hire(WorkerSettings(scheduler="tcp://127.0.0.1:9")),
    ):
        pass


def test_without_a_word_this_process_works_alone() -> None:
    with hire(WorkerSettings()) as crew:
        assert isinstance(crew, Alone)
        assert list(crew.map(abs, [-1, 2])) == [1, 2]


@pytest.mark.parametrize("waiting", [0.0, 1e9])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_blocks_are_told_when_they_are_durable(monkeypatch: pytest.MonkeyPatch, count: int, waiting: float) -> None:
    """In turn, and with the next one read while the network works."""
    monkeypatch.setattr(room, "WAITING", waiting)
    events: list[str] = []

    class Recording(Job):
        """A job that only notes what is done with it; every third block is empty."""

        def read(self, index: int) -> Any:
            events.append(f"read {index}")
            return [] if index % 3 == 2 else [index]

        def predict(self, index: int, looks: Any) -> Any:
            events.append(f"predict {index}")
            return {}

        def write(self, index: int, results: Any) -> None:
            events.append(f"write {index}")

    found = []
    for result in Alone().blocks(Recording(Path()), list(range(count))):
        assert f"write {result[0]}" in events
        found.append(result)
    assert found == [(0, True), (1, True), (2, False), (3, True), (4, True)][:count]
    for what in ("read", "predict", "write"):
        assert [event for event in events if event.startswith(what)] == [f"{what} {index}" for index in range(count)]
