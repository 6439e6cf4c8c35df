"""``python -m dgmm``: the command line."""

import sys

from dgmm.cli import main

if __name__ == "__main__":
    sys.exit(main())
