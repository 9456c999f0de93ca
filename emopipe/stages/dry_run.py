"""What an extraction would make, before it is made."""

from dataclasses import asdict, dataclass
from typing import Any

from emopipe.errors import EmopipeError
from emopipe.stages.clip_queue import PICTURE_KINDS, SOUND_KINDS, ClipQueue
from emopipe.stages.faces_step import open_source
from emopipe.stages.spec import ExtractSpec, make_plan
from emopipe.store.cache import Cache

_FACE_ROW_BYTES = 24_300  # 27.6 kB of crop packed to 0.85, and 0.8 kB of everything else
_FRAMES_PER_S = 60.0  # two cores, ResNet50; only for an order of magnitude


@dataclass(frozen=True)
class Outlook:
    """What would happen.

    Attributes:
        reused, pending, failed: numbers of clips that are finished, to be made, and failed before.
        pending_frames: declared frames of the pending clips; those that do not declare any are left out.
        gigabytes: size of what would be written.
        hours: a rough time on two cores.
        notes: what the user is to be told.
    """

    reused: int
    pending: int
    failed: int
    pending_frames: int
    gigabytes: float
    hours: float
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)

    def to_text(self) -> str:
        """For a person."""
        lines = [f"clips: {self.pending} to make, {self.reused} reused, {self.failed} failed before"]
        if self.pending_frames:
            lines.append(
                f"frames: about {self.pending_frames:,} declared; about {_size(self.gigabytes)}, "
                f"about {_duration(self.hours)} on two cores"
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def _size(gigabytes: float) -> str:
    return f"{gigabytes:,.1f} GB" if gigabytes >= 1 else f"{1000 * gigabytes:.0f} MB"


def _duration(hours: float) -> str:
    return f"{hours:,.1f} hours" if hours >= 1 else f"{max(1, round(60 * hours))} min"


def estimate(spec: ExtractSpec) -> Outlook:
    """Plan `spec` and count; opens the pending videos to read what they declare, decodes none, writes nothing.

    Raises:
        EmopipeError: as `emopipe.stages.extract.extract`.
    """
    cache = Cache(spec.cache)
    plan = make_plan(spec, cache, remember=False)
    seen, heard = (
        ClipQueue(spec, plan, cache, cache.claims(), kinds).survey(write=False)
        for kinds in (PICTURE_KINDS, SOUND_KINDS)
    )
    pending = {planned.clip.clip_id for planned in (*seen.pending, *heard.pending)}
    failed = {row.clip_id for row in (*seen.failed, *heard.failed)} - pending
    reused = {planned.clip.clip_id for planned in (*seen.reused, *heard.reused)} - pending - failed
    frames = num_silent = 0
    for planned in seen.pending if plan.ready_made is None else ():
        try:
            declared = open_source(planned.clip, plan.faces_config, None).num_declared
        except EmopipeError:
            continue  # it would become a ledger row
        frames += declared or 0
        num_silent += declared is None
    row_bytes = 0 if spec.only == "features" else _FACE_ROW_BYTES
    sizes = plan.backbone.tap_sizes if plan.backbone is not None else {}
    row_bytes += sum(2 * size for size in sizes.values() if size is not None)
    unknown = [tap for tap, size in sizes.items() if size is None]
    notes = [f"The size of tap '{tap}' is known only once the network is built; it is left out." for tap in unknown]
    if num_silent:
        notes.append(f"{num_silent} of the clips to make do not say how many frames they have; they are left out.")
    if heard.pending:
        notes.append(f"The sound of {len(heard.pending)} clips is left out of size and time.")
    return Outlook(
        reused=len(reused),
        pending=len(pending),
        failed=len(failed),
        pending_frames=frames,
        gigabytes=round(frames * row_bytes / 1e9, 3),
        hours=round(frames / _FRAMES_PER_S / 3600, 3),
        notes=(*plan.notes, *notes),
    )
