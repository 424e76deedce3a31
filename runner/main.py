"""The entry point: `accelerate launch runner/main.py recipes/qqp.yaml`, or `python runner/main.py …`. See `commands.run`.

With `doubtful` as its first argument it starts `commands.doubtful`.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's own folder comes first on sys.path: `runner` and `grading` would not be found, and a module here could
    # shadow a library of the same name. The repository's root takes its place.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

    from runner.commands import doubtful, run

    given = sys.argv[1:]
    raise SystemExit(doubtful.main(given[1:]) if given[:1] == ["doubtful"] else run.main(given))
