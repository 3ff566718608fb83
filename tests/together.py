"""What test_processes.py lets two processes do, and what it does itself in one. `torchrun together.py FOLDER`."""

import atexit
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from useg.cli import main
from useg.data.samples import Sampler
from useg.errors import DataError, OutputError, UsegError
from useg.labels import IGNORE
from useg.processes import Team, join
from useg.train import train
from useg.unet.losses import LossSettings, segmentation_loss
from useg.unet.network import UNet
from useg.unet.shared import share_batch
from useg.watch import Progress, TrainResult, Watcher

loop = importlib.import_module("useg.loop")

STEPS, STOP = 12, 5
SGD: dict[str, Any] = {
    "network.width": 4,
    "network.depth": 2,
    "samples.crop": [64, 64],
    "samples.batch": 4,
    "machine.device": "cpu",
    "machine.precision": "float32",
    "machine.threads": 1,
    "validations": 1,
    "optimiser.kind": "sgd",
    "optimiser.learning_rate": 0.001,
    "optimiser.momentum": 0.9,
}
RUNS: dict[str, dict[str, Any]] = {
    "sgd": {**SGD, "validations": 2},
    # Shares of one and two samples; which features a sample loses must not depend on the shares.
    "odd": {**SGD, "samples.batch": 3, "network.dropout": 0.5, "loss.class_weights": [0.5, 2.0]},
    "adamw": {**SGD, "optimiser.kind": "adamw", "optimiser.learning_rate": 0.001},
    "planned": {k: v for k, v in SGD.items() if not k.startswith("optimiser.")},
}


def stop_after(step: int, *, asked: bool = True) -> Watcher:
    """Ends a run once `step` steps are done, where this process is asked."""
    answers = iter(range(1, STEPS + 1))
    return Watcher(should_stop=lambda: next(answers) >= step and asked)


def step_of_a_network(part: range, total: Callable[..., tuple[Tensor, ...]] | None) -> dict[str, Tensor]:
    """Loss, gradients and statistics after a step on three made-up samples, of which this process has `part`."""
    generator = torch.Generator().manual_seed(5)
    images = 3 + torch.randn(3, 1, 32, 32, generator=generator)
    labels = torch.randint(0, 3, (3, 32, 32), generator=generator)
    weights = torch.rand(3, 32, 32, generator=generator)
    labels[0, 5:] = IGNORE  # the first sample has few pixels, and not of all classes
    labels[0, :5] = 1
    torch.manual_seed(1)
    network = UNet(1, 3, depth=2, width=4, padding="same", norm="batch", dropout=0.5).train()
    network = network.to(memory_format=torch.channels_last)
    if total:
        share_batch(network, total, part, 3)
    torch.manual_seed(2)
    mine = slice(part.start, part.stop)
    scores = network(images[mine].to(memory_format=torch.channels_last))
    settings = LossSettings(dice=1.0, class_weights=[1.0, 2.0, 0.5])
    more = {"total": total} if total else {}
    loss = segmentation_loss(scores, labels[mine], settings, weights[mine], **more)
    loss.backward()
    found = {f"gradient {name}": weight.grad for name, weight in network.named_parameters() if weight.grad is not None}
    return {"loss": loss.detach(), **found, **{k: v for k, v in network.state_dict().items() if "running" in k}}


def failing(team: Team, data: Path, run: Path, where: int) -> list[str]:
    """The kind and words of the error that this process ends a run with, when the one at `where` fails."""

    def sample(self: Sampler, step: int, index: int) -> Any:
        if step == 3:
            raise DataError("no sample")
        return drawn(self, step, index)

    def save(*_: Any) -> None:
        raise OutputError("disk full")

    drawn, saved = Sampler.sample, loop.save_model
    if team.index == where:
        if where:
            Sampler.sample = sample  # type: ignore[method-assign]
        else:
            loop.save_model = save
    try:
        train(data, run, steps=STEPS, overrides=SGD)
    except UsegError as error:
        return [type(error).__name__, str(error)]
    finally:
        Sampler.sample, loop.save_model = drawn, saved  # type: ignore[method-assign]
    return []


def everything(folder: Path) -> None:
    """All in one start, which takes longer than what is tried."""
    team, data, said = join(), folder / "cells", []
    part = team.share(3)
    found = step_of_a_network(part, team.total)
    team.average([value for name, value in found.items() if name.startswith("gradient")])
    if team.first:
        save_file({k: v.contiguous() for k, v in found.items()}, folder / "step.safetensors")
    results: dict[str, Any] = {"part": list(part), "met": team.gather({"index": team.index, "π": 0.1})}
    results["failures"] = [failing(team, data, folder / f"failed{where}", where) for where in (1, 0)]

    def told(progress: Progress) -> None:
        said.append(progress.event)

    for name, overrides in RUNS.items():
        watch = Watcher(on_text=said.append, on_progress=told)
        results[name] = plain(train(data, folder / "two" / name, steps=STEPS, overrides=overrides, watch=watch))
    results["said"] = len(said)
    # What it starts from is on the machine of the first one only.
    start = folder / "one_then_two" if team.first else folder / "nowhere"
    results["begun"] = plain(train(data, folder / "two/begun", steps=STEPS, overrides=SGD, start=start))
    results["timed"] = plain(train(data, folder / "timed", minutes=0.05, overrides=SGD))
    watch = stop_after(STOP, asked=not team.first)  # the last one alone is told to stop
    results["stopped"] = plain(train(data, folder / "two_then_one", steps=STEPS, overrides=SGD, watch=watch))
    # The others have no such folder: they may be on another machine.
    run = folder / "one_then_two" if team.first else folder / "elsewhere"
    results["resumed"] = plain(train(data, run, resume=True))
    (folder / f"results{team.index}.json").write_text(json.dumps(results))
    crash(team, folder)


def plain(result: TrainResult) -> list[Any]:
    return [result.steps, result.finished, result.validation, result.quality]


def crash(team: Team, folder: Path) -> None:
    """One process ends without a word, in the middle of a step."""
    step = loop.supervised_loss

    def ends(*args: Any, **options: Any) -> Tensor:
        if not team.first:
            os._exit(9)
        return step(*args, **options)

    loop.supervised_loss = ends
    try:
        train(folder / "cells", folder / "crashed", steps=STEPS, overrides=SGD)
    except UsegError as error:
        (folder / "last_words").write_text(str(error))
        raise


def threads_left(file: Path) -> None:
    """Threads of this process, where the system tells."""
    file.write_text(" ".join(name.read_text().strip() for name in Path("/proc/self/task").glob("*/comm")))


if __name__ == "__main__":
    place, *command = sys.argv[1:]
    if command:  # of useg
        # Called after what `join` registers.
        atexit.register(threads_left, Path(place) / f"threads{os.environ['RANK']}")
        sys.argv[1:] = command
        main()
    everything(Path(place))
