"""The error that a user is meant to read."""


class UserError(Exception):
    """Something that only the person who runs Respool can cure.

    Its text is one plain sentence: what was wrong and what to do. The command line prints it, without a trace, and
    exits with 1; services refuse to start with it.
    """
