"""Where the pictures of what is recorded lie, one for each day: the librarian draws them, the restreamer shows them.

    BASE/.coverage/<channel>/<quality>/<YYYY-mm-dd>.png

Each is replaced as a whole, so that none is ever half there.
"""

from pathlib import Path

from common.store import Store, component

FOLDER = ".coverage"


def picture_folder(store: Store, channel: str, quality: str) -> Path:
    """Give the folder of a quality's pictures. Raises BadPathError for a name that would lead elsewhere."""
    return store.base / FOLDER / component(channel) / component(quality)


def picture_path(store: Store, channel: str, quality: str, day: str) -> Path:
    """Give the path of the picture of a day. Raises BadPathError for a name that would lead elsewhere."""
    return picture_folder(store, channel, quality) / component(f"{day}.png")
