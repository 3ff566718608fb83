"""Reports of runs: the whole way from a model and its images to RUN/report.html."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models import make_image, make_model
from useg.data.dataset import Example
from useg.data.splits import Split
from useg.evaluate import evaluate
from useg.images.files import write_labels, write_picture
from useg.predict import Predictor
from useg.report.gallery import Gallery
from useg.report.gather import report_of
from useg.report.log import read_run
from useg.report.run import REPORT, report_evaluation, report_training
from useg.report.trained import trained_in, trained_on
from useg.settings import Settings, override, save_settings


def example(number: int, size: tuple[int, int] = (48, 64)) -> Example:
    """A few squares, numbered."""
    ids = np.zeros(size, np.int32)
    for i in range(4):
        ids[8 + 20 * (i // 2) : 18 + 20 * (i // 2), 6 + 25 * (i % 2) : 20 + 25 * (i % 2)] = i + 1
    return Example(f"image {number}", make_image(size, seed=number), (ids > 0).astype(np.uint8), objects=ids)


def run_of(folder: Path) -> tuple[Path, list[Example]]:
    """A run folder: settings, log, and the images that it was trained on, of which 0 and 1 were held out."""
    run, examples = folder / "run", [example(i) for i in range(6)]
    for each in examples:
        write_picture(folder / "data" / "images" / f"{each.name}.png", each.image[0])
        write_labels(folder / "data" / "masks" / f"{each.name}.png", each.labels)
    names = [e.name for e in examples[:2]]
    settings = override(
        Settings(), {"data.folder": str(folder / "data"), "data.validation_names": names, "budget.steps": 30}
    )
    save_settings(run / "settings.toml", settings)
    log = [{"step": n, "loss": 2.0 / n, "images": [], "seconds": 0.5} for n in range(1, 31)]
    log.insert(15, {"step": 15, "validation": {"foreground_dice": 0.4, "objects": {"panoptic_quality": [0.3]}}})
    log.append({"step": 30, "validation": {"foreground_dice": None, "objects": {"panoptic_quality": [0.2]}}})
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, log)), encoding="utf-8")
    return run, examples


def test_a_training_ends_with_a_page(tmp_path: Path) -> None:
    run, examples = run_of(tmp_path)
    predictor = Predictor.load(make_model(tmp_path))
    report_training(run, predictor, Split(examples[2:], examples[:2], "r"), command="useg train DATA -o RUN")
    text = (run / REPORT).read_text(encoding="utf-8")
    for said in ("useg train DATA -o RUN", "30 steps, 15.0 s in them", "held out of the training", "Panoptic quality"):
        assert said in text
    assert "--steps 30" in text
    assert text.count("<article") == 2


def test_an_evaluation_finds_images_that_the_run_was_trained_on(tmp_path: Path) -> None:
    run, examples = run_of(tmp_path)
    predictor = Predictor.load(make_model(tmp_path))
    told = {}
    for name, chosen in (("held out", examples[:2]), ("trained on", examples[2:5])):
        gallery = Gallery(predictor.card)
        evaluation = evaluate(predictor, chosen, watch=gallery.add)
        page, how = tmp_path / "page.html", {"data": "DATA", "command": "useg evaluate", "seconds": 1.0}
        report_evaluation(page, evaluation, gallery, run=run, **how)
        told[name] = page.read_text(encoding="utf-8")
    assert "nearly equal an image trained on" not in told["held out"]
    assert "3 scored images of 3 nearly equal an image trained on" in told["trained on"]


def test_the_images_of_a_run_are_known_as_far_as_they_are_there(tmp_path: Path) -> None:
    run, examples = run_of(tmp_path)
    found = trained_in(run)
    assert found is not None
    assert found.names == tuple(e.name for e in examples[2:])
    assert trained_on(Predictor.load(make_model(tmp_path)), examples[2:]).names == found.names
    (tmp_path / "data").rename(tmp_path / "gone")
    assert trained_in(run) is None
    assert trained_in(tmp_path / "no run") is None


def test_the_log_gives_its_curves(tmp_path: Path) -> None:
    run, _ = run_of(tmp_path)
    found = read_run(run, kept=15)
    assert (found.steps, found.seconds) == (30, pytest.approx(15))
    assert found.training is not None
    dice, quality = found.training.scores
    assert (dice.x, dice.y, dice.mark) == ((15.0,), (0.4,), 0)
    assert (quality.y, quality.mark) == ((0.3, 0.2), 0)
    assert found.training.loss.x[-1] == 30
    assert found.training.loss.y[-1] == pytest.approx(2 / 30)
    empty = read_run(tmp_path / "nothing", kept=None)
    assert (empty.steps, empty.training, empty.settings, empty.command) == (0, None, "", "")


def test_the_worst_images_come_first_and_empty_ones_last(tmp_path: Path) -> None:
    predictor = Predictor.load(make_model(tmp_path))
    blank = replace(example(9), labels=np.full((48, 64), 255, np.uint8), name="nobody annotated it")
    gallery = Gallery(predictor.card)
    evaluation = evaluate(predictor, [blank, *(example(i) for i in range(4))], watch=gallery.add)
    report = report_of(evaluation, predictor.card, gallery, data="x", command="", seconds=0.0)
    scores = [entry.dice for entry in report.images]
    assert report.images[-1].name == "nobody annotated it"
    assert scores[-1] is None
    assert scores[:-1] == sorted(scores[:-1])
    assert report.commands == ()
    assert sum(row.share for row in report.rows) == pytest.approx(1)
