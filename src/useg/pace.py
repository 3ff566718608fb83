"""How long a training step takes on this machine: the plan asks before it chooses a width."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

from useg import machine
from useg.settings import Settings
from useg.unet.deep import DeeplySupervised, supervised_loss
from useg.unet.network import UNet
from useg.unet.optimise import make_optimiser

MEASURED = 3
"""Steps that are timed."""


def step_seconds(settings: Settings) -> float:
    """Seconds of an optimisation step of these settings on this machine, samples not counted."""
    machine.keep_freed_memory()
    if settings.machine.threads:
        torch.set_num_threads(settings.machine.threads)
    with torch.random.fork_rng(devices=[]):
        step = bare_step(settings)
        step()  # what is set up once
        return median(step() for _ in range(MEASURED))


def bare_step(settings: Settings, layout: torch.memory_format | None = None) -> Callable[[], float]:
    """A function that takes one optimisation step on a batch that is at hand, and returns its seconds.

    `layout` is that of training, channels-last, unless another is given.
    """
    s, device = settings, machine.find_device(settings.machine.device)
    layout = layout or machine.memory_layout(s.network.dims)
    body = UNet.from_settings(s.network).to(device, memory_format=layout)  # type: ignore[call-overload]
    network = DeeplySupervised(body, deep=s.loss.deep > 0).to(device).train()
    images = torch.randn(s.samples.batch, s.network.in_channels, *s.samples.crop, device=device)
    images = images.to(memory_format=layout)
    outputs = [axis.output_size(n) for axis, n in zip(s.network.axes, s.samples.crop, strict=True)]
    labels = torch.zeros(s.samples.batch, *outputs, dtype=torch.uint8, device=device)
    optimiser = make_optimiser(network, s.optimiser, heads=1 + len(network.heads))

    def step() -> float:
        begun = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=s.machine.precision == "bfloat16"):
            scores = network(images)
        loss = supervised_loss(scores, labels, s.loss)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        loss.item()  # waits for a GPU
        return time.perf_counter() - begun

    return step
