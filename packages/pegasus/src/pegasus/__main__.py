"""python -m pegasus: the same as the command."""

from pegasus.cli import main

raise SystemExit(main())
