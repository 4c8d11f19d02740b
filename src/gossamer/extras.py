"""Optional packages: they are imported where they are needed, with an error that names the extra if one is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["OPTIONAL", "needs"]

OPTIONAL = frozenset(
    (
        "PIL",
        "charset_normalizer",
        "jinja2",
        "joblib",
        "markupsafe",
        "msgspec",
        "pandas",
        "rich",
        "safetensors",
        "scipy",
        "sklearn",
        "threadpoolctl",
    )
)
"""Packages that some rooms import and ``import gossamer`` does not; figures and Parquet files report theirs."""


@contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Around imports, or as decorator of a function that imports: ``what`` needs the packages of ``extra``.

    The `ModuleNotFoundError` for one of them then names the command that installs it; any other is let pass.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in OPTIONAL or "pip install" in error.msg:
            raise
        message = f"{what} needs {name}, which isn't installed: pip install 'gossamer[{extra}]'"
        raise ModuleNotFoundError(message, name=name) from None
