"""Files appear whole or not at all."""

import os
from pathlib import Path

import pytest

from useg.atomic import move_folder, replacing, require_output_folder, write_text
from useg.errors import DataError, OutputError


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_others_may_read_what_the_umask_lets_them(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "model") as temporary:
            temporary.unlink()
            os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))  # as some writers do
    finally:
        os.umask(before)
    assert (tmp_path / "model").stat().st_mode & 0o777 == mode


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/run/a\.txt: cannot be written"):
        write_text(tmp_path / "file" / "run" / "a.txt", "text")
    with pytest.raises(OutputError, match="file: is a file, and a folder is needed"):
        require_output_folder(tmp_path / "file" / "run")
    require_output_folder(tmp_path / "not" / "there" / "yet")


def test_the_disks_errors_are_told_and_our_own_pass(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space left"), replacing(tmp_path / "a"):
        raise OSError(28, os.strerror(28))
    with pytest.raises(DataError, match="as it was"), replacing(tmp_path / "a"):
        raise DataError("as it was")
    assert not list(tmp_path.iterdir())


def test_a_moved_folder_replaces_and_a_failed_move_loses_nothing(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for folder in (source, target):
        folder.mkdir()
        (folder / "name").write_text(folder.name)
    with pytest.raises(OSError):
        move_folder(tmp_path / "missing", target)
    assert (target / "name").read_text() == "target"
    move_folder(source, target)
    move_folder(target, target)
    assert (target / "name").read_text() == "source"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
