"""``python -m gossamer``: the command line."""

import sys

from gossamer.cli import main

if __name__ == "__main__":
    sys.exit(main())
