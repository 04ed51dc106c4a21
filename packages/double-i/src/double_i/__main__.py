"""`python -m double_i` is the command.`double-i`."""

from double_i.cli import main

raise SystemExit(main())
