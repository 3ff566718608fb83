"""What a report warns of: each warning appears with its cause, and not without it."""

from dataclasses import replace

import numpy as np
import pytest
from reports import card_of, case, scored, shown

from useg.data.similar import thumbnail
from useg.metrics.calibration import Reliability
from useg.report.content import Report
from useg.report.gather import report_of
from useg.report.trained import Trained
from useg.scores import Evaluation
from useg.unet.model import ModelCard

GOOD = 0.02


def report(card: ModelCard, evaluation: Evaluation, gallery: object, **more: object) -> Report:
    return report_of(evaluation, card, gallery, data="images", command="useg", seconds=1.0, **more)  # type: ignore[arg-type]


def told(found: Report) -> str:
    return "\n".join(caution.text for caution in found.cautions)


def good_case() -> tuple[ModelCard, list]:
    card = card_of(3, trained_on={"images": 40})
    return card, [case(card, i, wrong=GOOD) for i in range(12)]


def test_a_good_model_on_many_images_is_not_warned_of() -> None:
    card, cases = good_case()
    assert told(report(card, scored(card, cases), shown(card, cases))) == ""


def test_copies_of_images_trained_on_come_first() -> None:
    card, cases = good_case()
    seen = Trained(("copied",), (thumbnail(cases[3][0].image),), frozenset())
    found = report(card, scored(card, cases[:6]), shown(card, cases[:6]), trained=seen)
    assert found.cautions[0].grave
    assert "image 3 and copied" in found.cautions[0].text
    assert not found.cautions[-1].grave
    other = Trained(("other",), (thumbnail(case(card, 77)[0].image),), frozenset({"film"}))
    assert "nearly equal" not in told(report(card, scored(card, cases), shown(card, cases), trained=other))


def test_a_group_on_both_sides_is_told() -> None:
    card, cases = good_case()
    cases = [(replace(e, group=f"patient {i // 2}"), p) for i, (e, p) in enumerate(cases)]
    seen = Trained((), (), frozenset({"patient 4"}))
    assert "patient 4 is among" in told(report(card, scored(card, cases), shown(card, cases), trained=seen))


@pytest.mark.parametrize(("seen", "warned"), [(0.999, False), (1.2, True), (None, False)])
def test_far_better_on_images_trained_on_is_over_fitting(seen: float | None, warned: bool) -> None:
    card, cases = good_case()
    trained = Trained((), (), frozenset(), seen)
    found = told(report(card, scored(card, cases), shown(card, cases), trained=trained))
    assert ("Over-fitting" in found) is warned


def test_better_on_validation_than_here_is_told_of_test_images_only() -> None:
    card, cases = good_case()
    card = card.model_copy(update={"scores": {"foreground_dice": 1.2, "step": 5}})
    found = [told(report(card, scored(card, cases), shown(card, cases), validation=v)) for v in (False, True)]
    assert "On the validation images the model had" in found[0]
    assert "On the validation images the model had" not in found[1]
    assert "chose the model that was kept" in found[1]


def test_absent_and_seldom_classes_are_told_by_name() -> None:
    card, cases = good_case()
    for i, (example, prediction) in enumerate(cases):
        example.labels[example.labels == 2] = 0
        if i:
            example.labels[example.labels == 1] = 0
            prediction.labels[prediction.labels == 1] = 0
    found = told(report(card, scored(card, cases), shown(card, cases)))
    assert "No scored image holds “kind 2”" in found
    assert "predicted in 12 images all the same" in found
    assert "“kind 1” is in 1 scored image only" in found


def test_a_poor_class_is_told_with_what_it_is_taken_for() -> None:
    card, cases = good_case()
    for example, prediction in cases:
        prediction.labels[example.labels == 2] = 1
    assert "“kind 2” is found poorly (Dice 0." in (found := told(report(card, scored(card, cases), shown(card, cases))))
    assert "100 % of it is taken for “kind 1”" in found


def test_few_images_and_few_groups_are_told() -> None:
    card, cases = good_case()
    assert "Only 1 image was scored" in told(report(card, scored(card, cases[:1]), shown(card, cases[:1])))
    grouped = [(replace(e, group=f"film {i % 3}"), p) for i, (e, p) in enumerate(cases)]
    assert "from 3 groups only" in told(report(card, scored(card, grouped), shown(card, grouped)))
    few = card.model_copy(update={"trained_on": {"images": 4}})
    assert "learned from 4 images only" in told(report(few, scored(few, cases), shown(few, cases)))


def test_outliers_odd_inputs_and_confidence_are_told() -> None:
    card, cases = good_case()
    cases[5] = case(card, 5, wrong=0.9)
    cases[6] = (cases[6][0], replace(cases[6][1], warnings=["it is darker than them"]))
    counts, sure = (0,) * 14 + (100,), (float("nan"),) * 14 + (0.99,)
    evaluation = replace(
        scored(card, cases), reliability=Reliability(counts, sure, (*sure[:14], 0.8)), expected_dice=[0.9] * 12
    )
    found = told(report(card, evaluation, shown(card, cases)))
    assert "but not image 5 (" in found
    assert "image 6: it is darker than them." in found
    assert "too sure of itself: its mean confidence is 99 %, and 80 %" in found


def test_expected_dice_that_says_nothing_is_told() -> None:
    card = card_of(2, trained_on={"images": 40})
    cases = [case(card, i, wrong=0.01 + 0.01 * i) for i in range(12)]
    true = np.array([np.nanmean(dice[1:]) for _, dice in scored(card, cases).images])
    for expected, warned in ((true, False), (1 - true, True)):
        evaluation = replace(scored(card, cases), expected_dice=expected.tolist())
        assert ("says little of the true one" in told(report(card, evaluation, shown(card, cases)))) is warned
