"""Every layout gives the same pairs of the same pixels, and what is wrong with one is said in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from useg.cli import app
from useg.data.dataset import Pair, load_example, without_mark
from useg.data.layouts import RECOGNISERS, find_layout
from useg.data.prepare import check_layout
from useg.errors import DataError, MissingError

RNG = np.random.default_rng(0)
NAMES = ("a1", "a2", "b1")
IMAGES = {name: RNG.integers(0, 256, (24, 32), np.uint8) for name in NAMES}
MASKS = {name: np.zeros((24, 32), np.uint8) for name in NAMES}
for place, each in enumerate(MASKS.values()):
    each[4 + place : 12, 6:20] = 1


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def write(folder: Path, image: Callable[[str], str], mask: Callable[[str], str] | None) -> Path:
    for name in NAMES:
        save(folder / image(name), IMAGES[name])
        if mask:
            save(folder / mask(name), MASKS[name])
    return folder


def corners(name: str) -> list[float]:
    """The outline of the rectangle of a mask: x0 y0 x1 y0 x1 y1 x0 y1."""
    rows, columns = np.nonzero(MASKS[name])
    x0, x1, y0, y1 = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    return [float(v) for v in (x0, y0, x1, y0, x1, y1, x0, y1)]


def coco(folder: Path) -> Path:
    document = {
        "images": [{"id": k, "file_name": f"{n}.png", "height": 24, "width": 32} for k, n in enumerate(NAMES)],
        "categories": [{"id": 7, "name": "cell"}],
        "annotations": [
            {"id": k, "image_id": k, "category_id": 7, "segmentation": [corners(n)]} for k, n in enumerate(NAMES)
        ],
    }
    write(folder, "images/{}.png".format, None)
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances.json").write_text(json.dumps(document))
    return folder


def labelme(folder: Path) -> Path:
    write(folder, "{}.png".format, None)
    for name in NAMES:
        c = corners(name)
        shape = {"label": "cell", "points": [c[:2], c[4:6]], "shape_type": "rectangle"}
        document = {"imagePath": f"{name}.png", "imageHeight": 24, "imageWidth": 32, "shapes": [shape]}
        (folder / f"{name}.json").write_text(json.dumps(document | {"imageData": "x" * 100}))
    return folder


def table(folder: Path, separator: str = ",") -> Path:
    write(folder, "raw/{}.png".format, "truth/{}_y.png".format)
    lines = [separator.join(("image", "mask", "group"))]
    lines += [separator.join((f"raw/{n}.png", f"truth/{n}_y.png", n[0])) for n in NAMES]
    (folder / ("pairs.csv" if separator == "," else "pairs.tsv")).write_text("\n".join(lines))
    return folder


def nnunet(folder: Path) -> Path:
    write(folder, "imagesTr/{}_0000.png".format, "labelsTr/{}.png".format)
    (folder / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "cell": 1}}))
    return folder


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "images/ + masks/": lambda f: write(f, "images/{}.png".format, "masks/{}.tif".format),
    "images/ + labels/": lambda f: write(f, "images/{}.png".format, "labels/{}.png".format),
    "images/ + annotations/": lambda f: write(f, "images/{}.png".format, "annotations/{}_mask.png".format),
    "images/ + masks/ in train/": lambda f: write(f, "train/images/{}.png".format, "train/masks/{}.png".format),
    "nnU-Net": nnunet,
    "masks beside images": lambda f: write(f, "{}.png".format, "{}_seg.tif".format),
    "table pairs.csv": table,
    "table pairs.tsv": lambda f: table(f, "\t"),
    "COCO": coco,
    "LabelMe": labelme,
}


@pytest.mark.parametrize("words", LAYOUTS)
def test_every_layout_holds_the_same_pairs(tmp_path: Path, words: str) -> None:
    layout = find_layout(LAYOUTS[words](tmp_path))
    assert layout.kind.startswith(words)
    assert [pair.name for pair in layout.train] == list(NAMES) and not layout.val and not layout.test
    check = check_layout(layout)
    assert check.errors == [] and check.legend is not None
    for pair in layout.train:
        example = load_example(pair, check.legend)
        np.testing.assert_array_equal(example.image[0], IMAGES[pair.name])
        np.testing.assert_array_equal(example.labels, MASKS[pair.name])
    if words in ("COCO", "LabelMe", "nnU-Net"):
        assert check.legend.names == ["background", "cell"]
    if words.startswith("table"):
        assert [pair.group for pair in layout.train] == ["a", "a", "b"]
        assert check.summary.groups == {"a": 2, "b": 1}


def test_a_project_passes_over_images_without_a_mask_and_nothing_else_does(tmp_path: Path) -> None:
    write(tmp_path, "images/{}.png".format, "masks/{}.png".format)
    (tmp_path / "masks" / "a2.png").unlink()
    with pytest.raises(MissingError, match=r"a2\.png: there is no mask"):
        find_layout(tmp_path)
    (tmp_path / "project.toml").write_text('kind = "classes"\n')
    (tmp_path / "legend.csv").write_text("value,name\n0,ground\n1,cell\n255,void\n")
    layout = find_layout(tmp_path)
    assert [pair.name for pair in layout.train] == ["a1", "b1"] and layout.masks == "classes"
    assert check_layout(layout).errors == []
    save(tmp_path / "masks" / "gone.png", MASKS["a1"])
    with pytest.raises(MissingError, match=r"gone\.png: there is no image"):
        find_layout(tmp_path)


def test_the_cell_tracking_challenge(tmp_path: Path) -> None:
    for film in ("01", "02"):
        for frame in range(4):
            save(tmp_path / film / f"t{frame:03}.tif", IMAGES["a1"])
        save(tmp_path / f"{film}_GT" / "SEG" / "man_seg002.tif", MASKS["a1"])
    layout = find_layout(tmp_path)
    assert [(pair.name, pair.image.name) for pair in layout.train] == [("01_t002", "t002.tif"), ("02_t002", "t002.tif")]
    assert "Cell Tracking Challenge, 01/, 02/" in layout.kind
    assert [pair.markers for pair in layout.train] == [None, None]
    spots = save(tmp_path / "01_GT" / "TRA" / "man_track002.tif", MASKS["a1"])
    assert [pair.markers for pair in find_layout(tmp_path).train] == [spots, None]
    save(tmp_path / "01_GT" / "SEG" / "man_seg009.tif", MASKS["a1"])
    with pytest.raises(MissingError, match=r"man_seg009\.tif: there is no frame t009 in "):
        find_layout(tmp_path)


def test_parts_come_from_folders_and_from_a_column(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        write(tmp_path / "folders" / part, "images/{}.png".format, "masks/{}.png".format)
    layout = find_layout(tmp_path / "folders")
    assert [len(part) for part in (layout.train, layout.val, layout.test)] == [3, 3, 3]
    rows = "image,mask,split\nraw/a1.png,truth/a1_y.png,train\nraw/a2.png,truth/a2_y.png,Validation\n"
    folder = table(tmp_path / "column")
    (folder / "pairs.csv").write_text(rows + "raw/b1.png,truth/b1_y.png,test\n")
    layout = find_layout(folder / "pairs.csv")
    assert [[p.name for p in part] for part in (layout.train, layout.val, layout.test)] == [["a1"], ["a2"], ["b1"]]
    (folder / "pairs.csv").write_text(rows + "raw/b1.png,truth/b1_y.png,holdout\n")
    with pytest.raises(DataError, match=r"line 4: the split is 'holdout'; write train, val or test"):
        find_layout(folder)


def test_a_test_folder_without_masks_is_no_hindrance(tmp_path: Path) -> None:
    write(tmp_path / "train", "images/{}.png".format, "masks/{}.png".format)
    write(tmp_path / "test", "images/{}.png".format, None)
    assert find_layout(tmp_path).test == []


def spoiled_table(folder: Path) -> None:
    (table(folder) / "truth" / "a2_y.png").unlink()


def spoiled_coco(folder: Path) -> None:
    (coco(folder) / "images" / "a2.png").unlink()


def spoiled_labelme(folder: Path) -> None:
    path = labelme(folder) / "a2.json"
    path.write_text(path.read_text().replace("rectangle", "line"))


def spoiled_nnunet(folder: Path) -> None:
    save(nnunet(folder) / "imagesTr" / "a1_0001.png", IMAGES["a1"])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoiled_table, r"pairs\.csv: line 3: the mask 'truth/a2_y\.png' is not there; "),
        (spoiled_coco, r"instances\.json: its image a2\.png is not there; "),
        (spoiled_labelme, r"a2\.json: .*a line of label cell encloses nothing"),
        (spoiled_nnunet, r"a1_0001\.png: is a second channel"),
        (lambda f: f.joinpath("x.txt").touch(), r"no layout that useg knows \(it sees x\.txt\)"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, spoil: Callable[[Path], None], said: str) -> None:
    spoil(tmp_path)
    with pytest.raises((DataError, MissingError), match=said) as caught:
        find_layout(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="there is no such folder"):
        find_layout(tmp_path / "nowhere")


@pytest.mark.parametrize(("name", "base"), [("x_mask", "x"), ("x-SEG", "x"), ("x.label", "x"), ("mask", None)])
def test_marks(name: str, base: str | None) -> None:
    assert without_mark(name) == base


def test_a_legend_file_names_the_classes(tmp_path: Path) -> None:
    folder = LAYOUTS["images/ + masks/"](tmp_path)
    (folder / "classes.txt").write_text("sky\ncloud\n")
    layout = find_layout(folder)
    assert layout.legend == folder / "classes.txt" and [e.name for e in layout.entries] == ["sky", "cloud"]
    legend = check_layout(layout).legend
    assert legend is not None and legend.names == ["sky", "cloud"]


def test_the_help_lists_every_layout() -> None:
    said = " ".join(CliRunner().invoke(app, ["check", "--help"]).output.split())
    for each in RECOGNISERS:
        assert each.looks in said


@pytest.mark.real
def test_real_layouts(real_data: Path) -> None:
    layout = find_layout(real_data / "isbi2012-em")
    assert (len(layout.train), len(layout.val), len(layout.test)) == (24, 0, 6)
    assert isinstance(layout.train[0], Pair)
