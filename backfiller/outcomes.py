"""What can become of a request to another node."""

from enum import StrEnum


class Outcome(StrEnum):
    """How a request ended; a word for metrics and logs."""

    FETCHED = "fetched"
    AWAY = "away"  # it cannot be reached, or does not answer in time
    REFUSED = "refused"  # it answers with another status than 200
    GONE = "gone"  # it no longer has what it listed
    UNWANTED = "unwanted"  # the hour was deleted here in the meantime
    BROKEN_OFF = "broken_off"  # the end of an answer did not come, or not in time
    TOO_LONG = "too_long"  # more came than can be
    NONSENSE = "nonsense"  # it is not what was asked for, nor an error
    WRONG_HASH = "wrong_hash"  # the content is not that of which the name speaks
    NO_ROOM = "no_room"  # our disk refuses it
    STOPPED = "stopped"  # we were told to stop


# What a node that is sound does not do, however bad the way to it is.
LIES = frozenset({Outcome.TOO_LONG, Outcome.NONSENSE, Outcome.WRONG_HASH})

# What is in order: hours are deleted while others are copied.
HARMLESS = frozenset({Outcome.GONE, Outcome.UNWANTED})

# What is not the node's fault.
OURS = frozenset({Outcome.NO_ROOM, Outcome.STOPPED})


class NodeError(Exception):
    """A request to a node that failed; its text is one plain sentence."""

    def __init__(self, sentence: str, outcome: Outcome) -> None:
        """Say what happened, and what kind of failure it is."""
        super().__init__(sentence)
        self.outcome = outcome
