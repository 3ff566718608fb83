"""CT numbers: read by the foreground of the training set, alike in every scan; DICOM files say that they are such."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from useg.data.ct import SAMPLED, normalise_ct
from useg.data.dataset import Example, find_pairs, load_example
from useg.data.legend import Legend
from useg.labels import IGNORE
from useg.plan import make_plan
from useg.settings import Settings, override
from useg.unet.normalise import measure

TWO = Legend(values=[0, 1], names=["background", "liver"])


def scans(seed: int = 0, *, hounsfield: bool = False, count: int = 3) -> list[Example]:
    """A liver of about 60 HU before -1000 of air, of which each scan shows another share."""
    rng, found = np.random.default_rng(seed), []
    for index in range(count):
        labels = np.zeros((96, 96), np.uint8)
        labels[10:40, 10 : 40 + 10 * index] = 1
        image = np.where(labels, rng.normal(60, 20, labels.shape), -1000 + rng.normal(0, 5, labels.shape))
        found.append(Example(str(index), image[None].astype(np.int16), labels, hounsfield=hounsfield))
    return found


@given(st.integers(0, 2**20))
def test_the_foreground_decides_how_all_are_read(seed: int) -> None:
    train = scans(seed)
    settings, why = normalise_ct(train)
    values = np.concatenate([e.image[0][e.labels == 1] for e in train]).astype(float)
    assert len(values) < SAMPLED
    [(low, high)] = settings.bounds
    assert settings.mean == pytest.approx([values.mean()], abs=1e-3)
    assert settings.std == pytest.approx([values.std()], abs=1e-3)
    assert (low, high) == pytest.approx(tuple(np.percentile(values, (0.5, 99.5))), abs=1e-3)
    assert f"clipped to {low:.0f} to {high:.0f} HU" in why
    # One number is one number, whatever else a scan shows, and air is as dark as the darkest liver.
    for example in train:
        seen = measure(example.image, settings).apply(example.image)
        expected = (example.image.clip(low, high).astype(np.float32) - values.mean()) / values.std()
        np.testing.assert_allclose(seen, expected, atol=1e-3)


def test_what_nobody_annotated_does_not_count() -> None:
    train = scans()
    for example in train:
        example.labels[20:30] = IGNORE
        example.image[0, 20:30] = 3000
    assert normalise_ct(train)[0].bounds[0][1] < 200
    nothing = [Example(e.name, e.image, np.zeros_like(e.labels)) for e in scans()]
    assert normalise_ct(nothing)[0].mean[0] < -500  # of all pixels


@pytest.mark.parametrize(
    ("known", "ct", "kind"),
    [(False, "auto", "image"), (True, "auto", "fixed"), (False, "yes", "fixed"), (True, "no", "image")],
)
def test_the_plan_reads_ct_numbers_as_they_are(
    known: bool, ct: Literal["auto", "yes", "no"], kind: Literal["image", "fixed"]
) -> None:
    train = scans(hounsfield=known)
    plan = make_plan(train, TWO, override(Settings(), {"data.ct": ct}))
    assert plan.settings.normalise.kind == kind
    assert any("Hounsfield" in reason for reason in plan.reasons) == (kind == "fixed")
    assert Settings.model_validate(plan.settings.model_dump()) == plan.settings


@pytest.mark.real
def test_dicom_says_that_it_is_ct(real_data: Path) -> None:
    pytest.importorskip("pydicom")
    legend = Legend(values=[0, 1, 2], names=["background", "liver", "spine"])
    train = [load_example(pair, legend) for pair in find_pairs(real_data / "dicom-ct-seg")]
    assert len(train) == 3 and all(example.hounsfield for example in train)
    settings, _ = normalise_ct(train)
    assert 20 < settings.mean[0] < 200 and -300 < settings.bounds[0][0] < settings.bounds[0][1] < 1500
