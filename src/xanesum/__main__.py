"""``python -m xanesum`` does what the command ``xanesum`` does."""

import sys

from xanesum.cli import main

if __name__ == "__main__":
    sys.exit(main())
