"""Masks are whole, of two writers from one version one wins, and what other programs write is noticed."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from projects import SIZE, make_project, save, truth

from useg.errors import DataError, MissingError, OutputError
from useg.images import read_mask
from useg.project import Project
from useg.project.classes import Classes, new_classes
from useg.project.masks import NEW, StaleError
from useg.project.writing import MARK, locked

WRITERS = 4


def test_labels_come_back_as_they_were_written(tmp_path: Path) -> None:
    project = make_project(tmp_path, 1)
    begun = project.labels("image 0")
    assert (begun.source, begun.version) == ("new", NEW) and (begun.array == 255).all()
    labels = truth(0)
    labels[40:] = 255
    version = project.write_draft("image 0", labels, NEW)
    drafted = project.labels("image 0")
    assert (drafted.source, drafted.version) == ("draft", version)
    np.testing.assert_array_equal(drafted.array, labels)
    assert project.image("image 0").state == "draft" and project.kept() == []
    version = project.keep("image 0", labels, version)
    kept = project.labels("image 0")
    assert (kept.source, kept.version) == ("mask", version) and project.masks.draft("image 0") is None
    np.testing.assert_array_equal(kept.array, labels)
    assert project.image("image 0").state == "kept" and project.kept() == ["image 0"]
    file = Image.open(project.folder / "masks" / "image 0.png")
    assert file.mode == "P" and file.getpalette()[3:6] == [230, 159, 0]
    version = project.unkeep("image 0", version)
    np.testing.assert_array_equal(project.labels("image 0", "draft").array, labels)
    assert project.kept() == []
    assert project.discard("image 0", version) == NEW
    assert project.image("image 0").state == "new" and project.image("image 0").version is None


def test_a_stale_writer_changes_nothing(tmp_path: Path) -> None:
    project, labels = make_project(tmp_path, 1), truth(0)
    version = project.write_draft("image 0", labels, NEW)
    for write in (
        lambda: project.write_draft("image 0", labels * 0, NEW),
        lambda: project.keep("image 0", labels * 0, "other"),
        lambda: project.discard("image 0", NEW),
    ):
        with pytest.raises(StaleError, match="changed elsewhere") as caught:
            write()
        assert caught.value.version == version
    np.testing.assert_array_equal(project.labels("image 0").array, labels)


def test_writing_again_what_is_there_is_no_conflict(tmp_path: Path) -> None:
    project, labels = make_project(tmp_path, 1), truth(0)
    version = project.write_draft("image 0", labels, NEW)
    assert project.write_draft("image 0", labels, NEW) == version
    kept = project.keep("image 0", labels, version)
    assert project.keep("image 0", labels, version) == kept


def test_what_another_program_writes_is_noticed(tmp_path: Path) -> None:
    project, labels = make_project(tmp_path, 1, kept=1), truth(0)
    version = project.labels("image 0").version
    save(project.folder / "masks" / "image 0.png", labels * 0)
    with pytest.raises(StaleError):
        project.keep("image 0", labels, version)
    draft = project.write_draft("image 0", labels, project.labels("image 0").version)
    (project.folder / "masks" / "image 0.png").unlink()  # a change behind the draft counts too
    with pytest.raises(StaleError):
        project.keep("image 0", labels, draft)


def test_a_change_in_the_same_instant_and_size_is_noticed(tmp_path: Path) -> None:
    project = make_project(tmp_path, 1)
    path = project.folder / "masks" / "image 0.png"
    found = set()
    for value in (0, 1) * 4:
        path.write_bytes(b"x" * 100 + bytes([value]))
        os.utime(path, ns=(time.time_ns(), 10**9 * int(time.time())))
        found.add(project.masks.version("image 0"))
    assert len(found) == 2


def test_of_writers_from_one_version_exactly_one_wins(tmp_path: Path) -> None:
    project, version = make_project(tmp_path, 1), NEW
    for turn in range(6):
        won: list[int] = []
        start = threading.Barrier(WRITERS)

        def write(number: int, seen: str, start: threading.Barrier, won: list[int], turn: int) -> None:
            mine, other = np.full(SIZE, number % 2, np.uint8), Project(project.folder)
            mine[0, :4] = [turn % 2, number // 2, turn // 2 % 2, turn // 4]  # no two write the same
            start.wait()
            try:
                (other.keep if number % 2 else other.write_draft)("image 0", mine, seen)
            except StaleError:
                return
            won.append(number)

        threads = [threading.Thread(target=write, args=(n, version, start, won, turn)) for n in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        labels = project.labels("image 0")
        assert labels.array[5, 5] == won[0] % 2 and labels.array[0, 1] == won[0] // 2
        version = labels.version


CHILD = """
import sys
import numpy as np
from pathlib import Path
from useg.project import Project
from useg.project.masks import StaleError
project = Project(Path(sys.argv[1]))
version = project.labels("image 0").version
turn = 0
while True:
    turn += 1
    labels = np.random.default_rng(turn % 250).integers(0, 2, (48, 64)).astype(np.uint8)
    labels[0, :8] = [turn % 250 >> bit & 1 for bit in range(8)]
    version = (project.keep if turn % 3 == 0 else project.write_draft)("image 0", labels, version)
    print(turn, flush=True)
"""


COUNTER = """
import sys
import numpy as np
from pathlib import Path
from useg.project import Project
from useg.project.masks import StaleError
project, won = Project(Path(sys.argv[1])), 0
for _ in range(40):
    seen = project.labels("image 0")
    count = 0 if seen.source == "new" else sum(int(bit) << k for k, bit in enumerate(seen.array[0, :10]))
    labels = np.zeros(seen.array.shape, np.uint8)
    labels[0, :10] = [count + 1 >> k & 1 for k in range(10)]
    labels[1, 0] = int(sys.argv[2])
    try:
        (project.keep if won % 2 else project.write_draft)("image 0", labels, seen.version)
        won += 1
    except StaleError:
        pass
print(won)
"""


def test_no_change_of_two_processes_is_lost(tmp_path: Path) -> None:
    project = make_project(tmp_path, 1)
    command = [sys.executable, "-c", COUNTER, str(project.folder)]
    children = [subprocess.Popen([*command, str(n)], stdout=subprocess.PIPE, text=True) for n in range(2)]
    told = [child.communicate()[0] for child in children]  # both have ended before anything is judged
    won = [int(text) for text in told]
    labels = project.labels("image 0").array
    assert sum(int(bit) << k for k, bit in enumerate(labels[0, :10])) == sum(won) and min(won) > 0


def test_a_writer_that_is_killed_leaves_whole_files_and_no_lock(tmp_path: Path) -> None:
    project, seen = make_project(tmp_path, 1), set()
    for attempt in range(5):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(project.folder)], stdout=subprocess.PIPE)
        assert child.stdout and child.stdout.readline()
        time.sleep(random.Random(attempt).uniform(0, 0.15))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        for path in [*project.masks.kept().values(), *project.masks.drafts().values()]:
            labels = read_mask(path)
            turn = sum(int(bit) << k for k, bit in enumerate(labels[0, :8]))
            expected = np.random.default_rng(turn).integers(0, 2, SIZE).astype(np.uint8)
            expected[0, :8] = labels[0, :8]
            np.testing.assert_array_equal(labels, expected)  # whole, and one that was written
            seen.add(turn)
        with locked(project.folder, seconds=1.0):
            pass
    assert len(seen) > 1


def test_what_killed_writers_left_is_swept_but_not_what_is_being_written(tmp_path: Path) -> None:
    project = make_project(tmp_path, 1, kept=1)
    names = (f"{MARK}old.png", f".{MARK}old.host.1.png", f"{MARK}new.png", "mine.new-old.png")
    old, inner, new, other = (project.folder / "masks" / name for name in names)
    for path in (old, inner, new, other):
        path.write_bytes(b"half")
    for path in (old, inner, other):
        os.utime(path, (1, 1))
    assert set(project.masks.kept()) == {"image 0", "mine.new-old"}
    project.masks.sweep()
    assert not old.exists() and not inner.exists() and new.exists() and other.exists()


def test_the_lock_is_told_of_when_another_holds_it(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(OutputError, match="cannot be locked"), locked(tmp_path, seconds=0.05):
        pass


def test_a_mask_beside_its_name_is_found_and_replaced(tmp_path: Path) -> None:
    project = make_project(tmp_path, 1)
    old = save(project.folder / "masks" / "image 0_mask.tif", truth(0))
    assert project.image("image 0").state == "kept"
    project.keep("image 0", truth(3), project.labels("image 0").version)
    assert not old.exists() and list(project.masks.kept()) == ["image 0"]


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    project = make_project(tmp_path, 1)
    for labels in (np.zeros((3, 3), np.uint8), np.full(SIZE, 2, np.uint8), np.zeros(SIZE, np.uint16)):
        with pytest.raises(DataError):
            project.keep("image 0", labels, NEW)
    with pytest.raises(MissingError):
        project.keep("../image 0", truth(0), NEW)
    with pytest.raises(MissingError):
        project.unkeep("image 0", NEW)
    save(project.folder / "masks" / "image 0.png", truth(0)[:20])
    with pytest.raises(DataError, match="the mask is 20 x 64"):
        project.labels("image 0")
    assert not list(project.folder.rglob(f"{MARK}*"))


IDS = hnp.arrays(np.uint16, (4, 5), elements=st.sampled_from([0, 1, 2, 254, 255, 256, 65533, 65534, 65535]))
WIDE = hnp.arrays(np.uint32, (2, 3, 4), elements=st.sampled_from([0, 1, 65534, 65535, 65536, 2**32 - 1]))


@given(st.one_of(IDS, WIDE), st.sampled_from([65535, 255, 7]))
def test_objects_survive_a_file_whatever_their_numbers(labels: np.ndarray, void: int) -> None:
    classes = Classes("instances", new_classes("instances").entries, void)
    back = classes.from_file(classes.to_file(labels), Path("mask.tif"))
    unknown = labels == np.iinfo(labels.dtype).max
    np.testing.assert_array_equal(back == np.iinfo(back.dtype).max, unknown)
    # The same objects: one number each, nothing else.
    pairs = set(zip(labels[~unknown].tolist(), back[~unknown].tolist(), strict=True))
    assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)
    assert all((a == 0) == (b == 0) for a, b in pairs)


@given(st.permutations(range(6)), hnp.arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 1, 2, 255])))
def test_classes_survive_a_file_whatever_their_values(values: list[int], labels: np.ndarray) -> None:
    three = new_classes("classes", [("a", None), ("b", None), ("c", None)]).entries
    entries = tuple(type(e)(e.name, e.colour, 40 * v) for e, v in zip(three, values, strict=False))
    classes = Classes("classes", entries, 40 * values[3])
    np.testing.assert_array_equal(classes.from_file(classes.to_file(labels), Path("mask.png")), labels)
