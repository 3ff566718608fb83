"""A folder becomes a project or is refused; what other programs do in it is seen; models say what fits."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from projects import SIZE, make_project, picture, save, truth

from models import SMALL, make_card, make_model, make_network
from useg.data.legend_file import read_legend
from useg.data.prepare import prepare
from useg.errors import DataError, ImageError, MissingError, OutputError, SettingsError
from useg.predict import Predictor, PredictSettings
from useg.project import Project, open_project
from useg.project.improve import Log, finish_improvement, plan_improvement
from useg.project.masks import NEW
from useg.project.predicting import fits, to_bytes
from useg.runner import WORKSPACE
from useg.settings import Settings, save_settings
from useg.unet.model import read_card, save_model
from useg.unet.settings import UNetSettings


def make_classes_model(folder: Path, classes: int = 2, seed: int = 0, dims: int = 2) -> Path:
    settings = UNetSettings.model_validate(SMALL | {"classes": classes, "dims": dims})
    path = folder / f"classes{classes}-{seed}.safetensors"
    save_model(path, make_card(settings), make_network(settings, seed).state_dict())
    return path


def test_an_empty_folder_becomes_a_project_and_stays_one(tmp_path: Path) -> None:
    project = open_project(tmp_path / "new")
    assert project.images() == [] and project.model is None and "keep it" in (project.why_not_improve() or "")
    assert [e.name for e in project.classes.entries] == ["background", "object"]
    project.set_classes([("background", None), ("cell", (1, 2, 3))])
    again = open_project(tmp_path / "new")
    assert again.classes == project.classes and again.classes.entries[1].colour == (1, 2, 3)


def test_a_folder_of_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match=r"holds letter\.txt"):
        open_project(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(OutputError, match="is a file"):
        open_project(tmp_path / "letter.txt")


def test_hidden_files_of_the_system_do_not_count(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    assert open_project(tmp_path).images() == []


def test_a_damaged_project_file_is_told(tmp_path: Path) -> None:
    project = make_project(tmp_path, 0)
    for text in ('kind = "spots"', "kind ="):
        (project.folder / "project.toml").write_text(text)
        with pytest.raises(DataError, match=r"project\.toml: cannot be used"):
            open_project(project.folder)


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 1, 2), (3, 1)])
def test_a_data_set_becomes_a_project_and_its_masks_keep_their_values(tmp_path: Path, values: tuple[int, ...]) -> None:
    table = np.array(values, np.uint8)
    for k in range(3):
        save(tmp_path / "images" / f"{k}.png", picture(k))
        if k < 2:
            labels = truth(k)
            labels[:5] = len(values) - 1
            save(tmp_path / "masks" / f"{k}.png", table[labels])
    before = (tmp_path / "masks" / "0.png").read_bytes()
    project = open_project(tmp_path)
    assert [image.state for image in project.images()] == ["kept", "kept", "new"]
    assert (tmp_path / "masks" / "0.png").read_bytes() == before
    found, expected = project.labels("0"), truth(0)
    expected[:5] = len(values) - 1
    order = np.argsort(np.argsort(table))  # classes are numbered in the order of their values
    np.testing.assert_array_equal(found.array, order[expected])
    found.array[40:] = 255
    project.keep("0", found.array, found.version)
    np.testing.assert_array_equal(project.labels("0").array, found.array)
    prepared = prepare(tmp_path)
    assert prepared.legend.values == sorted(values) and prepared.legend.ignore is not None


def test_a_data_set_of_objects_becomes_a_project_of_objects(tmp_path: Path) -> None:
    for k in range(2):
        save(tmp_path / "images" / f"{k}.png", picture(k))
        ids = np.zeros(SIZE, np.uint16)
        for n in range(12):
            ids[20 * (n // 6) + 2 : 20 * (n // 6) + 9, 10 * (n % 6) + 2 : 10 * (n % 6) + 7] = 100 + 7 * n + k
        save(tmp_path / "masks" / f"{k}.png", ids)
    project = open_project(tmp_path)
    assert project.classes.kind == "instances" and project.classes.void == 65535
    labels = project.labels("0").array
    assert labels.dtype == np.uint16 and set(np.unique(labels)) == {0, *(100 + 7 * n for n in range(12))}


def test_masks_of_colours_are_refused_in_one_line(tmp_path: Path) -> None:
    for k in range(2):
        save(tmp_path / "images" / f"{k}.png", picture(k))
        save(tmp_path / "masks" / f"{k}.png", np.array([[0, 0, 0], [200, 10, 10]], np.uint8)[truth(k)])
    with pytest.raises(DataError, match="numbers and not colours"):
        open_project(tmp_path)
    assert not (tmp_path / "project.toml").exists()


def test_images_are_known_by_what_they_hold(tmp_path: Path) -> None:
    project = make_project(tmp_path, 1)
    same = project.add_image("other name.png", tmp_path / "given" / "0.png")
    assert same.name == "image 0" and len(project.images()) == 1
    other = save(tmp_path / "b.png", picture(7))
    with pytest.raises(OutputError, match="IMAGE 0_2"):
        project.add_image("IMAGE 0.png", other)
    Image.fromarray(picture(8)).save(tmp_path / "really.jpg", "JPEG")
    (tmp_path / "really.jpg").rename(tmp_path / "wrong.png")
    assert project.add_image("../../photo.png", tmp_path / "wrong.png").path == project.folder / "images" / "photo.jpg"
    (tmp_path / "no.png").write_bytes(b"hello")
    with pytest.raises(ImageError):
        project.add_image("no.png", tmp_path / "no.png")
    assert sorted(p.name for p in (project.folder / "images").iterdir()) == ["image 0.png", "photo.jpg"]


def test_a_broken_image_is_listed_with_its_error(tmp_path: Path) -> None:
    project = make_project(tmp_path, 1)
    (project.folder / "images" / "bad.tif").write_bytes(b"II*\0junk")
    bad = project.image("bad")
    assert bad.error and bad.header is None and bad.size == (1, 0, 0)
    with pytest.raises(ImageError):
        project.labels("bad")


def test_classes_only_grow_once_something_is_annotated(tmp_path: Path) -> None:
    project = make_project(tmp_path, 1)
    three = [("background", None), ("a", None), ("b", None)]
    project.set_classes(three)
    project.set_classes(three[:2])
    project.set_classes(three[:2], "instances")
    assert project.classes.void == 65535
    project.set_classes(three, "classes")
    labels = truth(0) * 2
    project.keep("image 0", labels, NEW)
    with pytest.raises(SettingsError, match="is annotated"):
        project.set_classes(three[:2])
    with pytest.raises(SettingsError, match="is annotated"):
        project.set_classes(three[:2], "instances")
    project.set_classes([*three, ("c", (9, 9, 9))])
    project.set_classes([("ground", None), *three[1:], ("c", (9, 9, 9))])
    np.testing.assert_array_equal(project.labels("image 0").array, labels)
    assert [e.name for e in read_legend(project.folder / "legend.csv")] == ["ground", "a", "b", "c", "void"]
    for wrong in (["x", "x"], ["x", ""], ["x", "void"], ["x"], ["x", "a\nb"]):
        with pytest.raises(SettingsError):
            project.set_classes([(name, None) for name in wrong])


def test_a_model_of_objects_begins_a_project_of_objects(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    project = open_project(tmp_path / "p", model)
    assert project.classes.kind == "instances" and project.model == model.resolve() and project.current is None
    project.add_image("a.png", save(tmp_path / "a.png", picture(0)))
    predictor = Predictor.load(model)
    kept = project.predict("a", predictor)
    labels = project.labels("a")
    assert labels.source == "prediction" and labels.array.dtype == np.uint16
    prediction = predictor.predict(picture(0))
    np.testing.assert_array_equal(labels.array, predictor.objects(prediction))
    assert kept.info.objects == labels.array.max() and project.image("a").state == "predicted"
    version = project.keep("a", labels.array, NEW)
    assert (project.folder / "masks" / "a.tif").is_file()
    np.testing.assert_array_equal(project.labels("a", "mask").array, labels.array)
    with pytest.raises(SettingsError, match="of classes"):
        open_project(tmp_path / "p", make_classes_model(tmp_path))
    assert project.masks.version("a") == version


def test_predictions_are_of_this_file_and_this_model(tmp_path: Path) -> None:
    project = make_project(tmp_path, 1)
    first, second = (make_classes_model(tmp_path, seed=seed) for seed in (0, 1))
    with pytest.raises(MissingError, match="no model yet"):
        project.predict("image 0", Predictor.load(first))
    project = open_project(project.folder, first)
    predictor = Predictor.load(first)
    kept = project.predict("image 0", predictor)
    prediction = predictor.predict(picture(0))
    np.testing.assert_array_equal(kept.labels, prediction.labels)
    np.testing.assert_array_equal(project.layer("image 0", "probability:1"), to_bytes(prediction.probabilities[1]))
    assert [layer for layer, _ in kept.layers] == ["probability:1", "entropy"]
    with pytest.raises(MissingError, match="no such map"):
        project.layer("image 0", "probability:0.5")
    assert kept.info.expected_dice == prediction.expected_dice
    assert 0 < kept.info.network_seconds <= kept.info.seconds
    project = open_project(project.folder, second)
    assert project.prediction("image 0") is None and project.image("image 0").state == "new"
    assert project.labels("image 0").source == "new"
    assert project.labels("image 0", "prediction").source == "prediction"  # by whatever model
    project = open_project(project.folder, first)
    assert project.prediction("image 0") is not None
    save(project.folder / "images" / "image 0.png", picture(1))
    assert project.prediction("image 0") is None
    with pytest.raises(MissingError):
        project.labels("image 0", "prediction")


def test_what_the_oldest_models_said_is_forgotten(tmp_path: Path) -> None:
    project = make_project(tmp_path, 1)
    for seed in range(5):
        model = make_classes_model(tmp_path, seed=seed)
        project = open_project(project.folder, model)
        project.predict("image 0", Predictor.load(model))
        assert project.prediction("image 0") is not None
    places = list((project.folder / ".cache" / "predictions").iterdir())
    assert len(places) == 3
    for seed, known in ((1, False), (3, True), (4, True)):
        found = open_project(project.folder, make_classes_model(tmp_path, seed=seed)).prediction("image 0")
        assert (found is not None) == known


def test_a_prediction_is_never_taken_for_that_of_another_model(tmp_path: Path) -> None:
    first, second = (make_classes_model(tmp_path, seed=seed) for seed in (0, 1))
    network = read_card(second).network
    save_model(second, make_card(network, temperature=2.0), make_network(network, 1).state_dict())
    project = open_project(make_project(tmp_path, 1).folder, first)
    with pytest.raises(SettingsError, match="another model meanwhile"):
        project.predict("image 0", Predictor.load(second))
    assert project.prediction("image 0") is None


def test_a_project_goes_on_with_the_run_that_it_is_opened_with(tmp_path: Path) -> None:
    project, given = make_project(tmp_path, 1), make_classes_model(tmp_path)
    for name in ("001", "002"):
        place = project.folder / "runs" / name
        place.mkdir(parents=True)
        save_settings(place / "settings.toml", Settings())
        shutil.copy(given, place / "model.safetensors")
    assert [run.name for run in project.runs()] == ["001", "002"] and project.current is None
    project = open_project(project.folder, project.folder / "runs" / "001")
    assert project.current == "001" and project.file.start == ""
    project = open_project(project.folder, given)
    assert project.current is None and project.model == given.resolve()
    project.set_model("002")
    assert open_project(project.folder, given).current == "002"  # it was begun with that model, and is further now
    project.set_model(None)
    assert project.model == given.resolve()
    shutil.rmtree(project.folder / "runs")
    for wrong in ("002", "../002", ""):
        with pytest.raises(MissingError):
            project.set_model(wrong)


def test_a_model_that_knows_more_than_the_project_is_refused(tmp_path: Path) -> None:
    project = make_project(tmp_path, 1)
    with pytest.raises(SettingsError, match="knows 3 classes"):
        open_project(project.folder, make_classes_model(tmp_path, 3))
    assert project.model is None


def test_a_stack_is_predicted_slice_by_slice(tmp_path: Path) -> None:
    model = make_classes_model(tmp_path)
    stack = np.stack([picture(k) for k in range(3)])
    tifffile.imwrite(tmp_path / "stack.tif", stack, metadata={"axes": "ZYX"}, imagej=True)
    project = open_project(tmp_path / "p", model)
    assert project.add_image("stack.tif", tmp_path / "stack.tif").size == (3, *SIZE)
    predictor = Predictor.load(model)
    kept = project.predict("stack", predictor)
    for z in range(3):
        np.testing.assert_array_equal(kept.labels[z], predictor.predict(stack[z]).labels)
    labels = project.labels("stack")
    assert labels.array.shape == (3, *SIZE) and project.layer("stack", "entropy").shape == (3, *SIZE)
    project.keep("stack", labels.array, labels.version)
    np.testing.assert_array_equal(project.labels("stack", "mask").array, labels.array)


def test_training_sees_what_was_kept_and_nothing_else(tmp_path: Path) -> None:
    project = make_project(tmp_path, 7)
    for k in range(6):
        labels = truth(k)
        labels[40:] = 255
        project.keep(f"image {k}", labels, NEW)
    project.write_draft("image 6", truth(6), NEW)
    prepared = prepare(project.folder)
    examples = [*prepared.parts.train, *prepared.parts.validation]
    assert {e.name for e in examples} <= {f"image {k}" for k in range(6)} and len(examples) >= 5
    assert all((e.labels[40:] == 255).all() and (e.labels[:40] < 2).all() for e in examples)
    assert prepared.legend.names == ["background", "object"] and not prepared.check.errors


def test_training_on_objects_knows_what_nobody_annotated(tmp_path: Path) -> None:
    project = make_project(tmp_path, 3)
    project.set_classes([("background", None), ("nucleus", (5, 6, 7))], "instances")
    for k in range(2):  # two objects, which nothing but the project says to be objects
        labels = np.zeros(SIZE, np.uint16)
        labels[10:20, 10:20], labels[10:20, 20:30], labels[40:] = 1, 2, 65535
        project.keep(f"image {k}", labels, NEW)
    prepared = prepare(project.folder)
    assert prepared.legend.kind == "instances" and prepared.legend.ignore == 65535
    assert prepared.legend.names == ["background", "nucleus"] and prepared.legend.palette[1] == (5, 6, 7)
    for example in (*prepared.parts.train, *prepared.parts.validation):
        assert example.objects is not None and set(np.unique(example.objects)) <= {0, 1, 2}
    known = np.concatenate([e.labels.ravel() for e in (*prepared.parts.train, *prepared.parts.validation)])
    assert set(np.unique(known)) == {0, 1, 255}


def test_a_project_without_masks_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image of this project has a mask yet"):
        prepare(make_project(tmp_path, 2).folder)


def test_an_improvement_is_planned_once_an_image_is_kept(tmp_path: Path) -> None:
    project = make_project(tmp_path, 3)
    with pytest.raises(DataError, match="keep it"):
        plan_improvement(project, 3.0)
    project.keep("image 1", truth(1), NEW)
    for minutes in (0.0, 121.0, float("nan")):
        with pytest.raises(SettingsError):
            plan_improvement(project, minutes)
    first, second = plan_improvement(project, 3.0), plan_improvement(project, 2.5)
    assert (first.run, second.run) == ("001", "002") and "--from" not in first.command
    assert second.shown.startswith(f"useg train {project.folder} -o") and second.shown.endswith("--minutes 2.5")
    assert project.runs() == []
    assert finish_improvement(project, first) is None and not first.place.exists()


def test_a_log_is_read_on_while_it_grows(tmp_path: Path) -> None:
    log, path = Log(tmp_path), tmp_path / "metrics.jsonl"
    assert log.points() == [] and log.latest() is None
    records = [{"step": n, "progress": n / 1000, "loss": 1 / n, "rate": 0.1} for n in range(1, 1001)]
    lines = [json.dumps(r) for r in records]
    lines.insert(500, json.dumps({"step": 500, "validation": {"foreground_dice": 0.5}}))
    text = "\n".join(lines) + "\n"
    path.write_text(text[:1000])
    latest = log.latest()
    assert latest and latest.dice is None and latest.step < 20
    path.write_text(text)
    points = log.points()
    assert points[-1].step == 1000 and len(points) <= 245 and [p.dice for p in points].count(0.5) == 1
    assert [p.step for p in points] == sorted(p.step for p in points)
    assert (latest := log.latest()) and (latest.dice, latest.fraction) == (0.5, 1.0)


def test_what_is_no_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no project"):
        Project(tmp_path)


@pytest.mark.parametrize("kind", ["classes", "instances"])
def test_an_image_larger_than_memory_is_predicted_in_blocks(tmp_path: Path, kind: str) -> None:
    model = make_classes_model(tmp_path) if kind == "classes" else make_model(tmp_path)
    project, size = open_project(tmp_path / "p", model), (1400, 1100)
    project.add_image("large.png", save(tmp_path / "large.png", picture(0, size)))
    whole = project.predict("large", Predictor.load(model, PredictSettings(precision="float32")))
    labels, probabilities = np.array(whole.labels), np.array(whole.probabilities)
    expected, unsure = whole.info, np.array(whole.layer("entropy"))
    small = Predictor.load(model, PredictSettings(max_memory=WORKSPACE + 11_000_000, precision="float32"))
    assert not fits(small, project.image("large").header)
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(True)
        return len(asked) < 2

    with pytest.raises(InterruptedError):
        project.predict("large", small, stop)
    assert project.prediction("large") is not None  # the one before
    found = project.predict("large", small)
    np.testing.assert_array_equal(found.labels, labels)
    assert np.abs(found.probabilities.astype(int) - probabilities).max() <= 1
    assert np.abs(found.layer("entropy").astype(int) - unsure).max() <= 2
    assert found.info.objects == expected.objects
    assert found.info.expected_dice == pytest.approx(expected.expected_dice, abs=1e-4)
    assert sorted(p.name for p in found.folder.parent.iterdir()) == ["large"]
    assert {p.suffix for p in found.folder.iterdir()} == {".npy", ".json"}


def test_pages_of_a_stack_are_trained_on_where_they_are_annotated(tmp_path: Path) -> None:
    project = make_project(tmp_path, 2, kept=2)
    for name in ("one", "three"):
        stack = np.stack([picture(k) for k in range(6)])
        tifffile.imwrite(
            tmp_path / f"{name}.tif", stack + len(name), photometric="minisblack", metadata={"axes": "ZYX"}
        )
        project.add_image(f"{name}.tif", tmp_path / f"{name}.tif")
        labels = np.full(stack.shape, 255, np.uint8)
        labels[1], labels[4, :30] = truth(1), truth(4)[:30]
        project.keep(name, labels, NEW)
        stack[0, 0, 0] += 1
    parts = prepare(project.folder).parts
    examples = {e.name: e for e in (*parts.train, *parts.validation)}
    pages = {"one_001", "one_004", "three_001", "three_004"}
    assert set(examples) == {"image 0", "image 1", *pages}
    assert {examples[name].group for name in pages} == {"one", "three"}
    assert (examples["one_004"].labels[30:] == 255).all() and (examples["one_004"].labels[:30] == truth(4)[:30]).all()
