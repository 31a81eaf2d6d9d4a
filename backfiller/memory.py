"""What was compared and left nothing to do, so that it is not compared again while neither side has changed."""

from dataclasses import dataclass, field

# An hour, a day or a whole quality: its channel, its quality and its name, which is empty for the last.
Span = tuple[str, str, str]


@dataclass(slots=True)
class Memory:
    """For each span the two digests, theirs and ours, at which nothing was left to do. For one node."""

    _settled: dict[Span, tuple[str, str | None]] = field(default_factory=dict)

    def settle(self, span: Span, theirs: str, ours: str | None) -> None:
        """Remember that there is nothing to do while these are the digests."""
        self._settled[span] = (theirs, ours)

    def forget_stretches(self, channel: str, quality: str) -> None:
        """Forget what was known of the days of a quality, and of all of it; of its hours it stays."""
        stretches = [span for span in self._settled if span[:2] == (channel, quality) and "T" not in span[2]]
        for span in stretches:
            del self._settled[span]

    def is_settled(self, span: Span, theirs: str, ours: str | None) -> bool:
        """Tell whether there is nothing to do: both are the same, or as they were when nothing was left to do."""
        return theirs == ours or self._settled.get(span) == (theirs, ours)
