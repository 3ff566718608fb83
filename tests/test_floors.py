"""The floors of the house: a room imports only from lower floors, and library code neither prints nor exits."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "useg"

# Lower floors first. Rooms of one floor know nothing of each other.
FLOORS = [
    ["errors", "labels", "parts", "words"],
    ["atomic", "hub", "machine"],
    ["processes", "scratch"],
    ["objects"],
    ["images", "unet", "pictures", "metrics"],
    ["data", "viewing"],
    ["settings", "inputs", "runner", "engines", "views", "volume_plan"],
    ["recipes", "predict", "run_data"],
    ["plan"],
    ["scored_picture"],
    ["scores"],
    ["blocks", "evaluate", "checkpoint", "pace", "card"],
    ["workers", "validate", "start"],
    ["report"],
    ["export"],
    ["backends"],
    ["store_plan"],
    ["predict_store"],
    ["predict_files"],
    ["suggest"],
    ["score_files"],
    ["watch"],
    ["track"],
    ["loop"],
    ["train"],
    ["several"],
    ["folds", "learning_curve"],
    ["project"],
    ["demo"],
    ["console"],
    ["tables"],
    ["options"],
    ["server", "plugin"],
    ["cli"],
    ["__main__"],
]
FLOOR = {room: height for height, floor in enumerate(FLOORS) for room in floor}
DOORS = {"cli", "console", "tables", "server", "plugin"}
FILES = [path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py"]


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


LIBRARY = [path for path in FILES if room_of(path) not in DOORS]


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "useg" and len(parts) > 1 and parts[1] in FLOOR:
                rooms.add(parts[1])
    return rooms


def test_every_room_has_a_floor() -> None:
    assert {room_of(path) for path in FILES} == set(FLOOR)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_come_from_below(path: Path) -> None:
    room = room_of(path)
    for other in imported_rooms(path) - {room}:
        assert FLOOR[other] < FLOOR[room], f"{path.name} of {room} imports {other}"


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: str(p.relative_to(SOURCE)))
def test_library_code_neither_prints_nor_exits(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"print", "exit", "quit", "sys.exit", "os._exit"}, f"{path}:{node.lineno} {called}"


def test_files_are_short() -> None:
    long = {str(p.relative_to(SOURCE)): n for p in FILES if (n := len(p.read_text().splitlines())) > 400}
    assert not long
