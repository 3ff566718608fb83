"""Who works: this process, or workers of dask.distributed on this machine or on others (extra `cluster`)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from useg.blocks import Job
from useg.errors import WorkerError, extra

WAITING = 0.3
"""Reading and writing are done beside the network where they take more than this share of its time."""
PATIENCE = 20.0
"""Seconds in which a scheduler must answer."""


class WorkerSettings(BaseModel):
    """Who predicts an image in blocks.

    Attributes:
        workers: processes to start on this machine; 1 is this process, without a cluster.
        scheduler: address of a dask scheduler whose workers do it instead, such as "tcp://host:8786".
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int = Field(default=1, ge=1)
    scheduler: str = ""

    @property
    def here(self) -> int:
        """Processes that share this machine."""
        return 1 if self.scheduler else self.workers


class Crew(Protocol):
    """Those who do the work."""

    def blocks(self, job: Job, indices: Sequence[int]) -> Iterator[tuple[int, bool]]:
        """Do blocks of a job; each with whether there was anything in it, as soon as it is durable."""

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        """As the builtin `map`."""


class Alone:
    """This process."""

    def blocks(self, job: Job, indices: Sequence[int]) -> Iterator[tuple[int, bool]]:
        """Do blocks of a job, one after the other; where reading and writing make the network wait, at the same time.

        On a CPU the network fills all cores, and a block that is read beside it from a quick disk only disturbs it. So
        two blocks are done in turn, and the time of the second decides.
        """
        seconds = [0.0, 0.0, 0.0]
        for index in indices[:2]:
            began = time.perf_counter()
            looks = job.read(index)
            read = time.perf_counter()
            results = job.predict(index, looks)
            predicted = time.perf_counter()
            job.write(index, results)
            seconds = [read - began, predicted - read, time.perf_counter() - predicted]
            yield index, bool(looks)
        reading, predicting, writing = seconds
        if reading + writing > WAITING * predicting:
            yield from self._at_once(job, indices[2:])
        else:
            yield from ((index, job.run(index)) for index in indices[2:])

    def _at_once(self, job: Job, indices: Sequence[int]) -> Iterator[tuple[int, bool]]:
        """While the network works on a block, the next one is read and the one before is written."""
        with ThreadPoolExecutor(1, "reading") as reader, ThreadPoolExecutor(1, "writing") as writer:
            ahead = [reader.submit(job.read, index) for index in indices[:1]]
            behind: list[Future[tuple[int, bool]]] = []
            for done, index in enumerate(indices, start=1):
                looks = ahead.pop().result()
                ahead = [reader.submit(job.read, following) for following in indices[done : done + 1]]
                results = job.predict(index, looks)
                if behind:
                    yield behind.pop().result()
                behind.append(writer.submit(_write, job, index, results, bool(looks)))
            if behind:
                yield behind.pop().result()

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        """The builtin `map`."""
        return map(function, items)


def _write(job: Job, index: int, results: Mapping[str, np.ndarray], anything: bool) -> tuple[int, bool]:
    job.write(index, results)
    return index, anything


@dataclass(frozen=True)
class Cluster:
    """Workers of dask.distributed. A task that a worker takes with it when it dies is done again by another."""

    client: Any

    @property
    def dashboard(self) -> str:
        """Address of the page that shows the workers at work."""
        return str(self.client.dashboard_link)

    def blocks(self, job: Job, indices: Sequence[int]) -> Iterator[tuple[int, bool]]:
        """Do blocks of a job, in any order."""
        from distributed import as_completed

        sent = self.client.scatter(job, broadcast=True, hash=False)
        tasks = self.client.map(_numbered, indices, job=sent, pure=False)
        with _telling():
            for batch in as_completed(tasks, with_results=True).batches():
                for _, result in batch:
                    yield result

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        """As the builtin `map`, all at once."""
        sent = self.client.scatter(function, broadcast=True, hash=False)
        tasks = [self.client.submit(_call, sent, item, pure=False) for item in items]
        with _telling():
            return self.client.gather(tasks)


def _numbered(index: int, job: Job) -> tuple[int, bool]:
    return index, job.run(index)


def _call(function: Callable[[Any], Any], item: Any) -> Any:
    return function(item)


@contextmanager
def _telling() -> Iterator[None]:
    from distributed import KilledWorker

    try:
        yield
    except KilledWorker as error:
        raise WorkerError(
            f"a block was lost with {error.last_worker.address if error.last_worker else 'each worker'} again and "
            "again; the workers may lack memory: give --max-memory, or fewer --workers. What is done is kept"
        ) from error


@contextmanager
def hire(settings: WorkerSettings) -> Iterator[Alone | Cluster]:
    """Those who do the work; workers that were started for it are ended with the block.

    Raises:
        MissingExtraError: dask.distributed is not installed. WorkerError: no scheduler answers.
    """
    if settings.workers == 1 and not settings.scheduler:
        yield Alone()
        return
    with extra("--workers", "cluster"):
        import distributed
    if settings.scheduler:
        try:
            client = distributed.Client(settings.scheduler, timeout=PATIENCE)
        except (OSError, ValueError) as error:
            raise WorkerError(
                f"--scheduler {settings.scheduler}: no scheduler answers there; start one with `dask scheduler`"
            ) from error
        with client:
            yield Cluster(client)
        return
    with (
        distributed.LocalCluster(
            n_workers=settings.workers,
            threads_per_worker=1,
            memory_limit=None,  # the plan keeps to --max-memory
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield Cluster(client)
