"""The entry point: `accelerate launch runner/main.py recipes/qqp.yaml`, or `python runner/main.py …`. See `command`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's own folder leads sys.path, so `runner` and `grading` would not be found, and a module here could
    # shadow a library of its name. The repository's root takes that place.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

    from runner.commands.run import main

    raise SystemExit(main())
