"""`python -m grading` is `python -m grading.score`."""

import os
import sys

if not __package__:
    sys.stderr.write(
        "grading: it was started as a folder, so Python does not find its modules\n"
        "  next: start it in the folder around it: python -m grading.score --submission PATH\n"
    )
    sys.exit(2)

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if os.path.realpath(sys.path[0] or os.curdir) == os.path.realpath(os.curdir) != os.path.realpath(CHECKOUT):
    sys.path[0] = CHECKOUT  # the current folder may be a submission: nothing is imported from it

from grading.score import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
