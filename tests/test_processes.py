"""Two processes, really started by torchrun, train as one does; and they end together, whatever ends them."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from together import RUNS, SGD, STEPS, STOP, step_of_a_network, stop_after
from useg.demo import draw_data_set
from useg.errors import SettingsError
from useg.predict import Predictor, PredictSettings
from useg.processes import ALONE, Team, join
from useg.settings import load_settings
from useg.train import train

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="torchrun and gloo are tried on POSIX systems")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
WORKER = str(Path(__file__).with_name("together.py"))
PATIENCE = 120
"""Seconds after which a hang is one."""


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*TORCHRUN, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def start_useg(
    data: Path, run: Path, steps: int, overrides: dict[str, Any], by: Sequence[str] = ("-m", "useg")
) -> subprocess.Popen[str]:
    words = [w for k, v in overrides.items() for w in ("--set", f"{k}={v if isinstance(v, str) else json.dumps(v)}")]
    return start(*by, "train", str(data), "-o", str(run), "--steps", str(steps), *words)


def losses(run: Path) -> list[float]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [record["loss"] for record in records if "validation" not in record]


def images(run: Path) -> list[list[str]]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [record["images"] for record in records if "validation" not in record]


def furthest(run: Path, other: Path) -> float:
    """The largest difference of two loss curves."""
    curves = losses(run), losses(other)
    assert len(curves[0]) == STEPS
    return max(abs(a - b) for a, b in zip(*curves, strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`cells`, `one/NAME` and `two/NAME` for all runs, the others of `together.everything`, and its results."""
    folder = tmp_path_factory.mktemp("together")
    draw_data_set(folder / "cells", train_images=6, test_images=0, size=96, ids=True)
    train(folder / "cells", folder / "one_then_two", steps=STEPS, overrides=SGD, watch=stop_after(STOP))
    train(folder / "cells", folder / "one/begun", steps=STEPS, overrides=SGD, start=folder / "one_then_two")
    process = start(WORKER, str(folder))
    for name, overrides in RUNS.items():
        train(folder / "cells", folder / "one" / name, steps=STEPS, overrides=overrides)
    _, said = process.communicate(timeout=PATIENCE)
    assert (folder / "results1.json").exists(), said
    assert process.returncode != 0, said  # its last act is a crash
    return folder


@pytest.fixture(scope="module")
def results(folder: Path) -> list[dict[str, Any]]:
    """Of each process."""
    return [json.loads((folder / f"results{index}.json").read_text(encoding="utf-8")) for index in (0, 1)]


@pytest.mark.parametrize(
    ("name", "most"),
    # Adam divides small gradients by their size, and Muon makes all directions equally long: rounding shows sooner. So
    # it does at higher rates, also between two runs of one process with another number of threads.
    [("sgd", 1e-5), ("odd", 1e-5), ("adamw", 1e-3), ("planned", 1e-2)],
)
def test_the_loss_curve_is_that_of_one_process(name: str, most: float, folder: Path) -> None:
    one, two = folder / "one" / name, folder / "two" / name
    assert furthest(one, two) < most
    assert images(one) == images(two)
    assert (one / "settings.toml").read_bytes() == (two / "settings.toml").read_bytes()
    assert {f.name for f in one.iterdir()} == {f.name for f in two.iterdir()}


def test_all_start_from_the_same_earlier_model(folder: Path, results: list[dict[str, Any]]) -> None:
    assert furthest(folder / "one/begun", folder / "two/begun") < 1e-5
    assert results[0]["begun"] == results[1]["begun"]
    assert (folder / "one/begun/settings.toml").read_bytes() == (folder / "two/begun/settings.toml").read_bytes()
    assert load_settings(folder / "two/begun/settings.toml").start.model


def test_a_shared_step_has_the_loss_gradients_and_statistics_of_the_whole(folder: Path) -> None:
    shared, whole = load_file(folder / "step.safetensors"), step_of_a_network(range(3), None)
    assert shared.keys() == whole.keys()
    for name, value in whole.items():
        torch.testing.assert_close(shared[name], value, rtol=1e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_files_of_several_processes_are_those_of_one(folder: Path) -> None:
    for name in ("model", "last", "state"):
        one, two = (load_file(folder / count / "sgd" / f"{name}.safetensors") for count in ("one", "two"))
        assert {key: value.shape for key, value in one.items()} == {key: value.shape for key, value in two.items()}
        for key in one.keys() if name != "state" else ():
            torch.testing.assert_close(one[key], two[key], rtol=1e-3, atol=1e-4)


def test_a_run_goes_on_with_another_number_of_processes(folder: Path, results: list[dict[str, Any]]) -> None:
    assert all(r["stopped"][:2] == [STOP, False] for r in results)
    train(None, folder / "two_then_one", resume=True)
    assert all(r["resumed"][:2] == [STEPS, True] for r in results)
    assert not (folder / "elsewhere").exists() or not list((folder / "elsewhere").glob("*.*"))
    for run in ("two_then_one", "one_then_two"):
        assert furthest(folder / run, folder / "one/sgd") < 1e-5


def test_a_budget_of_minutes_ends_at_the_same_step(folder: Path, results: list[dict[str, Any]]) -> None:
    first, last = (r["timed"] for r in results)
    assert first == last
    assert first[:2] == [len(losses(folder / "timed")), True]


def test_all_know_what_each_says_and_only_the_first_speaks(results: list[dict[str, Any]]) -> None:
    first, last = results
    assert first["part"] == [0]
    assert last["part"] == [1, 2]
    assert first["met"] == last["met"] == [{"index": i, "π": 0.1} for i in (0, 1)]
    assert first["said"] > STEPS
    assert last["said"] == 0
    assert all(first[name] == last[name] and first[name][2] is not None for name in RUNS)


def test_an_error_of_one_is_raised_in_all(results: list[dict[str, Any]]) -> None:
    first, last = results
    assert first["failures"] == last["failures"]
    (kind, words), written = first["failures"]
    assert kind == "DataError"
    assert re.fullmatch(r"no sample \(process 1 of 2, on .+\)", words)
    assert written == ["OutputError", "disk full"]


def test_a_lost_process_ends_the_others(folder: Path) -> None:
    assert "process 0 of 2 lost another one" in (folder / "last_words").read_text(encoding="utf-8")


def test_more_processes_than_samples_are_refused(folder: Path, tmp_path: Path) -> None:
    process = start_useg(folder / "cells", tmp_path / "run", 5, {**SGD, "samples.batch": 1})
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert len(re.findall("useg: samples.batch: 1 in a step, and each of 2 processes needs one", said)) == 1, said
    assert "2" in re.findall(r"exitcode\s*: (-?\d+)", said)  # of the first to end, whereupon torchrun ends the other
    assert "samples.py" not in said
    assert not (tmp_path / "run").exists()


def test_a_signal_leaves_a_usable_model(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start_useg(folder / "cells", run, 100_000, SGD, by=(WORKER, str(tmp_path)))
    log, end = run / "metrics.jsonl", time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end and not (log.is_file() and log.read_bytes().count(b"\n")):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE)
    assert len(re.findall("go on with: useg train", said)) == 1, said
    plain = PredictSettings(device="cpu", precision="float32")
    done, labels = len(losses(run)), Predictor.load(run, plain).predict(torch.eye(48).numpy()).labels
    assert labels.shape == (48, 48)
    assert train(None, run, resume=True, watch=stop_after(1)).steps == done + 1
    # A thread of gloo's that lets go of a tensor while Python ends aborts the process.
    for index in (0, 1):
        assert "gloo" not in (tmp_path / f"threads{index}").read_text(encoding="utf-8")


# What needs no second process.


@given(batch=st.integers(1, 40), count=st.integers(1, 9), data=st.data())
def test_shares_are_even_and_make_up_the_whole(batch: int, count: int, data: st.DataObject) -> None:
    team = [Team(count, index) for index in range(count)]
    if batch < count:
        with pytest.raises(SettingsError, match=f"samples.batch: {batch} .* {count} processes"):
            data.draw(st.sampled_from(team)).share(batch)
        return
    shares = [one.share(batch) for one in team]
    assert [i for share in shares for i in share] == list(range(batch))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    # As a cluster may set it for a process that no torchrun started.
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    yield join()


def test_a_process_that_is_alone_starts_nothing(alone: Team, tmp_path: Path) -> None:
    assert alone is ALONE
    assert not torch.distributed.is_initialized()
    value = torch.ones(2)
    assert alone.total(value, value)[0] is value
    assert alone.gather("a") == ["a"]
    with alone.file_of_first(tmp_path / "none") as path:
        assert path is None
    with pytest.raises(SettingsError), alone.failing_as_one():
        raise SettingsError("as it is")


def test_processes_that_share_a_machine_need_a_device_each() -> None:
    team = Team(4, 0, here=2)
    assert (team.split(5), team.split(1)) == (2, 1)
    team.fit(torch.device("cpu"))
    ALONE.fit(torch.device("mps"))
    with pytest.raises(SettingsError, match="2 processes on this machine, and 0"):
        team.fit(torch.device("mps"))
