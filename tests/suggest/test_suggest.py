"""What to annotate next: unlike what is known, unlike each other, and a data set that can be corrected and used."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from skimage.transform import downscale_local_mean

from models import SMALL, files_of, make_card, make_image, make_model, make_network
from useg.data.dataset import Pair, load_example
from useg.data.prepare import prepare
from useg.errors import OutputError
from useg.evaluate import legend_of_model
from useg.images.files import read, read_header, read_mask, write_labels
from useg.images.image import COLOUR
from useg.predict import Predictor, PredictSettings
from useg.settings import DataSettings, Settings, save_settings
from useg.suggest.candidates import Candidate, checksum, doubt_of, floors, halved, look, parts_of, regions_of
from useg.suggest.gain import Space, rank
from useg.suggest.proposals import contact_sheet_of, export_suggestions
from useg.suggest.ranking import Suggestions, SuggestSettings, annotated_in, suggest
from useg.unet.model import ClassInfo, save_model
from useg.unet.settings import UNetSettings

CPU = PredictSettings(device="cpu", precision="float32")


def textured(seed: int, grain: int = 1, level: float = 100, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    """Noise of some coarseness around a gray value."""
    small = np.random.default_rng(seed).normal(0, 25, [-(-n // grain) for n in size])
    noise = small.repeat(grain, 0).repeat(grain, 1)[: size[0], : size[1]]
    return np.clip(level + noise, 0, 255).astype(np.uint8)


def save(folder: Path, images: dict[str, np.ndarray]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, pixels in images.items():
        Pillow.fromarray(pixels).save(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in images]


def predictor_of(tmp_path: Path, **changes: object) -> Predictor:
    """A model of three classes with random weights."""
    network = UNetSettings.model_validate({**SMALL, "classes": 3})
    path = tmp_path / "model.safetensors"
    save_model(path, make_card(network, **changes), make_network(network, 0).state_dict())
    return Predictor.load(path, CPU)


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    seen = {"dtype": "uint8", "low": [0.0], "high": [255.0]}
    return predictor_of(tmp_path, input=seen)


def pairs_of(images: Sequence[Path]) -> list[Pair]:
    return [Pair(path.stem, path, path) for path in images]


def names(found: Suggestions) -> list[str]:
    return [one.name for one in found.chosen]


@given(st.lists(st.integers(1, 3000), min_size=2, max_size=2), st.integers(32, 700), st.booleans())
def test_regions_tile_the_image(size: list[int], edge: int, whole: bool) -> None:
    regions = regions_of(size, edge, whole=whole)
    if regions == [None]:
        assert whole and max(size) <= 2 * edge
        return
    covered = np.zeros(size, np.uint8)
    for region in regions:
        assert region is not None
        assert all(0 <= part.start < part.stop <= n for part, n in zip(region, size, strict=True))
        covered[region] += 1
    assert (covered == 1).all()
    assert max(part.stop - part.start for region in regions if region for part in region) <= max(1.5 * edge + 1, 2)


def described(rows: Sequence[Sequence[float]], uncertainty: Sequence[float]) -> list[Candidate]:
    some = doubt_of(np.full((2, 4, 4), 0.5, np.float32), np.zeros((4, 4), np.uint8))
    return [
        Candidate(Path(f"{i}.png"), None, str(i), replace(some, mistakes=u, dice_lost=u), np.array(row, float))
        for i, (row, u) in enumerate(zip(rows, uncertainty, strict=True))
    ]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 999), st.integers(1, 12), st.integers(1, 15), st.integers(0, 4))
def test_the_order_has_each_candidate_once(seed: int, many: int, count: int, known: int) -> None:
    rng, card = np.random.default_rng(seed), make_card(UNetSettings.model_validate(SMALL))
    width = len(floors(card))
    candidates = described(rng.normal(size=(many, width)).tolist(), rng.uniform(size=many).tolist())
    annotated = described(rng.normal(size=(known, width)).tolist(), [0.0] * known)
    picks = rank(candidates, Space.of(candidates, annotated, card), count)
    assert len(picks) == len({pick.index for pick in picks}) == min(many, count)
    assert all(0 <= pick.novelty <= 1 and 0 <= pick.score <= 1 for pick in picks)
    scores = [pick.score for pick in picks]
    assert scores == sorted(scores, reverse=True)  # each choice can only lessen what is left
    for place, pick in enumerate(picks):
        if pick.earlier:
            assert pick.nearest in [before.index for before in picks[:place]]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.integers(2, 5), st.integers(2, 5))
def test_near_duplicates_come_behind_everything_else(seed: int, kinds: int, copies: int) -> None:
    rng, card = np.random.default_rng(seed), make_card(UNetSettings.model_validate(SMALL))
    width = len(floors(card))
    centres = 10 * np.linalg.qr(rng.normal(size=(width, width)))[0][:kinds]
    rows = np.repeat(centres, copies, 0) + rng.normal(0, 1e-3, (kinds * copies, width))
    candidates = described(rows.tolist(), rng.uniform(0.1, 0.9, len(rows)).tolist())
    picks = rank(candidates, Space.of(candidates, [], card), kinds)
    assert {pick.index // copies for pick in picks} == set(range(kinds))


def test_of_equally_new_images_the_unsure_comes_first() -> None:
    card = make_card(UNetSettings.model_validate(SMALL))
    rows = 10 * np.eye(len(floors(card)))[:4]
    candidates = described(rows.tolist(), [0.2, 0.1, 0.4, 0.3])
    picks = rank(candidates, Space.of(candidates, [], card), 4)
    assert [pick.index for pick in picks] == [2, 3, 0, 1]


def test_an_image_that_stands_for_others_comes_before_a_stranger() -> None:
    """Both new, the stranger somewhat less sure: to annotate it would tell about nothing else."""
    card = make_card(UNetSettings.model_validate(SMALL))
    directions = 10 * np.eye(len(floors(card)))
    rows = [directions[0], *(directions[1] + 1e-4 * step for step in directions[2:6])]
    candidates = described(np.array(rows).tolist(), [0.5, 0.4, 0.4, 0.4, 0.4])
    first, second = rank(candidates, Space.of(candidates, [], card), 2)
    assert (first.index > 0, second.index) == (True, 0)
    assert (first.like, second.like) == (3, 0)


def test_doubt_is_none_of_the_certain_and_most_of_the_undecided() -> None:
    labels = np.zeros((8, 8), np.uint8)
    labels[:, 4:] = 1
    sure = np.stack([labels == 0, labels == 1, np.zeros_like(labels)]).astype(np.float32)
    certain = doubt_of(sure, labels)
    assert (certain.uncertainty, certain.unsure) == (0, 0)
    half = np.stack([np.full((8, 8), 0.5), np.full((8, 8), 0.45), np.full((8, 8), 0.05)]).astype(np.float32)
    assert doubt_of(half, np.zeros((8, 8), np.uint8)).between == (0, 1)
    assert doubt_of(half, np.zeros((8, 8), np.uint8)).unsure == 1
    blurred = 0.7 * sure + 0.1
    assert 0 < doubt_of(0.9 * sure + 0.1 / 3, labels).uncertainty < doubt_of(blurred, labels).uncertainty


def test_doubt_about_nothing_is_little() -> None:
    """The expected Dice of a speck in an empty image is 0, and there is nothing to learn from it."""
    speck = np.zeros((100, 100), np.float32)
    speck[:3, :3] = 0.4
    empty = doubt_of(np.stack([1 - speck, speck]), np.zeros((100, 100), np.uint8))
    assert empty.dice_lost < 0.05


def test_what_is_unlike_the_training_comes_first(tmp_path: Path, predictor: Predictor) -> None:
    known = save(tmp_path / "known", {f"k{i}": textured(i) for i in range(4)})
    fresh = {f"same{i}": textured(10 + i) for i in range(3)} | {"other": textured(20, grain=8, level=200)}
    found = suggest(predictor, save(tmp_path / "new", fresh), annotated=pairs_of(known))
    assert names(found)[0] == "other" and found.candidates == 4
    assert "nothing it was trained on" in found.chosen[0].reason and "brighter" in found.chosen[0].reason
    assert all("much like" in one.reason and "annotated" in one.reason for one in found.chosen[1:])
    assert found.chosen[0].score > 3 * found.chosen[1].score


def test_of_a_burst_of_equal_images_one_is_suggested(tmp_path: Path, predictor: Predictor) -> None:
    burst = {f"burst{i}": np.roll(textured(0), i, axis=1) for i in range(5)}
    rest = {"coarse": textured(1, grain=8), "bright": textured(2, level=200), "dark": textured(3, level=30)}
    found = suggest(predictor, save(tmp_path / "new", burst | rest), SuggestSettings(count=5))
    assert sum(name.startswith("burst") for name in names(found)[:4]) == 1
    assert "ahead of it" in found.chosen[4].reason
    again = suggest(predictor, sorted((tmp_path / "new").iterdir()), SuggestSettings(count=5))
    assert suggest(predictor, sorted((tmp_path / "new").iterdir()), SuggestSettings(count=5)) == again


def test_equal_images_are_all_suggested_where_there_is_nothing_else(tmp_path: Path, predictor: Predictor) -> None:
    sources = save(tmp_path / "new", {name: textured(0) for name in "abc"})
    found = suggest(predictor, sources)
    assert sorted(names(found)) == ["a", "b", "c"] and found.candidates == 3
    assert [one.score > 1e-6 for one in found.chosen] == [True, False, False]


def test_even_images_do_not_break_it(tmp_path: Path, predictor: Predictor) -> None:
    images = {"black": np.zeros((40, 50), np.uint8), "dot": np.full((1, 1), 9, np.uint8), "line": textured(0)[:1]}
    found = suggest(predictor, save(tmp_path / "new", images))
    assert not found.failed and all(np.isfinite(one.score) for one in found.chosen)


def test_nothing_to_suggest(predictor: Predictor) -> None:
    assert suggest(predictor, []) == Suggestions([], [], [], 0)


def test_what_a_run_was_trained_on_is_left_out(tmp_path: Path, predictor: Predictor) -> None:
    """By its pixels: under another name, in another format, and as a region that was cut out and annotated."""
    data, run, large = tmp_path / "data", tmp_path / "run", textured(9, size=(64, 160))
    save(data / "images", {"a": textured(0), "b": textured(1), "cut": large[:, :53]})
    save(data / "masks", {"a": textured(0) // 200, "b": textured(1) // 200, "cut": large[:, :53] // 200})
    save_settings(run / "settings.toml", Settings(data=DataSettings(folder=str(data))))
    sources = save(tmp_path / "new", {"b_again": textured(1), "fresh": textured(2), "large": large})
    tifffile.imwrite(tmp_path / "new" / "c.tif", textured(0))
    found = suggest(
        predictor, [*sources, tmp_path / "new" / "c.tif"], SuggestSettings(region=48), annotated=annotated_in(run)
    )
    assert [path.name for path in found.annotated] == ["b_again.png", "c.tif"]
    assert sorted(names(found)) == ["fresh", "large_y0_x107", "large_y0_x53"]
    told = json.loads(json.dumps(found.as_dict()))
    assert [one["name"] for one in told["chosen"]] == names(found)
    assert {"large_y0_x53": [[0, 64], [53, 107]], "fresh": None}.items() <= {
        one["name"]: one["region"] for one in told["chosen"]
    }.items()
    assert [Path(path).name for path in told["annotated"]] == ["b_again.png", "c.tif"]


def test_a_model_file_knows_of_no_annotated_images(tmp_path: Path) -> None:
    assert annotated_in(tmp_path / "model.safetensors") == []
    save_settings(tmp_path / "settings.toml", Settings(data=DataSettings(folder=str(tmp_path / "gone"))))
    assert annotated_in(tmp_path) == []


def test_bad_files_are_reported_and_the_others_go_on(tmp_path: Path, predictor: Predictor) -> None:
    sources = save(tmp_path / "new", {"good": textured(0), "three": np.moveaxis(make_image((20, 20), 3), 0, -1)})
    (tmp_path / "new" / "bad.png").write_bytes(b"no image at all")
    tifffile.imwrite(tmp_path / "new" / "volume.tif", np.zeros((5, 20, 20), np.uint8))
    told: list[tuple[str, bool]] = []
    sources += [tmp_path / "new" / "bad.png", tmp_path / "new" / "volume.tif", tmp_path / "new" / "gone.png"]
    found = suggest(predictor, sources, watch=lambda path, error: told.append((path.name, error is None)))
    assert names(found) == ["good"]
    assert [path.name for path, _ in found.failed] == ["three.png", "bad.png", "volume.tif", "gone.png"]
    assert "3 channels" in found.failed[0][1] and "2-D" in found.failed[2][1]
    assert told == [("good.png", True), *((path.name, False) for path, _ in found.failed)]


def test_volumes_are_suggested_and_exported_whole(tmp_path: Path) -> None:
    predictor = Predictor.load(make_model(tmp_path, dims=3), CPU)
    sources = [tmp_path / "new" / f"{name}.nrrd" for name in "abc"]
    for seed, path in enumerate(sources):
        write_labels(path, np.stack([textured(seed, grain=1 + seed, size=(30, 40))] * 8))
    found = suggest(predictor, [*sources, *save(tmp_path / "new", {"flat": textured(0)})])
    assert sorted(names(found)) == ["a", "b", "c"] and all("voxels" in one.reason for one in found.chosen)
    assert [path.name for path, _ in found.failed] == ["flat.png"]
    assert contact_sheet_of(predictor, found.chosen).ndim == 3
    export_suggestions(predictor, found.chosen, tmp_path / "out")
    for path in sources:
        assert (tmp_path / "out/images" / path.name).read_bytes() == path.read_bytes()
        proposal = predictor.objects(predictor.predict(read(path)))
        np.testing.assert_array_equal(read_mask(tmp_path / "out/masks" / path.name), proposal)


def test_a_volume_beyond_memory_is_told(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.nrrd", np.zeros((64, 64, 64), int))
    little = Predictor.load(make_model(tmp_path, dims=3), CPU.model_copy(update={"max_memory": 1_000_000}))
    found = suggest(little, [tmp_path / "a.nrrd"])
    assert not found.chosen and "too large for the memory allowed" in found.failed[0][1]


def test_an_image_beyond_memory_is_looked_at_in_regions(tmp_path: Path, predictor: Predictor) -> None:
    """Region by region, it is predicted as the whole would be."""
    path = tmp_path / "large.tif"
    tifffile.imwrite(path, textured(0, grain=3, size=(1200, 1300)), tile=(256, 256))
    little = Predictor(predictor.card, predictor.runner, CPU.model_copy(update={"max_memory": 110_000_000}))
    seen = look(little, path, 660)
    assert [each.region for each in seen] == regions_of((1200, 1300), 660, whole=False)
    whole = predictor.predict(read(path))
    for part in parts_of(little, path, [each.region for each in seen]):
        assert part.region is not None
        np.testing.assert_allclose(part.probabilities, whole.probabilities[(slice(None), *part.region)], atol=1e-5)
    as_whole = look(predictor, path, 660)
    assert len(as_whole) == 1 and as_whole[0].region is None
    assert [each.checksum for each in look(predictor, path, 600)] == [each.checksum for each in look(little, path, 600)]


@pytest.mark.parametrize("values", [(0, 1, 2), (3, 100, 255), (0, COLOUR + 0x0010F0, COLOUR + 0xFF0000)])
def test_the_export_is_a_data_set_of_the_predictions(tmp_path: Path, values: tuple[int, ...]) -> None:
    """Read back by `prepare`, its labels are those that the model predicts, whatever the values in the masks are."""
    classes = [ClassInfo(name=f"kind {v}", colour=(v % 251, k, 9), value=v) for k, v in enumerate(values)]
    predictor = predictor_of(tmp_path, classes=classes, ignore=7)
    images = {"a": textured(0), "b": textured(1, grain=4), "large": textured(2, grain=2, size=(70, 150))}
    sources = save(tmp_path / "new", images)
    found = suggest(predictor, sources, SuggestSettings(count=20, region=64))
    assert len(found.chosen) == 4
    written: list[str] = []
    export_suggestions(predictor, found.chosen, tmp_path / "out", watch=lambda one: written.append(one.name))
    assert sorted(written) == sorted(names(found))
    prepared = prepare(tmp_path / "out")
    assert prepared.legend.names == [each.name for each in classes]
    assert prepared.legend.values == legend_of_model(predictor.card).values and prepared.legend.ignore == 7
    examples = {pair.name: load_example(pair, prepared.legend) for pair in prepared.layout.train}
    assert examples.keys() == set(names(found))
    for one in found.chosen:
        region = one.region or (slice(None), slice(None))
        image = read(one.source)
        np.testing.assert_array_equal(examples[one.name].image, image.array[(slice(None), *region)])
        np.testing.assert_array_equal(examples[one.name].labels, predictor.predict(image).labels[region])
    assert (tmp_path / "out/images/a.png").read_bytes() == sources[0].read_bytes()


def test_cut_out_regions_keep_numbers_and_pixel_size(tmp_path: Path, predictor: Predictor) -> None:
    path = tmp_path / "large.tif"
    pixels = textured(0, size=(60, 200)).astype(np.uint16) * 100
    tifffile.imwrite(path, pixels, metadata={"axes": "YX", "spacing": [0.5, 0.25], "unit": "µm"}, dtype=np.uint16)
    spacing = read_header(path).spacing
    found = suggest(predictor, [path], SuggestSettings(count=9, region=64))
    export_suggestions(predictor, found.chosen, tmp_path / "out")
    for one in found.chosen:
        cut, mask = read(tmp_path / f"out/images/{one.name}.tif"), tmp_path / f"out/masks/{one.name}.tif"
        assert one.region is not None and (cut.spacing, cut.unit) == (spacing, read(path).unit)
        np.testing.assert_array_equal(cut.array[0], pixels[one.region])
        assert read_header(mask).spacing == spacing


def test_objects_are_proposed_with_numbers(tmp_path: Path) -> None:
    predictor = Predictor.load(make_model(tmp_path), CPU)
    sources = save(tmp_path / "new", {"a": textured(0, grain=6), "b": textured(1, grain=6)})
    found = suggest(predictor, sources)
    export_suggestions(predictor, found.chosen, tmp_path / "out")
    for source in sources:
        expected = predictor.objects(predictor.predict(read(source)))
        assert expected.max() > 3
        np.testing.assert_array_equal(read_mask(tmp_path / f"out/masks/{source.stem}.tif"), expected)
    assert prepare(tmp_path / "out").legend.kind == "instances"
    assert contact_sheet_of(predictor, found.chosen).dtype == np.uint8


def test_corrected_masks_are_not_written_over(tmp_path: Path, predictor: Predictor) -> None:
    found = suggest(predictor, save(tmp_path / "new", {"a": textured(0)}))
    export_suggestions(predictor, found.chosen, tmp_path / "out")
    before = files_of(tmp_path / "out")
    with pytest.raises(OutputError, match="not empty"):
        export_suggestions(predictor, found.chosen, tmp_path / "out")
    assert files_of(tmp_path / "out") == before


def test_the_sheet_shows_all_in_their_order(tmp_path: Path, predictor: Predictor) -> None:
    images = {f"i{k}": textured(k, grain=k + 1, level=40 * k + 20) for k in range(5)}
    found = suggest(predictor, save(tmp_path / "new", images))
    sheets = [contact_sheet_of(predictor, found.chosen[:count]) for count in (1, 2, 5)]
    heights, widths = [sheet.shape[0] for sheet in sheets], [sheet.shape[1] for sheet in sheets]
    assert heights[0] == heights[1] < heights[2] and widths[0] < widths[1] == widths[2]
    np.testing.assert_array_equal(sheets[1][:60], sheets[2][:60])


@given(st.integers(0, 99))
def test_checksums_tell_pixels_not_layouts(seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 999, (2, 5, 6)).astype(np.uint16)
    assert checksum(pixels) == checksum(np.asfortranarray(pixels)) == checksum(pixels.astype(">u2"))
    other = pixels.copy()
    other[1, 2, 3] ^= 1
    assert (
        len({checksum(pixels), checksum(other), checksum(pixels.reshape(2, 6, 5)), checksum(pixels.view(np.int16))})
        == 4
    )


def test_images_are_halved_as_scikit_image_does_it() -> None:
    for size in ((8, 6), (7, 12), (3, 5), (4, 7, 6)):
        gray = np.random.default_rng(0).normal(size=size).astype(np.float32)
        np.testing.assert_array_equal(halved(gray), downscale_local_mean(gray, (2,) * gray.ndim))
