"""The command line: ``gossamer train | predict | report | summary | bench``."""

from gossamer.cli.main import main

__all__ = ["main"]
