"""Progress on stderr, and only on a terminal: a bar of clips, frames per second and time left; lines of epochs."""

import sys
import time
from typing import Any

import click

from emopipe.stages.progress import Progress


class Bar(Progress):
    """A `Progress` drawn with tqdm. Sentences are printed also when there is no terminal."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._frames = 0
        self._begun = time.monotonic()

    def begin(self, num_clips: int) -> None:
        """Open the bar when there is something to do and somebody to look."""
        if num_clips and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=num_clips, unit="clip", file=sys.stderr, dynamic_ncols=True)
        self._begun = time.monotonic()

    def frames(self, count: int) -> None:
        """Show frames per second."""
        self._frames += count
        if self._bar is not None:
            rate = self._frames / max(1e-9, time.monotonic() - self._begun)
            self._bar.set_postfix_str(f"{self._frames} frames, {rate:.0f} frames/s", refresh=False)
            self._bar.update(0)

    def clip(self, clip_id: str, is_done: bool) -> None:
        """Move on by one clip; say so when it failed."""
        if not is_done:
            self.say(f"failed: {clip_id} (see the summary)")
        if self._bar is not None:
            self._bar.update(1)

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


class EpochLines(Progress):
    """Epochs on stderr, and only on a terminal; sentences also where there is none."""

    def say(self, sentence: str) -> None:
        """Print a sentence."""
        click.echo(sentence, err=True)

    def epoch(self, sentence: str) -> None:
        """Print how an epoch went."""
        if sys.stderr.isatty():
            click.echo(sentence, err=True)
