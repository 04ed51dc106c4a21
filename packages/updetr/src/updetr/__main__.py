"""`python -m updetr` is the command `updetr`."""

from updetr.cli import main

raise SystemExit(main())
