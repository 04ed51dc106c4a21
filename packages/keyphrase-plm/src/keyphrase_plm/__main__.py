"""`python -m keyphrase_plm` is the command `keyphrase-plm`."""

from keyphrase_plm.cli import main

raise SystemExit(main())
