"""Put some examples aside to judge with, so that what is judged has not been trained on.

Images of one subject, slices of one stack and frames of one film resemble each other. Where they fall on both
sides of a split, the score says how well the network remembers, not how well it generalises. So a random
choice is the last resort:

    groups that the data set names   whole groups, two or more of them
    fewer than 5 images              a strip of each image, with a gap beside it
    3 or more groups of names        whole groups (s01_b10, s01_b15, s02_b10 ...)
    one or two numbered series       the end of each series, one frame left out (00, 01 ...)
    volumes with numbers             the same only where neighbours resemble one another: patients have numbers too
    anything else                    random images, the rarest class on both sides
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations

import numpy as np
from jaxtyping import Integer

from useg.data.dataset import Example, middle_plane, natural_key
from useg.data.legend import count_values
from useg.data.similar import neighbours_alike, thumbnail
from useg.errors import DataError, SettingsError
from useg.labels import IGNORE, annotated
from useg.parts import count, count_along

FEW = 5
"""With fewer images than this, parts of each image are put aside instead of whole images."""
MIN_GAP, GAP_SHARE = 16, 0.04
"""Pixels left out between the two parts of an image: at least 16, about 4 % of the axis."""
ALL_SUBSETS = 12
"""Up to so many groups every choice of groups (4096) is weighed; beyond, the best start of random orders."""
RANDOM_ORDERS = 200

AXES = {2: ("rows", "columns"), 3: ("planes", "rows", "columns")}


@dataclass(frozen=True, eq=False)
class Split:
    """Examples to train on, examples to judge with, and one sentence that says how they were chosen."""

    train: list[Example]
    validation: list[Example]
    reason: str


def split(
    examples: Sequence[Example],
    *,
    share: float = 0.2,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> Split:
    """Put about `share` (0..1) of the examples aside; the same arguments give the same split.

    `names` are those of the classes, for the sentence. Raises SettingsError for a share outside 0..1,
    DataError where nothing can be put aside (no example, or a single one that is too small to cut).
    """
    if not 0 < share < 1:
        raise SettingsError(f"data.share is {share}, the part of the images to judge with; choose one in 0..1")
    if not examples:
        raise DataError("there is no example to split; annotate at least one image")
    ordered = sorted(examples, key=lambda example: natural_key(example.name))
    holds = [classes_in(example) for example in ordered]
    if said := named_groups(ordered):
        found = _by_groups(ordered, said, holds, share, seed, "group")
    elif len(ordered) < FEW:
        found = _by_parts(ordered, share)
    else:
        series = [series_of(example.name) for example in ordered]
        members = members_of(series)
        if are_subjects(members):
            found = _by_groups(ordered, members, holds, share, seed)
        elif len(members) <= 2 and are_frames(ordered, series):
            found = _by_blocks(ordered, series, members, holds, share, seed)
        else:
            numbered = len(members) <= 2 and all(number is not None for _, number in series)
            found = _at_random(ordered, holds, share, seed, numbered=numbered)
    held, rest = (frozenset().union(*map(classes_in, part)) for part in (found.validation, found.train))
    return Split(found.train, found.validation, found.reason + absent_classes(held, rest, names))


def series_of(name: str) -> tuple[str, int | None]:
    """Which series or subject a name belongs to, and its last number: `s01_b10` -> (`s01`, 10).

    The series is everything before the last number, without separators and a word at its end and without a
    leading `train_`, `val_` or `test_`, which says where a file lay and not what it shows. A name without a
    number is a series of its own.
    """
    numbers = list(re.finditer(r"\d+", name))
    if not numbers:
        return name, None
    before = name[: numbers[-1].start()]
    before = re.sub(r"^(train|val|test)[_\-. ]+(?=.)", "", before, flags=re.IGNORECASE)
    return re.sub(r"[_\-. ]+[A-Za-z]*$", "", before), int(numbers[-1].group())


def named_groups(examples: Sequence[Example]) -> dict[str, list[int]]:
    """The groups that the data set names, each with the positions of its examples; {} unless there are two or more."""
    if all(example.group is None for example in examples):
        return {}
    said = members_of([(example.name if example.group is None else example.group, None) for example in examples])
    return said if len(said) > 1 else {}


def are_subjects(members: dict[str, list[int]]) -> bool:
    """Whether series look like subjects or films: three or more, most of them with several images."""
    return len(members) >= 3 and sum(len(m) >= 2 for m in members.values()) * 2 > len(members)


def are_frames(examples: Sequence[Example], series: Sequence[tuple[str, int | None]]) -> bool:
    """Whether all have numbers and, of volumes, neighbours resemble one another: patients have numbers too."""
    if any(number is None for _, number in series):
        return False
    if examples[0].labels.ndim == 2:
        return True
    return neighbours_alike([thumbnail(middle_plane(example.image, 3)) for example in examples])


def members_of(series: Sequence[tuple[str, int | None]]) -> dict[str, list[int]]:
    """The positions that each series has, in their order."""
    members: dict[str, list[int]] = {}
    for index, (key, _) in enumerate(series):
        members.setdefault(key, []).append(index)
    return members


def frames_of(indices: Sequence[int], series: Sequence[tuple[str, int | None]]) -> list[list[int]]:
    """The positions of a series frame by frame: images of one number (the left and the right eye) are one frame."""
    frames: dict[int, list[int]] = {}
    for index in indices:
        frames.setdefault(series[index][1] or 0, []).append(index)
    return [frames[number] for number in sorted(frames)]


def classes_in(example: Example) -> frozenset[int]:
    """The classes that are annotated in it."""
    return frozenset(value for value in count_values(example.labels) if value != IGNORE)


def union_of(holds: Sequence[frozenset[int]], indices: Iterable[int]) -> frozenset[int]:
    """The classes that these examples hold together."""
    return frozenset().union(*(holds[index] for index in indices))


def count_missing(holds: Sequence[frozenset[int]], validation: Iterable[int]) -> int:
    """How many classes are absent on one side or the other."""
    chosen = set(validation)
    everything = union_of(holds, range(len(holds)))
    training = union_of(holds, [index for index in range(len(holds)) if index not in chosen])
    return len(everything - union_of(holds, chosen)) + len(everything - training)


def _by_parts(examples: Sequence[Example], share: float) -> Split:
    """A strip at one end of the longer axis of each image; views, nothing is copied."""
    train, validation = [], []
    for example in examples:
        shape = example.labels.shape
        axis = int(np.argmax(shape))
        length, gap = shape[axis], _gap(shape[axis])
        if not can_be_cut(shape, share):
            return _by_one_image(examples, example)
        known = count_along(example.labels, axis, annotated)
        cuts = []
        for rows in (known, np.ones_like(known)):  # the latter for what is annotated in a few rows only
            last, first = (_strip(each, share, length - 2 * gap) for each in (rows[::-1], rows))
            cuts.append((_part(example, axis, 0, length - last - gap), _part(example, axis, length - last, length)))
            cuts.append((_part(example, axis, first + gap, length), _part(example, axis, 0, first)))
        rest, strip_of = max(cuts, key=lambda parts: _worth(*parts, share=share))  # the first of those that are equal
        train.append(rest)
        validation.append(strip_of)
    number = "the only image" if len(examples) == 1 else f"each of the {len(examples)} images"
    reason = (
        f"validation: a strip at one end of {number} (about {share:.0%} of what is annotated, a gap beside it is left "
        f"out), because with fewer than {FEW} images none can be spared whole"
    )
    return Split(train, validation, reason)


def _worth(rest: Example, strip: Example, *, share: float) -> tuple[int, float, int]:
    """Of two ways to cut the better one has more classes on both sides, then its share of what is annotated on each."""
    left, held = (count(part.labels, annotated) for part in (rest, strip))
    return len(classes_in(rest) & classes_in(strip)), min(held / share, left / (1 - share)), left


def can_be_cut(size: Sequence[int], share: float = 0.2) -> bool:
    """Whether a strip of an image of this size can be put aside."""
    length = max(size)
    return length - max(round(share * length), 1) >= 2 * _gap(length)


def _gap(length: int) -> int:
    return max(MIN_GAP, round(GAP_SHARE * length))


def _strip(known: Integer[np.ndarray, " n"], share: float, most: int) -> int:
    """How many of the first rows, at `most`, hold about this share of the pixels that are annotated, so many a row."""
    if not known.any():
        known = np.ones_like(known)
    return min(1 + int(np.abs(np.cumsum(known) / known.sum() - share).argmin()), most)


def _part(example: Example, axis: int, start: int, stop: int) -> Example:
    cut = [slice(None)] * example.labels.ndim
    cut[axis] = slice(start, stop)
    name = f"{example.name}[{AXES[len(cut)][axis]} {start}-{stop - 1}]"
    image, labels = example.image[(slice(None), *cut)], example.labels[tuple(cut)]
    objects = None if example.objects is None else example.objects[tuple(cut)]
    return replace(example, name=name, image=image, labels=labels, objects=objects)


def _by_one_image(examples: Sequence[Example], small: Example) -> Split:
    """Few images, one of them too small to cut: the image whose loss leaves most classes on both sides."""
    if len(examples) == 1:
        size = " x ".join(str(n) for n in small.labels.shape)
        raise DataError(
            f"{small.name}: the only image is {size} pixels, too small to put a part of it aside; annotate one more"
        )
    holds = [classes_in(example) for example in examples]
    chosen = min(range(len(examples)), key=lambda index: (count_missing(holds, [index]), -index))
    reason = (
        f"validation: image {examples[chosen].name} (1 of {len(examples)} images), because {small.name} is "
        f"too small to put a part of each image aside"
    )
    return divide(examples, [chosen], reason)


def _by_groups(
    examples: Sequence[Example],
    members: dict[str, list[int]],
    holds: Sequence[frozenset[int]],
    share: float,
    seed: int,
    word: str = "subject",
) -> Split:
    """Whole groups, as near to the share as they come.

    A choice of up to twice the share is taken where it has more classes on both sides.
    """
    target = share * len(examples)
    keys = [str(key) for key in np.random.default_rng(seed).permutation(sorted(members, key=natural_key))]
    group_holds = [union_of(holds, members[key]) for key in keys]
    sizes = [len(members[key]) for key in keys]

    def off(choice: tuple[int, ...]) -> float:
        return abs(sum(sizes[group] for group in choice) - target)

    choices = _choices(sizes, target, seed)
    allowed = max(target, min(map(off, choices)))
    # The first of equals is taken: the seed shuffled them.
    best = min(
        (choice for choice in choices if off(choice) <= allowed),
        key=lambda choice: (count_missing(group_holds, choice), off(choice), len(choice)),
    )
    chosen = [keys[group] for group in best]
    indices = sorted(index for key in chosen for index in members[key])
    listed = name_some(sorted(chosen, key=natural_key))
    reason = (
        f"validation: {word}{'s' if len(best) > 1 else ''} {listed} ({len(indices)} of {len(examples)} "
        f"images), because images of one {word} resemble each other"
    )
    return divide(examples, indices, reason)


def _choices(sizes: Sequence[int], target: float, seed: int) -> list[tuple[int, ...]]:
    """Sets of groups that could be put aside; at least one group stays to train on."""
    number = len(sizes)
    if number <= ALL_SUBSETS:
        return [choice for size in range(1, number) for choice in combinations(range(number), size)]
    rng = np.random.default_rng([seed, 1])
    choices = []
    for _ in range(RANDOM_ORDERS):
        order = rng.permutation(number).tolist()
        held = np.cumsum([sizes[group] for group in order])[:-1]
        choices.append(tuple(order[: int(np.argmin(abs(held - target))) + 1]))
    return choices


def _by_blocks(
    examples: Sequence[Example],
    series: Sequence[tuple[str, int | None]],
    members: dict[str, list[int]],
    holds: Sequence[frozenset[int]],
    share: float,
    seed: int,
) -> Split:
    """The last frames of each series, with one frame between them and the rest left out.

    The first frames are taken instead where the last ones, as often in a stack, lack a class that the first ones have.
    """
    validation: list[int] = []
    left_out: list[int] = []
    places: set[str] = set()
    for indices in members.values():
        order = frames_of(indices, series)
        number = max(round(share * len(order)), 1)
        if len(order) - number < 2:  # too short for a block, a gap and something to train on
            continue
        last, first = order[::-1], order
        ends = {"last": list(chain(*last[:number])), "first": list(chain(*first[:number]))}
        end = max(ends, key=lambda key: len(union_of(holds, ends[key])))
        places.add(end)
        validation += ends[end]
        left_out += (last if end == "last" else first)[number]
    if not validation:  # series of two frames: one whole series, or one frame
        return _at_random(examples, holds, share, seed)
    count = f"{len(validation)} of {len(examples)} images"
    ends_named = " or ".join(sorted(places, reverse=True))
    chosen, gap = ([examples[i].name for i in sorted(part)] for part in (validation, left_out))
    reason = (
        f"validation: the {ends_named} images of {'the' if len(members) == 1 else 'each'} series, "
        f"{name_some(chosen)} ({count}), because neighbouring images resemble each other; {name_some(gap)} "
        f"beside them {'is' if len(gap) == 1 else 'are'} left out"
        + ("; the score says how well this series is learned, not another one" if len(members) == 1 else "")
    )
    return divide(examples, validation, reason, left_out)


def _at_random(
    examples: Sequence[Example], holds: Sequence[frozenset[int]], share: float, seed: int, *, numbered: bool = False
) -> Split:
    """Random images; of those that hold the rarest class, the same share and at least one on each side."""
    rng = np.random.default_rng(seed)
    everyone = rng.permutation(len(examples)).tolist()
    number = min(max(round(share * len(examples)), 1), len(examples) - 1)
    classes = sorted(union_of(holds, range(len(examples))))
    having = {c: [index for index in everyone if c in holds[index]] for c in classes}
    rarest = min(having.values(), key=len, default=[])
    if len(rarest) < 2:  # one image cannot stand on both sides: it is there to learn from
        chosen = [index for index in everyone if index not in rarest][:number]
    else:
        others = [index for index in everyone if index not in set(rarest)]
        from_rarest = min(max(round(share * len(rarest)), 1, number - len(others)), len(rarest) - 1)
        chosen = rarest[:from_rarest] + others[: max(number - from_rarest, 0)]
    count = f"{len(chosen)} of {len(examples)} images"
    why = "neighbouring numbers resemble each other no more than others" if numbered else "their names show no groups"
    reason = f"validation: {count}, chosen at random, because {why}"
    return divide(examples, chosen, reason)


def divide(examples: Sequence[Example], validation: Sequence[int], reason: str, left_out: Sequence[int] = ()) -> Split:
    """Put the examples at these positions aside; those left out are on neither side."""
    chosen, away = set(validation), set(validation) | set(left_out)
    return Split(
        [example for index, example in enumerate(examples) if index not in away],
        [example for index, example in enumerate(examples) if index in chosen],
        reason,
    )


def absent_classes(validation: frozenset[int], training: frozenset[int], names: Sequence[str] | None) -> str:
    """The end of the sentence: classes that cannot be judged, or not be learned, with what the two sides hold."""
    said = ""
    for side, classes in (("validation", validation), ("training", training)):
        if absent := sorted((validation | training) - classes):
            named = [names[c] if names is not None and c < len(names) else f"class {c}" for c in absent]
            said += f"; {side} holds no {name_some(named)}"
    return said


def name_some(words: Sequence[str]) -> str:
    """ "a, b and c"; of more than four the first and the last."""
    if len(words) > 4:
        return f"{words[0]} ... {words[-1]}"
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
