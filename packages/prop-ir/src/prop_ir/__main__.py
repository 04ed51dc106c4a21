"""`python -m prop_ir` is the command."""

from prop_ir.cli import main

raise SystemExit(main())
