"""`python -m timix` is the command `timix`."""

from timix.cli import main

raise SystemExit(main())
