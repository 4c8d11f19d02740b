"""The command line: ``gossamer train | predict | evaluate | report | summary | associate | study | bench``."""

from gossamer.cli.main import main

__all__ = ["main"]
