"""The pace of a step: any network that can be planned is timed, and nothing else is touched."""

import torch

from useg.pace import step_seconds
from useg.settings import Settings, override

TINY = {"network.width": 2, "network.depth": 1, "machine.device": "cpu", "samples.batch": 1}


def test_a_step_takes_time_and_no_randomness() -> None:
    same = override(Settings(), {**TINY, "network.padding": "same", "samples.crop": [16, 24]})
    valid = override(Settings(), {**TINY, "network.padding": "valid", "samples.crop": [40, 44]})
    before = torch.get_rng_state()
    assert all(0 < step_seconds(settings) < 60 for settings in (same, valid))
    assert torch.equal(before, torch.get_rng_state())
