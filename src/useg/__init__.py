"""useg: from a handful of annotated images to a segmentation of all the others.

    import useg
    useg.train("DATA", "RUN", minutes=10)
    model = useg.load("RUN")
    labels = model.predict(array).labels
    scores = useg.evaluate(model, "DATA/test")

The public names are loaded when they are first used, so that `import useg` is instant.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from useg.errors import UsegError
    from useg.evaluate import evaluate_folder as evaluate
    from useg.images.files import read
    from useg.objects.separate import separate
    from useg.predict import Predictor
    from useg.score_files import score_folders as score
    from useg.train import train
    from useg.unet.borders import BorderSettings, border_weights
    from useg.unet.losses import LossSettings, segmentation_loss
    from useg.unet.network import UNet, crop_and_concat
    from useg.unet.settings import UNetSettings
    from useg.watch import Watcher

    load = Predictor.load

_HOMES = {
    "BorderSettings": "useg.unet.borders:BorderSettings",
    "LossSettings": "useg.unet.losses:LossSettings",
    "Predictor": "useg.predict:Predictor",
    "UNet": "useg.unet.network:UNet",
    "UNetSettings": "useg.unet.settings:UNetSettings",
    "UsegError": "useg.errors:UsegError",
    "Watcher": "useg.watch:Watcher",
    "border_weights": "useg.unet.borders:border_weights",
    "crop_and_concat": "useg.unet.network:crop_and_concat",
    "evaluate": "useg.evaluate:evaluate_folder",
    "load": "useg.predict:Predictor.load",
    "read": "useg.images.files:read",
    "score": "useg.score_files:score_folders",
    "segmentation_loss": "useg.unet.losses:segmentation_loss",
    "separate": "useg.objects.separate:separate",
    "train": "useg.train:train",
}

__all__ = [
    "BorderSettings",
    "LossSettings",
    "Predictor",
    "UNet",
    "UNetSettings",
    "UsegError",
    "Watcher",
    "border_weights",
    "crop_and_concat",
    "evaluate",
    "load",
    "read",
    "score",
    "segmentation_loss",
    "separate",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'useg' has no attribute {name!r}")
    module, _, path = _HOMES[name].partition(":")
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


class _Package(ModuleType):
    """`useg.train` and `useg.evaluate` stay the functions, whoever imports the modules of these names, and when."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
