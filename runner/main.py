"""The entry point: `accelerate launch runner/main.py recipes/qqp.yaml`, or `python runner/main.py ...`. See `commands.run`.

With `doubtful` as its first argument it starts `commands.doubtful`.

This file and `runner/__init__.py` parse in every Python, so that an old one gets a sentence instead of a SyntaxError.
"""

import os
import sys

if __name__ == "__main__":
    # A script's own folder comes first on sys.path: `runner` and `grading` would not be found, and a module here could
    # shadow a library of the same name. The repository's root takes its place.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

    # it ends an old Python with a sentence
    import runner  # noqa: F401
    from runner.system.packages import RECIPES, exit_without

    exit_without(RECIPES)

    from runner.commands import doubtful, run

    given = sys.argv[1:]
    raise SystemExit(doubtful.main(given[1:]) if given[:1] == ["doubtful"] else run.main(given))
