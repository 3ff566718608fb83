"""What people are shown, in the words of what they have."""

import numpy as np
import pytest

from useg.scores import Scored, score
from useg.tables import show_scores


@pytest.mark.parametrize(("dims", "kind", "made_of"), [(2, "image", "pixels"), (3, "volume", "voxels")])
def test_scores_speak_of_images_and_of_volumes(
    capsys: pytest.CaptureFixture[str], dims: int, kind: str, made_of: str
) -> None:
    truth = np.random.default_rng(dims).integers(0, 2, (6,) * dims, dtype=np.uint8)
    found = score([Scored("a", truth, truth), Scored("b", truth, 1 - truth)], 2)
    show_scores(found.as_dict(), ["background", "object"])
    said = " ".join(capsys.readouterr().err.split())
    assert f"per {kind} {kind}s" in said, "the table's head"
    assert f"{made_of[:-1]} accuracy 0.5000 over 2 {kind}s, {2 * truth.size} {made_of}" in said
    assert f"pool all {made_of}; 'per {kind}'" in said
    other = {"image": "voxel", "volume": "pixel"}[kind]
    assert other not in said
