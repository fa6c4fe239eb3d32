"""Whether a Ray cluster answers, found out in seconds: Ray itself would try for many minutes."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

PATIENCE_S = 5.0


def known_address(address: str | None = None) -> str | None:
    """The cluster that was named here, in ``RAY_ADDRESS``, or by ``ray start`` on this machine."""
    note = Path(tempfile.gettempdir()) / "ray" / "ray_current_cluster"
    named = address or os.environ.get("RAY_ADDRESS")
    if named and named != "auto":
        return named
    return (note.read_text().strip() or None) if note.exists() else None


def silence_of(address: str) -> str | None:
    """Why nobody answers at ``host:port``; None if somebody does."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host or "127.0.0.1", int(port)), timeout=PATIENCE_S):
            return None
    except (OSError, ValueError) as error:
        return str(error)
