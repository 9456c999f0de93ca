"""The command line: one file per command, loaded when it is called."""

import importlib
import io
import logging
import signal
import sys
from types import FrameType

import click

from emopipe.errors import EmopipeError, UnknownNameError
from emopipe.version import __version__

# command -> (module of this package, attribute, one line of help); listing them imports nothing.
_COMMANDS = {
    "extract": ("extract", "extract", "Make faces and features of a corpus, into verified shards."),
    "train-cnn": ("train_cnn", "train_cnn", "Train a CNN on cached faces; extract then uses it."),
    "train-rnn": ("train_rnn", "train_rnn", "Train a recurrent head on cached features."),
    "fuse": ("fuse", "fuse", "Fuse several runs into one, by averaging or by learning on."),
    "evaluate": ("evaluate", "evaluate", "Score a trained run, with intervals; write its predictions."),
    "predict": ("predict", "predict", "Predict any video with a trained run, frame by frame."),
    "report": ("report", "report", "Put a run on one HTML page: scores, curves, settings."),
    "import-head": ("import_head", "import_head", "Make a run of a Keras 2 checkpoint."),
    "reproduce": ("reproduce", "reproduce", "Run an experiment of a paper; published numbers beside ours."),
    "recipes": ("recipes", "recipes", "Compare the printed tables of a paper with ours."),
    "phantom": ("phantom", "phantom", "Generate a corpus whose true labels are known."),
    "cache": ("cache", "cache", "List, verify, repair or prune a cache."),
    "datasets": ("datasets", "datasets", "List the corpora, show one, or check a corpus folder."),
    "list": ("listing", "list_names", "List detectors, backbones, heads or recipes."),
    "doctor": ("doctor", "doctor", "Say what is installed, which accelerator there is, which weights are at hand."),
}


class _Lazy(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[name]
        command: click.Command = getattr(importlib.import_module(f".{module}", __package__), attribute)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in _COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="emopipe")
def emopipe() -> None:
    """From affect-recognition corpora to verified feature caches, and from caches to trained heads."""


def main() -> None:
    """Entry point: an EmopipeError becomes its message and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name need not be UTF-8, a terminal may take less
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        # What a command gives to click's Exit comes back as a number here, and is not raised.
        code = emopipe.main(prog_name="emopipe", standalone_mode=False)
    except EmopipeError as error:
        click.echo(f"emopipe: {error}", err=True)
        sys.exit(2 if isinstance(error, UnknownNameError) else 1)  # a name that nobody knows is wrong usage
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("emopipe: stopped. What was finished is kept; give the same command again to go on.", err=True)
        sys.exit(1)
    sys.exit(code or 0)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """What a batch system or a shutdown sends ends a command as Ctrl-C does: what is finished is put away first."""
    raise KeyboardInterrupt
