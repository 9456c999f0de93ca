"""A manifest: which clips a corpus folder holds, before anything is decoded."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from emopipe.errors import ManifestError
from emopipe.records import Clip, Split


@dataclass(frozen=True)
class Refusal:
    """A clip that is listed by the corpus and must not or cannot be read: its id, and one line that says why."""

    clip_id: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """The clips of one corpus folder, in the order in which they are worked on.

    Attributes:
        dataset: registered name of the corpus.
        root: the folder that was scanned; every path of every clip lies below it.
        clips: sorted by clip id; ids are unique.
        notes: plain sentences about what is unusual.
        missing: clips that have annotations and no media; `media` is a path at which it was looked for.
        refused: entries that look like media and are not read: a folder named like a video, a link out of the root.
        task_splits: task -> clip id -> split, for a corpus whose tasks divide the same clips differently; else empty.

    Raises:
        ManifestError: two clips have the same id.
    """

    dataset: str
    root: Path
    clips: tuple[Clip, ...]
    notes: tuple[str, ...] = ()
    missing: tuple[Clip, ...] = ()
    refused: tuple[Refusal, ...] = ()
    task_splits: Mapping[str, Mapping[str, Split]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = Counter(clip.clip_id for clip in self.clips)
        if len(counts) < len(self.clips):
            clip_id = next(name for name, count in counts.items() if count > 1)
            places = ", ".join(str(clip.media) for clip in self.clips if clip.clip_id == clip_id)
            raise ManifestError(
                f"{self.root}: expected clip ids to be unique. Received: '{clip_id}' for {places}.", path=self.root
            )

    def select(self, splits: Sequence[str] = (), limit: int | None = None) -> "Manifest":
        """The clips of the named splits (all when none is named), at most `limit` of them.

        Raises:
            ManifestError: a named split holds no clip; the message lists the splits that do.
        """
        known = Counter(clip.split or "none" for clip in self.clips)
        for split in splits:
            if split not in known:
                listed = ", ".join(f"{name} ({count})" for name, count in sorted(known.items())) or "no clips at all"
                raise ManifestError(f"{self.root}: no clip is in split '{split}'. Received: {listed}.", path=self.root)
        chosen = tuple(clip for clip in self.clips if not splits or (clip.split or "none") in splits)
        return replace(self, clips=chosen[:limit])

    def for_task(self, task: str) -> "Manifest":
        """The clips that `task` places in a split, each in the split that this task gives it.

        A corpus whose tasks do not divide the clips differently gives back all its clips.
        """
        if task not in self.task_splits:
            return self
        splits = self.task_splits[task]
        return replace(
            self,
            clips=tuple(replace(clip, split=splits[clip.clip_id]) for clip in self.clips if clip.clip_id in splits),
            missing=tuple(replace(clip, split=splits[clip.clip_id]) for clip in self.missing if clip.clip_id in splits),
        )
