"""`python -m promptpool`: the command, where its script is not on the path."""

import sys

from .cli.command import main

sys.exit(main())
