"""python -m vlp_atlas: the same as the command."""

from vlp_atlas.cli import main

raise SystemExit(main())
