"""The command line; each command is a module of its own, listed in ``app.py``."""

from dgmm.cli.app import EXIT_CODES, main

__all__ = ["EXIT_CODES", "main"]
