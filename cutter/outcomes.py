"""How work on an event ends short of its aim."""

from datetime import timedelta


class NotNowError(Exception):
    """Another try may cure it; the text is one sentence for operators.

    `counts`: it is a try, of which there are only so many. `lacking`: it is for what is in the store of this node.
    `anew`: an upload that was begun is not gone on with. `pause`: not to be tried before; None: as after any failure.
    """

    def __init__(
        self,
        sentence: str,
        *,
        counts: bool = True,
        lacking: bool = False,
        anew: bool = False,
        pause: timedelta | None = None,
    ) -> None:
        """Say why."""
        super().__init__(sentence)
        self.counts = counts
        self.lacking = lacking
        self.anew = anew
        self.pause = pause


class RefusedError(Exception):
    """Only an operator can cure it; the text is one sentence that says what to do."""


class UnclearError(Exception):
    """It cannot be told now whether the video is out: to be asked again after `pause`."""

    def __init__(self, sentence: str, pause: timedelta) -> None:
        """Say why."""
        super().__init__(sentence)
        self.pause = pause
