"""The pages as files. They hold no data: everything comes from the API."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from litestar.response import File

HERE: Final = Path(__file__).parent
STATIC: Final = HERE / "static"
VENDOR: Final = HERE / "vendor"


def page(name: str) -> File:
    """Return an HTML page of ours."""
    return File(STATIC / name, media_type="text/html; charset=utf-8", content_disposition_type="inline")
