"""Reports: from a run folder to one self-contained page that compares the sparse network with its dense twin."""

from gossamer.errors import InputError
from gossamer.extras import needs

with needs("report", "gossamer.report"):
    from .compare import Row, rows
    from .page import table, write
    from .read import Run, read
    from .robustness import Claim, claims

__all__ = ["Claim", "InputError", "Row", "Run", "claims", "read", "rows", "table", "write"]
