"""`useg export --to hub`: a folder for the Hugging Face Hub, from which `useg predict hf://owner/name` predicts."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from useg.atomic import replacing, require_output_folder, write_text
from useg.errors import SettingsError
from useg.export.about import Owner, model_page
from useg.hub import FILE
from useg.report.content import Report
from useg.unet.model import ModelCard, find_model, load_model
from useg.words import bounds

CONFIG, PAGE = "config.json", "README.md"


@dataclass(frozen=True)
class HubFolder:
    """What was written: the folder, the bytes of the model in it, and how many cautions its page tells."""

    path: Path
    bytes: int
    cautions: int


def export_hub(model: Path, out: Path, owner: Owner, report: Report | None = None) -> HubFolder:
    """Write a folder with the model, its card as `config.json`, and a page for people as `README.md`.

    `model.safetensors` is the model file to the letter: it is whole. No picture is in the folder, but cautions of the
    report may name images. What else stands in the folder stays there: it may be a checkout.

    Args:
        model: a model file or run folder. out: the folder. owner: authors and licence.
        report: scores and cautions to tell, see `useg.export.about.judge`.

    Raises:
        MissingError, ModelError: see `useg.unet.model.load_model`. OutputError: the folder cannot be written.
        SettingsError: the folder holds the model already.
    """
    source = require_folder(model, out)
    card, _ = load_model(source)
    name = out.resolve().name
    config = {"library_name": "useg", **card.model_dump(mode="json")}
    config["trained_on"] = {key: value for key, value in card.trained_on.items() if key != "checksums"}
    use = [
        f"```sh\npip install 'useg[train]'\nuseg predict hf://OWNER/{name} IMAGES -o OUT\n```",
        "Images may have any size and any format that useg reads. `model.safetensors` is the whole model: nothing in "
        "it is executed when it is read.",
    ]
    page = f"---\n{_front(name, card, report, owner)}---\n\n{model_page(name, card, report, owner, use)}"
    with replacing(out / FILE) as temporary:
        shutil.copyfile(source, temporary)
    write_text(out / CONFIG, json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    write_text(out / PAGE, page)
    return HubFolder(out, (out / FILE).stat().st_size, len(report.cautions) if report else 0)


def require_folder(model: Path, out: Path) -> Path:
    """See that the folder can be written, and give the model's file.

    Raises:
        MissingError: there is no such model. OutputError: the folder cannot be written.
        SettingsError: the folder holds the model already.
    """
    source = find_model(model)
    if (out / FILE).resolve() == source.resolve():
        raise SettingsError(f"{out}: holds this very model; name another folder")
    require_output_folder(out)
    return source


def _front(name: str, card: ModelCard, report: Report | None, owner: Owner) -> str:
    """What the Hub reads of a page: YAML, whose values may be written as JSON."""
    kind = "instance" if card.masks == "instances" else "semantic"
    told: dict[str, Any] = {
        "library_name": "useg",
        **({"license": owner.licence.lower()} if owner.licence else {}),
        "pipeline_tag": "image-segmentation",
        "tags": ["u-net", f"{kind}-segmentation", f"{card.network.dims}d", "safetensors"],
    }
    if metrics := _metrics(card, report):
        data = {"name": "images scored by useg" if report else "held-out images", "type": "images"}
        result = {"task": {"type": "image-segmentation"}, "dataset": data, "metrics": metrics}
        told["model-index"] = [{"name": name, "results": [result]}]
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in told.items())


def _metrics(card: ModelCard, report: Report | None) -> list[dict[str, Any]]:
    """Dice of each class, with its bounds where they are known."""
    if report:
        found = [(row.name, row.dice, f" (95 %: {bounds(row.dice_interval)})") for row in report.rows]
    else:
        dice = card.scores.get("dice", [None] * len(card.classes))
        found = [(one.name, value, "") for one, value in zip(card.classes, dice, strict=True)]
    return [
        {"type": "dice", "name": f"Dice of {name}{between}", "value": round(value, 4)}
        for name, value, between in found
        if value is not None and not math.isnan(value)
    ]
