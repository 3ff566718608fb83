"""The processes that train one network together: how many, which one this is, and what they tell one another.

`torchrun` starts them, on one machine or on several. All do the same steps, each with its own part of the samples, and
whatever is summed over a batch is summed over all of them. A process that is alone starts nothing and waits for nobody.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from useg import errors, machine
from useg.errors import SettingsError, TrainingError, UsegError

PATIENCE = timedelta(days=30)
"""Others wait as long as the first one validates. One that has ended is noticed at once, by its closed connection."""


@dataclass
class Team:
    """The processes of one training.

    Attributes:
        count: how many. index: which one this is, from 0. here: how many are on this machine.
    """

    count: int = 1
    index: int = 0
    here: int = 1
    _failed: bool = field(default=False, init=False)
    _ended: bool = field(default=False, init=False)

    @property
    def first(self) -> bool:
        """Whether this is the one that plans, validates, writes and speaks."""
        return self.index == 0

    def share(self, batch: int) -> range:
        """Which samples of a step this process makes: as many as any other, or one less.

        Raises:
            SettingsError: there are more processes than samples.
        """
        if batch < self.count:
            raise SettingsError(
                f"samples.batch: {batch} in a step, and each of {self.count} processes needs one; start no more than "
                f"{batch}, or --set samples.batch={self.count}"
            )
        return range(batch * self.index // self.count, batch * (self.index + 1) // self.count)

    def split(self, available: int) -> int:
        """What a process gets where all processes of this machine share, such as processor cores; 1 at least."""
        return max(1, available // self.here)

    def fit(self, device: torch.device) -> None:
        """See that all processes of this machine can work on such devices.

        Raises:
            SettingsError: it has fewer of them, or they cannot work together.
        """
        there = {"cpu": self.count, "cuda": torch.cuda.device_count()}.get(device.type, 0)
        if self.count > 1 and there < self.here:
            raise SettingsError(
                f"device {device.type!r}: {self.here} processes on this machine, and {there} such devices that work "
                "together; start a process a device, or use --device cpu"
            )

    def total(self, *values: Tensor) -> tuple[Tensor, ...]:
        """The sum of each over all processes, values of one type. Where one is alone, the values.

        Gradients are summed over all processes too, for what comes of a sum is part of the loss of each of them.
        """
        if self.count == 1:
            return values
        flat = torch.cat([value.flatten() for value in values])
        summed: Tensor = _Total.apply(flat, self._sum)  # type: ignore[no-untyped-call]
        parts = torch.split(summed, [value.numel() for value in values])
        return tuple(part.reshape(value.shape) for part, value in zip(parts, values, strict=True))

    def average(self, tensors: list[Tensor]) -> None:
        """Put the mean over all processes in place of each.

        Of gradients: every process computes the loss of the whole batch, and through `total` has the gradient of the
        sum of these equal losses, as far as its own samples make it.
        """
        if self.count == 1:
            return
        mean = self._sum(torch.cat([tensor.flatten() for tensor in tensors])) / self.count
        parts = torch.split(mean, [tensor.numel() for tensor in tensors])
        torch._foreach_copy_(tensors, [part.reshape(t.shape) for part, t in zip(parts, tensors, strict=True)])

    def gather(self, value: Any) -> list[Any]:
        """What every process says here, in their order: anything that JSON can hold.

        Raises:
            UsegError: what any of them failed with since they last met.
        """
        return [value] if self.count == 1 else self._exchange({"said": value})

    def from_first(self, make: Callable[[], Any]) -> Any:
        """What the first process makes, known to all: anything that JSON can hold."""
        return self.gather(make() if self.first else None)[0]

    @contextmanager
    def file_of_first(self, path: Path) -> Iterator[Path | None]:
        """A file of the first process, None if it has none; others, perhaps on another machine, get a copy."""
        if self.count == 1:
            yield path if path.is_file() else None
            return
        content = bytearray(path.read_bytes()) if self.first and path.is_file() else bytearray()
        size = self.from_first(lambda: len(content))
        if not size:
            yield None
            return
        shared = torch.frombuffer(content, dtype=torch.uint8) if self.first else torch.empty(size, dtype=torch.uint8)
        with self._meeting():
            dist.broadcast(shared, 0)
        if self.first:
            yield path
            return
        with tempfile.TemporaryDirectory(prefix="useg-") as folder:
            copy = Path(folder) / path.name
            copy.write_bytes(shared.numpy().tobytes())
            yield copy

    @contextmanager
    def failing_as_one(self) -> Iterator[None]:
        """What one process fails with in this block, all fail with: the others learn of it where they meet next.

        So nothing that only one of them may do, and fail at, stands between a `gather` and a sum.
        """
        self._failed = self._ended = False
        try:
            yield
        except UsegError as error:
            self._ended = True
            if self.count > 1 and not self._failed:
                where = "" if self.first else f" (process {self.index} of {self.count}, on {socket.gethostname()})"
                self._exchange({"failed": [type(error).__name__, f"{error}{where}"]})
            raise
        self._ended = True

    def _sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        with self._meeting():
            dist.all_reduce(tensor)
        return tensor

    def _exchange(self, message: dict[str, Any]) -> list[Any]:
        text = torch.frombuffer(bytearray(json.dumps(message).encode()), dtype=torch.uint8)
        with self._meeting():
            sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
            dist.all_gather(sizes, torch.tensor([len(text)]))
            longest = int(max(sizes))
            texts = [torch.empty(longest, dtype=torch.uint8) for _ in range(self.count)]
            dist.all_gather(texts, torch.nn.functional.pad(text, (0, longest - len(text))))
        messages = [json.loads(t[: int(n)].numpy().tobytes()) for t, n in zip(texts, sizes, strict=True)]
        for failure in (m["failed"] for m in messages if "failed" in m):
            self._failed = True
            raise getattr(errors, failure[0], TrainingError)(failure[1])
        return [m["said"] for m in messages]

    @contextmanager
    def _meeting(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self._failed = True
            raise TrainingError(
                f"process {self.index} of {self.count} lost another one ({str(error).splitlines()[0]}); what that one "
                "said tells why, and --resume goes on with the run"
            ) from error

    def _leave(self) -> None:
        """End together: a launcher that sees one process end with an error kills the others, who may be speaking.

        Not after an error that is not ours: the others do not know of it, and may be anywhere.
        """
        with suppress(UsegError):
            if self._ended:
                self._exchange({"said": None})
        with suppress(RuntimeError):
            dist.destroy_process_group()


class _Total(torch.autograd.Function):
    """A sum over processes, whose gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, summed: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.summed = summed
        return summed(values.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.summed(gradient.clone()), None


ALONE = Team()
_team: Team | None = None


def join() -> Team:
    """The processes that a launcher started together with this one; waits until all are there.

    Where they have a GPU each, sums of tensors there go through NCCL, all else through gloo.
    """
    global _team
    if not machine.launched_together():
        return ALONE
    if _team is None:
        # Torch imports it sooner or later. Its default arguments would then keep the group, whose threads may abort a
        # process that ends.
        importlib.import_module("torch.distributed.nn.functional")
        from accelerate import PartialState  # type: ignore[import-untyped]

        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        # Otherwise accelerate would set torch's threads, and warn of it; a run sets its own.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if 0 < here <= torch.cuda.device_count():
                state = PartialState(backend="cpu:gloo,cuda:nccl", timeout=PATIENCE)
            else:
                state = PartialState(cpu=True, backend="gloo", timeout=PATIENCE)
        _team = Team(state.num_processes, state.process_index, here)
        atexit.register(_team._leave)
    return _team
