"""What becomes of an entry of a playlist that is not recorded, in one word each. Pure."""

from enum import StrEnum


class Reason(StrEnum):
    """Why an entry is missing, as metrics, logs and `respool status` call it."""

    EXPIRED = "expired"  # the origin no longer has it (403, 404, 410), or it is hopelessly old
    REFUSED = "refused"  # the origin answers, but not with the segment
    TIMED_OUT = "timed_out"  # no answer, or no end of it, in time
    PARTIAL = "partial"  # the transfer broke off; what came is kept
    ADVERTISEMENT = "advertisement"  # it is no part of the programme
    GAP = "gap"  # the origin itself says that it has none (EXT-X-GAP)
    UNUSABLE = "unusable"  # no key, no init section, or a form that cannot be recorded
    DISK = "disk"  # the store refused it

    @property
    def final(self) -> bool:
        """Whether no further attempt can help."""
        return self in _FINAL


_FINAL = frozenset({Reason.EXPIRED, Reason.ADVERTISEMENT, Reason.GAP, Reason.UNUSABLE})
