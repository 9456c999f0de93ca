"""What a stage tells of while it works."""


class Progress:
    """Told what happens, and says nothing of it; a program that shows something derives its own from it."""

    def begin(self, num_clips: int) -> None:
        """`num_clips` clips are to be made."""

    def frames(self, count: int) -> None:
        """`count` more frames are finished."""

    def clip(self, clip_id: str, is_done: bool) -> None:
        """One clip is finished or has failed."""

    def epoch(self, sentence: str) -> None:
        """An epoch of a training is over."""

    def now(self, sentence: str) -> None:
        """What a training is doing at this moment; called with every batch."""

    def drawn(self, done: int, of: int) -> None:
        """`done` of `of` frames of a video with its predictions are drawn."""

    def say(self, sentence: str) -> None:
        """Something the user should know now."""
