"""The command line: ``gossamer train | predict | report | summary``."""

from gossamer.cli.main import main

__all__ = ["main"]
