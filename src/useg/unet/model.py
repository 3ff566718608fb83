"""A model is one file: weights, and in the header all that prediction needs.

The file is safetensors, so nothing in it is ever executed. Its metadata holds one JSON document, the `ModelCard`. An
exported model is an ONNX or OpenVINO file with the same document in its metadata.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from useg.atomic import replacing
from useg.errors import MissingError, ModelError, SettingsError
from useg.objects.settings import SeparateSettings
from useg.unet.normalise import NormaliseSettings
from useg.unet.onnx_header import is_onnx, read_onnx_metadata
from useg.unet.openvino_header import is_openvino, read_openvino_metadata, weights_of
from useg.unet.settings import UNetSettings

if TYPE_CHECKING:
    from torch import Tensor

    from useg.unet.network import UNet

KEY = "useg"
MOST_MEMBERS = 100
"""Networks in a file; more are not believed."""


class ClassInfo(BaseModel):
    """One class: its name, its colour in overlays, and the value that stood for it in the training masks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    colour: tuple[int, int, int]
    value: int


class InputSeen(BaseModel):
    """What the training images looked like, to notice an input that does not.

    Attributes:
        dtype: type of the pixels in most of the files; dtypes: in any of them, none in older models.
        low, high: smallest 1st and largest 99th percentile of any training image, one a channel.
        spacing: pixel size, one a spatial axis, where all the files knew one; `unit` is its unit.
        detail: least detail of any training image, see `useg.inputs.detail`; None in older models.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dtype: str
    dtypes: list[str] = []
    low: list[float]
    high: list[float]
    spacing: list[float] | None = None
    unit: str | None = None
    detail: float | None = None

    @property
    def types(self) -> list[str]:
        """All that were seen."""
        return self.dtypes or [self.dtype]


class ModelCard(BaseModel):
    """Everything about a model but its weights.

    Attributes:
        format: version of this document.
        version: the useg that wrote it.
        network: the U-Net's settings.
        normalise: gray values -> network input.
        classes: one entry a class.
        masks: "classes" or "instances" (ids of objects; class 1 is what parted objects are made of).
        ignore: mask value that meant "not annotated", if any.
        alpha: whether alpha is a channel of the images.
        score_shift: added to the scores of each class: takes the bias of the sampling out of the probabilities.
        class_bias: is added too: takes out what is chosen too often or too seldom, as the validation images showed it;
            nothing where it is empty.
        temperature: then divides all scores: takes out over-confidence, as the validation images showed it.
        members: networks of the same settings in the file, whose probabilities are averaged (one a fold).
        flips: symmetries of the images that test-time augmentation may use, as names out of "x", "y", "transpose".
        objects: how objects are told apart, found on the validation images, where the masks held ids of objects.
        input: what the training images looked like.
        trained_on: counts that say what it learned from, and `checksums` of the images, see `useg.data.known`.
        scores: how it scored on the validation images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    version: str
    network: UNetSettings
    normalise: NormaliseSettings
    classes: list[ClassInfo]
    masks: Literal["classes", "instances"] = "classes"
    ignore: int | None = None
    alpha: bool = False
    score_shift: list[float]
    class_bias: list[float] = []
    temperature: float = Field(default=1.0, gt=0)
    members: int = Field(default=1, ge=1, le=MOST_MEMBERS)
    flips: list[Literal["x", "y", "transpose"]] = []
    objects: SeparateSettings | None = None
    input: InputSeen
    trained_on: dict[str, Any] = {}
    scores: dict[str, Any] = {}

    @property
    def biases(self) -> list[float]:
        """The bias of each class, 0 where none was found."""
        return self.class_bias or [0.0] * self.network.classes

    @property
    def shift(self) -> list[float]:
        """All that is added to the scores of each class."""
        return [a + b for a, b in zip(self.score_shift, self.biases, strict=True)]

    @model_validator(mode="after")
    def _consistent(self) -> ModelCard:
        n, fixed = self.network, self.normalise.kind == "fixed"
        expected = {
            "classes": (len(self.classes), n.classes),
            "score_shift": (len(self.score_shift), n.classes),
            "class_bias": (len(self.class_bias), n.classes if self.class_bias else 0),
            "input.low": (len(self.input.low), n.in_channels),
            "input.high": (len(self.input.high), n.in_channels),
            "normalise.mean": (len(self.normalise.mean), n.in_channels if fixed else len(self.normalise.mean)),
            "normalise.std": (len(self.normalise.std), n.in_channels if fixed else len(self.normalise.std)),
            "normalise.bounds": (len(self.normalise.bounds), n.in_channels if self.normalise.bounds else 0),
        }
        for name, (have, want) in expected.items():
            if have != want:
                raise ValueError(f"{name} has {have} entries where the network needs {want}")
        return self


def save_model(path: Path, card: ModelCard, weights: Mapping[str, Tensor]) -> None:
    """Write a model file, whole or not at all."""
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    save_tensors(path, tensors, {KEY: card.model_dump_json()})


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata=metadata)
        except SafetensorError as error:  # so a full disk is told
            raise OSError(_first_line(error)) from error


def find_model(path: Path) -> Path:
    """The model file that `path` means: itself, or `model.safetensors` inside a run folder.

    Raises:
        MissingError: there is none.
    """
    if path.is_dir():
        inside = path / "model.safetensors"
        if inside.is_file():
            return inside
        raise MissingError(f"{path}: no model.safetensors in this folder; has its training finished a validation?")
    if not path.is_file():
        raise MissingError(f"{path}: there is no such model file or run folder")
    return path


def is_exported(path: Path) -> bool:
    """Whether a model file is one for other engines than torch, by its name."""
    return is_onnx(path) or is_openvino(path)


def copy_model(path: Path, folder: Path, name: str) -> None:
    """Copy a model file into a folder under this name, its suffix kept, with the weights where they lie beside it."""
    if is_openvino(path):
        shutil.copyfile(weights_of(path), folder / f"{name}.bin")
    shutil.copyfile(path, folder / f"{name}{path.suffix.lower()}")


def digest(path: Path) -> str:
    """SHA-256 of a model file, or of that in a run folder. That of an OpenVINO file holds the one of its weights.

    Raises:
        MissingError: there is none.
    """
    return hashlib.sha256(find_model(path).read_bytes()).hexdigest()


def read_card(path: Path) -> ModelCard:
    """The card of a model file or run folder. Needs no torch.

    Raises:
        MissingError: no such file. ModelError: not one of ours, cut short, or written by a later format.
    """
    path = find_model(path)
    if is_exported(path):
        read, kind = (read_onnx_metadata, "an ONNX") if is_onnx(path) else (read_openvino_metadata, "an OpenVINO")
        document = read(path).get(KEY)
        kind, remedy = f"{kind} file", "export one with `useg export`"
    else:
        document = _safetensors_metadata(path).get(KEY)
        kind, remedy = "a safetensors file", "train one with `useg train`"
    if document is None:
        raise ModelError(f"{path}: {kind}, but not a useg model; {remedy}")
    try:
        return ModelCard.model_validate_json(document)
    except ValidationError as error:
        what = error.errors()[0]
        where = ".".join(map(str, what["loc"])) or "header"
        raise ModelError(
            f"{path}: its header cannot be used ({where}: {what['msg']}); was it written by a newer useg?"
        ) from error


def _safetensors_metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path}: not a model file, or cut short ({_first_line(error)}); give a run folder or a model.safetensors"
        ) from error


def load_model(path: Path, members: Sequence[int] = ()) -> tuple[ModelCard, list[UNet]]:
    """A model's card and its networks with the weights, ready to predict (evaluation mode, float32, CPU).

    Args:
        members: which of an ensemble's networks, from 0; all without.

    Raises:
        MissingError, ModelError: as `read_card`, and ModelError when weights and settings do not belong together.
        SettingsError: there is no such member.
    """
    from safetensors.torch import load_file

    path = find_model(path)
    if is_exported(path):
        raise ModelError(f"{path}: an exported model, which can predict but not learn; give the model.safetensors")
    card = read_card(path)
    if unknown := [m for m in members if not 0 <= m < card.members]:
        raise SettingsError(f"{path}: has no fold {unknown[0]}; it has {card.members}, counted from 0")
    weights = load_file(path)
    # No memory is taken before the header's word is held against the weights that are really there.
    expected = _shapes(path, card)
    if {name: (value.shape, value.dtype) for name, value in weights.items()} != expected:
        raise ModelError(f"{path}: the weights do not fit the network that the header describes; the file is damaged")
    return card, [_network(card, weights, member_prefix(card, m)) for m in members or range(card.members)]


def member_prefix(card: ModelCard, member: int) -> str:
    """What the names of a member's weights begin with."""
    return f"{member}." if card.members > 1 else ""


def _shapes(path: Path, card: ModelCard) -> dict[str, tuple[Any, Any]]:
    """Shape and type of all weights that the file of a model should hold."""
    try:
        blank = _blank(card).state_dict()
    except (RuntimeError, TypeError, OverflowError) as error:  # torch cannot even count so many weights
        raise ModelError(f"{path}: its header describes a network of impossible size; the file is damaged") from error
    return {
        member_prefix(card, member) + name: (value.shape, value.dtype)
        for member in range(card.members)
        for name, value in blank.items()
    }


def _blank(card: ModelCard) -> UNet:
    """The network without memory for its weights."""
    import torch

    from useg.unet.network import UNet

    with torch.device("meta"):
        return UNet.from_settings(card.network)


def _network(card: ModelCard, weights: Mapping[str, Tensor], prefix: str) -> UNet:
    network = _blank(card)
    network.load_state_dict(
        {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}, assign=True
    )
    return network.eval()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
