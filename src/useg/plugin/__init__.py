"""The dock widget of napari: a door, which translates layers to data sets and results to layers.

napari finds `napari.yaml` by the entry point that pyproject.toml names; without napari nothing here is imported.

widget.py     what one sees, and what its buttons do: all that knows of napari and Qt
layers.py     the arrays of layers <-> the images and labels that the rooms below know
annotation.py painted labels -> an image and its mask in a project
work.py       train, predict, suggest
"""
