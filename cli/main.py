"""The command line: one file per command, loaded when it is called."""

import importlib
import io
import logging
import os
import signal
import sys
import threading
from types import FrameType

import click

from emopipe.errors import EmopipeError, UnknownNameError
from emopipe.version import __version__

from .sections import write_examples, write_rows

# title -> command -> (module of this package, attribute, one line of help); listing them imports nothing.
_SECTIONS = {
    "Stage one, from recordings to a cache": {
        "extract": ("extract", "extract", "Make faces and features of a corpus, into verified shards."),
        "cache": ("cache", "cache", "List, verify, repair or prune a cache."),
        "datasets": ("datasets", "datasets", "List the corpora, show one, or check a corpus folder."),
        "phantom": ("phantom", "phantom", "Generate a corpus whose true labels are known."),
    },
    "Stage two, from a cache to scores and predictions": {
        "train-cnn": ("train_cnn", "train_cnn", "Train a CNN on cached faces; extract then uses it."),
        "train-rnn": ("train_rnn", "train_rnn", "Train a recurrent head on cached features."),
        "fuse": ("fuse", "fuse", "Fuse several runs into one, by averaging or by learning on."),
        "evaluate": ("evaluate", "evaluate", "Score a trained run, with intervals; write its predictions."),
        "report": ("report", "report", "Put a run on one page: settings, curves, scores, predictions."),
        "predict": ("predict", "predict", "Predict any recording with a trained run."),
        "import-head": ("import_head", "import_head", "Make a run of a Keras 2 checkpoint."),
    },
    "Experiments of papers": {
        "reproduce": ("reproduce", "reproduce", "Run one; the published numbers beside ours."),
        "recipes": ("recipes", "recipes", "Compare the printed tables of a paper with ours."),
    },
    "What there is": {
        "list": ("listing", "list_names", "List detectors, backbones, heads or recipes."),
        "doctor": ("doctor", "doctor", "Say what is installed, and which weights are at hand."),
    },
}
_COMMANDS = {name: about for commands in _SECTIONS.values() for name, about in commands.items()}
_EXAMPLES = (
    "emopipe extract --dataset folder --root my_videos --only faces",
    "emopipe train-rnn --help",
)
# What these commands had finished is found again by the same command.
_GOING_ON = ("extract", "train-cnn", "train-rnn", "fuse", "reproduce", "phantom", "cache")


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
        for title, commands in _SECTIONS.items():
            write_rows(formatter, title, [(name, line) for name, (_, _, line) in commands.items()])
        write_examples(formatter, _EXAMPLES)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="emopipe")
def emopipe() -> None:
    """From affect-recognition corpora to verified feature caches, and from caches to trained heads."""


def _stop(number: int, frame: FrameType | None) -> None:
    """SIGTERM as Ctrl-C: a scheduler's or a container's way of asking."""
    raise KeyboardInterrupt


def _raise_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """A KeyboardInterrupt that was lost in somebody's callback, the garbage collector's for one, comes once more."""
    if unraisable.exc_type is KeyboardInterrupt:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(unraisable)


def _what_is_kept(arguments: list[str]) -> str:
    """What to tell somebody who stopped a command."""
    if not arguments or arguments[0] not in _GOING_ON or "--smoke" in arguments:
        return " What was finished is kept."
    return " What was finished is kept; the same command goes on from there."


def main() -> None:
    """Entry point: an EmopipeError becomes its message and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name need not be UTF-8, a terminal may take less
    before, sys.unraisablehook = signal.signal(signal.SIGTERM, _stop), _raise_again
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
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
        click.echo(f"emopipe: stopped.{_what_is_kept(sys.argv[1:])}", err=True)
        sys.exit(1)
    finally:
        signal.signal(signal.SIGTERM, before)
        sys.unraisablehook = sys.__unraisablehook__
    sys.exit(code or 0)
