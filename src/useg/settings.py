"""The settings of a whole run: `RUN/settings.toml`, complete, so that running it again gives the same run."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from useg.atomic import write_text
from useg.data.augment import AugmentSettings
from useg.data.legend import parse_value
from useg.data.samples import SampleSettings
from useg.data.stacks import Pages
from useg.errors import SettingsError
from useg.unet.losses import LossSettings
from useg.unet.normalise import NormaliseSettings
from useg.unet.optimise import OptimiserSettings
from useg.unet.settings import UNetSettings

Tracker = Literal["tensorboard", "mlflow", "wandb", "trackio"]
TRACKERS: tuple[str, ...] = get_args(Tracker)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _mask_value(value: object) -> object:
    return parse_value(value) if isinstance(value, str) else value


class DataSettings(_Section):
    """Which data, and how it was read.

    Attributes:
        folder: the data set. ignore: mask value of pixels that are not annotated, a number or a colour "#rrggbb".
        unlabelled: what 0 means in masks that leave most objects unpainted: "background", or "ignore" for pixels that
            are not annotated; "auto" is background, and refuses masks that speak against it.
        masks: "classes" are numbered kinds, "instances" are ids of objects; "auto" looks at the values.
        alpha: whether alpha is a channel of the images (four bands saved as RGBA) and not dropped.
        pages: what the pages of a stack are, two TIFFs of several pages: "images", or together one "volume".
        ct: whether gray values are CT numbers in Hounsfield units; "auto" believes what DICOM files say.
        validation: share of the images held out where the data set has no `val/`.
        folds, fold: divide the images, those of `val/` too, into so many parts, and hold this one out, from 0; with 0
            folds, `validation` holds.
        share: of the images to train on, so much is used, 0..1.
        seen: checksums of images that an earlier model was trained on, see `useg.data.known`: where there are others,
            those are held out.
        validation_names: the images, or parts of images, that were held out.
        fingerprint: checksum of all images and masks, so that a run is never resumed on other data.
        max_memory: bytes that all images and masks, decoded, may take in memory; where they are more, they are kept on
            the disk of the run while it lasts. None is half of what is free.
    """

    folder: str = ""
    ignore: Annotated[int | None, BeforeValidator(_mask_value)] = None
    unlabelled: Literal["auto", "background", "ignore"] = "auto"
    masks: Literal["auto", "classes", "instances"] = "auto"
    alpha: bool = False
    pages: Pages = "images"
    ct: Literal["auto", "yes", "no"] = "auto"
    validation: float = Field(default=0.2, gt=0, lt=0.9)
    folds: int = Field(default=0, ge=0)
    fold: int = Field(default=0, ge=0)
    share: float = Field(default=1.0, gt=0, le=1)
    seen: str = ""
    validation_names: list[str] = []
    fingerprint: str = ""
    max_memory: int | None = Field(default=None, gt=0)

    def how_to_read(self) -> dict[str, Any]:
        """What `useg.data.prepare.prepare` wants to know."""
        return self.model_dump(exclude={"folder", "ct", "validation_names", "fingerprint", "max_memory"})

    @model_validator(mode="after")
    def _one_of_the_folds(self) -> DataSettings:
        if self.folds == 1 or self.fold >= max(1, self.folds):
            raise ValueError(f"data.fold is {self.fold} of {self.folds} data.folds; have 2 or more, counted from 0")
        return self


class StartSettings(_Section):
    """The earlier model that training starts from, if any.

    Attributes:
        model: its file. digest: its SHA-256, so that a run that begins again begins with the same; a run that is
            resumed needs neither.
        fair: whether the held-out images are new to it; where they are not, its score is too good, and is told but not
            held against those of later models.
    """

    model: str = ""
    digest: str = ""
    fair: bool = True


class BudgetSettings(_Section):
    """When training ends: after `minutes`, all included, or after `steps`; where both are set, whatever comes first."""

    minutes: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, ge=1)


class MachineSettings(_Section):
    """What the start-up probe found; a resumed run reads it and probes nothing.

    Attributes:
        device: "cpu", "cuda" or "mps". precision: of convolutions; all else is float32.
        threads: of a machine. Processes that train together there share them.
    """

    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: int = Field(default=0, ge=0, le=1024)


class Settings(_Section):
    """A whole run: `RUN/settings.toml`. Running it again with the same `steps` gives the same model.

    Attributes:
        recipe: "auto" is planned from the data, "paper" does what the 2015 paper did.
        seed: of all randomness.
        validations: how often the run is scored on the held-out images; in a run bounded by minutes, fewer where
            they would take more than a tenth of it.
        score_shift: added to the scores of each class when predicting, see `ModelCard`.
        track: experiment trackers that are shown the run, see `useg.track`.
    """

    recipe: Literal["auto", "paper"] = "auto"
    seed: int = Field(default=0, ge=0)
    validations: int = Field(default=10, ge=1)
    score_shift: list[float] = []
    track: list[Tracker] = []
    data: DataSettings = DataSettings()
    start: StartSettings = StartSettings()
    budget: BudgetSettings = BudgetSettings()
    machine: MachineSettings = MachineSettings()
    network: UNetSettings = UNetSettings()
    normalise: NormaliseSettings = NormaliseSettings()
    samples: SampleSettings = SampleSettings()
    augment: AugmentSettings = AugmentSettings()
    loss: LossSettings = LossSettings()
    optimiser: OptimiserSettings = OptimiserSettings()

    @model_validator(mode="after")
    def _coarse_levels_have_labels(self) -> Settings:
        if self.loss.deep and self.network.padding != "same":
            raise ValueError(
                f"loss.deep is {self.loss.deep}, for which network.padding must be same; set loss.deep to 0"
            )
        return self

    @model_validator(mode="after")
    def _one_weight_a_class(self) -> Settings:
        if self.loss.class_weights and len(self.loss.class_weights) != self.network.classes:
            have = len(self.loss.class_weights)
            raise ValueError(f"loss.class_weights has {have} entries for {self.network.classes} classes")
        if self.score_shift and len(self.score_shift) != self.network.classes:
            have = len(self.score_shift)
            raise ValueError(f"score_shift has {have} entries for {self.network.classes} classes")
        return self


def override(settings: Settings, overrides: Mapping[str, Any]) -> Settings:
    """The settings with dotted names replaced.

    Raises:
        SettingsError: unknown name, or a value that it cannot have.
    """
    values = settings.model_dump()
    for name, value in overrides.items():
        *sections, last = name.split(".")
        section: Any = values
        for part in sections:
            section = section.get(part) if isinstance(section, dict) else None
        if not isinstance(section, dict) or last not in section:
            known = sorted(section) if isinstance(section, dict) and section else sorted(values)
            raise SettingsError(f"--set {name}: there is no such setting; there are {', '.join(known)}")
        section[last] = value
    return _validated(values, "--set")


def save_settings(path: Path, settings: Settings) -> None:
    """Write `settings.toml`."""
    import tomli_w

    write_text(path, tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True)))


def load_settings(path: Path) -> Settings:
    """Read `settings.toml`.

    Raises:
        SettingsError: not TOML, or not settings of this version.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not a TOML file ({error}); restore it, or train into a new folder") from error
    return _validated(values, str(path))


def _validated(values: Mapping[str, Any], where: str) -> Settings:
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        what = error.errors()[0]
        name = ".".join(map(str, what["loc"]))
        # Without a name it is about several settings at once, which the message names itself.
        seen = f" {name}: {what['msg']}, not {what['input']!r}" if name else f" {what['msg']}"
        raise SettingsError(where + seen) from error
