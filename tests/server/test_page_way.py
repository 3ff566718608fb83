"""The whole way through the page in a real browser: visit, drop, overlay, paint, keep, improve, go back, download."""

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from looks import FAINT, SMALL, UNNAMED
from PIL import Image
from servers import png_of, tiff_of
from visits import (
    DESK,
    PHONE,
    SIZE,
    Place,
    distance,
    drop,
    keep_truth,
    overlay,
    picture,
    predicted,
    served,
    stroke,
    wait_for_state,
)

from models import make_card, make_network
from useg.unet.model import ClassInfo, InputSeen, save_model
from useg.unet.settings import UNetSettings

CLASSES = {"background": (32, 34, 40), "disc": (230, 159, 0)}
NETWORK = UNetSettings(padding="same", norm="batch", depth=1, width=4)


@pytest.fixture(scope="module")
def begun(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """An empty folder without a model."""
    with served(tmp_path_factory.mktemp("begun"), None) as place:
        yield place


@pytest.fixture(scope="module")
def known(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """An empty folder and a small model of two classes."""
    root = tmp_path_factory.mktemp("known")
    classes = [ClassInfo(name=name, colour=c, value=k) for k, (name, c) in enumerate(CLASSES.items())]
    card = make_card(NETWORK, classes=classes, input=InputSeen(dtype="uint8", low=[0], high=[255]))
    save_model(root / "model.safetensors", card, make_network(NETWORK, 0).state_dict())
    with served(root, root / "model.safetensors") as place:
        yield place


def test_first_visit_of_an_empty_folder(browser: Any, begun: Place) -> None:
    with begun.page(browser) as page:
        page.locator("#welcome").wait_for()
        assert page.locator(".steps li").count() == 3
        page.screenshot(path=begun.shots / "welcome.png")
        drop(page, {"one.png": picture(1)})
        wait_for_state(page, "one", "New")
        page.locator("#welcome").wait_for(state="hidden")
        assert page.locator("#predict").is_disabled()
        assert page.locator("#improve").is_disabled()
        assert "keep it" in page.locator("#improve-why").inner_text()
        line = (30, 40), (90, 60)
        stroke(page, *line)
        wait_for_state(page, "one", "Draft")
        page.keyboard.press("k")
        # What was not painted is not taken for background without asking.
        page.locator("dialog button[value=background]").click()
        wait_for_state(page, "one", "Kept")
        page.locator("#improve-why", has_text="the image that you kept").wait_for()
        assert page.locator("#improve").is_enabled()
        page.screenshot(path=begun.shots / "kept.png")
        mask, far = begun.masks()["one"], distance(*line)
        assert (mask[far < 9] == 1).all()
        assert (mask[far > 11] == 0).all()
        # Of a stack, the slices that nobody painted stay as they are.
        stack = np.stack([picture(k) for k in range(2, 7)])
        page.set_input_files("#add-files", {"name": "deep.tif", "mimeType": "image/tiff", "buffer": tiff_of(stack)})
        page.locator("#slice-value", has_text="1 of 5").wait_for()
        page.keyboard.press("PageDown")
        stroke(page, *line)
        page.keyboard.press("k")
        page.locator("dialog button[value=painted]").click()
        wait_for_state(page, "deep", "Kept")
        slices = tifffile.imread(begun.folder / "masks" / "deep.tif")
        assert set(np.unique(slices[1])) == {0, 1}
        assert (np.delete(slices, 1, 0) == 255).all()


def test_the_way_from_an_image_to_a_better_model_and_back(browser: Any, known: Place, tmp_path: Path) -> None:
    with known.page(browser) as page:
        page.locator("#welcome").wait_for()
        drop(page, {f"way{k}.png": picture(k) for k in range(3)})
        wait_for_state(page, "way0", "Predicted")
        page.wait_for_timeout(100)
        labels = predicted(page, "way0")
        assert 0 < (labels == 1).mean() < 1
        assert overlay(page) > 100
        page.screenshot(path=known.shots / "overlay.png")

        line = (20.0, 20.0), (100.0, 80.0)
        stroke(page, *line)
        page.locator("#keep").click()
        wait_for_state(page, "way0", "Kept")
        mask, far = known.masks()["way0"], distance(*line)
        assert (mask[far < 9] == 1).all()
        assert (mask[far > 11] == labels[far > 11]).all()

        page.locator("#gallery .card", has_text="way1").click()
        page.locator("#where", has_text="way1").wait_for()
        page.keyboard.press("m")
        wait_for_state(page, "way1", "Predicted")
        page.keyboard.press("k")
        wait_for_state(page, "way1", "Kept")
        assert (known.masks()["way1"] == predicted(page, "way1")).all()

        keep_truth(page, known.url, {"way1": 1, "way2": 2})
        page.reload()
        wait_for_state(page, "way2", "Kept")
        page.locator("#minutes").fill("0.2")
        page.locator("#improve").click()
        page.locator("#improve-run").wait_for()
        page.screenshot(path=known.shots / "improve.png")
        page.locator("#improve-done").wait_for()
        told = page.locator("#improve-done").inner_text()
        assert re.search(r"Dice on held-out images\s+\d\.\d\d → \d\.\d\d|did not get better", told), told
        page.screenshot(path=known.shots / "improved.png")

        page.locator("#runs summary").click()
        assert page.locator(".run").count() == 1
        report = page.locator(".run a").get_attribute("href")
        assert page.request.get(known.url.rstrip("/") + report).ok
        if "→" in told:
            page.locator("#compare-done").wait_for()
            page.screenshot(path=known.shots / "beside.png")
            page.keyboard.press("Escape")
            page.locator("#improve-done button", has_text="Go back").click()
        else:  # this machine had no time for a step
            page.locator(".run button").click()
        page.locator(".toast", has_text="in use").wait_for()

        page.locator("#download-button").click()
        with page.expect_download() as download:
            page.locator("dialog a", has_text="All masks").click()
        download.value.save_as(tmp_path / "masks.zip")
        with zipfile.ZipFile(tmp_path / "masks.zip") as saved:
            assert {f"masks/way{k}.png" for k in range(3)} | {"legend.csv"} <= set(saved.namelist())
            assert (np.asarray(Image.open(io.BytesIO(saved.read("masks/way0.png")))) == mask).all()
        page.keyboard.press("Escape")
        # A kept image can be taken back: its labels are a draft again.
        page.locator("#gallery .card", has_text="way1").click()
        page.locator("#discard", has_text="Take back").click()
        wait_for_state(page, "way1", "Draft")
        assert "way1" not in known.masks()


def test_by_keyboard_alone(browser: Any, known: Place) -> None:
    with known.page(browser) as page:
        page.locator("body[data-view]").wait_for()
        page.set_input_files("#add-files", {"name": "keys.png", "mimeType": "image/png", "buffer": png_of(picture(7))})
        wait_for_state(page, "keys", "Predicted")
        page.keyboard.press("?")
        page.locator("dialog[open]").wait_for()
        assert page.locator("dialog dt").count() > 20
        page.screenshot(path=known.shots / "help.png")
        page.keyboard.press("Escape")
        before = predicted(page, "keys")
        page.locator("#viewer").focus()
        page.keyboard.press("1" if before[SIZE[0] // 2, SIZE[1] // 2] == 0 else "0")
        page.keyboard.press("Enter")
        assert page.locator("#undo").is_enabled()
        page.keyboard.press("Control+z")
        assert page.locator("#undo").is_disabled()
        page.keyboard.press("Control+y")
        page.keyboard.press("k")
        wait_for_state(page, "keys", "Kept")
        mask = known.masks()["keys"]
        assert mask[SIZE[0] // 2, SIZE[1] // 2] != before[SIZE[0] // 2, SIZE[1] // 2]
        assert mask[0, 0] == before[0, 0]

        # A stroke is one action, however many keys it took; the tools stay as they are from image to image.
        page.keyboard.press("v")
        page.keyboard.press("]")
        size = page.locator("#size-value").inner_text()
        stack = np.stack([picture(k) for k in range(11, 16)])
        page.set_input_files("#add-files", {"name": "slices.tif", "mimeType": "image/tiff", "buffer": tiff_of(stack)})
        wait_for_state(page, "slices", "Predicted")
        assert page.locator("#size-value").inner_text() == size != "20 px"
        assert page.locator("#protect[aria-checked=true]").count() == 1
        page.locator("#viewer").focus()
        page.keyboard.press("PageDown")
        page.locator("#slice-value", has_text="2 of 5").wait_for()
        page.keyboard.press("x")
        page.keyboard.down("Shift")
        for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
            page.keyboard.press(key)
        page.keyboard.up("Shift")
        page.keyboard.press("k")
        wait_for_state(page, "slices", "Kept")
        void = tifffile.imread(known.folder / "masks" / "slices.tif") == 255
        assert void[1].any() and not void[[0, 2, 3, 4]].any()
        page.keyboard.press("Control+z")
        assert page.locator("#undo").is_disabled()

        # The first press of the Tab key leads past all else to the image.
        page.reload()
        page.locator("#gallery .card").first.wait_for()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        reached = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
        assert {
            "viewer",
            "predict",
            "edit-classes",
            "opacity",
            "window-low",
            "improve",
            "size",
            "add-button",
            "card",
        } <= reached


def test_a_kept_image_beside_what_the_model_says(browser: Any, known: Place) -> None:
    with known.page(browser) as page:
        drop(page, {"beside.png": picture(6)})
        wait_for_state(page, "beside", "Predicted")
        # All of it is the class that was picked first.
        page.keyboard.press("]")
        page.locator("#size").fill("100")
        for y in (10, 50, 86):
            stroke(page, (2, y), (126, y))
        page.keyboard.press("k")
        wait_for_state(page, "beside", "Kept")
        assert (known.masks()["beside"] == 1).all()
        page.keyboard.press("m")
        page.locator("#compare").wait_for()
        assert page.locator(".tag").all_inner_texts() == ["Yours", "The model"]
        seen = {}
        for at in (0, 50, 100):
            page.locator("#compare-at").fill(str(at))
            page.wait_for_timeout(100)
            seen[at] = overlay(page)
        page.screenshot(path=known.shots / "compare.png")
        assert seen[0] < seen[50] < seen[100]
        page.locator("#compare-use").click()
        wait_for_state(page, "beside", "Draft")
        assert known.masks()["beside"].all()
        page.keyboard.press("k")
        wait_for_state(page, "beside", "Kept")
        assert (known.masks()["beside"] == predicted(page, "beside")).all()


def test_two_tabs_do_not_overwrite_each_other(browser: Any, known: Place) -> None:
    # The browser itself notes that the stale version was refused.
    with known.page(browser) as one, known.page(browser, expected="412") as other:
        drop(one, {"both.png": picture(8)})
        wait_for_state(one, "both", "Predicted")
        other.goto(f"{known.url}#both")
        other.reload()
        other.locator("#where", has_text="both").wait_for()
        stroke(one, (10, 10), (40, 10))
        wait_for_state(one, "both", "Draft")
        stroke(other, (80, 80), (110, 80))
        other.locator("dialog[open]").wait_for()
        other.screenshot(path=known.shots / "conflict.png")
        other.locator("dialog button[value=theirs]").click()
        other.locator("#saved[data-state=saved]").wait_for()
        answer = other.request.get(f"{known.url}api/images/both/labels?source=draft")
        draft = np.frombuffer(answer.body(), np.uint8).reshape(SIZE)
        assert (draft[6:14, 12:38] == 1).all()


def test_strokes_are_kept_while_the_server_is_away(browser: Any, known: Place) -> None:
    with known.page(browser, expected="ERR_INTERNET_DISCONNECTED") as page:
        drop(page, {"away.png": picture(9)})
        wait_for_state(page, "away", "Predicted")
        page.context.set_offline(True)
        stroke(page, (10, 10), (40, 10))
        page.locator("#saved[data-state=offline]").wait_for()
        page.locator("#banner").wait_for()
        page.screenshot(path=known.shots / "away.png")
        page.context.set_offline(False)
        page.locator("#saved[data-state=saved]").wait_for()
        page.locator("#banner").wait_for(state="hidden")
        wait_for_state(page, "away", "Draft")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_it_fits_is_named_and_can_be_read(browser: Any, known: Place, size: dict[str, int], scheme: str) -> None:
    with known.page(browser, size, color_scheme=scheme) as page:
        page.locator("body[data-view=image], body[data-view=empty]").wait_for()
        drop(page, {"seen.png": picture(10)})
        page.locator("#where", has_text="seen").wait_for(state="attached")
        tabs = page.locator("[role=tab]") if size is PHONE else None
        for k in range(tabs.count() if tabs else 1):
            if tabs:
                tabs.nth(k).click()
            page.screenshot(path=known.shots / f"{scheme}-{size['width']}-{k}.png")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert page.evaluate(UNNAMED) == []
            assert page.evaluate(FAINT) == []
            if size is PHONE:
                assert page.evaluate(SMALL) == []
