"""Long work in child processes: command lines that are started one after the other, watched, and stopped."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from useg.errors import UsegError
from useg.server import child
from useg.server.child import Child, LeftProcess

router = APIRouter(tags=["jobs"])

State = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED: tuple[State, ...] = ("done", "failed", "cancelled")

MOST_WAITING = 4
MOST_KEPT = 50
"""Jobs that are remembered."""
LOOK_SECONDS = 0.25
"""Between two looks at a running job, and between two events."""
ALIVE_SECONDS = 15.0
"""Without news for so long, an event stream says that it is still there."""
STOP_SECONDS = 120.0
"""That a job has to end after it was asked to; a training may be amid a validation."""
CLOSE_SECONDS = 10.0
"""The same when the server stops."""


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class JobProgress(_Told):
    """How far a job is; `fraction` 0..1, `seconds_left` once that can be told."""

    fraction: float
    seconds_left: float | None = None
    loss: float | None = None
    dice: float | None = None
    step: int = 0


class JobPoint(_Told):
    """A point of the curve that a job draws."""

    step: int
    fraction: float
    loss: float | None = None
    dice: float | None = None


class JobResult(_Told):
    """What came of a job: a run, its score and that of the model before it, and whether that one was better."""

    run: str
    before: float | None = None
    after: float | None = None
    kept_start: bool = False


class Job(_Told):
    """A job as it is now. `command` is what does the same in a terminal."""

    id: str
    kind: Literal["improve"]
    state: State
    progress: JobProgress | None = None
    history: list[JobPoint] = []
    error: str | None = None
    result: JobResult | None = None
    command: str


@dataclass(frozen=True)
class Task:
    """What is to be done.

    Attributes:
        arguments: the command line to start, its first the program. shown: the same for people.
        look: how far it is, and its curve in a few hundred points; asked several times a second, in another thread.
        end: called when the process has ended, with whether it did so by itself and well; gives what came of it, if
            anything, or raises an error of ours. A job that was cancelled may have a result too.
        begun: told the number of the process as soon as there is one.
        left: the process, where a server that is gone began it: then none is started.
    """

    kind: Literal["improve"]
    arguments: Sequence[str]
    shown: str
    look: Callable[[], tuple[JobProgress | None, list[JobPoint]]]
    end: Callable[[bool], JobResult | None]
    begun: Callable[[int], None] = lambda number: None
    left: LeftProcess | None = None


@dataclass
class _Entry:
    job: Job
    task: Task
    stop: threading.Event = field(default_factory=threading.Event)


class Jobs:
    """All jobs since the server began, of which one runs at a time; what they are is known here only."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None
        self.closing = threading.Event()

    def start(self, task: Task) -> Job:
        """Begin a task, or queue it where another one runs.

        Raises:
            HTTPException: 429 where too many wait, 503 where the server stops.
        """
        with self._change:
            if self.closing.is_set():
                raise HTTPException(503, "the server is stopping")
            if sum(e.job.state == "queued" for e in self._entries.values()) >= MOST_WAITING:
                raise HTTPException(429, f"{MOST_WAITING} jobs wait already", headers={"Retry-After": "60"})
            job = Job(id=secrets.token_hex(6), kind=task.kind, state="queued", command=task.shown)
            self._entries[job.id] = _Entry(job, task)
            for old in [e.job.id for e in self._entries.values() if e.job.state in ENDED][: -MOST_KEPT or None]:
                del self._entries[old]
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
                self._thread.start()
            self._change.notify_all()
        return job

    def all(self) -> list[Job]:
        """All jobs, the oldest first."""
        return [entry.job for entry in list(self._entries.values())]

    def get(self, id: str) -> Job:
        """A job as it is now.

        Raises:
            HTTPException: 404, there is none.
        """
        return self._entry(id).job

    def cancel(self, id: str) -> Job:
        """Ask a job to end; what it has made until then stays. One that has ended stays as it is.

        Raises:
            HTTPException: 404, there is none.
        """
        entry = self._entry(id)
        with self._change:
            entry.stop.set()
            if entry.job.state == "queued":
                self._update(entry, state="cancelled")
        return entry.job

    def close(self) -> None:
        """Stop all jobs, and wait for that."""
        with self._change:
            self.closing.set()
            for entry in self._entries.values():
                entry.stop.set()
                if entry.job.state == "queued":
                    self._update(entry, state="cancelled")
            self._change.notify_all()
        if self._thread:
            self._thread.join()

    def _entry(self, id: str) -> _Entry:
        entry = self._entries.get(id)
        if entry is None:
            raise HTTPException(404, f"{id}: there is no such job")
        return entry

    def _update(self, entry: _Entry, **changes: Any) -> None:
        entry.job = entry.job.model_copy(update=changes)

    def _work(self) -> None:
        while True:
            with self._change:
                while not (entry := self._next()):
                    if self.closing.is_set():
                        return
                    self._change.wait()
                self._update(entry, state="running")
            try:
                self._run(entry)
            # A bug in one job must not end all others.
            except Exception as error:  # noqa: BLE001
                self._update(entry, state="failed", error=f"{type(error).__name__}: {error}")

    def _next(self) -> _Entry | None:
        return next((e for e in self._entries.values() if e.job.state == "queued"), None)

    def _run(self, entry: _Entry) -> None:
        with tempfile.TemporaryFile() as output:
            try:
                process = entry.task.left or child.start(entry.task.arguments, output)
            except OSError as error:
                self._update(entry, state="failed", error=f"{entry.task.arguments[0]}: cannot be started ({error})")
                return
            try:
                if not entry.task.left:
                    entry.task.begun(process.pid)
                self._watch(entry, process)
            finally:
                child.kill(process)  # where watching it failed
            self._finish(entry, process.returncode == 0 and not entry.stop.is_set(), output)

    def _watch(self, entry: _Entry, process: Child) -> None:
        asked: float | None = None
        while process.poll() is None:
            if entry.stop.is_set() and asked is None:
                asked = time.monotonic()
                child.ask_to_stop(process)
            patience = CLOSE_SECONDS if self.closing.is_set() else STOP_SECONDS
            if asked is not None and time.monotonic() - asked > patience:
                child.kill(process)
            self._look(entry)
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_SECONDS)
        self._look(entry)

    def _look(self, entry: _Entry) -> None:
        progress, history = entry.task.look()
        if (progress, history) != (entry.job.progress, entry.job.history):
            self._update(entry, progress=progress, history=history)

    def _finish(self, entry: _Entry, well: bool, output: IO[bytes]) -> None:
        error, result = None, None
        try:
            result = entry.task.end(well)
        except UsegError as problem:
            well, error = False, str(problem)
        if entry.stop.is_set():
            self._update(entry, state="cancelled", result=result)
        elif well:
            self._update(entry, state="done", result=result)
        else:
            self._update(entry, state="failed", result=result, error=error or child.last_line(output))


def jobs_of(request: Request) -> Jobs:
    """Those of the app that a request came to; a dependency of routes."""
    jobs = request.app.state.useg.jobs
    assert isinstance(jobs, Jobs)
    return jobs


_Jobs = Annotated[Jobs, Depends(jobs_of)]


@router.get("/api/jobs")
def list_jobs(jobs: _Jobs) -> list[Job]:
    """All jobs since the server began, the oldest first."""
    return jobs.all()


@router.get("/api/jobs/{id}")
def get_job(id: str, jobs: _Jobs) -> Job:
    """A job as it is now."""
    return jobs.get(id)


@router.delete("/api/jobs/{id}", status_code=202)
def cancel_job(id: str, jobs: _Jobs) -> Job:
    """Ask a job to end; what it has made until then stays."""
    return jobs.cancel(id)


@router.get(
    "/api/jobs/{id}/events",
    response_class=StreamingResponse,
    responses={200: {"description": "`data: Job` whenever it changes", "content": {"text/event-stream": {}}}},
)
async def watch_job(id: str, jobs: _Jobs) -> StreamingResponse:
    """A job whenever it changes, at most four times a second, until it has ended."""
    jobs.get(id)
    return StreamingResponse(_events(jobs, id), media_type="text/event-stream")


async def _events(jobs: Jobs, id: str) -> AsyncIterator[str]:
    shown: Job | None = None
    told = time.monotonic()
    while not jobs.closing.is_set():
        with suppress(HTTPException):
            job = jobs.get(id)
            if job is not shown:
                shown, told = job, time.monotonic()
                yield f"data: {job.model_dump_json()}\n\n"
        if shown is None or shown.state in ENDED:
            return
        if time.monotonic() - told > ALIVE_SECONDS:
            told = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(LOOK_SECONDS)
