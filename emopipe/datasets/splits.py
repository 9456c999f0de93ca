"""Splits: no person may be in two of them; folds for corpora that come without."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from emopipe.datasets.manifest import Manifest
from emopipe.errors import ConfigError, ManifestError
from emopipe.records import Clip, Split

FoldRule = Literal["subjects", "images", "keep-test", "numbers"]


def shared_subjects(clips: Iterable[Clip]) -> dict[str, tuple[str, ...]]:
    """Subjects that are in more than one split, each with its splits; empty when the splits are disjoint.

    Clips without a split count for none. What a subject is, the corpus says: where it names nobody, the video counts.

    Examples:
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


@dataclass(frozen=True)
class Folds:
    """How a corpus is divided that has no official splits, or more than its official splits say.

    Attributes:
        num_folds: parts of about equal size; at least 3 by subjects or numbers (train, dev and test), else at least 2.
        fold: the part that is tested, from 0; with "keep-test" the part that is dev.
        rule: "subjects" (default): no subject is in two splits. "images": the rule of the published code of Rangulov
            and Fahim (2020), under which the train and the dev part share a subject, and even a sequence. "keep-test":
            the official test part stays, train and dev together are dealt out by subjects. "numbers": as "subjects",
            in the order of their names: of 24 numbered actors in 6 folds, fold K has those whose number - 1 leaves K.
        seed: of the order of the subjects; 0 with rule "numbers", which has none.

    Raises:
        ConfigError: a number is out of range, the rule is unknown, `fold` is not 0 with rule "images", or `seed` is not
            0 with rule "numbers".
    """

    num_folds: int = 10
    fold: int = 0
    rule: FoldRule = "subjects"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rule not in get_args(FoldRule):
            raise ConfigError(f"fold rule: expected one of {', '.join(get_args(FoldRule))}. Received: {self.rule!r}.")
        smallest = 3 if self.rule in ("subjects", "numbers") else 2
        if self.num_folds < smallest:
            raise ConfigError(
                f"folds: expected at least {smallest} with rule '{self.rule}'. Received: {self.num_folds}."
            )
        if self.rule == "images" and self.fold != 0:
            raise ConfigError(
                f"fold: rule 'images' has one division only. Expected fold 0. Received: {self.fold}.\n"
                "Rule 'subjects' has as many as there are folds."
            )
        if not 0 <= self.fold < self.num_folds:
            raise ConfigError(f"fold: expected 0 to {self.num_folds - 1}, of {self.num_folds}. Received: {self.fold}.")
        if self.seed < 0:
            raise ConfigError(f"seed of the folds: expected at least 0. Received: {self.seed}.")
        if self.rule == "numbers" and self.seed != 0:
            raise ConfigError(
                f"seed of the folds: rule 'numbers' goes by the subjects' names. Expected 0. Received: {self.seed}."
            )


def with_folds(manifest: Manifest, folds: Folds) -> Manifest:
    """The manifest with a split for every clip.

    Rule "subjects": the subjects, shuffled by the seed, are dealt into `num_folds` folds one by one. Fold `fold` is
    test, the next one (the first after the last) is dev, the others train. No subject is in two splits, and over all
    values of `fold` every subject is tested exactly once.

    Rule "images": the subjects are shuffled by the seed, the clips listed subject by subject in the order of their ids,
    and the last ``1 / num_folds`` of the clips are dev, the rest train; nothing is test. 1,308 clips in ten parts are
    1,177 and 131. Where the list is cut, one subject, and with it one sequence, may be in both parts: the score then
    says little about new people. It is here because published numbers were made so.

    Rule "keep-test": as "subjects" for the clips of the official train and dev parts, of which fold `fold` is dev and
    the others train; clips of the test part stay in it.

    Rule "numbers": as "subjects", but dealt in the order of the subjects' names: nothing is shuffled.

    Raises:
        ManifestError: clips have splits already, or, for "keep-test", have none; there are too few subjects or clips.

    Examples:
        >>> from collections import Counter
        >>> from pathlib import Path
        >>> clips = tuple(Clip(f"s{k}/{n}", Path(f"{k}{n}.png"), subject=f"s{k}") for k in range(3) for n in range(2))
        >>> divided = with_folds(Manifest("mine", Path("."), clips), Folds(num_folds=3))
        >>> sorted(Counter(clip.split for clip in divided.clips).items())
        [('dev', 2), ('test', 2), ('train', 2)]
    """
    if folds.rule == "keep-test":
        return _keeping_test(manifest, folds)
    if manifest.task_splits or any(clip.split is not None for clip in manifest.clips):
        raise ManifestError(
            f"{manifest.root}: the clips of {manifest.dataset} have splits of their own. Expected a corpus without.\n"
            "Leave out --folds.",
            path=manifest.root,
        )
    divide = _by_image if folds.rule == "images" else _by_subject
    splits, notes = divide(manifest, folds)
    clips = tuple(replace(clip, split=splits[clip.clip_id]) for clip in manifest.clips)
    return replace(manifest, clips=clips, notes=(*manifest.notes, *notes))


def _keeping_test(manifest: Manifest, folds: Folds) -> Manifest:
    inside = tuple(clip for clip in manifest.clips if clip.split in ("train", "dev"))
    if manifest.task_splits or not inside:
        raise ManifestError(
            f"{manifest.root}: rule 'keep-test' divides the official train and dev parts. {manifest.dataset} has none "
            "that all tasks share.\nUse --fold-rule subjects.",
            path=manifest.root,
        )
    part_of = _parts(replace(manifest, clips=inside), folds, {folds.fold: "dev"})
    clips = tuple(
        replace(clip, split=part_of[clip.subject]) if clip.split in ("train", "dev") else clip
        for clip in manifest.clips
    )
    return replace(manifest, clips=clips)


def require_splits(manifest: Manifest) -> None:
    """Refuse a corpus of which no clip has a split.

    Raises:
        ManifestError: names the cure.
    """
    if not any(clip.split is not None for clip in (*manifest.clips, *manifest.missing)):
        num_subjects = len({clip.subject for clip in manifest.clips})
        example = f"{min(10, num_subjects)} and 0 for example"
        cure = f"Divide its {num_subjects} subjects with --folds N and --fold K, {example}."
        if num_subjects < 3:
            cure = f"To divide it with --folds into train, dev and test takes 3 subjects; here are {num_subjects}."
        raise ManifestError(
            f"{manifest.root}: none of the {len(manifest.clips)} clips of {manifest.dataset} has a split. Expected "
            f"train and dev.\n{cure}",
            path=manifest.root,
        )


def _shuffled_subjects(manifest: Manifest, seed: int) -> list[str]:
    subjects = sorted({clip.subject for clip in manifest.clips})
    return [subjects[index] for index in np.random.default_rng(seed).permutation(len(subjects))]


def _by_subject(manifest: Manifest, folds: Folds) -> tuple[dict[str, Split], list[str]]:
    part_of = _parts(manifest, folds, {folds.fold: "test", (folds.fold + 1) % folds.num_folds: "dev"})
    return {clip.clip_id: part_of[clip.subject] for clip in manifest.clips}, []


def _parts(manifest: Manifest, folds: Folds, parts: dict[int, Split]) -> dict[str, Split]:
    """Subject -> split, the subjects dealt out one by one; folds that are not named train."""
    if folds.rule == "numbers":
        subjects = sorted({clip.subject for clip in manifest.clips})
    else:
        subjects = _shuffled_subjects(manifest, folds.seed)
    if len(subjects) < folds.num_folds:
        raise ManifestError(
            f"{manifest.root}: expected at least as many subjects as folds, {folds.num_folds}. "
            f"Received: {len(subjects)} subjects.\nGive fewer --folds.",
            path=manifest.root,
        )
    return {subject: parts.get(index % folds.num_folds, "train") for index, subject in enumerate(subjects)}


def _by_image(manifest: Manifest, folds: Folds) -> tuple[dict[str, Split], list[str]]:
    place = {subject: index for index, subject in enumerate(_shuffled_subjects(manifest, folds.seed))}
    ordered = sorted(manifest.clips, key=lambda clip: (place[clip.subject], clip.clip_id))
    if len(ordered) < folds.num_folds:
        raise ManifestError(
            f"{manifest.root}: expected at least as many clips as folds, {folds.num_folds}. Received: {len(ordered)}.",
            path=manifest.root,
        )
    num_train = len(ordered) * (folds.num_folds - 1) // folds.num_folds
    splits: dict[str, Split] = {
        clip.clip_id: "train" if index < num_train else "dev" for index, clip in enumerate(ordered)
    }
    shared = sorted({clip.subject for clip in ordered[:num_train]} & {clip.subject for clip in ordered[num_train:]})
    whose = f"subject {shared[0]} is in both" if shared else "this time it falls between two subjects"
    note = (
        f"Train and dev are divided by images, as in the published code: the cut may go through a subject; {whose}. "
        "The dev score is no score on new people."
    )
    return splits, [note]
