"""The command line: `respool`, whose commands are loaded only when they are run."""

from importlib import import_module

import click

# Each command's module and attribute, and its first line of help, which a test compares with the command's own.
# `respool --help` is answered from here, so that it is not kept waiting by what the commands import.
COMMANDS = {
    "up": ("respool.up:cli", "Run everything on this machine; with no channel, a demo stream."),
    "downloader": ("downloader.main:cli", "Record live HLS streams into the store, each under the NAME given to it."),
    "restreamer": ("restreamer.main:cli", "Serve the store as playlists, segments and cuts over HTTP."),
    "backfiller": (
        "backfiller.main:cli",
        "Fetch what other nodes have recorded and this one has not, of these channels or of all.",
    ),
    "cutter": ("cutter.main:cli", "Cut the events that operators have edited, and deliver the videos."),
    "librarian": (
        "librarian.main:cli",
        "Look after the store: delete hours beyond the limits that are given, and nothing without any.",
    ),
    "cut": ("respool.cut:cli", "Cut a range, or several, out of a recording into a video file."),
    "coverage": ("respool.coverage:cli", "Show what is recorded of a channel: hours, holes and types, as a picture."),
    "status": ("respool.status:cli", "Show what is being recorded, and what is missing of the last hours and why."),
    "event": ("respool.event:cli", "Say which pieces of the recording become videos, and see what becomes of them."),
    "keep": ("respool.keep:cli", "Say what of the recordings is never deleted, however old it is."),
    "expire": (
        "respool.expire:cli",
        "Show which hours go for their age or for space, and which of them stay and why; then delete them.",
    ),
    "tombstone": ("respool.tombstone:cli", "Hide segments from playlists and cuts, here and on other nodes."),
    "node": ("respool.node:cli", "Say which other nodes there are, and see what either side lacks."),
    "webhook": ("respool.webhook:cli", "Say who is told when an event changes its state."),
    "dsn": ("respool.dsn:cli", "Print the address of the embedded database that `up` runs."),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - likewise
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - likewise
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="respool")
def cli() -> None:
    """Record live HLS streams, replay any moment of them while they run, and cut videos out of them.

    What is set of a command has a RESPOOL_* environment variable, which its help names; what is said of a single
    event or webhook has none.
    """
    from common import logs

    logs.configure("warning")  # to standard error: what commands print is for programs, too; services set their own
