"""The metadata of an OpenVINO file are read without OpenVINO, and nothing that stands in it is believed."""

from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from useg.errors import ModelError
from useg.unet import openvino_header
from useg.unet.openvino_header import is_openvino, read_openvino_metadata, weights_digest, weights_of

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]))


def document(entries: dict[str, str]) -> str:
    inside = "".join(f"<{name} value={quoteattr(value)} />" for name, value in entries.items())
    other = '<MO_version value="1" /><useg.border value="of another tool" />'
    return (
        '<?xml version="1.0"?><net name="n"><layers><layer id="0"><rt_info><useg.sizes value="0" /></rt_info></layer>'
        f"</layers><rt_info>{other}<useg>{inside}</useg></rt_info></net>"
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=st.dictionaries(st.from_regex(r"useg(\.[a-z_]{1,9})?", fullmatch=True), WORDS))
def test_entries_are_read(tmp_path: Path, entries: dict[str, str]) -> None:
    path = tmp_path / "m.xml"
    path.write_text(document(entries), encoding="utf-8")
    assert read_openvino_metadata(path) == entries


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 400))
def test_a_cut_file_is_told(tmp_path: Path, length: int) -> None:
    whole = document({"useg": "{}"})
    path = tmp_path / "m.xml"
    path.write_text(whole[: min(length, len(whole) - 1)], encoding="utf-8")
    with pytest.raises(ModelError, match=r"m\.xml: not an OpenVINO file") as error:
        read_openvino_metadata(path)
    assert "\n" not in str(error.value)


def test_a_document_that_grows_is_not_read(tmp_path: Path) -> None:
    """A billion laughs: each entity is ten of the one before."""
    entities = '<!ENTITY e0 "ha">' + "".join(f'<!ENTITY e{k} "{f"&e{k - 1};" * 10}">' for k in range(1, 10))
    path = tmp_path / "m.xml"
    path.write_text(document({"useg": "{}"}).replace("<net", f"<!DOCTYPE net [{entities}]><net", 1))
    with pytest.raises(ModelError, match="document type"):
        read_openvino_metadata(path)


def test_what_is_no_network_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.xml"
    path.write_text("<svg><rt_info><useg><useg value='{}'/></useg></rt_info></svg>")
    with pytest.raises(ModelError, match="<svg> and no network"):
        read_openvino_metadata(path)
    path.write_text(document({}))
    monkeypatch.setattr(openvino_header, "MOST_BYTES", 10)
    with pytest.raises(ModelError, match="bytes"):
        read_openvino_metadata(path)
    with pytest.raises(ModelError, match="No such file"):
        read_openvino_metadata(tmp_path / "none.xml")


def test_names(tmp_path: Path) -> None:
    assert is_openvino(Path("a.b/M.XML")) and not is_openvino(Path("m.xml.onnx"))
    weights = weights_of(tmp_path / "m.1.xml")
    assert weights == tmp_path / "m.1.bin"
    weights.write_bytes(b"abc")
    assert weights_digest(weights).startswith("ba7816bf 8f01cfea".replace(" ", ""))
