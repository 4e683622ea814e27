"""``python -m openbell`` is the ``openbell`` command."""

import sys

from openbell.cli import main

sys.exit(main())
