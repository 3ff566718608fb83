"""Jobs in child processes: progress, ends of all kinds, and events of them."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from fastapi import HTTPException
from servers import client_of

from useg.errors import DataError
from useg.server import jobs as jobs_module
from useg.server.jobs import ENDED, Job, JobPoint, JobProgress, JobResult, Jobs, Task

posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "LOOK_SECONDS", 0.02)


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    made = Jobs()
    yield made
    made.close()


def task(
    code: str,
    look: Callable[[], tuple[JobProgress | None, list[JobPoint]]] = lambda: (None, []),
    end: Callable[[bool], JobResult | None] = lambda well: JobResult(run="001") if well else None,
) -> Task:
    return Task("improve", [sys.executable, "-c", code], "useg train", look, end)


def ended(jobs: Jobs, job: Job) -> Job:
    return until(lambda: jobs.get(job.id) if jobs.get(job.id).state in ENDED else None)


def until(look: Callable[[], Job | None]) -> Job:
    for _ in range(2000):
        if found := look():
            return found
        time.sleep(0.01)
    raise AssertionError("nothing came")


def running(jobs: Jobs, job: Job) -> Job:
    return until(lambda: jobs.get(job.id) if jobs.get(job.id).state == "running" else None)


def test_a_job_runs_to_its_end_and_tells_what_came_of_it(jobs: Jobs, tmp_path: Path) -> None:
    def look() -> tuple[JobProgress, list[JobPoint]]:
        fraction = 1.0 if (tmp_path / "made").exists() else 0.0
        return JobProgress(fraction=fraction), [JobPoint(step=1, fraction=fraction)]

    job = jobs.start(task(f"open({str(tmp_path / 'made')!r}, 'w').close()", look))
    assert job.state == "queued" and job.command == "useg train"
    job = ended(jobs, job)
    assert (job.state, job.error, job.result) == ("done", None, JobResult(run="001"))
    assert job.progress == JobProgress(fraction=1.0) and job.history == [JobPoint(step=1, fraction=1.0)]


def test_the_last_line_of_a_job_that_fails_is_its_error(jobs: Jobs) -> None:
    job = ended(jobs, jobs.start(task("import sys; print('a'); print('useg: no masks', file=sys.stderr); sys.exit(2)")))
    assert (job.state, job.error, job.result) == ("failed", "no masks", None)


@pytest.mark.parametrize(
    ("error", "told"), [(DataError("masks are gone"), "masks are gone"), (KeyError("x"), "KeyError: 'x'")]
)
def test_what_goes_wrong_behind_a_job_fails_it_and_the_next_one_runs(jobs: Jobs, error: Exception, told: str) -> None:
    def end(well: bool) -> JobResult:
        raise error

    first, second = jobs.start(task("", end=end)), jobs.start(task(""))
    assert (ended(jobs, first).state, ended(jobs, first).error) == ("failed", told)
    assert ended(jobs, second).state == "done"


def test_what_cannot_be_started_fails(jobs: Jobs) -> None:
    job = jobs.start(Task("improve", ["/no/such/program"], "x", lambda: (None, []), lambda well: None))
    assert ended(jobs, job).state == "failed" and "cannot be started" in str(ended(jobs, job).error)


@posix
def test_a_job_that_is_cancelled_ends_in_order_and_may_have_a_result(jobs: Jobs, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = f"""
import signal, sys, threading
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
open({str(ready)!r}, "w").close()
threading.Event().wait(60)
"""
    job = jobs.start(task(code, end=lambda well: JobResult(run="002" if well else "001")))
    until(lambda: job if ready.exists() else None)
    jobs.cancel(job.id)
    assert ended(jobs, job).state == "cancelled" and ended(jobs, job).result == JobResult(run="001")
    assert jobs.cancel(job.id) == ended(jobs, job), "what has ended stays as it is"


@posix
def test_a_job_that_does_not_end_is_killed_with_all_its_children(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "STOP_SECONDS", 0.1)
    ready = tmp_path / "ready"
    code = f"""
import signal, subprocess, sys, threading
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open({str(ready)!r} + ".part", "w") as file:
    file.write(str(child.pid))
import os
os.rename({str(ready)!r} + ".part", {str(ready)!r})
threading.Event().wait(600)
"""
    job = jobs.start(task(code))
    until(lambda: job if ready.exists() else None)
    child = int(ready.read_text())
    jobs.cancel(job.id)
    assert ended(jobs, job).state == "cancelled" and ended(jobs, job).result is None
    until(lambda: job if _is_gone(child) else None)


def _is_gone(number: int) -> bool:
    try:
        return psutil.Process(number).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_one_runs_at_a_time_and_few_wait(jobs: Jobs) -> None:
    first = running(jobs, jobs.start(task("import time; time.sleep(60)")))
    waiting = [jobs.start(task("")) for _ in range(jobs_module.MOST_WAITING)]
    with pytest.raises(HTTPException) as refused:
        jobs.start(task(""))
    assert refused.value.status_code == 429
    assert jobs.cancel(waiting[0].id).state == "cancelled"
    assert [job.state for job in jobs.all()] == ["running", "cancelled", *["queued"] * (len(waiting) - 1)]
    jobs.cancel(first.id)
    assert ended(jobs, first).state == "cancelled" and ended(jobs, waiting[-1]).state == "done"


def test_old_jobs_are_forgotten(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "MOST_KEPT", 2)
    made = [ended(jobs, jobs.start(task(""))) for _ in range(4)]
    last = jobs.start(task(""))
    assert [job.id for job in jobs.all()] == [made[2].id, made[3].id, last.id]
    with pytest.raises(HTTPException):
        jobs.get(made[0].id)


def test_closing_stops_all(tmp_path: Path) -> None:
    jobs = Jobs()
    first, second = jobs.start(task("import time; time.sleep(600)")), jobs.start(task(""))
    running(jobs, first)
    jobs.close()
    assert {jobs.get(first.id).state, jobs.get(second.id).state} == {"cancelled"}
    with pytest.raises(HTTPException) as refused:
        jobs.start(task(""))
    assert refused.value.status_code == 503


def test_events_tell_every_state_once_and_end(tmp_path: Path) -> None:
    go = tmp_path / "go"
    code = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)"
    client = client_of()
    with client:
        jobs: Jobs = client.app.state.useg.jobs
        job = jobs.start(task(code))
        threading.Timer(0.3, go.touch).start()
        with client.stream("GET", f"/api/jobs/{job.id}/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
        states = [event["state"] for event in events]
        assert states[-1] == "done" and len(set(states)) == len(states)
        assert client.get(f"/api/jobs/{job.id}").json() == events[-1]
        assert client.get("/api/jobs").json() == [events[-1]]
        assert client.delete(f"/api/jobs/{job.id}").status_code == 202
        for method in (client.get, client.delete):
            assert method("/api/jobs/none").status_code == 404
        assert client.get("/api/jobs/none/events").status_code == 404
