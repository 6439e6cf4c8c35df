"""The command line; each command is a module of its own, listed in ``app.py``."""

from dgmm.cli.app import main
from dgmm.jobs.exits import EXIT_CODES

__all__ = ["EXIT_CODES", "main"]
