"""Folds: every example is judged once, by a network that was not trained on it or on anything that resembles it.

What belongs together stays together, as in `splits.py`:

    groups that the data set names   whole groups; fewer groups than folds is an error
    as many subjects as folds        whole subjects, as the names show them (s01_b10, s01_b15, s02_b10 ...)
    numbered series                  blocks of neighbouring frames; a frame beside a block is not trained on
    anything else                    random images

Groups and images are dealt out like cards, the largest and the rarest first, each to a fold that has fewest images so
far, and there to the one that lacks most of what it holds (for single images this is the stratification of Sechidis,
Tsoumakas and Vlahavas 2011, ECML PKDD). Of several deals the one is taken in which most classes are on both sides of
every fold.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import chain, pairwise

import numpy as np
from jaxtyping import Float

from useg.data.dataset import Example, natural_key
from useg.data.legend import count_values
from useg.data.splits import (
    Split,
    absent_classes,
    are_frames,
    are_subjects,
    count_missing,
    divide,
    frames_of,
    members_of,
    name_some,
    named_groups,
    series_of,
    union_of,
)
from useg.errors import SettingsError
from useg.labels import IGNORE

Goods = Float[np.ndarray, "cards goods"]
"""What each card has of all that there is of each good, 0..1."""
Held = tuple[list[int], list[int], str]
"""Positions of what a fold holds out, of what it leaves out beside that, and why."""
DEALT = 2_000
"""Cards dealt while looking for the best deal: 100 deals of 20 subjects, one of 2,000 images or more."""


def fold_splits(
    examples: Sequence[Example], folds: int, *, seed: int = 0, names: Sequence[str] | None = None
) -> list[Split]:
    """Divide the examples into `folds` parts, and hold each out once; the same arguments give the same folds.

    `names` are those of the classes, for the sentences. Each example is in `validation` of exactly one split, and in
    `train` of the others unless it neighbours a block of a series.

    Raises:
        SettingsError: there are not so many images, or not so many groups of the data set.
    """
    if folds < 2:
        raise SettingsError(f"data.folds is {folds}; choose 2 or more, or 0 for none")
    ordered = sorted(examples, key=lambda example: natural_key(example.name))
    if len(ordered) < folds:
        raise SettingsError(
            f"data.folds is {folds}, but there {'is' if len(ordered) == 1 else 'are'} only {len(ordered)} annotated "
            f"image{'s' * (len(ordered) != 1)}; " + _no_more_than(len(ordered))
        )
    counts = [count_values(example.labels) for example in ordered]
    holds = [frozenset(counted.keys() - {IGNORE}) for counted in counts]
    goods = _goods(ordered, counts)
    series = [series_of(example.name) for example in ordered]
    members = members_of(series)
    subjects = are_subjects(members)
    if said := named_groups(ordered):
        if len(said) < folds:
            raise SettingsError(
                f"data.folds is {folds}, but the data set names {len(said)} groups, and none is divided; "
                + _no_more_than(len(said))
            )
        found = _by_groups(said, folds, goods, holds, seed, "group")
    elif subjects and len(members) >= folds:
        found = _by_groups(members, folds, goods, holds, seed, "subject")
    else:
        why = f"their names show {len(members)} subjects, too few for {folds} folds" if subjects else ""
        numbered = (subjects or len(members) <= 2) and are_frames(ordered, series)
        found = _by_blocks([example.name for example in ordered], series, members, folds, why) if numbered else []
        if not found:
            reason = why or ("the series is too short for blocks" if numbered else "their names show no groups")
            found = _at_random(folds, goods, holds, seed, reason)
    splits = []
    for fold, (held, left_out, reason) in enumerate(found):
        away = {*held, *left_out}
        rest = union_of(holds, (index for index in range(len(ordered)) if index not in away))
        said_too = absent_classes(union_of(holds, held), rest, names)
        count = f"{len(held)} of {len(ordered)} images"
        splits.append(divide(ordered, held, f"validation, fold {fold}: {count}, {reason}{said_too}", left_out))
    return splits


def _no_more_than(possible: int) -> str:
    return f"choose no more than {possible}" if possible > 1 else "train without folds"


def _by_groups(
    members: dict[str, list[int]], folds: int, goods: Goods, holds: Sequence[frozenset[int]], seed: int, word: str
) -> list[Held]:
    keys = sorted(members, key=natural_key)
    found: list[Held] = []
    for hand in _deal([members[key] for key in keys], folds, goods, holds, seed):
        chosen = name_some([keys[card] for card in hand])
        reason = f"{word}{'s' * (len(hand) > 1)} {chosen}, because images of one {word} resemble each other"
        found.append(([index for card in hand for index in members[keys[card]]], [], reason))
    return found


def _by_blocks(
    names: Sequence[str],
    series: Sequence[tuple[str, int | None]],
    members: dict[str, list[int]],
    folds: int,
    why: str,
) -> list[Held]:
    """Blocks of equally many frames, the series one behind the other; [] where one would leave nothing to train on."""
    frames = [(key, frame) for key, indices in members.items() for frame in frames_of(indices, series)]
    bounds = np.linspace(0, len(frames), folds + 1).round().astype(int).tolist()
    end = f"; {why}" if why else ""
    if why or len(members) == 1:
        end += f"; the score says how well {'these are' if why else 'this series is'} learned, not another one"
    found: list[Held] = []
    for start, stop in pairwise(bounds):
        held = [index for _, frame in frames[start:stop] for index in frame]
        # A neighbour resembles the block only where both are of one series.
        beside = [
            frames[outer][1]
            for outer, inner in ((start - 1, start), (stop, stop - 1))
            if 0 <= outer < len(frames) and frames[outer][0] == frames[inner][0]
        ]
        gap = list(chain(*beside))
        if not held or len(held) + len(gap) == len(names):
            return []
        chosen, left = ([names[index] for index in part] for part in (held, gap))
        left_out = f"; {name_some(left)} beside them {'is' if len(gap) == 1 else 'are'} left out" if gap else ""
        found.append(
            (held, gap, f"{name_some(chosen)}, because neighbouring images resemble each other{left_out}{end}")
        )
    return found


def _at_random(folds: int, goods: Goods, holds: Sequence[frozenset[int]], seed: int, why: str) -> list[Held]:
    hands = _deal([[index] for index in range(len(goods))], folds, goods, holds, seed)
    return [(held, [], f"chosen at random, because {why}") for held in hands]


def _deal(
    cards: Sequence[Sequence[int]], folds: int, goods: Goods, holds: Sequence[frozenset[int]], seed: int
) -> list[list[int]]:
    """The cards (positions of examples that stay together) of each fold, in order; every fold has at least one."""
    worth = np.array([goods[list(card)].sum(axis=0) for card in cards])
    rng = np.random.default_rng(seed)
    best: list[list[int]] = []
    least = (np.inf, np.inf)
    for _ in range(max(1, DEALT // len(cards))):
        order = rng.permutation(len(cards))
        # What few have goes first, while every fold still has room; the rest evens it out.
        order = order[np.argsort(-worth[order].max(axis=1), kind="stable")]
        hands, shares = _deal_once(worth, [len(card) for card in cards], order.tolist(), folds)
        missing = sum(count_missing(holds, chain(*(cards[card] for card in hand))) for hand in hands)
        cost = (missing, float(((shares - 1 / folds) ** 2).sum()))
        if cost < least:
            best, least = hands, cost
    return sorted(sorted(hand) for hand in best)


def _deal_once(
    worth: Goods, sizes: Sequence[int], order: Sequence[int], folds: int
) -> tuple[list[list[int]], Float[np.ndarray, "folds goods"]]:
    """Each card to a fold of fewest images, of several to the one that lacks most of what it has."""
    hands: list[list[int]] = [[] for _ in range(folds)]
    shares, images = np.zeros((folds, worth.shape[1])), np.zeros(folds, int)
    for card in order:
        open_folds = np.flatnonzero(images == images.min())
        # The share s of a good becomes s + w: of the sums of squares only 2 s w differs from fold to fold.
        fold = int(open_folds[int(np.argmin(shares[open_folds] @ worth[card]))])
        hands[fold].append(card)
        shares[fold] += worth[card]
        images[fold] += sizes[card]
    return hands, shares


def _goods(examples: Sequence[Example], counts: Sequence[dict[int, int]]) -> Goods:
    """What each example has of all images, all pixels, and of each class but the commonest both."""
    total: Counter[int] = Counter()
    for counted in counts:
        total.update(counted)
    classes = [k for k, _ in total.most_common() if k != IGNORE][1:]
    rows = []
    for example, counted in zip(examples, counts, strict=True):
        pixels = [counted.get(k, 0) for k in classes]
        rows.append([1, example.labels.size, *(n > 0 for n in pixels), *pixels])
    table = np.array(rows, np.float64)
    shares: Goods = table / np.maximum(table.sum(axis=0), 1)
    return shares
