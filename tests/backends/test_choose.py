"""Which backend a prediction takes: the best that was measured, if all is as it was then; nothing unproved unasked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models import make_model
from useg import machine
from useg.backends import note as notes
from useg.backends.choose import choose_backend
from useg.backends.note import NOTE, Measured, Note, read_note, versions, write_note
from useg.backends.ways import CHOICES, file_of, folder_of
from useg.errors import MissingError, SettingsError
from useg.predict import PredictSettings
from useg.unet.model import digest

AUTO = PredictSettings()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path)


@pytest.fixture
def remember(model: Path) -> Callable[..., Note]:
    """Write a note of rows `backend, precision, ratio, agreement`, and exports that nobody can read."""

    def write(*rows: tuple[str, str, float | None, float | None], **changes: Any) -> Note:
        measured = []
        for backend, precision, ratio, agreement in rows:
            path = file_of(model, backend)
            if path != model:
                path.parent.mkdir(exist_ok=True)
                path.write_text(backend)
            found: dict[str, Any] = {"pace": ratio, "ratio": ratio, "agreement": agreement}
            export = digest(path) if path != model else None
            measured.append(Measured(backend=backend, precision=precision, export=export, **found))  # type: ignore[arg-type]
        fields: dict[str, Any] = {
            "model": digest(model),
            "cpu": machine.cpu_name(),
            "cores": machine.cores(),
            "versions": versions(),
            "tile": [512, 512],
            "tiles": 3,
            "held_out": True,
            "rows": measured,
        }
        done = Note.model_validate(fields | changes)
        write_note(model, done)
        return done

    return write


TORCH = ("torch", "float32", 1.0, 1.0)


def test_nothing_measured_is_torch(model: Path) -> None:
    assert choose_backend(model, AUTO) == (model, AUTO, "")
    assert choose_backend(model, AUTO, "torch") == (model, AUTO, "")
    with pytest.raises(SettingsError, match="make it with `useg benchmark`"):
        choose_backend(model, AUTO, "openvino")
    with pytest.raises(SettingsError, match="use auto, torch, onnxruntime"):
        choose_backend(model, AUTO, "tensorrt")
    with pytest.raises(MissingError):
        choose_backend(model.with_name("none"), AUTO)


def test_the_fastest_is_taken(model: Path, remember: Callable[..., Note]) -> None:
    remember(TORCH, ("onnxruntime", "float32", 1.5, 1.0), ("openvino", "bfloat16", 4.0, 0.999))
    chosen = choose_backend(model, AUTO)
    assert chosen.model == file_of(model, "openvino")
    assert chosen.settings.precision == "bfloat16"
    assert "4.0 times" in chosen.told
    # What somebody asks for is taken, and a precision that is known already stays.
    assert choose_backend(model, AUTO, "onnxruntime").model == file_of(model, "onnxruntime")
    assert choose_backend(model, AUTO, "torch").model == model
    exact = PredictSettings(precision="float32")
    assert choose_backend(model, exact).settings == exact


@pytest.mark.parametrize(
    ("row", "taken"),
    [
        (("openvino-int8", "int8", 9.0, 0.9951), True),
        (("openvino-int8", "int8", 9.0, 0.9949), False),
        (("openvino-int8", "int8", 9.0, None), False),
        (("openvino", "bfloat16", 9.0, 0.9949), False),
        (("openvino", "bfloat16", 9.0, None), True),
        (("torch-compiled", "bfloat16", 9.0, None), False),
        (("openvino", "float32", None, None), False),
    ],
)
def test_what_is_taken_unasked(model: Path, remember: Callable[..., Note], row: tuple[Any, ...], taken: bool) -> None:
    remember(TORCH, row)
    assert (f"backend: {row[0]}" in choose_backend(model, AUTO).told) == taken


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cpu": "Abacus"}, "on another machine (Abacus"),
        ({"cores": 1000}, "on another machine"),
        ({"versions": versions() | {"openvino": "1.0"}}, "with openvino 1.0"),
        ({"versions": versions() | {"another": None}}, None),
        ({"model": "0" * 64}, "before the model changed"),
    ],
)
def test_a_note_that_no_longer_fits_is_told(
    model: Path, remember: Callable[..., Note], changes: dict[str, Any], told: str | None
) -> None:
    remember(TORCH, ("openvino", "float32", 4.0, 1.0), **changes)
    chosen = choose_backend(model, AUTO)
    if told is None:
        assert chosen.model == file_of(model, "openvino")
    else:
        assert chosen[:2] == (model, AUTO)
        assert told in chosen.told and "`useg benchmark" in chosen.told


def test_an_export_that_is_another_is_not_taken(model: Path, remember: Callable[..., Note]) -> None:
    remember(TORCH, ("onnxruntime", "float32", 4.0, 1.0))
    file_of(model, "onnxruntime").write_text("other")
    chosen = choose_backend(model, AUTO)
    assert chosen.model == model and "onnxruntime is not there" in chosen.told
    with pytest.raises(SettingsError, match="no such export"):
        choose_backend(model, AUTO, "onnxruntime")


def test_what_was_begun_goes_on(model: Path, remember: Callable[..., Note]) -> None:
    note = remember(TORCH, ("onnxruntime", "float32", 2.0, 1.0), ("openvino", "float32", 4.0, 1.0))
    begun = note.rows[1].export
    for name, checksum in (("torch", digest(model)), ("onnxruntime", begun)):
        chosen = choose_backend(model, AUTO, begun=checksum)
        assert chosen.model == file_of(model, name) and "begun" in chosen.told
    # That of another model is refused by who keeps the results.
    assert choose_backend(model, AUTO, begun="0" * 64).model == file_of(model, "openvino")


def test_folds_and_devices_leave_only_torch(model: Path, remember: Callable[..., Note]) -> None:
    remember(TORCH, ("openvino", "float32", 4.0, 1.0))
    for settings in (PredictSettings(folds=(0,)), PredictSettings(device="cuda")):
        assert choose_backend(model, settings) == (model, settings, "")


def test_an_export_has_its_own_backend(model: Path, remember: Callable[..., Note]) -> None:
    remember(TORCH, ("openvino", "float32", 4.0, 1.0))
    export = file_of(model, "openvino")
    assert choose_backend(export, AUTO) == (export, AUTO, "")
    with pytest.raises(SettingsError, match="is an export"):
        choose_backend(export, AUTO, "torch")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', "\udcff"])
def test_a_damaged_note_is_none(model: Path, remember: Callable[..., Note], text: str) -> None:
    assert read_note(model) is None
    note = remember(TORCH)
    assert read_note(model) == note
    (folder_of(model) / NOTE).write_bytes(text.encode(errors="surrogateescape"))
    assert read_note(model) is None
    assert choose_backend(model, AUTO).model == model


def test_versions_import_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise notes.PackageNotFoundError(name)

    assert set(versions()) == set(notes.LIBRARIES)
    monkeypatch.setattr(notes, "version", missing)
    assert list(versions().values())[1:] == [None] * 3
    assert "compiled" not in " ".join(CHOICES)
