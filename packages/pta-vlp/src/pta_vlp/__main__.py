"""`python -m pta_vlp` is the command `pta-vlp`."""

from pta_vlp.cli import main

raise SystemExit(main())
