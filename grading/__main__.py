"""`python -m grading` is `python -m grading.score`."""

import sys

if not __package__:
    sys.stderr.write(
        "grading: it was started as a folder, so Python does not find its modules\n"
        "  next: start it in the folder around it: python -m grading.score --submission PATH\n"
    )
    sys.exit(2)

import runpy  # `python -m` has loaded it

runpy.run_module("grading.score", run_name="__main__")
