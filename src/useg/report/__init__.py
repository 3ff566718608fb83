"""The page that a person reads to know how good a model is, and where not to trust it: one file, RUN/report.html.

content.py    what a report says, as plain values
gather.py     scores, curves, pictures and cautions -> content
page.py       content -> one HTML file
run.py        all of it, for a run
"""
