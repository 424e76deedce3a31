"""The entry point of `labeltune` and `python -m labeltune`. See `labeltune.command`."""

import sys

# it ends an old Python with a sentence
import runner  # noqa: F401


def main():  # type: () -> int
    """Run the command and return its exit code."""
    from labeltune.command import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
