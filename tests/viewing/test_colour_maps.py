"""The colour maps are those that others call so."""

import numpy as np
import pytest
from bokeh.palettes import all_palettes

from useg.viewing.colour_maps import COLOUR_MAPS, ColourMap


@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_a_colour_map_is_the_known_one(name: ColourMap) -> None:
    expected = [bytes.fromhex(colour.removeprefix("#")) for colour in all_palettes[name.capitalize()][256]]
    assert COLOUR_MAPS[name] == b"".join(expected)
    # Gray values as people see them grow with the value.
    brightness = np.frombuffer(COLOUR_MAPS[name], np.uint8).reshape(256, 3) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(brightness) > -0.8).all()
