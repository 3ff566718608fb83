"""What to annotate next: the images, or regions of large ones, from which a model would learn most.

candidates.py  a file -> what is known of it, or of each region: how unsure the model is, what it looks like
gain.py        in which order, and why, in words
ranking.py     all of it, for a list of files
proposals.py   a contact sheet, and the model's proposals as masks to correct
"""
