"""`python -m ponderv2` is the command `ponderv2`."""

from ponderv2.cli import main

raise SystemExit(main())
