"""The whole way through on real data: train a little, predict, score. Each must learn more than a constant answer."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from useg.cli import main
from useg.images.files import read_mask

pytestmark = pytest.mark.real

SMALL = ["network.width=8", "samples.crop=[128,128]", "samples.batch=4", "validations=1"]


@pytest.fixture
def useg(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Calls the command in this process; returns standard output."""

    def call(*words: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", ["useg", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        said = capfd.readouterr()
        assert not end.value.code, said.err
        return said.out

    return call


def constant_dice(masks: list[Path]) -> float:
    """Pooled Dice of calling every pixel foreground."""
    share = np.mean([np.mean(read_mask(mask) > 0) for mask in masks])
    return float(2 * share / (1 + share))


@pytest.mark.parametrize(("name", "steps", "within"), [("isbi2012-em", 60, None), ("retina-drive", 60, "fov")])
def test_learns_more_than_a_constant(
    name: str, steps: int, within: str | None, real_data: Path, tmp_path: Path, useg: Callable[..., str]
) -> None:
    train, test, run, out = real_data / name / "train", tmp_path / "test", tmp_path / "run", tmp_path / "out"
    stems = sorted(p.stem for p in (real_data / name / "test" / "images").iterdir())[:2]
    for folder in ["images", "masks", *([within] if within else [])]:
        (test / folder).mkdir(parents=True)
        for file in (real_data / name / "test" / folder).iterdir():
            if file.stem in stems:
                (test / folder / file.name).symlink_to(file)

    useg("train", train, "-o", run, "--steps", str(steps), *[w for s in SMALL for w in ("--set", s)])
    region = ["--within", test / within] if within else []
    scores = json.loads(useg("evaluate", run, test, "--json", *region))
    # The mean over both classes is what a constant answer cannot get: it misses one of them wholly.
    assert scores["dice"][1] > constant_dice(list((test / "masks").iterdir()))
    assert scores["mean_dice"] > 0.6

    useg("predict", run, test / "images", "-o", out)
    assert sorted(p.stem for p in out.glob("*.png")) == stems
    scored = json.loads(useg("score", out, test / "masks", "--json", *region))
    assert scored["dice"] == scores["dice"] and scored["confusion"] == scores["confusion"]


def test_objects_of_a_film_come_apart(real_data: Path, tmp_path: Path, useg: Callable[..., str]) -> None:
    """Touching cells, one frame painted in part: from the third data set of the paper to label images and scores."""
    data, run, out = real_data / "ctc-dic-c2dh-hela", tmp_path / "run", tmp_path / "out"
    useg("train", data / "train", "-o", run, "--steps", "40", *[w for s in SMALL for w in ("--set", s)])
    scores = json.loads(useg("evaluate", run, data / "test", "--json"))
    assert scores["mean_dice"] > 0.6
    assert scores["objects"]["truth_objects"] == 97
    useg("predict", run, data / "test", "-o", out, "--instances", "--table")
    for path in out.glob("*.tif"):
        ids = np.unique(read_mask(path))
        assert len(ids) == len((out / f"{path.stem}.csv").read_text().splitlines())  # a heading, and no row for 0
    scored = json.loads(useg("score", out, data / "test" / "masks", "--json"))
    assert scored["objects"] == scores["objects"]
