"""Slices of a stack by themselves, and with a neighbour to either side as channels (2.5-D), at equal steps.

    python benchmarks/slices.py DATA_ROOT/isbi2012-em --steps 1000 --seeds 3

The images of DATA/train and DATA/test, in the order of their names, are taken as the slices of two volumes. Scores are
of the test slices: V_rand and V_info of class 1 at the best threshold, and the Dice of each class.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import tifffile

import useg
from useg import machine
from useg.data.dataset import natural_key
from useg.images import read, read_mask
from useg.metrics.overlap import confusion_matrix
from useg.metrics.rand import best_over_thresholds
from useg.scores import dice_of

WAYS = {"2-D": {"data.pages": "images"}, "2.5-D": {"data.pages": "volume", "network.neighbours": 1}}


def main() -> None:
    """Train either way in turn, seed after seed; a row as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="data set with train/ and test/ (images/ and masks/)")
    parser.add_argument("--steps", type=int, default=1000, help="of each run (1000)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of either way (3)")
    args = parser.parse_args()
    print(f"{machine.cpu_name()}, cores: {machine.cores()}; {args.data}, {args.steps} steps")
    print("| seed | slices | V_rand | V_info | Dice of each class |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        stacks = Path(folder) / "stacks"
        stacks.mkdir()
        write_stack(args.data / "train", stacks / "train")
        image, truth = write_stack(args.data / "test", stacks / "test")
        for seed in range(args.seeds):
            for name, way in WAYS.items():
                # One validation, at the end: the model is that of the last step.
                settings = {"validations": 1, "seed": seed, **way}
                done = useg.train(stacks, Path(folder) / f"{name}-{seed}", steps=args.steps, overrides=settings)
                found = probabilities(useg.load(done.model), image)
                regions = best_over_thresholds([(t == 1, p[1]) for t, p in zip(truth, found, strict=True)])
                confusion = confusion_matrix(truth, found.argmax(1), found.shape[1])
                scores = ", ".join(f"{value:.4f}" for value in dice_of(confusion))
                print(f"| {seed} | {name} | {regions.v_rand:.4f} | {regions.v_info:.4f} | {scores} |", flush=True)


def write_stack(part: Path, to: Path) -> tuple[np.ndarray, np.ndarray]:
    """Slices `z y x` and their labels, written as `<to>-volume.tif` and `<to>-labels.tif`."""
    names = sorted((path.name for path in (part / "images").iterdir()), key=natural_key)
    image = np.stack([read(part / "images" / name).array[0] for name in names])
    labels = np.stack([read_mask(part / "masks" / name) for name in names]).astype(np.uint8)
    for kind, pages in (("volume", image), ("labels", labels)):
        tifffile.imwrite(f"{to}-{kind}.tif", pages, photometric="minisblack")
    return image, labels


def probabilities(predictor: useg.Predictor, image: np.ndarray) -> np.ndarray:
    """What a model of slices or of volumes says of a stack: `z k y x`."""
    if predictor.card.network.dims == 3:
        return np.moveaxis(predictor.predict(image[None]).probabilities, 0, 1)
    return np.stack([predictor.predict(each[None]).probabilities for each in image])


if __name__ == "__main__":
    main()
