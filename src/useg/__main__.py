"""`python -m useg`, which is what `torchrun -m useg` starts in each of its processes."""

from useg.cli import main

main()
