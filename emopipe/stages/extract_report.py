"""What an extraction reports: counts, seconds per step, and what went wrong where."""

from dataclasses import dataclass, field
from typing import Any

from emopipe.store.ledger import LedgerRow


@dataclass
class ExtractReport:
    """The outcome of one extraction.

    Attributes:
        done, reused, failed: ids of clips made now, found finished, and not to be had.
        frames, valid: rows of faces made now, and rows among them that hold a face.
        windows, valid_windows: rows of audio features made now, and rows among them that there was sound for.
        rows, valid_rows: rows of ready-made features taken now, and rows among them that lack no number.
        seconds: step -> seconds that it was busy itself; steps overlap, so they add up to more than the wall time.
        devices: step -> "cpu" or "gpu".
        began_s, ended_s: monotonic clock at the opening of the first clip and at the last rename.
        failures: the ledger rows of the failed clips.
        notes: sentences about clips that were made but not as announced, and about the run as a whole.
    """

    done: set[str] = field(default_factory=set)
    reused: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    frames: int = 0
    valid: int = 0
    windows: int = 0
    valid_windows: int = 0
    rows: int = 0
    valid_rows: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)
    began_s: float = 0.0
    ended_s: float = 0.0
    failures: list[LedgerRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether every clip that was asked for is in the cache."""
        return not self.failed

    @property
    def wall_s(self) -> float:
        """Seconds from opening the first clip to the last rename; 0 when there was nothing to do."""
        return self.ended_s - self.began_s

    def add_worker(self, other: "ExtractReport", *, with_frames: bool) -> None:
        """Add the seconds of a worker that made faces; its rows too, unless they were counted when they were read."""
        for step, seconds in other.seconds.items():
            self.seconds[step] = self.seconds.get(step, 0.0) + seconds
        self.devices |= other.devices
        if other.began_s:
            self.began_s = min(self.began_s or other.began_s, other.began_s)
        if with_frames:
            self.frames += other.frames
            self.valid += other.valid

    @property
    def frames_per_s(self) -> float:
        """Frames divided by the wall time."""
        return self.frames / self.wall_s if self.wall_s else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that ``--json`` prints."""
        steps = {
            name: {"seconds": round(seconds, 3), "device": self.devices.get(name, "cpu")}
            for name, seconds in self.seconds.items()
        }
        counts = {"done": len(self.done), "reused": len(self.reused), "failed": len(self.failed)}
        failures = [
            {
                "clip": row.clip_id,
                "step": row.step,
                "error": row.error,
                "frame": row.frame_index,
                "message": row.message,
            }
            for row in self.failures
        ]
        return {
            "clips": counts,
            "frames": self.frames,
            "valid": self.valid,
            "windows": self.windows,
            "valid_windows": self.valid_windows,
            "rows": self.rows,
            "valid_rows": self.valid_rows,
            "steps": steps,
            "fps": round(self.frames_per_s, 2),
            "seconds": round(self.wall_s, 3),
            "failures": failures,
            "notes": self.notes,
        }

    def to_text(self) -> str:
        """The summary for a person."""
        lines = [f"clips: {len(self.done)} done, {len(self.reused)} reused, {len(self.failed)} failed"]
        if self.frames:
            share = 100 * self.valid / self.frames
            speed = f"{self.frames_per_s:.1f} frames per second over {self.wall_s:.1f} s"
            lines.append(f"frames: {self.frames}, {share:.1f} % with a face, {speed}")
        if self.windows:
            lines.append(f"sound: {self.windows} windows, {100 * self.valid_windows / self.windows:.1f} % valid")
        if self.rows:
            lines.append(f"features: {self.rows} rows, {100 * self.valid_rows / self.rows:.1f} % valid")
        if self.seconds:
            lines.append("seconds within each step; the steps run side by side:")
        for name, seconds in self.seconds.items():
            lines.append(f"  {name:<12}{seconds:9.1f} s  {self.devices.get(name, 'cpu')}")
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"failed: {row.clip_id} ({row.step}): {row.message}" for row in self.failures]
        return "\n".join(lines)
