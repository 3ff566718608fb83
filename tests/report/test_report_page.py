"""The page in a browser: it fits, fetches nothing, throws nothing, and its switches change what is seen."""

import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from reports import EVIL, evil_report

from useg.errors import OutputError
from useg.report.page import OPEN_IMAGES, render, write_report

IMAGES = OPEN_IMAGES + 2
WIDTHS = {"screen": 1280, "phone": 390}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything on it, of 12 classes."""
    run = tmp_path_factory.mktemp("run")
    log = [f'{{"step": {n}, "loss": {1 / n}, "seconds": 0.1}}' for n in range(1, 90)]
    log += [f'{{"step": {n}, "validation": {{"foreground_dice": {n / 100}}}}}' for n in (30, 60, 89)]
    (run / "metrics.jsonl").write_text("\n".join(log), encoding="utf-8")
    (run / "settings.toml").write_text(f"# {EVIL}", encoding="utf-8")
    path = run / "report.html"
    write_report(path, evil_report(classes=12, images=IMAGES, run=run))
    return path


class Tags(HTMLParser):
    """Every tag of a page, with what it holds."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    return tags


def test_names_stay_text_and_no_address_leads_outside(written: Path) -> None:
    page = written.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    found = parsed(page)
    names = [tag for tag, _ in found.tags]
    assert names.count("script") == 1
    assert all(value.startswith(("data:", "#")) for _, a in found.tags for k in ("src", "href") if (value := a.get(k)))
    assert not [key for _, attributes in found.tags for key in attributes if key.startswith("on")]
    assert not re.search(r"url\(|@import|http://|https://", re.sub(r"base64,[\w+/=]*", "", page))
    # Nothing was lost either: each evil name stands there to be read, in headings, cells and code.
    assert "".join(found.text).count(EVIL) > 2 * IMAGES


def test_every_picture_and_field_has_a_name_for_those_who_do_not_see(written: Path) -> None:
    found = parsed(written.read_text(encoding="utf-8"))
    labelled = {a["for"] for tag, a in found.tags if tag == "label" and "for" in a}
    for tag, attributes in found.tags:
        if tag == "img":
            assert attributes.get("alt")
        if tag == "svg":
            assert attributes.get("role") == "img"
            assert attributes.get("aria-label")
        if tag == "input" and attributes.get("type") == "radio":
            assert attributes["id"] in labelled
    ids = [a["id"] for _, a in found.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for tag, a in found.tags if tag == "a" and a.get("href")} <= set(ids)


def test_the_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    report = evil_report(classes=2, images=2)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(tmp_path / "file" / "report.html", report)
    write_report(tmp_path / "report.html", report)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "report.html"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render(report)


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, browser: Any, written: Path) -> Iterator[Any]:
    """The page, opened from disk; whatever it asks for or complains of fails the test."""
    page = browser.new_page(viewport={"width": WIDTHS[request.param], "height": 900})
    asked: list[str] = []
    told: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("dialog", lambda dialog: told.append(dialog.message))
    page.goto(written.as_uri())
    yield page
    page.close()
    assert [url for url in asked if not url.startswith("data:")] == [written.as_uri()]
    assert told == []


def visible(page: Any) -> list[list[str]]:
    """The layers that are seen, image by image."""
    return page.evaluate(
        """[...document.querySelectorAll(".stack")].map(stack => [...stack.querySelectorAll(".layer")]
           .filter(layer => getComputedStyle(layer).visibility === "visible").map(layer => layer.alt))"""
    )


def test_it_fits_the_screen(page: Any) -> None:
    width, room = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert width <= room
    # Nor is anything cut off at the right, but inside what scrolls by itself.
    outside = page.evaluate(
        """[...document.querySelectorAll("main *")].filter(e => !e.closest(".wide") && !e.closest("svg")
           && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
    )
    assert outside == []
    assert page.title().startswith("How good is")


def test_pictures_are_decoded_and_the_screen_is_not_empty(page: Any) -> None:
    broken = page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).length")
    assert broken == 0
    page.locator(".stack").first.scroll_into_view_if_needed()
    shown = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("L"), float)
    assert shown.std() > 10


def test_switches_change_the_layer_of_one_image_and_of_all(page: Any) -> None:
    before = visible(page)
    assert before == [["errors"]] * IMAGES
    page.locator(".entry .for-truth").first.click()
    assert visible(page) == [["truth"], *before[1:]]
    page.locator("label[for=all-prediction]").click()
    assert visible(page) == [["prediction"]] * IMAGES
    page.locator("label[for=all-image]").click()
    assert visible(page) == [[]] * IMAGES


def test_the_keyboard_reaches_the_layers(page: Any) -> None:
    page.locator("#errors-1").focus()
    page.keyboard.press("ArrowLeft")
    assert visible(page)[0] == ["prediction"]
    page.locator("#strength").focus()
    page.keyboard.press("Home")
    opacity = page.evaluate("getComputedStyle(document.querySelector('.layer')).opacity")
    assert float(opacity) == 0


def test_an_image_grows_over_the_whole_row(page: Any) -> None:
    stack = page.locator(".stack").first
    before = stack.bounding_box()["width"]
    page.locator(".larger").first.click()
    after, room = stack.bounding_box()["width"], page.locator(".gallery").first.bounding_box()["width"]
    assert after == pytest.approx(room, abs=1)
    assert after >= before


def test_dark_and_paper_have_their_own_colours(page: Any) -> None:
    def ground() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light = ground()
    page.emulate_media(color_scheme="dark")
    dark = ground()
    page.emulate_media(color_scheme="dark", media="print")
    assert len({light, dark}) == 2
    assert ground() == "rgb(255, 255, 255)"


def test_layers_switch_without_script(browser: Any, written: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(written.as_uri())
    layers = page.locator(".entry").first.locator(".layer")
    page.locator(".entry .for-truth").first.click()
    assert [layers.nth(i).is_visible() for i in range(3)] == [True, False, False]
    assert not page.locator("#strength").is_visible()
    context.close()
