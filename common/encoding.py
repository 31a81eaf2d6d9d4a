"""Commands of ffmpeg, built from checked values alone."""


def input_url(number: int) -> str:
    """The name in a command of the stream number `number` (from 0) that the runner feeds into ffmpeg.

    It stands as an argument of its own, in place of a file; the runner puts the pipe there.
    """
    return f"input:{number}"
