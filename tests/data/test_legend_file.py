"""Legend files in all their spellings, and what is refused."""

import json
from pathlib import Path

import pytest

from useg.data.legend import Entry
from useg.data.legend_file import find_legend, read_legend
from useg.errors import DataError
from useg.images.image import COLOUR

PLAIN = [Entry(0, "sky"), Entry(1, "tree"), Entry(11, "void", ignore=True)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("legend.csv", "value,name\n0,sky\n1,tree\n11,void\n"),
        ("legend.csv", "0,sky\n1,tree\n11,void\n"),
        ("legend.tsv", "name\tvalue\nsky\t0\ntree\t1\nvoid\t11\n"),
        ("legend.json", json.dumps({"0": "sky", "1": "tree", "11": "void"})),
        ("legend.json", json.dumps({"labels": {"sky": 0, "tree": 1, "void": 11}})),
        ("legend.json", json.dumps([{"value": v, "name": n} for v, n in ((0, "sky"), (1, "tree"), (11, "void"))])),
        ("classes.txt", "0 sky\n1: tree\n11, void\n"),
    ],
)
def test_all_spellings_mean_the_same(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_legend(tmp_path / name) == PLAIN


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("legend.csv", "colour,name,ignore\n#000000,sky,\n#ff8000,tree,\n#0000ff,other,yes\n"),
        ("legend.csv", "name,r,g,b,ignore\nsky,0,0,0,0\ntree,255,128,0,0\nother,0,0,255,1\n"),
        ("legend.json", json.dumps({"#000000": "sky", "#ff8000": "tree", "#0000ff": "ignore"})),
        ("classes.txt", "0 0 0 sky\n255 128 0 tree\n0 0 255 void\n"),
    ],
)
def test_colours_stand_for_values(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    found = read_legend(tmp_path / name)
    assert [(e.value, e.ignore) for e in found] == [(0, False), (COLOUR + 0xFF, True), (COLOUR + 0xFF8000, False)]
    assert found[2].name == "tree" and found[2].colour == (255, 128, 0)


def test_a_value_may_have_a_colour_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "legend.csv").write_text("value,name,colour\n0,sky,#80c0ff\n1,tree,0 128 0\n")
    assert [e.colour for e in read_legend(tmp_path / "legend.csv")] == [(128, 192, 255), (0, 128, 0)]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("legend.csv", "", "it is empty"),
        ("legend.csv", "value,name\nx,sky\n", "cannot be understood"),
        ("legend.csv", "name\nsky\n", "sky has neither a value nor a colour"),
        ("legend.csv", "value,name\n0,sky\n0,tree\n", "sky and tree have the same value"),
        ("legend.csv", "value,name\n0,sky\n1,void\n2,ignore\n", "void and ignore both mean not annotated"),
        ("legend.csv", "value,name\n0,void\n", "there is no class"),
        ("legend.json", "{", "cannot be understood"),
        ("legend.json", "3", "neither a list nor a table"),
        ("classes.txt", "300 0 0 sky\n", "is no colour"),
    ],
)
def test_what_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=said) as caught:
        read_legend(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name)) and "\n" not in str(caught.value)


def test_a_legend_is_found_beside_the_parts_too(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "other").mkdir()
    assert find_legend(tmp_path / "train") is None
    (tmp_path / "legend.csv").write_text("0,sky\n")
    for folder in (tmp_path, tmp_path / "train"):
        found = find_legend(folder)
        assert found is not None and found[1] == [Entry(0, "sky")]
    assert find_legend(tmp_path / "other") is None
