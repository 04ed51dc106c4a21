"""`python -m cap_prune` is the command `cap-prune`."""

from cap_prune.cli import main

raise SystemExit(main())
