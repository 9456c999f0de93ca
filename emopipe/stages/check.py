"""Looking a corpus over before hours are spent on it: counts, coverage, mismatches, bad lines."""

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from emopipe.datasets.adapter import Adapter
from emopipe.datasets.listing import is_lfs_stub, printable
from emopipe.datasets.manifest import Manifest
from emopipe.datasets.splits import shared_subjects
from emopipe.errors import EmopipeError, ManifestError
from emopipe.media.audio import check_sound
from emopipe.media.images import last_image_number, picture_size
from emopipe.media.video import probe as probe_video
from emopipe.records import Clip, Labels, VideoInfo
from emopipe.timeline import COUNT_TOLERANCE

SPLIT_ORDER = ("train", "dev", "test", "none")
RELEASE_TOLERANCE = 0.05  # a copy with 1 clip in 20 missing is still a copy of that release
MOST_WORST = 5
MOST_LISTED = 10


@dataclass(frozen=True)
class TaskCheck:
    """One task: clips per split, the nearest known release, coverage, label rows, and label rows against frames.

    Attributes:
        splits: split -> clips that the task places there, with or without media.
        release: the known release whose counts are within 5 % in every split that is here, else None.
        num_annotated, num_found: annotated clips, and those of them whose media are there.
        num_rows, num_valid: label rows that could be read, and those with a valid label.
        differences: what label rows minus frames came to -> clips.
        worst: (clip id, label rows, frames) of the clips that differ most, beyond the usual 2.
    """

    splits: dict[str, int]
    release: dict[str, Any] | None
    num_annotated: int = 0
    num_found: int = 0
    num_rows: int = 0
    num_valid: int = 0
    differences: dict[str, int] = field(default_factory=dict)
    worst: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True)
class CheckReport:
    """What `check` found. `problems` are what a person must see to; everything else is for information."""

    dataset: str
    root: str
    num_clips: int
    tasks: dict[str, TaskCheck]
    bad_labels: tuple[str, ...]
    bad_media: tuple[str, ...]
    stubs: tuple[str, ...]
    missing: tuple[str, ...]
    refused: tuple[str, ...]
    displaced: tuple[str, ...]
    shared_subjects: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """One line per kind of problem; empty when the corpus can be used as it is."""
        kinds = (
            (self.bad_labels, "label files with a bad line"),
            (self.bad_media, "media that cannot be opened"),
            (self.stubs, "Git LFS pointers instead of media, run git lfs pull"),
            (self.missing, "annotated clips without media"),
            (self.refused, "entries that are refused"),
            (self.displaced, "clips with more than a tenth of their labels behind their end"),
            (self.shared_subjects, "subjects in two splits"),
        )
        return tuple(f"{what}: {len(found)}" for found, what in kinds if found)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        return {**asdict(self), "problems": list(self.problems)}

    def to_text(self) -> str:
        """The report as a plain text table."""
        lines = [f"{self.dataset} in {self.root}: {self.num_clips} {'clip' if self.num_clips == 1 else 'clips'}"]
        for task, found in self.tasks.items():
            lines += ["", *_task_lines(task, found)]
        sections: dict[str, tuple[str, ...]] = {
            "Label files with a bad line (the first of each)": self.bad_labels,
            "Media that cannot be opened": self.bad_media,
            "Git LFS pointers": self.stubs,
            "Annotated clips without media": self.missing,
            "Refused": self.refused,
            "Labels behind the end of their clip (frames count from 0, times are seconds)": self.displaced,
            "Subjects in two splits": tuple(f"{name}: {', '.join(s)}" for name, s in self.shared_subjects.items()),
            "Notes": self.notes,
        }
        for title, rows in sections.items():
            if rows:
                lines += ["", f"{title}: {len(rows)}", *(f"  {row}" for row in rows[:MOST_LISTED])]
                if len(rows) > MOST_LISTED:
                    lines.append(f"  ... and {len(rows) - MOST_LISTED} more (all of them with --json)")
        lines += ["", f"Problems: {'; '.join(self.problems) or 'none'}."]
        return "\n".join(printable(line) for line in lines)


@dataclass(frozen=True)
class _Length:
    """How long a container says it is; None where it does not."""

    num_frames: int | None = None
    seconds: float | None = None

    def displaced(self, labels: Labels) -> str:
        """How many labels lie behind the end, where they are more than a tenth and more than is usual; "" where not."""
        if labels.frame_index is not None and self.num_frames is not None:
            num_behind, end = int((labels.frame_index >= self.num_frames).sum()), f"{self.num_frames} frames"
        elif labels.time_s is not None and self.seconds is not None:
            num_behind, end = int((labels.time_s > self.seconds).sum()), f"{self.seconds:.2f} s"
        else:
            return ""
        count = len(labels.values)
        return f"{num_behind} of {count} labels, it has {end}" if num_behind > max(COUNT_TOLERANCE, 0.1 * count) else ""


def check(
    adapter: Adapter,
    manifest: Manifest,
    probe: Callable[[Path], VideoInfo] = probe_video,
    on_medium: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Read every label and look at every medium of a corpus; nothing is decoded beyond a video's first frame.

    Args:
        manifest: what `adapter.scan` found.
        probe: what reads a container's header.
        on_medium: called with (clips looked at, clips in all).
    """
    lengths, bad_media, stubs = _lengths(manifest, probe, on_medium)
    displaced: list[str] = []
    bad_labels: dict[Path, ManifestError] = {}
    notes = list(manifest.notes)
    tasks = {
        task: _check_task(adapter, manifest, task, lengths, bad_labels, displaced, notes) for task in adapter.tasks
    }
    shared: dict[str, tuple[str, ...]] = {}
    for task in adapter.tasks:
        view = manifest.for_task(task)
        for subject, splits in shared_subjects((*view.clips, *view.missing)).items():
            shared[subject] = tuple(sorted({*splits, *shared.get(subject, ())}))
    return CheckReport(
        dataset=manifest.dataset,
        root=printable(manifest.root),
        num_clips=len(manifest.clips),
        tasks=tasks,
        bad_labels=tuple(_one_line(bad_labels[path]) for path in sorted(bad_labels)),
        bad_media=tuple(bad_media),
        stubs=tuple(stubs),
        missing=tuple(clip.clip_id for clip in manifest.missing if clip.annotations),
        refused=tuple(f"{refusal.clip_id}: {_one_line(refusal.reason)}" for refusal in manifest.refused),
        displaced=tuple(displaced),
        shared_subjects=shared,
        notes=tuple(notes),
    )


def _one_line(message: object) -> str:
    return " ".join(printable(message).splitlines())


def _lengths(
    manifest: Manifest, probe: Callable[[Path], VideoInfo], on_medium: Callable[[int, int], None] | None
) -> tuple[dict[Path, _Length], list[str], list[str]]:
    """Medium -> its length, one line per bad medium, and the LFS pointers."""
    lengths: dict[Path, _Length] = {}
    bad, stubs = [], []
    for done, clip in enumerate(manifest.clips, start=1):
        if on_medium:
            on_medium(done, len(manifest.clips))
        if clip.media in lengths:
            continue
        lengths[clip.media] = _Length()
        if is_lfs_stub(clip.media):
            stubs.append(printable(clip.media))
            continue
        try:
            lengths[clip.media] = _length_of(clip, probe)
        except (EmopipeError, OSError) as error:
            bad.append(f"{clip.clip_id}: {_one_line(error)}")
    return lengths, bad, stubs


def _length_of(clip: Clip, probe: Callable[[Path], VideoInfo]) -> _Length:
    if clip.kind == "video":
        video = probe(clip.media)
        return _Length(video.num_frames, video.duration_s)
    if clip.kind == "images":
        return _Length(last_image_number(clip.media))
    if clip.kind == "sound":
        check_sound(clip.media)
        return _Length()
    picture_size(clip.media)  # raises when it is no picture
    return _Length(1)


def _check_task(
    adapter: Adapter,
    manifest: Manifest,
    task: str,
    lengths: dict[Path, _Length],
    bad_labels: dict[Path, ManifestError],
    displaced: list[str],
    notes: list[str],
) -> TaskCheck:
    view = manifest.for_task(task)
    placed = (*view.clips, *view.missing)
    splits: Counter[str] = Counter(clip.split or "none" for clip in placed)
    differences: Counter[str] = Counter()
    far: list[tuple[str, int, int]] = []
    num_rows = num_valid = 0
    for clip in placed:
        if task not in clip.annotations or (labels := _read(adapter, clip, task, bad_labels, notes)) is None:
            continue
        num_rows += len(labels.values)
        num_valid += int(labels.valid.sum())
        length = lengths.get(clip.media, _Length())
        if far_off := length.displaced(labels):
            displaced.append(f"{clip.clip_id}, {task}: {far_off}")
        declared = length.num_frames
        if labels.frame_index is None or clip.media not in lengths:
            continue
        if declared is None:
            differences["unknown"] += 1
            continue
        rows = int(labels.frame_index.max()) + 1
        differences[_bucket(rows - declared)] += 1
        if abs(rows - declared) > COUNT_TOLERANCE:
            far.append((clip.clip_id, rows, declared))
    far.sort(key=lambda row: (-abs(row[1] - row[2]), row[0]))
    return TaskCheck(
        splits={split: splits[split] for split in SPLIT_ORDER if splits[split]},
        release=_nearest_release(adapter, task, splits),
        num_annotated=sum(task in clip.annotations for clip in placed),
        num_found=sum(task in clip.annotations for clip in view.clips),
        num_rows=num_rows,
        num_valid=num_valid,
        differences=dict(sorted(differences.items())),
        worst=tuple(far[:MOST_WORST]),
    )


def _read(adapter: Adapter, clip: Clip, task: str, bad_labels: dict[Path, ManifestError], notes: list[str]) -> Any:
    """The clip's labels, or None after its error was put down; of several errors in one file, the first line's."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            labels = adapter.read_labels(clip, task)
        except ManifestError as error:
            path = error.path or clip.annotations[task]
            known = bad_labels.get(path)
            if known is None or (error.row or 0) < (known.row or 0):
                bad_labels[path] = error
            return None
        finally:
            notes += [str(warning.message) for warning in caught]
    return labels


def _bucket(difference: int) -> str:
    if difference == 0:
        return "equal"
    word = "more" if difference > 0 else "fewer"
    return f"{abs(difference)} {word}" if abs(difference) <= COUNT_TOLERANCE else f"over {COUNT_TOLERANCE} {word}"


def _nearest_release(adapter: Adapter, task: str, splits: Counter[str]) -> dict[str, Any] | None:
    """The known release that the counts fit best, if they fit one; parts that are not here do not count."""
    best: tuple[float, dict[str, Any]] | None = None
    for release in adapter.releases:
        here = [split for split in ("train", "dev", "test") if splits[split]]
        if release["task"] != task or not here:
            continue
        off = max(abs(splits[split] - release[split]) / max(release[split], 1) for split in here)
        if off <= RELEASE_TOLERANCE and (best is None or off < best[0]):
            best = (off, release)
    return None if best is None else best[1]


def _task_lines(task: str, found: TaskCheck) -> list[str]:
    lines = [f"{task:<10}{'split':<8}{'clips':>7}" + (f"{'expected':>10}" if found.release else "")]
    for split, count in found.splits.items():
        expected = f"{found.release.get(split, ''):>10}" if found.release else ""
        lines.append(f"          {split:<8}{count:>7}{expected}")
    if found.release:
        lines.append(f"          the counts fit the release {found.release['release']}.")
    if found.num_annotated:
        lines.append(f"          media found for {found.num_found} of {found.num_annotated} annotated clips.")
        lines.append(f"          {found.num_valid} of {found.num_rows} label rows are valid.")
    if found.differences:
        counts = ", ".join(f"{name}: {count}" for name, count in found.differences.items())
        lines.append(f"          label rows against frames: {counts}.")
    for clip_id, rows, declared in found.worst:
        lines.append(f"          {clip_id}: {rows} label rows, {declared} frames")
    return lines
