"""Faces of one clip: decoding, detection and alignment as overlapping steps."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

from emopipe.config import FacesConfig
from emopipe.datasets.adapter import Adapter
from emopipe.datasets.listing import is_lfs_stub
from emopipe.errors import MediaError
from emopipe.faces.detection import Detector, detect_frames, load_detector
from emopipe.faces.landmarks import Landmarker, load_landmarker
from emopipe.faces.rows import align_frames
from emopipe.media.images import last_image_number, picture_size, read_images, read_picture
from emopipe.media.video import probe, read_frames
from emopipe.records import Clip, Detections, FaceRows, Frame
from emopipe.stages.pipeline import Prefetch, StepClock
from emopipe.timeline import compare_counts

_AHEAD_BYTES = 32 << 20  # decoded frames waiting between two steps: 48 at 640 x 360, 5 at 1080p, 1 at 2160p
_MOST_AHEAD = 48
_SHORT_BY_S = 1.0  # a sound track often runs on for a fraction of a second
_CHUNKS_AHEAD = 4  # of 16 rows, 442 kB each


@dataclass(frozen=True)
class FaceEngines:
    """The detector and the landmarker, loaded once per process; both None for official crops."""

    detector: Detector | None
    landmarker: Landmarker | None


@dataclass(frozen=True)
class FrameSource:
    """Where a clip's frames come from.

    Attributes:
        frames: the frames, not yet begun.
        num_declared: frames that the container or the folder announces; None when it does not say.
        frame_bytes: of one decoded frame.
        frame_rate: average frames per second; None when unknown.
        duration_s: that the container announces; None when it does not say.
        size: width and height of the upright picture, pixels.
    """

    frames: Iterable[Frame]
    num_declared: int | None
    frame_bytes: int
    frame_rate: float | None
    duration_s: float | None
    size: tuple[int, int]


def load_engines(config: FacesConfig, *, device: str, weights: Path | None, num_threads: int) -> FaceEngines:
    """Load what the configuration needs.

    Raises:
        WeightsError, MissingDependencyError, DeviceError: an engine cannot be had.
    """
    if config.alignment == "given":
        return FaceEngines(None, None)
    detector = load_detector(config.detector, device=device, weights=weights, num_threads=num_threads)
    return FaceEngines(detector, load_landmarker())


def open_source(clip: Clip, config: FacesConfig, num_labels: int | None) -> FrameSource:
    """Look at a clip's media without decoding it.

    Args:
        num_labels: annotation rows; an official image sequence is as long as the larger of them and its last number.

    Raises:
        MediaError: it cannot be opened, or an image sequence has no frame rate.
    """
    if clip.kind == "images":
        num_frames = max(last_image_number(clip.media), num_labels or 0)
        image_rate = _image_rate(clip, config)
        frames = read_images(clip.media, num_frames, image_rate)
        return FrameSource(frames, num_frames, 112 * 112 * 3, float(image_rate), None, (0, 0))
    if is_lfs_stub(clip.media):
        pointer = f"is a Git LFS pointer and not the {clip.kind} itself"
        raise MediaError(f"{clip.media}: {pointer}.\nRun git lfs pull in the corpus folder.", path=clip.media)
    if clip.kind == "picture":
        width, height = picture_size(clip.media)
        return FrameSource(read_picture(clip.media), 1, width * height * 3, None, None, (width, height))
    info = probe(clip.media)
    rate = None if info.frame_rate is None else float(info.frame_rate)
    size = (info.width, info.height)
    return FrameSource(
        read_frames(clip.media), info.num_frames, info.width * info.height * 3, rate, info.duration_s, size
    )


def face_chunks(
    clip: Clip, source: FrameSource, config: FacesConfig, engines: FaceEngines, clock: StepClock
) -> Prefetch[FaceRows]:
    """Face rows of a clip in consecutive chunks; its steps begin to work now. Close it when it is not used up."""
    ahead = max(1, min(_MOST_AHEAD, _AHEAD_BYTES // max(1, source.frame_bytes)))
    frames = Prefetch(clock.source("decode", source.frames), ahead, "decode")
    align = partial(
        align_frames, config=config, detector=engines.detector, landmarker=engines.landmarker, side=clip.side
    )
    detected: Iterable[tuple[Frame, Detections | None]]
    if engines.detector is None:
        detected = ((frame, None) for frame in frames)
    else:
        detect = partial(detect_frames, detector=engines.detector, config=config)
        detected = Prefetch(clock.step("detect", detect, frames), ahead, "detect")
    return Prefetch(clock.step("align", align, detected), _CHUNKS_AHEAD, "align")


def count_labels(adapter: Adapter, clip: Clip) -> dict[str, int]:
    """Task -> annotation rows that are placed by frame.

    Raises:
        ManifestError: a label file has a bad line.
    """
    labels = {task: adapter.read_labels(clip, task) for task in clip.annotations}
    return {task: len(found.values) for task, found in labels.items() if found.frame_index is not None}


def count_notes(
    source: FrameSource, num_decoded: int, last_time_s: float, num_labels: dict[str, int]
) -> tuple[str, ...]:
    """Sentences about declared, decoded and labelled counts that disagree."""
    notes = list(compare_counts(source.num_declared, num_decoded, None))
    # Matroska declares no count: there only the times show that a file was cut between two frames.
    if source.duration_s is not None and last_time_s + _SHORT_BY_S < source.duration_s:
        announced = f"{source.duration_s:.2f} s are announced"
        notes.append(f"the last frame is at {last_time_s:.2f} s and {announced}: the file may be cut short.")
    for task, count in num_labels.items():
        notes += [f"{task}: {note}" for note in compare_counts(None, num_decoded, count)]
    return tuple(notes)


def _image_rate(clip: Clip, config: FacesConfig) -> Fraction:
    if config.fps is not None:
        return Fraction(config.fps).limit_denominator(1001)
    if clip.source_video is not None and (rate := probe(clip.source_video).frame_rate) is not None:
        return rate
    raise MediaError(
        f"{clip.media}: an image sequence has no times of its own, and its source video is not there.\n"
        "Put the video into the corpus, or state the rate with --fps.",
        path=clip.media,
    )
