"""The model file: what goes in comes out, and anything else is refused in one line."""

import json
import pickle
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from useg.errors import MissingError, ModelError
from useg.predict import Predictor, PredictSettings
from useg.runner import TorchRunner
from useg.unet.model import KEY, ClassInfo, InputSeen, ModelCard, find_model, load_model, read_card, save_model
from useg.unet.network import UNet
from useg.unet.normalise import NormaliseSettings
from useg.unet.settings import UNetSettings, article_settings

NETWORKS = [
    UNetSettings(depth=1, width=2),
    UNetSettings(in_channels=2, classes=3, depth=1, width=2, padding="same", norm="batch"),
    UNetSettings(dims=3, depth=1, width=2, padding="same"),
    article_settings(depth=1, width=2),
]


def make_card(network: UNetSettings) -> ModelCard:
    return ModelCard(
        version="0.0.test",
        network=network,
        normalise=NormaliseSettings(clip=(1, 99)),
        classes=[ClassInfo(name=f"class {k}", colour=(k, 2 * k, 255), value=10 * k) for k in range(network.classes)],
        masks="instances",
        ignore=77,
        score_shift=[0.25 * k for k in range(network.classes)],
        flips=["x", "transpose"],
        input=InputSeen(
            dtype="float32",
            low=[-2.0] * network.in_channels,
            high=[2.0] * network.in_channels,
            spacing=[0.5, 0.25],
            unit="µm",
        ),
        trained_on={"images": 3},
        scores={"mean_dice": 0.5},
    )


def test_all_that_is_added_to_scores_is_one_shift() -> None:
    card = make_card(UNetSettings())
    assert card.shift == card.score_shift
    assert card.model_copy(update={"class_bias": [1.0, -2.0]}).shift == [1.0, -1.75]
    with pytest.raises(ValueError, match="class_bias has 1 entries where the network needs 2"):
        ModelCard.model_validate(card.model_dump() | {"class_bias": [1.0]})


def make_network(settings: UNetSettings, seed: int = 0) -> UNet:
    """Random weights, random statistics too: fresh ones would hide that they were lost."""
    torch.manual_seed(seed)
    network = UNet.from_settings(settings).eval()
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
        elif buffer.is_floating_point():
            buffer.normal_()
    return network


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, make_card(NETWORKS[0]), make_network(NETWORKS[0]).state_dict())
    return path


def refused(path: Path) -> str:
    """The one line with which both readers refuse a file."""
    with pytest.raises(ModelError) as caught:
        load_model(path)
    message = str(caught.value)
    assert str(path) in message
    assert len(message.splitlines()) == 1
    return message


def rewrite(path: Path, **changes: Any) -> None:
    """The same weights under a header whose network settings are changed."""
    document = json.loads(read_card(path).model_dump_json())
    document["network"] |= changes
    save_file(load_file(path), path, metadata={KEY: json.dumps(document)})


@pytest.mark.parametrize("settings", NETWORKS)
def test_prediction_is_the_same_after_as_before(tmp_path: Path, settings: UNetSettings) -> None:
    card, network = make_card(settings), make_network(settings)
    path = tmp_path / "run" / "model.safetensors"
    save_model(path, card, network.state_dict())
    image = np.random.default_rng(0).normal(size=(settings.in_channels, *[7] * settings.dims)).astype(np.float32)
    chosen = PredictSettings(device="cpu", precision="float32", max_memory=10**9)
    before = Predictor(card, TorchRunner(network, "cpu", "float32", shift=card.score_shift), chosen).predict(image)
    # A run folder means the model in it.
    for place in (path, path.parent):
        loaded = Predictor.load(place, chosen)
        assert loaded.card == card
        after = loaded.predict(image)
        np.testing.assert_array_equal(after.probabilities, before.probabilities)
        np.testing.assert_array_equal(after.labels, before.labels)


def test_all_weights_and_statistics_come_back(tmp_path: Path) -> None:
    network = make_network(NETWORKS[3])
    save_model(tmp_path / "m.safetensors", make_card(NETWORKS[3]), network.state_dict())
    card, (loaded,) = load_model(tmp_path / "m.safetensors")
    assert card == read_card(tmp_path / "m.safetensors") == make_card(NETWORKS[3])
    assert not loaded.training
    state = loaded.state_dict()
    assert state.keys() == network.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())


def test_weights_in_another_memory_layout_are_the_same_file(tmp_path: Path, file: Path) -> None:
    network = make_network(NETWORKS[0]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save_model(tmp_path / "other.safetensors", make_card(NETWORKS[0]), network.state_dict())
    assert (tmp_path / "other.safetensors").read_bytes() == file.read_bytes()


def test_the_card_is_read_without_torch(file: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from useg.unet.model import read_card; "
        "print(read_card(Path(sys.argv[1])).version, 'torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["0.0.test", "False"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_that_is_cut_short(file: Path, share: float) -> None:
    whole = file.read_bytes()
    cut = file.with_name("cut.safetensors")
    cut.write_bytes(whole[: int(share * len(whole))])
    assert "cut short" in refused(cut)
    with pytest.raises(ModelError):
        read_card(cut)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_header_with_any_byte_changed_loads_or_is_refused(file: Path, data: st.DataObject) -> None:
    """Nothing but a ModelError comes out of a damaged header."""
    whole = bytearray(file.read_bytes())
    length = 8 + int.from_bytes(whole[:8], "little")
    whole[data.draw(st.integers(0, length - 1))] = data.draw(st.integers(0, 255))
    damaged = file.with_name("damaged.safetensors")
    damaged.write_bytes(whole)
    try:
        load_model(damaged)
    except ModelError as error:
        assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"no model", pickle.dumps({"weights": [1, 2]}), b"\x89PNG\r\n\x1a\n" * 9])
def test_files_that_are_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    refused(path)


def test_a_pickle_of_torch_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(make_network(NETWORKS[0]).state_dict(), path)
    refused(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_the_safetensors_of_somebody_else(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "theirs.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata=metadata)
    assert "not a useg model" in refused(path)


@pytest.mark.parametrize("document", ["", "{", "[]", "{}", '{"format": 2}', "null"])
def test_a_header_that_is_no_card(tmp_path: Path, document: str) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata={KEY: document})
    assert "header cannot be used" in refused(path)


def test_a_header_with_a_field_that_we_do_not_know_is_from_a_newer_useg(file: Path) -> None:
    rewrite(file, gates="attention")
    message = refused(file)
    assert "network.gates" in message
    assert "newer useg" in message


@pytest.mark.parametrize("changes", [{"width": 3}, {"depth": 2}, {"dims": 3}, {"up_kernel": 3}])
def test_weights_of_another_network(file: Path, changes: dict[str, int]) -> None:
    rewrite(file, **changes)
    assert "do not fit the network" in refused(file)


@pytest.mark.parametrize(("changes", "name"), [({"classes": 3}, "classes"), ({"in_channels": 2}, "input.low")])
def test_a_card_that_contradicts_its_network(file: Path, changes: dict[str, int], name: str) -> None:
    rewrite(file, **changes)
    assert f"{name} has" in refused(file)


def test_weights_of_another_type_or_with_one_missing(file: Path) -> None:
    card, (network,) = load_model(file)
    state = network.state_dict()
    save_model(file, card, {name: value.half() for name, value in state.items()})
    refused(file)
    save_model(file, card, {name: value for name, value in state.items() if name != "head.bias"})
    refused(file)


@pytest.mark.parametrize("width", [10**5, 10**9, 10**12, 10**30])
def test_a_header_cannot_make_us_take_memory(file: Path, width: int) -> None:
    rewrite(file, width=width)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB; 10**5 alone is 10**12 bytes


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no model\.safetensors in this folder"):
        find_model(tmp_path)
    with pytest.raises(MissingError, match="no such model file"):
        read_card(tmp_path / "nowhere.safetensors")


def test_a_save_that_fails_leaves_the_old_model(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(RuntimeError):
        save_model(file, make_card(NETWORKS[0]), {"weight": torch.empty(3, device="meta")})
    assert file.read_bytes() == before
    assert [f.name for f in file.parent.iterdir()] == [file.name]
