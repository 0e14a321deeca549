"""`python -m ultralytics` is the `yolo` command."""

import sys

from ultralytics.cli import main

if __name__ == "__main__":
    sys.exit(main())
