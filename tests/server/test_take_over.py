"""A training outlives its server: the next one waits for it, and judges it as the first would have done."""

import json
import time
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import psutil
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from servers import client_of, running

from models import SMALL, make_card, make_network
from useg.checkpoint import KEY, RunState
from useg.server import ServeSettings
from useg.settings import BudgetSettings, Settings, save_settings
from useg.unet.model import InputSeen, save_model, save_tensors
from useg.unet.settings import UNetSettings

TRAINS = """
import os, shutil, sys, time
made, go = {made!r}, {go!r}
while not os.path.exists(go):
    time.sleep(0.02)
shutil.copytree(made, sys.argv[sys.argv.index("-o") + 1], dirs_exist_ok=True)
"""
"""What stands for a training: once it may, it leaves a run that was made before."""
INSTEAD = """
import useg.server.child as child
start = child.start
child.start = lambda arguments, output: start([sys.executable, {program!r}, *arguments], output)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two kept images."""
    for folder in ("images", "masks"):
        (tmp_path / "project" / folder).mkdir(parents=True)
    for name in ("a.png", "b.png"):
        image = np.zeros((16, 16), np.uint8)
        image[4:12, 4:12] = 1
        Image.fromarray(200 * image).save(tmp_path / "project" / "images" / name)
        Image.fromarray(image).save(tmp_path / "project" / "masks" / name)
    return tmp_path / "project"


def make_run(place: Path, *, finished: bool) -> None:
    """What a training leaves, the model better than none."""
    network = UNetSettings.model_validate(SMALL)
    place.mkdir()
    save_settings(place / "settings.toml", Settings(network=network, budget=BudgetSettings(minutes=3)))
    save_model(
        place / "model.safetensors",
        make_card(network, input=InputSeen(dtype="uint8", low=[0], high=[255])),
        make_network(network, 0).state_dict(),
    )
    state = RunState(step=9, best_step=9, best_dice=0.75, after=0.75, elapsed=60, finished=finished)
    save_tensors(place / "state.safetensors", {}, {KEY: state.model_dump_json()})


def kill_amid_training(tmp_path: Path, project: Path, *, finished: bool) -> psutil.Process:
    """Start a training, kill its server, and give the training, which goes on until there is a file `go`."""
    make_run(tmp_path / "made", finished=finished)
    program = tmp_path / "trains.py"
    program.write_text(TRAINS.format(made=str(tmp_path / "made"), go=str(tmp_path / "go")))
    instead = INSTEAD.format(program=str(program))
    with running(ServeSettings(project=project), tmp_path / "log", before=f"import sys\n{instead}") as (server, url):
        asked = Request(f"{url}api/improve", b'{"minutes": 3}', {"Content-Type": "application/json"}, method="POST")
        with urlopen(asked) as answer:
            assert answer.status == 202
        note = project / "runs" / "001" / "improve.json"
        while not note.exists():
            time.sleep(0.01)
        server.kill()
        server.wait()
    return psutil.Process(json.loads(note.read_text())["process"]["number"])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def last_job(client: TestClient, *states: str) -> dict:
    while True:
        (job,) = client.get("/api/jobs").json()
        if job["state"] in states:
            return job
        time.sleep(0.02)


def test_the_next_server_waits_for_a_training_and_takes_its_model(tmp_path: Path, project: Path) -> None:
    training = kill_amid_training(tmp_path, project, finished=True)
    with client_of(project=project) as client:
        job = last_job(client, "running")
        assert job["command"].startswith("useg train ") and "runs/001" in job["command"]
        assert client.post("/api/improve", json={"minutes": 3}).status_code == 409
        assert training.is_running() and client.get("/api/project").json()["model"] is None
        (tmp_path / "go").touch()
        job = last_job(client, "done", "failed")
        assert (job["state"], job["result"]["run"], job["result"]["after"]) == ("done", "001", 0.75)
        assert client.get("/api/project").json()["model"] == "001"
    assert names(project / "runs" / "001") == names(tmp_path / "made"), "the note is gone"


def test_one_that_ended_while_no_server_was_there_is_told_and_can_be_gone_on_with(
    tmp_path: Path, project: Path
) -> None:
    training = kill_amid_training(tmp_path, project, finished=False)
    (tmp_path / "go").touch()
    psutil.wait_procs([training], 30)
    with client_of(project=project) as client:
        job = last_job(client, "done", "failed")
        assert job["state"] == "failed" and "ended before its time" in job["error"]
        (run,) = client.get("/api/runs").json()
        assert run["usable"] and not run["finished"] and not run["current"]
        assert (run["minutes"], run["budget"]) == (1.0, 3.0)
        assert client.post("/api/improve", json={"resume": "002"}).status_code == 404
        begun = client.post("/api/improve", json={"resume": "001"})
        assert begun.status_code == 202 and "--resume" in begun.json()["command"]
        client.delete(f"/api/jobs/{begun.json()['id']}")
