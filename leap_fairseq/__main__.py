"""``python -m leap_fairseq`` is the command ``leap-fairseq``."""

import sys

from leap_fairseq.cli import main

sys.exit(main())
