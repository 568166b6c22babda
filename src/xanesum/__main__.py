"""``python -m xanesum`` is the command ``xanesum``."""

import sys

from xanesum.cli import main

sys.exit(main())
