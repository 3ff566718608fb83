"""Trainings that a server began: noted while they run, found when it is gone, and gone on with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from projects import make_project

from useg.checkpoint import KEY, RunState
from useg.errors import MissingError, SettingsError
from useg.project.begun import NOTE, Note, Process
from useg.project.improve import (
    finish_improvement,
    left_improvements,
    note_improvement,
    plan_improvement,
    resume_improvement,
)
from useg.settings import BudgetSettings, Settings, save_settings
from useg.unet.model import save_tensors

GONE = Process(number=os.getpid(), began=0.0)
"""The number of a process that runs, but of an earlier one."""


def test_a_process_is_known_by_its_number_and_its_begin() -> None:
    me = Process.of(os.getpid())
    found = me.find()
    assert found and found.pid == os.getpid() and GONE.find() is None
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        known = Process.of(child.pid)
        child.wait()
        assert known.find() is None and Process.of(child.pid).find() is None


def test_what_a_server_began_is_left_to_the_next_one_only_when_it_is_gone(tmp_path: Path) -> None:
    project = make_project(tmp_path, 2, kept=2)
    begun = plan_improvement(project, 3.0)
    assert left_improvements(project) == []
    note_improvement(begun, os.getpid())
    assert left_improvements(project) == [], "this server lives"
    path = begun.place / NOTE
    note = Note.model_validate_json(path.read_text())
    note.model_copy(update={"server": GONE, "spent": 60.0, "since": note.since - 30}).save(begun.place)
    ((left, process),) = left_improvements(project)
    assert process and process.pid == os.getpid()
    assert (left.run, left.place, left.minutes, left.command) == ("001", begun.place, 3.0, begun.command)
    assert 90 <= left.spent < 100
    note.model_copy(update={"server": GONE, "process": GONE}).save(begun.place)
    assert [process for _, process in left_improvements(project)] == [None]
    path.write_text("{")
    assert left_improvements(project) == []
    assert finish_improvement(project, left) is None and not begun.place.exists()


def test_a_run_that_ended_before_its_time_is_gone_on_with(tmp_path: Path) -> None:
    project = make_project(tmp_path, 2, kept=2)
    place = plan_improvement(project, 3.0).place
    with pytest.raises(MissingError, match="001: there is no such run"):
        resume_improvement(project, "001")
    save_settings(place / "settings.toml", Settings(budget=BudgetSettings(minutes=3)))
    state = RunState(step=5, elapsed=90)
    save_tensors(place / "state.safetensors", {}, {KEY: state.model_dump_json()})
    begun = resume_improvement(project, "001")
    assert (begun.run, begun.place, begun.minutes, begun.spent) == ("001", place, 3.0, 90)
    assert begun.shown == f"useg train {project.folder} -o {place} --resume --minutes 3"
    note_improvement(begun, os.getpid())
    with pytest.raises(SettingsError, match="001: is running"):
        resume_improvement(project, "001")
    save_tensors(place / "state.safetensors", {}, {KEY: state.model_copy(update={"finished": True}).model_dump_json()})
    with pytest.raises(SettingsError, match="001: has finished"):
        resume_improvement(project, "001")
