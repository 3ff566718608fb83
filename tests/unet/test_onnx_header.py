"""The metadata of an ONNX file are read as onnx itself reads them, and nothing else than ONNX is believed."""

from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from models import make_model
from useg.errors import ModelError
from useg.export import export_onnx
from useg.unet.model import load_model, read_card
from useg.unet.onnx_header import read_onnx_metadata

TEXT = st.text(max_size=300)
SHARED = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path: Path, metadata: dict[str, str]) -> Path:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [value], [result]))
    onnx.helper.set_model_props(model, metadata)
    path.write_bytes(model.SerializeToString())
    return path


@SHARED
@given(metadata=st.dictionaries(TEXT, TEXT, max_size=4))
@example(metadata={"useg": "a" * 300, "": ""})
def test_metadata_come_back(tmp_path: Path, metadata: dict[str, str]) -> None:
    assert read_onnx_metadata(write(tmp_path / "m.onnx", metadata)) == metadata


@SHARED
@given(content=st.binary(max_size=200))
@example(content=b"")
@example(content=b"\x3a" + b"\xff" * 9 + b"\x01")  # a graph of 2^63 bytes, as it says
@example(content=b"\x3a\x00\x72\x03\x0a\x01\xff")  # a key that is no UTF-8
def test_other_bytes_are_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.onnx: .*export") as error:
        read_card(path)
    assert "\n" not in str(error.value)


def test_a_file_that_is_cut_anywhere_is_told(tmp_path: Path) -> None:
    path = export_onnx(make_model(tmp_path), tmp_path / "m.onnx").path
    whole = path.read_bytes()
    read_card(path)
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError):
            read_card(path)


def test_a_foreign_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"an ONNX file, but not a useg model; export one"):
        read_card(write(tmp_path / "m.onnx", {}))
    with pytest.raises(ModelError, match="its header cannot be used"):
        read_card(write(tmp_path / "m.onnx", {"useg": '{"format": 2}'}))


def test_an_exported_model_does_not_learn(tmp_path: Path) -> None:
    path = export_onnx(make_model(tmp_path), tmp_path / "m.onnx").path
    with pytest.raises(ModelError, match=r"can predict but not learn; give the model\.safetensors"):
        load_model(path)
