"""Splits: no person may be in two of them."""

from collections import defaultdict
from collections.abc import Iterable

from emopipe.records import Clip


def shared_subjects(clips: Iterable[Clip]) -> dict[str, tuple[str, ...]]:
    """Subjects that are in more than one split, each with its splits; empty when the splits are disjoint.

    Clips without a split count for none. What a subject is, the corpus says: where it names nobody, the video counts.

    Example:
        >>> from pathlib import Path
        >>> clips = [Clip("a", Path("a.mp4"), split="train", subject="anna"),
        ...          Clip("b", Path("b.mp4"), split="dev", subject="anna")]
        >>> shared_subjects(clips)
        {'anna': ('dev', 'train')}
    """
    splits: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip.split is not None:
            splits[clip.subject].add(clip.split)
    return {subject: tuple(sorted(found)) for subject, found in sorted(splits.items()) if len(found) > 1}
