"""The command frame; importing it loads nothing but the standard library."""

from nonet.cli.frame import Verb, main

__all__ = ["Verb", "main"]
