"""Models joined in one file: what must agree is checked, what they saw is taken together."""

from pathlib import Path

import pytest
from safetensors import safe_open

from models import SMALL, make_card, make_model, make_network
from useg.errors import MissingError, ModelError
from useg.objects.settings import SeparateSettings
from useg.unet.ensemble import join_models
from useg.unet.model import InputSeen, ModelCard, read_card, save_model
from useg.unet.settings import UNetSettings

SETTINGS = UNetSettings.model_validate(SMALL)


def model(path: Path, seed: int = 0, **changes: object) -> Path:
    save_model(path, make_card(SETTINGS, **changes), make_network(SETTINGS, seed).state_dict())
    return path


def seen(low: float, high: float, spacing: float | None = 1.0, detail: float | None = 0.5) -> InputSeen:
    sizes = [spacing, spacing] if spacing else None
    return InputSeen(dtype="uint8", low=[low], high=[high], spacing=sizes, unit="um" if sizes else None, detail=detail)


def joined(tmp_path: Path, *models: Path) -> ModelCard:
    join_models(tmp_path / "joined.safetensors", models)
    return read_card(tmp_path / "joined.safetensors")


def test_every_weight_of_every_model_is_kept(tmp_path: Path) -> None:
    models = [make_model(tmp_path, seed) for seed in range(3)]
    join_models(tmp_path / "joined.safetensors", models, {"trained_on": {"images": 7}})
    assert read_card(tmp_path / "joined.safetensors").trained_on == {"images": 7}
    assert read_card(tmp_path / "joined.safetensors").network == read_card(models[0]).network
    with safe_open(tmp_path / "joined.safetensors", framework="pt") as file:
        left = set(file.keys())
        for number, path in enumerate(models):
            with safe_open(path, framework="pt") as own:
                for name in own.keys():  # noqa: SIM118
                    assert (file.get_tensor(f"{number}.{name}") == own.get_tensor(name)).all()
                    left.remove(f"{number}.{name}")
    assert not left


def test_what_they_saw_is_taken_together(tmp_path: Path) -> None:
    a, b = model(tmp_path / "a.safetensors", input=seen(3, 90)), model(tmp_path / "b.safetensors", input=seen(5, 99))
    c = model(tmp_path / "c.safetensors", input=seen(4, 9, spacing=2.0, detail=None))
    assert joined(tmp_path, a, b).input == seen(3, 99)
    assert joined(tmp_path, a, c).input == seen(3, 90, spacing=None)


@pytest.mark.parametrize(("count", "threshold", "smallest"), [(1, 0.3, 4), (2, 0.35, 6), (3, 0.4, 8)])
def test_objects_are_parted_by_the_median(count: int, threshold: float, smallest: int, tmp_path: Path) -> None:
    found = [
        SeparateSettings(threshold=t, seed_threshold=0.9 - t / 2, smallest=s) for t, s in ((0.3, 4), (0.4, 8), (0.6, 9))
    ]
    models = [model(tmp_path / f"{n}.safetensors", objects=each) for n, each in enumerate(found[:count])]
    objects = joined(tmp_path, *models).objects
    assert objects is not None
    assert (objects.threshold, objects.smallest) == (pytest.approx(threshold), smallest)
    assert joined(tmp_path, model(tmp_path / "none.safetensors")).objects is None


def test_they_are_calibrated_by_the_median(tmp_path: Path) -> None:
    found = [(1.0, [0.0, 0.5]), (2.0, [0.25, -1.0]), (4.0, [-3.0, 0.0])]
    models = [model(tmp_path / f"{n}.safetensors", temperature=t, class_bias=s) for n, (t, s) in enumerate(found)]
    card = joined(tmp_path, *models)
    assert (card.temperature, card.class_bias) == (2.0, [0.0, 0.0])


@pytest.mark.parametrize(
    ("name", "value"), [("score_shift", [0.0, 0.5]), ("flips", ["x"]), ("alpha", True), ("masks", "instances")]
)
def test_what_cannot_be_averaged(name: str, value: object, tmp_path: Path) -> None:
    a, b = model(tmp_path / "a.safetensors"), model(tmp_path / "b.safetensors", **{name: value})
    with pytest.raises(ModelError, match=f"b.safetensors: its {name} is not that of .*a.safetensors"):
        joined(tmp_path, a, b)
    assert not (tmp_path / "joined.safetensors").exists()


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        joined(tmp_path, model(tmp_path / "a.safetensors"), tmp_path / "b.safetensors")
