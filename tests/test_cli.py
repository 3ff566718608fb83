"""The command line, called as a user calls it: exit codes, one line for what is wrong, one JSON document."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from PIL import Image

from useg import machine
from useg.cli import main
from useg.errors import SettingsError
from useg.images import Image as Labelled
from useg.images.files import read, write_labels, write_picture
from useg.images.image import InBody
from useg.options import PROGRAM, parse_bytes, parse_memory, parse_settings
from useg.unet.model import read_card

TINY = {
    "network.width": 4,
    "network.depth": 2,
    "samples.crop": [64, 64],
    "samples.batch": 2,
    "machine.precision": "float32",
    "machine.threads": 1,
}
SET = [word for name, value in TINY.items() for word in ("--set", f"{name}={json.dumps(value)}")]


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str

    def refused(self, *words: object) -> None:
        """Exit code 2 and one line that holds `words`."""
        assert self.code == 2, self
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("useg: ")
        assert self.out == ""
        for word in words:
            assert str(word) in lines[0]


Useg = Callable[..., Said]


@pytest.fixture
def useg(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Useg:
    """Calls the command in this process."""
    # Which precision is faster is a measurement, and may come out differently from one call to the next.
    monkeypatch.setattr(machine, "probe_precision", lambda device: "float32")

    def call(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["useg", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        code = end.value.code
        return Said(code if isinstance(code, int) else 0, *capfd.readouterr())

    return call


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright rectangles in noise: a few steps learn them."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(3)
    for part, count in (("train", 6), ("test", 2)):
        for index in range(count):
            mask = np.zeros((64, 64), np.uint8)
            top, left = rng.integers(4, 30, 2)
            mask[top : top + 28, left : left + 24] = 1
            image = (90 * mask + rng.integers(0, 99, mask.shape)).astype(np.uint8)
            write_picture(folder / part / "images" / f"cells_{index:02d}.png", image)
            write_labels(folder / part / "masks" / f"cells_{index:02d}.png", mask)
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from useg.train import train

    folder = tmp_path_factory.mktemp("trained") / "run"
    # Enough steps for labels of both classes.
    train(data, folder, steps=40, overrides={**TINY, "optimiser.learning_rate": 0.02, "validations": 2})
    return folder


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A folder of three good pairs, to be spoiled."""
    folder, rng = tmp_path / "pairs", np.random.default_rng(1)
    for name in ("a", "b", "c"):
        mask = np.zeros((64, 64), np.uint8)
        mask[10:30, 20:50] = 1
        write_picture(folder / "images" / f"{name}.png", (60 * mask + rng.integers(0, 99, mask.shape)).astype(np.uint8))
        write_labels(folder / "masks" / f"{name}.png", mask)
    return folder


def test_train_then_resume(useg: Useg, data: Path, tmp_path: Path) -> None:
    said = useg("train", data, "-o", tmp_path / "run", "--steps", 2, "--device", "cpu", *SET)
    assert said.code == 0, said.err
    assert said.out == ""
    assert "finished after 2 steps" in said.err
    assert f"useg predict {tmp_path / 'run'}" in said.err
    useg("train", data, "-o", tmp_path / "run", "--steps", 2).refused(tmp_path / "run", "--resume")
    assert useg("train", "-o", tmp_path / "run", "--resume").code == 0


# Bad input. Each case spoils the three good pairs in one way and names the file and words of the line.


def no_folder(folder: Path) -> Path:
    shutil.rmtree(folder)
    return folder


def no_mask(folder: Path) -> Path:
    (folder / "masks/b.png").unlink()
    return folder / "images/b.png"


def no_image(folder: Path) -> Path:
    (folder / "images/b.png").unlink()
    return folder / "masks/b.png"


def other_size(folder: Path) -> Path:
    write_labels(folder / "masks/b.png", np.eye(60, dtype=np.uint8))
    return folder / "masks/b.png"


def unreadable(folder: Path) -> Path:
    (folder / "images/b.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return folder / "images/b.png"


def cut_short(folder: Path) -> Path:
    path = folder / "images/b.png"
    path.write_bytes(path.read_bytes()[:-400])
    return path


def odd_value(folder: Path) -> Path:
    mask = np.array(Image.open(folder / "masks/b.png"))
    mask[5, 5] = 7
    write_labels(folder / "masks/b.png", mask)
    return folder / "masks/b.png"


def one_small_image(folder: Path) -> Path:
    for name in ("b", "c"):
        (folder / f"images/{name}.png").unlink()
        (folder / f"masks/{name}.png").unlink()
    write_picture(folder / "images/a.png", np.arange(400, dtype=np.uint8).reshape(20, 20))
    write_labels(folder / "masks/a.png", np.eye(20, dtype=np.uint8))
    return folder / "images/a.png"


def all_empty(folder: Path) -> Path:
    for path in (folder / "masks").iterdir():
        write_labels(path, np.zeros((64, 64), np.uint8))
    return folder / "masks"


def constant(folder: Path) -> Path:
    write_picture(folder / "images/b.png", np.full((64, 64), 9, np.uint8))
    return folder / "images/b.png"


def other_channels(folder: Path) -> Path:
    write_picture(folder / "images/b.png", np.random.default_rng(0).integers(0, 99, (64, 64, 3)).astype(np.uint8))
    return folder / "images/b.png"


def not_finite(folder: Path) -> Path:
    (folder / "images/b.png").unlink()
    image = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    image[3, 3] = np.nan
    tifffile.imwrite(folder / "images/b.tif", image)
    return folder / "images/b.tif"


SPOILED = [
    no_folder,
    no_mask,
    no_image,
    other_size,
    unreadable,
    cut_short,
    odd_value,
    one_small_image,
    all_empty,
    constant,
    other_channels,
    not_finite,
]


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__)
def test_bad_data_is_one_line_before_training(spoil: Callable[[Path], Path], useg: Useg, pairs: Path) -> None:
    named = spoil(pairs)
    run = pairs.parent / "run"
    useg("train", pairs, "-o", run, "--steps", 1, "--device", "cpu", *SET).refused(named, "; ")
    assert not run.exists()


@pytest.mark.parametrize("spoil", SPOILED[3:], ids=lambda spoil: spoil.__name__)
def test_check_names_what_training_refuses(
    spoil: Callable[[Path], Path], useg: Useg, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = spoil(pairs)
    monkeypatch.chdir(pairs.parent)  # the contact sheet is written where one stands
    said = useg("check", pairs)
    assert said.code == 2
    assert any(line.startswith(f"error: {named}") for line in said.err.splitlines()), said.err
    said = useg("check", pairs, "--json")
    assert said.code == 2
    assert str(named) in [p["path"] for p in json.loads(said.out)["problems"] if p["severity"] == "error"]


def test_good_data_have_no_errors(useg: Useg, pairs: Path) -> None:
    said = useg("check", pairs, "--json")
    assert said.code == 0
    found = json.loads(said.out)
    assert found["summary"]["images"] == 3
    assert found["layout"]["kind"].startswith("images/ + masks/") and found["legend"]["values"]


def test_check_shows_a_table_and_writes_a_contact_sheet(
    useg: Useg, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pairs.parent)
    said = useg("check", pairs)
    assert said.code == 0 and "images/ + masks/" in said.err and "background" in said.err
    assert (pairs.parent / f"check-{pairs.name}.png").is_file()
    assert useg("check", pairs, "--sheet", tmp_path / "sheet.png").code == 0
    assert read(tmp_path / "sheet.png").channels == 3
    before = set(pairs.parent.iterdir())
    assert useg("check", pairs, "--json").code == 0
    assert set(pairs.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ignore", "red"], "--ignore red: "),
        (["--unlabelled", "perhaps"], "--unlabelled perhaps: "),
        (["--unlabelled", "ignore", "--ignore", "7"], "only one value can mean not annotated"),
    ],
)
def test_check_options_that_cannot_be(words: list[str], said: str, useg: Useg, pairs: Path) -> None:
    useg("check", pairs, *words).refused(said)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--set", "network.wdth=3"], "network.wdth"),
        (["--set", "network.width"], "network.width"),
        (["--set", "network.width=wide"], "network.width"),
        (["--set", "samples.crop=[65,65]"], "samples.crop"),
        (["--set", "data.masks=other"], "data.masks"),
        (["--recipe", "soup"], "soup"),
        (["--device", "tpu"], "tpu"),
        (["--steps", "3", "--minutes", "2"], "minutes"),
    ],
)
def test_bad_options_of_train(words: list[str], named: str, useg: Useg, data: Path, tmp_path: Path) -> None:
    said = useg("train", data, "-o", tmp_path / "run", *words)
    assert said.code == 2
    # Some are only known to be wrong once the data have been looked at, which is told line by line.
    assert "Traceback" not in said.err
    assert said.err.count("useg: ") == 1
    last = said.err.strip().splitlines()[-1]
    assert last.startswith("useg: ")
    assert named in last
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("memory", ["lots", "0", "-4GB", "100MB", "4XB", "1e999", "nan"])
def test_bad_memory(memory: str, useg: Useg, run: Path, data: Path, tmp_path: Path) -> None:
    words = ("predict", run, data / "test", "-o", tmp_path / "out", f"--max-memory={memory}")
    useg(*words).refused("--max-memory")


def test_bad_models_and_inputs(useg: Useg, run: Path, data: Path, tmp_path: Path) -> None:
    notes, cut = tmp_path / "notes.safetensors", tmp_path / "cut.safetensors"
    notes.write_text("not a model")
    cut.write_bytes((run / "model.safetensors").read_bytes()[:-9])
    out = tmp_path / "out"
    for model in (notes, cut, tmp_path / "none", tmp_path):
        useg("predict", model, data / "test", "-o", out).refused(model)
        useg("evaluate", model, data).refused(model)
        useg("info", model).refused(model)
    useg("predict", run, data / "test", "-o", out, "--device", "tpu").refused("tpu")
    useg("predict", run, tmp_path / "no.png", "-o", out).refused(tmp_path / "no.png")
    useg("predict", run, tmp_path / "none", "-o", out).refused(tmp_path / "none")
    useg("evaluate", run, tmp_path / "none").refused(tmp_path / "none")
    useg("score", tmp_path / "none", data / "test/masks").refused(tmp_path / "none")
    useg("predict", run, data / "train", data / "test", "-o", out).refused("cells_00", "two folders")
    assert not out.exists()


def test_predict_a_folder(useg: Useg, run: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = useg("predict", run, data / "test", "-o", out, "--probabilities")
    assert (said.code, said.out) == (0, ""), said.err
    assert "2 predicted" in said.err
    for name in ("cells_00", "cells_01"):
        with Image.open(out / f"{name}.png") as file:
            assert file.mode == "P"
            # Not black to the eye.
            assert len(set(np.asarray(file.convert("RGB")).reshape(-1, 3).sum(1).tolist())) > 1
            labels = np.array(file)
        with tifffile.TiffFile(out / f"{name}_probabilities.tif") as tif:
            assert tif.series[0].axes == "CYX"
            assert tif.pages[0].compression != 1  # type: ignore[union-attr]
            probabilities = tif.asarray()
        assert probabilities.dtype == np.float32
        assert probabilities.shape == (2, 64, 64)
        assert np.allclose(probabilities.sum(0), 1, atol=1e-5)
        assert (probabilities.argmax(0) == labels).all()
    before = {f: f.read_bytes() for f in out.iterdir()}
    said = useg("predict", run, data / "test", "-o", out, "--probabilities")
    assert said.code == 0
    assert "0 predicted" in said.err
    assert "2 were there already" in said.err
    assert {f: f.read_bytes() for f in out.iterdir()} == before
    useg("predict", run, data / "test", "-o", out, "--tta").refused(out)


def test_a_bad_file_does_not_stop_the_others(useg: Useg, run: Path, data: Path, tmp_path: Path) -> None:
    inputs, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(data / "test/images", inputs)
    (inputs / "a_broken.png").write_bytes(b"no picture")
    iio.imwrite(inputs / "b_colour.png", np.random.default_rng(0).integers(0, 99, (40, 50, 3)).astype(np.uint8))
    said = useg("predict", run, inputs, "-o", out)
    assert said.code == 2
    assert "Traceback" not in said.err
    failed = [line for line in said.err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 2
    assert str(inputs / "a_broken.png") in failed[0]
    assert str(inputs / "b_colour.png") in failed[1]
    assert "3 channels" in failed[1]
    assert "2 predicted" in said.err
    assert "2 failed" in said.err
    assert sorted(f.name for f in out.glob("*.png")) == ["cells_00.png", "cells_01.png"]


def of_labels(document: dict[str, Any]) -> dict[str, Any]:
    """Scores without what only probabilities can tell."""
    images = [{k: v for k, v in image.items() if k != "expected_dice"} for image in document["per_image"]]
    kept = {k: v for k, v in document.items() if k not in ("regions", "calibration", "uncalibrated")}
    return kept | {"per_image": images}


def test_score_of_predict_equals_evaluate(useg: Useg, run: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    useg("predict", run, data / "test", "-o", out, "--probabilities")
    evaluated = useg("evaluate", run, data, "--json", "--regions", 1)
    scored = useg("score", out, data / "test/masks", "--json", "--regions", 1)
    assert (evaluated.code, scored.code) == (0, 0), evaluated.err + scored.err
    a, b = json.loads(evaluated.out), json.loads(scored.out)
    assert of_labels(a) == of_labels(b)
    assert a["regions"]["best"] == pytest.approx(b["regions"]["best"])
    assert a["regions"]["warping_error"] == b["regions"]["warping_error"]
    # Both classes were predicted, or the comparison says little.
    assert all(sum(column) for column in zip(*a["confusion"], strict=True))


def test_people_read_standard_error(useg: Useg, run: Path, data: Path, tmp_path: Path) -> None:
    said = useg("evaluate", run, data, "--overlays", tmp_path / "pictures")
    assert (said.code, said.out) == (0, "")
    assert "pixel accuracy" in said.err
    assert len(list((tmp_path / "pictures").iterdir())) == 2
    said = useg("info", run)
    assert said.code == 0
    assert "width 4, depth 2" in said.out
    assert "64 x 64 pixels" in useg("info", data / "test/images/cells_00.png").out


def test_the_format_of_labels(useg: Useg, run: Path, data: Path, tmp_path: Path) -> None:
    for name in ("nii.gz", "NPY", ".tif"):
        suffix = "." + name.lower().removeprefix(".")
        said = useg("predict", run, data / "test", "-o", tmp_path / name, "--format", name)
        assert said.code == 0 and "2 predicted" in said.err
        assert sorted(f.name for f in (tmp_path / name).glob("cells*")) == [f"cells_0{k}{suffix}" for k in range(2)]
    useg("predict", run, data / "test", "-o", tmp_path / "x", "--format", "jpg").refused("--format jpg", "nii.gz")
    rows = ((0.5, 0.0, 0.0, 1.0), (0.0, 0.5, 0.0, 2.0), (0.0, 0.0, 1.0, 3.0), (0.0, 0.0, 0.0, 1.0))
    image = Labelled(np.zeros((1, 64, 64)), "CYX", (0.5, 0.5), "mm", place=InBody(rows, "scanner"))
    write_labels(tmp_path / "a.nii.gz", np.eye(64, dtype=int), like=image)
    said = useg("info", tmp_path / "a.nii.gz").out
    assert "64 x 64 pixels" in said and "pixel size 0.5 x 0.5 mm, first pixel at 1, 2, 3 mm (scanner)" in said


def test_within(useg: Useg, run: Path, data: Path, tmp_path: Path) -> None:
    inside = np.zeros((64, 64), np.uint8)
    inside[:, :20] = 255
    for name in ("cells_00", "cells_01"):
        write_labels(tmp_path / "within" / f"{name}.png", inside)
    said = useg("evaluate", run, data, "--within", tmp_path / "within", "--json")
    assert json.loads(said.out)["pixels"] == 2 * 64 * 20
    (tmp_path / "within/cells_01.png").unlink()
    useg("evaluate", run, data, "--within", tmp_path / "within", "--json").refused(tmp_path / "within", "cells_01")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data set of cells with ids, and a run on it."""
    from useg.demo import draw_data_set
    from useg.train import train

    folder = tmp_path_factory.mktemp("cells")
    draw_data_set(folder / "data", train_images=6, test_images=2, size=128, ids=True)
    train(
        folder / "data", folder / "run", steps=40, overrides={**TINY, "optimiser.learning_rate": 0.02, "validations": 2}
    )
    return folder / "data", folder / "run"


def test_predict_objects(useg: Useg, cells: tuple[Path, Path], tmp_path: Path) -> None:
    data, run = cells
    words = ("predict", run, data / "test", "-o", tmp_path / "out", "--instances", "--geojson", "--rois", "--table")
    said = useg(*words)
    assert said.code == 0, said.err
    assert "objects found" in said.err
    names = sorted(f.name for f in (tmp_path / "out").iterdir() if f.name != ".useg-predict.json")
    ends = (".csv", ".geojson", ".tif", "_rois.zip")
    assert names == sorted(f"cells_0{k}{end}" for k in (0, 1) for end in ends)
    ids = tifffile.imread(tmp_path / "out" / "cells_00.tif")
    count = len(np.unique(ids)) - 1
    assert count > 3
    features = json.loads((tmp_path / "out" / "cells_00.geojson").read_text())["features"]
    rows = (tmp_path / "out" / "cells_00.csv").read_text().splitlines()
    assert len(features) == count == len(rows) - 1
    # Done already; a missing file is made again.
    assert "2 were there already" in useg(*words).err
    (tmp_path / "out" / "cells_01.csv").unlink()
    assert "1 were there already" in useg(*words).err
    # The same objects as `evaluate` finds, by way of files.
    scored = json.loads(useg("score", tmp_path / "out", data / "test/masks", "--json").out)
    evaluated = json.loads(useg("evaluate", run, data, "--json").out)
    assert scored["objects"] == evaluated["objects"]
    assert "SEG" in useg("evaluate", run, data).err
    assert "objects  " in useg("info", run).out


def test_objects_asked_of_who_has_none(useg: Useg, run: Path, data: Path, tmp_path: Path) -> None:
    useg("predict", run, data / "test", "-o", tmp_path / "out", "--instances").refused("--instances", "learned classes")
    useg("predict", run, data / "test", "-o", tmp_path / "out", "--table").refused("--table", "add --instances")
    assert not (tmp_path / "out").exists()


def test_alpha_as_a_channel(useg: Useg, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for k in range(6):
        mask = np.zeros((64, 64), np.uint8)
        mask[10:40, 10 + k : 40] = 1
        picture = rng.integers(0, 99, (64, 64, 4), np.uint8)
        picture[..., 3] += 100 * mask  # only the fourth band shows it
        for part in ("train", "test"):
            for folder in ("images", "masks"):
                (tmp_path / part / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(tmp_path / part / "images" / f"{k}.png")
            write_labels(tmp_path / part / "masks" / f"{k}.png", mask)
    said = useg("train", tmp_path, "-o", tmp_path / "run", "--steps", 30, *SET, "--set", "data.alpha=true")
    assert said.code == 0, said.err
    card = read_card(tmp_path / "run")
    assert card.alpha
    assert card.network.in_channels == 4
    assert useg("predict", tmp_path / "run", tmp_path / "test", "-o", tmp_path / "out").code == 0
    scored = json.loads(useg("score", tmp_path / "out", tmp_path / "test/masks", "--json").out)
    assert scored["dice"] == json.loads(useg("evaluate", tmp_path / "run", tmp_path, "--json").out)["dice"]


def test_settings_are_read_as_toml() -> None:
    assert parse_settings(["a.b=3", "c=[1, 2]", "d=word", "e=true", "f=1e-3"]) == {
        "a.b": 3,
        "c": [1, 2],
        "d": "word",
        "e": True,
        "f": 1e-3,
    }


@pytest.mark.parametrize(("text", "count"), [("4GB", 4 * 10**9), ("500 MB", 5 * 10**8), ("1.5kb", 1500), ("77", 77)])
def test_bytes_are_read_with_their_unit(text: str, count: int) -> None:
    assert parse_bytes(text) == count


def test_memory_is_that_of_the_whole_program() -> None:
    assert parse_memory(None) is None
    assert parse_memory("4GB") == 4 * 10**9 - PROGRAM
    assert parse_memory("4GB", processes=3) == 4 * 10**9 - 3 * PROGRAM
    with pytest.raises(SettingsError, match="--max-memory 500MB: useg itself takes 500 MB"):
        parse_memory("500MB")


def test_bytes_without_meaning() -> None:
    with pytest.raises(SettingsError, match="4 apples"):
        parse_bytes("4 apples")


def test_colours_and_names_of_a_legend_reach_the_model(useg: Useg, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "abcdef":
        mask = np.zeros((64, 64, 3), np.uint8)
        mask[10:40, 10:40] = 255, 0, 0
        mask[50:, :] = 0, 0, 255
        write_picture(tmp_path / "data" / "images" / f"{name}.png", rng.integers(0, 255, (64, 64), np.uint8))
        write_picture(tmp_path / "data" / "masks" / f"{name}.png", mask)
    (tmp_path / "data" / "legend.csv").write_text("colour,name\n#000000,ground\n#ff0000,roof\n#0000ff,void\n")
    run = tmp_path / "run"
    said = useg("train", tmp_path / "data", "-o", run, "--steps", 1, "--device", "cpu", *SET)
    assert said.code == 0, said.err
    card = read_card(run)
    assert [(c.name, c.colour) for c in card.classes] == [("ground", (0, 0, 0)), ("roof", (255, 0, 0))]
    assert useg("evaluate", run, tmp_path / "data").code == 0
    assert useg("predict", run, tmp_path / "data" / "images", "-o", tmp_path / "out").code == 0
    said = useg("score", tmp_path / "out", tmp_path / "data" / "masks")
    assert said.code == 0 and "roof" in said.err


# How far a result is to be trusted.


def test_training_ends_with_its_report(useg: Useg, data: Path, tmp_path: Path) -> None:
    said = useg("train", data, "-o", tmp_path / "run", "--steps", 2, "--device", "cpu", *SET)
    assert said.code == 0, said.err
    assert f"report: {tmp_path / 'run' / 'report.html'}" in said.err
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "held out of the training" in page
    assert f"useg train {data}" in page  # what repeats it


def test_evaluate_writes_the_report_anew_or_elsewhere(
    useg: Useg,
    run: Path,
    data: Path,
    tmp_path: Path,
) -> None:
    said = useg("evaluate", run, data / "test", "--device", "cpu")
    assert f"report: {run / 'report.html'}" in said.err
    for name in ("cells_00", "cells_01"):
        assert name in (run / "report.html").read_text(encoding="utf-8")
    said = useg("evaluate", run / "model.safetensors", data / "test", "--device", "cpu", "--json")
    assert said.code == 0
    assert "report" not in said.err  # a model file alone has no place for one
    scores = json.loads(said.out)
    low, high = scores["intervals"]["foreground_dice"]
    assert low <= scores["foreground_dice"] <= high
    assert 0 <= scores["calibration"]["error"] <= 1
    useg("evaluate", run / "model.safetensors", data / "test", "--report", tmp_path / "page.html")
    assert "cells_01" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_folds_train_predict_and_resume(useg: Useg, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = useg("train", data, "-o", out, "--folds", 3, "--steps", 9, "--device", "cpu", *SET)
    assert said.code == 0, said.err
    assert "mean Dice of the folds" in said.err
    assert (out / "report.html").is_file()
    assert read_card(out).members == 3
    assert useg("train", "-o", out, "--resume").code == 0  # nothing is left to do
    every, some = tmp_path / "every", tmp_path / "some"
    assert useg("predict", out, data / "test", "-o", every, "--uncertainty", "--probabilities").code == 0
    assert useg("predict", out, data / "test", "-o", some, "--folds", "0,2", "--probabilities").code == 0
    assert read(every / "cells_00_uncertainty.tif").array.shape == (2, 64, 64)  # entropy and disagreement
    whole, part = (read(folder / "cells_00_probabilities.tif").array for folder in (every, some))
    assert np.abs(whole - part).max() > 0
    rows = (every / "expected-dice.csv").read_text(encoding="utf-8").splitlines()
    assert {row.partition(",")[0] for row in rows} <= {"image", "cells_00.png", "cells_01.png"}
    useg("predict", out, data / "test", "-o", tmp_path / "x", "--folds", "3").refused("no fold 3")
    useg("predict", out, data / "test", "-o", tmp_path / "x", "--folds", "a").refused("--folds a", "0,2")
    useg("predict", out, data / "test", "-o", some).refused(some, "other settings")


def test_a_learning_curve(useg: Useg, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = useg("train", data, "-o", out, "--learning-curve", "--steps", 8, "--device", "cpu", *SET)
    assert said.code == 0, said.err
    assert "training images" in said.err
    assert (out / "report.html").is_file()
    assert (out / "learning-curve.json").is_file()
    useg("train", data, "-o", tmp_path / "b", "--learning-curve", "--folds", 2).refused("--folds", "--learning-curve")


def test_from_an_earlier_model(useg: Useg, run: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = useg("train", data, "-o", out, "--from", run, "--steps", 2, "--device", "cpu")
    assert said.code == 0, said.err
    assert "starts from" in said.err
    assert "before" in said.err
    assert "Before and after" in (out / "report.html").read_text(encoding="utf-8")
    assert "checksums" not in useg("info", out).out
    useg("train", data, "-o", tmp_path / "b", "--from", data).refused(data)
    useg("train", data, "-o", tmp_path / "b", "--from", run, "--folds", 2).refused("--from", "--folds")
    assert not (tmp_path / "b").exists()


def test_suggest(
    useg: Useg,
    run: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    said = useg("suggest", run, data / "test", "-n", 1, "--export", tmp_path / "next", "--device", "cpu")
    assert said.code == 0, said.err
    assert "1. cells_0" in said.err
    assert (tmp_path / "suggest-test.png").is_file()
    assert len(list((tmp_path / "next" / "masks").iterdir())) == 1
    useg("suggest", run, data / "test", "--export", tmp_path / "next").refused(tmp_path / "next")
    found = json.loads(useg("suggest", run, data / "test", "--device", "cpu", "--json").out)
    assert [set(one) >= {"name", "reason", "score"} for one in found["chosen"]] == [True, True]
    said = useg("suggest", run, data / "train", "--device", "cpu")
    assert "left out, for the model was trained on the same pixels" in said.err


def test_export_and_predict_with_it(useg: Useg, run: Path, data: Path, tmp_path: Path) -> None:
    said = useg("export", run, "-o", tmp_path / "model.onnx")
    assert said.code == 0, said.err
    assert "differ from torch's by at most" in said.err
    assert useg("predict", tmp_path / "model.onnx", data / "test", "-o", tmp_path / "there").code == 0
    assert useg("predict", run, data / "test", "-o", tmp_path / "here", "--device", "cpu").code == 0
    for name in ("cells_00.png", "cells_01.png"):
        there, here = (np.array(Image.open(tmp_path / where / name)) for where in ("there", "here"))
        assert (there != here).mean() < 0.001
    assert "U-Net by useg" in useg("info", tmp_path / "model.onnx").out
    useg("export", run, "-o", tmp_path / "model.pt").refused("model.pt", ".onnx")
    useg("export", run, "--to", "tflite", "-o", tmp_path / "m").refused("--to tflite")


def test_export_with_a_page(useg: Useg, run: Path, data: Path, tmp_path: Path) -> None:
    """For the Hugging Face Hub: who made it, under which licence, how well it does."""
    folder, owner = tmp_path / "cells", ("--author", "A. Maker", "--author", "B. Other")
    said = useg("export", run, "--to", "hub", "-o", folder, *owner, "--license", "CC-BY-4.0", "--data", data)
    assert said.code == 0, said.err
    assert "useg predict hf://OWNER/cells IMAGES -o OUT" in said.err
    page = (folder / "README.md").read_text(encoding="utf-8")
    for words in ('license: "cc-by-4.0"', "A. Maker and B. Other", "| class | Dice | 95 % |", "2 images of the folder"):
        assert words in page
    useg("predict", folder, data / "test", "-o", tmp_path / "out", "--device", "cpu")
    assert len(list((tmp_path / "out").glob("*.png"))) == 2

    for to, out, words in (
        ("hub", folder / "README.md", ["is a file"]),
        ("hub", run, ["holds this very model"]),
        ("onnx", tmp_path / "m.onnx", ["--license", "--to bioimageio"]),
        ("bioimageio", tmp_path / "m.onnx", ["named .zip"]),
    ):
        useg("export", run, "--to", to, "-o", out, "--license", "freeware").refused(*words)
    useg("export", run, "--to", "hub", "-o", folder, "--folds", "0").refused("--folds")
    assert not list(tmp_path.glob("m.*"))
