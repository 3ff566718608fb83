"""The fastest way to run a model here: its backends and precisions measured side by side, and the best one remembered.

ways       the backends and precisions that there are, and the file that each of them reads
pace       runners timed in turn
note       what was measured, kept beside the model: read again, and held against the model, machine and versions of now
benchmark  exports, agreement and pace of all ways
choose     `--backend`: the file and precision that a prediction takes
"""
