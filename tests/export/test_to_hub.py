"""A folder for the Hugging Face Hub holds the whole model, says what is known of it, and leaves others' files alone."""

import json
from pathlib import Path

import pytest
import yaml

import useg
from models import files_of, make_model
from useg.demo import draw_data_set
from useg.errors import MissingError, ModelError, OutputError, SettingsError
from useg.export import Owner, export_hub, export_onnx, judge
from useg.unet.model import load_model, read_card, save_model


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    draw_data_set(folder / "DATA", train_images=6, test_images=2, size=64)
    small = {"network.width": 2, "network.depth": 1, "samples.batch": 1, "machine.threads": 1}
    useg.train(folder / "DATA", folder / "cells", steps=4, overrides=small)
    return folder


def front_of(page: str) -> dict[str, object]:
    head, mark, _ = page.removeprefix("---\n").partition("---\n")
    assert mark
    found: dict[str, object] = yaml.safe_load(head)
    return found


def test_the_model_is_whole_and_its_scores_are_told(tmp_path: Path, trained: Path) -> None:
    run = trained / "cells"
    report = judge(run)
    assert report
    done = export_hub(run, tmp_path / "nuclei", Owner(("A. Maker",), "CC-BY-4.0"), report)
    assert (done.path / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    assert set(files_of(done.path)) == {"model.safetensors", "config.json", "README.md"}
    config, card = json.loads((done.path / "config.json").read_text()), read_card(run)
    assert config["network"] == card.network.model_dump(mode="json")
    assert "checksums" not in config["trained_on"]
    page = (done.path / "README.md").read_text(encoding="utf-8")
    front = front_of(page)
    assert (front["license"], front["library_name"]) == ("cc-by-4.0", "useg")
    (index,) = front["model-index"]
    metrics = index["results"][0]["metrics"]
    # The held-out images scored again are scored the same.
    assert [one["value"] for one in metrics] == pytest.approx(card.scores["dice"], abs=0.01)
    assert all("95 %:" in one["name"] for one in metrics)
    assert done.cautions == len(report.cautions) > 0
    for words in ("Only 1 image was scored", "they chose the model that was kept", "| class | Dice | 95 % |"):
        assert words in page.replace("\\", "")


def test_scores_on_other_images_are_told_as_such(trained: Path) -> None:
    report = judge(trained / "cells", trained / "DATA")
    assert report
    assert len(report.images) == 2
    assert any("2 images of the folder DATA" in sentence for sentence in report.summary)
    assert not any("chose the model" in caution.text for caution in report.cautions)


def test_a_model_of_unknown_data_is_told_as_far_as_it_is_known(tmp_path: Path, trained: Path) -> None:
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((trained / "cells" / "model.safetensors").read_bytes())
    assert judge(alone) is None
    done = export_hub(alone, tmp_path / "nuclei", Owner())
    page = (done.path / "README.md").read_text(encoding="utf-8")
    assert "license" not in front_of(page)
    assert "No licence was given" in page
    assert "There are no bounds" in page
    # And one that was never scored.
    done = export_hub(make_model(tmp_path), tmp_path / "cells", Owner())
    page = (done.path / "README.md").read_text(encoding="utf-8")
    assert "model-index" not in front_of(page)
    assert "Not scored." in page


def test_names_do_no_harm_on_the_page(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    card, (network,) = load_model(model)
    evil = card.model_copy(update={"classes": [c.model_copy(update={"name": "<b>\n---\n# x"}) for c in card.classes]})
    save_model(model, evil, network.state_dict())
    done = export_hub(model, tmp_path / "out", Owner(("*me*",)))
    page = (done.path / "README.md").read_text(encoding="utf-8")
    assert front_of(page)["library_name"] == "useg"
    assert not {"<b>", "# x", "*me*"} & set(page.splitlines())
    assert "\\<b\\> --- \\# x" in page


def test_what_stands_in_the_folder_stays(tmp_path: Path) -> None:
    out = tmp_path / "checkout"
    (out / ".git").mkdir(parents=True)
    (out / ".git" / "HEAD").write_text("ref: refs/heads/main")
    (out / "README.md").write_text("old")
    export_hub(make_model(tmp_path), out, Owner())
    assert (out / ".git" / "HEAD").read_text() == "ref: refs/heads/main"
    assert "No licence" in (out / "README.md").read_text(encoding="utf-8")


def test_what_cannot_be_written_is_told(tmp_path: Path, trained: Path) -> None:
    model = make_model(tmp_path)
    with pytest.raises(SettingsError, match="holds this very model"):
        export_hub(trained / "cells", trained / "cells", Owner())
    with pytest.raises(ModelError, match="can predict but not learn"):
        export_hub(export_onnx(model, tmp_path / "m.onnx").path, tmp_path / "out", Owner())
    with pytest.raises(OutputError, match="is a file"):
        export_hub(model, model, Owner())
    with pytest.raises(MissingError):
        export_hub(tmp_path / "none", tmp_path / "out", Owner())
    assert not (tmp_path / "out").exists()
