"""Addresses as they may be logged, and what we are called where we ask; apart from `web`, which takes long to load."""

from importlib.metadata import version
from urllib.parse import urlsplit, urlunsplit

USER_AGENT = f"respool/{version('respool')}"


def without_secrets(url: str) -> str:
    """Give a URL as it may be logged: without user, password, query and fragment, where tokens stand."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        address = f"{host}:{parts.port}" if parts.port else host
    except ValueError:
        return "(a malformed URL)"
    return urlunsplit((parts.scheme, address, parts.path, "", ""))
