"""A data set of volumes of which only a few slices are annotated, made of one that is annotated in full.

    python benchmarks/sparse.py DATA_ROOT/mri-hippocampus-3d OUT/mri-hippocampus-3d --slices 3
    python benchmarks/quality.py OUT --minutes 15 --ignore mri-hippocampus-3d=255

Of each training mask only that many slices of each of the three planes stay, evenly spaced whatever they show; all
other voxels become 255, "not annotated". Test masks stay whole. Cicek et al. 2016 (arXiv 1606.06650) train so.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np

from useg.images import read_header, read_mask, write_labels

IGNORED = 255


def main() -> None:
    """Copy the set, thin its training masks out, and say what is left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="data set with train/ and test/ (images/ and masks/)")
    parser.add_argument("out", type=Path, help="the folder to make; it must not exist")
    parser.add_argument("--slices", type=int, default=3, help="annotated slices of each plane and volume (3)")
    args = parser.parse_args()
    shutil.copytree(args.data, args.out)
    left = []
    for path in sorted((args.out / "train" / "masks").iterdir()):
        labels = read_mask(path)
        annotated = np.zeros(labels.shape, bool)
        for axis, length in enumerate(labels.shape):
            chosen = [length * (k + 1) // (args.slices + 1) for k in range(args.slices)]
            np.moveaxis(annotated, axis, 0)[chosen] = True
        left.append(annotated.mean())
        write_labels(path, np.where(annotated, labels, IGNORED), like=read_header(path))
    print(f"{len(left)} training volumes, {np.mean(left):.0%} of their voxels annotated")


if __name__ == "__main__":
    main()
