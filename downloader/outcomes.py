"""What becomes of an entry of a playlist that is not recorded, in one word each. Pure."""

from enum import StrEnum


class Reason(StrEnum):
    """Why an entry is missing, as metrics, logs and `respool status` call it."""

    EXPIRED = "expired"  # the origin no longer has it (403, 404, 410), or it is hopelessly old
    REFUSED = "refused"  # nothing came, or something else than the segment
    TIMED_OUT = "timed_out"  # no answer, or no end of it, in time; what came is kept
    PARTIAL = "partial"  # the transfer broke off; what came is kept
    ADVERTISEMENT = "advertisement"  # it is no part of the programme
    GAP = "gap"  # the origin itself says that it has none (EXT-X-GAP)
    UNUSABLE = "unusable"  # no key, no init section, or a form that cannot be recorded
    DISK = "disk"  # the store refused it

    @property
    def final(self) -> bool:
        """Whether no further attempt can help, in general."""
        return self in _FINAL


_FINAL = frozenset({Reason.EXPIRED, Reason.ADVERTISEMENT, Reason.GAP, Reason.UNUSABLE})


class FetchError(Exception):
    """A segment did not come whole; the text is one plain sentence. `gone`: no further attempt can help."""

    def __init__(self, sentence: str, reason: Reason, *, gone: bool | None = None) -> None:
        """Say what happened; `gone` is told by the reason unless it is known better."""
        super().__init__(sentence)
        self.reason = reason
        self.gone = reason.final if gone is None else gone
