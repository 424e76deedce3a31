"""`python -m grading` is `python -m grading.score`."""

import sys

if not __package__:
    sys.stderr.write(
        "grading: it was started as a folder, so Python does not find its modules\n"
        "  next: start it in the folder around it: python -m grading.score --submission PATH\n"
    )
    sys.exit(2)

from grading.score import main

if __name__ == "__main__":
    sys.exit(main())
