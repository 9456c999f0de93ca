"""Progress on stderr, and only on a terminal: a bar of clips, frames per second and time left; lines of epochs."""

import shutil
import sys
import time
from typing import Any, Self

import click

from emopipe.stages.progress import Progress

_LOOK = "{n_fmt} of {total_fmt} {unit} |{bar}| {elapsed} so far, {remaining} to go{postfix}"


def say_on_terminal(sentence: str) -> None:
    """Say why nothing is seen for a while, to somebody who looks."""
    if sys.stderr.isatty():
        click.echo(sentence, err=True)


class Counter:
    """Counts what is done, on one line of a terminal. Call it with (number done, number in all).

    Args:
        what: is counted, in the plural.
    """

    def __init__(self, what: str):
        self._what = what
        self._bar: Any = None

    def __call__(self, done: int, of: int) -> None:
        if self._bar is None and sys.stderr.isatty():
            self._bar = _bar(of, self._what)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self._bar is not None:
            self._bar.close()


def _bar(total: int, unit: str) -> Any:
    from tqdm import tqdm

    # miniters 0: drawn anew while one long clip is at work, and not only when it is done.
    return tqdm(total=total, unit=unit, file=sys.stderr, dynamic_ncols=True, bar_format=_LOOK, miniters=0, smoothing=0)


class Bar(Progress):
    """A `Progress` drawn with tqdm. Sentences are printed also when there is no terminal."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._frames = self._first = 0
        self._begun = 0.0

    def begin(self, num_clips: int) -> None:
        """Open the bar when there is something to do and somebody to look."""
        if num_clips and sys.stderr.isatty():
            self._bar = _bar(num_clips, "clips")
            self._bar.set_postfix_str("loading what computes")

    def frames(self, count: int) -> None:
        """Show frames per second."""
        self._frames += count
        if not self._begun:  # what came before was loading, and says nothing of the speed
            self._begun, self._first = time.monotonic(), self._frames
        if self._bar is not None:
            rate = (self._frames - self._first) / max(1e-9, time.monotonic() - self._begun)
            self._bar.set_postfix_str(f"{self._frames:,} frames, {rate:.0f} per second", refresh=False)
            self._bar.update(0)

    def drawn(self, done: int, of: int) -> None:
        """Show how far a video with the predictions drawn in is."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"drawing frame {done:,} of {of:,}", refresh=False)
            self._bar.update(0)

    def clip(self, clip_id: str, is_done: bool) -> None:
        """Move on by one clip; say so when it failed."""
        if not is_done:
            self.say(f"failed: {clip_id} (see the summary)")
        if self._bar is not None:
            self._bar.update(1)
            if self._bar.n == self._bar.total:
                self.close()

    def say(self, sentence: str) -> None:
        """Print a sentence above the bar."""
        if self._bar is not None:
            self._bar.write(sentence, file=sys.stderr)
        else:
            click.echo(sentence, err=True)

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class EpochLines(Progress):
    """Epochs on stderr, and only on a terminal, the one that is at work on a last line; sentences also elsewhere."""

    _shown_s = 0.0  # when the last line was written; 0 when there is none

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.clear()

    def say(self, sentence: str) -> None:
        """Print a sentence."""
        self.clear()
        click.echo(sentence, err=True)

    def epoch(self, sentence: str) -> None:
        """Print how an epoch went."""
        self.clear()
        say_on_terminal(sentence)

    def now(self, sentence: str) -> None:
        """Say it on the last line, once a second at most."""
        if sys.stderr.isatty() and time.monotonic() - self._shown_s >= 1:
            width = shutil.get_terminal_size().columns - 1
            click.echo(f"\r\x1b[K{sentence[:width]}", nl=False, err=True)
            self._shown_s = time.monotonic()

    def clear(self) -> None:
        """Take the last line away."""
        if self._shown_s:
            click.echo("\r\x1b[K", nl=False, err=True)
            self._shown_s = 0.0
