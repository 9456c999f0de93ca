"""Video files: what they declare, their frames, and writing one.

The only module that knows containers. Everything that leaves it is upright RGB with a time in seconds.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Literal, cast

import av
import av.container
import av.error
import cv2
import numpy as np
from av.stream import Disposition
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from emopipe.errors import ConfigError, DecodeError, EmptyMediaError, MediaError
from emopipe.files import partial_path, storage_error
from emopipe.media.containers import what_is_there
from emopipe.records import Frame, VideoInfo
from emopipe.typing import Floats, Image

VideoCodec = Literal["libx264", "libx265"]
# Suffix -> name of the container; written out because a partial file has another suffix.
CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".avi": "avi"}
NUM_ENCODER_THREADS = 2  # fixed: x264's bytes depend on the number of threads

_ROTATIONS = {1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_CLOCKWISE}
_GENERATE_TIMES = cast(int, av.container.Flags.gen_pts.value)  # PyAV's stub takes the member for its value


def probe(path: Path) -> VideoInfo:
    """What a video file declares, checked against its first frame, which is decoded.

    `num_frames` and `duration_s` are the container's word; a file that was cut short still declares the whole, so
    comparing them with what `read_frames` yields is how such a file is found out. `num_video_streams` leaves out
    cover pictures.

    Raises:
        DecodeError: no such file, not a media file, or cut off before its first frame; the message says what was found.
        EmptyMediaError: there is no picture: sound only, a cover picture only, or a stream without frames.
    """
    with _open(path) as container:
        stream = _picture_stream(container, path)
        first = next(_decode(container, stream, path))
        width, height = first.width, first.height
        if _quarter_turns(first) % 2:
            width, height = height, width
        duration_s: float | None = None
        if stream.duration and stream.time_base:
            duration_s = float(stream.duration * Fraction(stream.time_base))
        elif container.duration:
            duration_s = container.duration / av.time_base
        return VideoInfo(
            path=path,
            width=width,
            height=height,
            rotation=90 * _quarter_turns(first),
            frame_rate=Fraction(stream.average_rate) if stream.average_rate else None,
            num_frames=stream.frames or None,
            duration_s=duration_s,
            codec=stream.codec_context.codec.canonical_name,
            has_audio=bool(container.streams.audio),
            num_video_streams=sum(not _is_cover(other) for other in container.streams.video),
        )


def read_frames(path: Path, num_threads: int = 1) -> Iterator[Frame]:
    """Every frame of a video in presentation order, one at a time; memory does not grow with length.

    Picture: (H, W, 3) uint8 RGB, C-contiguous, turned upright by the container's rotation (a mirroring in it is not
    applied). Pixels are taken as stored: a pixel aspect ratio other than 1 is not applied. The colour matrix and range
    are the ones the stream declares; undeclared means BT.601 and limited range, as in ffmpeg and OpenCV. Alpha is
    dropped, not composited. Deeper samples are reduced to 8 bits without tone mapping. Of several video streams the
    first is read that is not a cover picture. When the size changes in mid-stream, later frames are scaled to the
    first frame's.

    Time: the container's presentation time of that frame in seconds; it need not start at 0. A frame without one (H.264
    in AVI has none) takes the time at which the container hands it over. Where that is missing too, or lies before the
    previous frame's, it is the previous time plus one frame at the average rate. So times never decrease, and no frame
    is dropped or repeated.

    A broken file: whatever decodes before the fault is yielded, then DecodeError is raised. A file cut exactly between
    two frames cannot be told from a whole one here; compare with `VideoInfo.num_frames` and `duration_s`.

    Args:
        path: any container and codec that FFmpeg reads.
        num_threads: decoder threads. One decodes 640x360 H.264 at over 1,000 frames/s. With more, FFmpeg may meet the
            fault of a cut file only while it empties its threads, and then the file looks whole.

    Raises:
        DecodeError: as for `probe`, or decoding broke off: `frame_index` is the first frame that is missing.
        EmptyMediaError: as for `probe`. All errors come with the first frame that is asked for, not with the call.
    """
    with _open(path) as container:
        stream = _picture_stream(container, path)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = num_threads
        clock = _Clock(path, stream)
        reformatter = VideoReformatter()  # one for all frames: each holds megabytes of swscale state
        width = height = turns = 0
        for frame_index, decoded in enumerate(_decode(container, stream, path)):
            if frame_index == 0:
                width, height, turns = decoded.width, decoded.height, _quarter_turns(decoded)
            try:
                # threads=1: at this size swscale's own threads halve the speed.
                rgb = reformatter.reformat(decoded, width, height, "rgb24", threads=1).to_ndarray()
            except av.error.FFmpegError as error:
                raise _broken_off(path, frame_index, error) from error
            upright = cv2.rotate(rgb, _ROTATIONS[turns]) if turns else rgb
            yield Frame(frame_index, clock.time_s(decoded, frame_index), np.ascontiguousarray(upright, np.uint8))


def write_video(
    path: Path,
    frames: Iterable[Image],
    frame_rate: Fraction,
    audio: Floats | None = None,
    sample_rate: int = 48000,
    codec: VideoCodec = "libx264",
    crf: int = 18,
) -> None:
    """Write a video of constant rate, 8-bit 4:2:0 with BT.601 declared, and AAC sound if there is any.

    The name means complete: the file is written aside, flushed to disk and renamed. With libx264 the same
    pictures give the same bytes on the same machine.

    Args:
        path: ends in .mp4, .mov, .mkv or .avi.
        frames: (H, W, 3) uint8 RGB each, all of one size; H and W even, because 4:2:0 halves them. Odd sizes are
            refused: padding would put pixels into the picture that nobody drew.
        frame_rate: frames per second.
        audio: (N,) float mono samples in [-1, 1], starting with the first frame; its length need not match.
        sample_rate: of `audio`, in Hz.
        crf: constant rate factor; 0 lossless to 51, 18 looks lossless.

    Raises:
        ConfigError: the suffix is not one of those above.
        MediaError: no frame at all, an odd size, or a frame of another shape or type than the first.
        StorageError: the disk is full or the folder cannot be written; no partial file stays behind.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "grey.mp4"
        ...     write_video(path, [np.full((48, 64, 3), 128, np.uint8)] * 5, Fraction(25))
        ...     probe(path).num_frames, [round(frame.time_s, 3) for frame in read_frames(path)]
        (5, [0.0, 0.04, 0.08, 0.12, 0.16])
    """
    container_name = CONTAINERS.get(path.suffix.lower())
    if container_name is None:
        raise ConfigError(f"{path}: expected a name ending in {', '.join(CONTAINERS)}. Received: '{path.suffix}'.")
    partial = partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(os.fspath(partial.absolute()), "w", format=container_name) as container:
            _encode(container, path, _checked(frames, path), frame_rate, audio, sample_rate, codec, crf)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, av.error.FFmpegError) as error:
        raise storage_error(path, OSError(error.errno, error.strerror)) from error
    finally:
        with contextlib.suppress(OSError):  # gone after the renaming; unreachable when the folder is none
            partial.unlink()


def _encode(
    container: av.container.OutputContainer,
    path: Path,
    frames: Iterator[Image],
    frame_rate: Fraction,
    audio: Floats | None,
    sample_rate: int,
    codec: VideoCodec,
    crf: int,
) -> None:
    first = next(frames, None)
    if first is None:
        raise MediaError(f"{path}: there is no frame to write. Expected at least one picture.", path=path)
    options = {"crf": str(crf), "preset": "veryfast"}
    if codec == "libx264":
        options["x264-params"] = "mbtree=0"  # with it, threads race and the same pictures give other bytes
    video = container.add_stream(codec, rate=frame_rate, options=options)
    video.height, video.width, video.pix_fmt = first.shape[0], first.shape[1], "yuv420p"
    video.codec_context.time_base = 1 / frame_rate
    video.codec_context.thread_count = NUM_ENCODER_THREADS
    video.codec_context.colorspace = 6  # AVCOL_SPC_SMPTE170M, the BT.601 matrix
    video.codec_context.color_range = ColorRange.MPEG
    sound = container.add_stream("aac", rate=sample_rate, layout="mono") if audio is not None else None
    samples = np.zeros(0, np.float32) if audio is None else np.ascontiguousarray(audio, np.float32)
    num_written = 0
    reformatter = VideoReformatter()
    for index, image in enumerate(chain([first], frames)):
        frame = reformatter.reformat(
            av.VideoFrame.from_ndarray(image, format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )
        frame.pts, frame.time_base = index, 1 / frame_rate
        container.mux(video.encode(frame))
        # Sound goes in beside its pictures; in one block at the end, the muxer would hold all pictures in memory.
        upto = round((index + 1) * sample_rate / frame_rate)
        if sound is not None and num_written < min(upto, len(samples)):
            container.mux(sound.encode(_sound_frame(samples[num_written:upto], num_written, sample_rate)))
            num_written = upto
    container.mux(video.encode(None))
    if sound is not None:
        if num_written < len(samples):
            container.mux(sound.encode(_sound_frame(samples[num_written:], num_written, sample_rate)))
        container.mux(sound.encode(None))


def _sound_frame(samples: Floats, start: int, sample_rate: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = sample_rate, start, Fraction(1, sample_rate)
    return frame


def _checked(frames: Iterable[Image], path: Path) -> Iterator[Image]:
    shape: tuple[int, ...] | None = None
    for index, image in enumerate(frames):
        shape = shape or image.shape
        fits = image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8 and image.shape == shape
        if not fits or shape[0] % 2 or shape[1] % 2 or 0 in shape:
            raise MediaError(
                f"{path}: frame {index} cannot be written. Expected (height, width, 3) uint8, height and width even, "
                f"all frames alike (the first is {shape}). Received: {image.shape} {image.dtype}.",
                path=path,
                frame_index=index,
            )
        yield image


def _open(path: Path) -> av.container.InputContainer:
    try:
        container = av.open(
            # Absolute, because FFmpeg takes "take:1.mp4" for a protocol. Names that are not UTF-8 pass through.
            os.fspath(path.absolute()),
            metadata_errors="replace",  # titles in other encodings are common in old AVI files
            options={"protocol_whitelist": "file"},  # a playlist that is named like a video must not reach the network
        )
    except (av.error.FFmpegError, OSError) as error:
        raise DecodeError(f"{path}: cannot be opened as a video. {what_is_there(path, error)}", path=path) from error
    # PyAV asks FFmpeg to invent missing presentation times; for H.264 in AVI it invents them in the wrong order.
    container.flags &= ~_GENERATE_TIMES
    return container


def _is_cover(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def _picture_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """The first video stream that is not a cover picture."""
    for stream in container.streams.video:
        if not _is_cover(stream):
            if stream.codec_context is None:
                raise DecodeError(
                    f"{path}: FFmpeg has no decoder for its video. Convert it, for instance to H.264.", path=path
                )
            return stream
    found = ["sound"] if container.streams.audio else []
    found += ["a cover picture"] if container.streams.video else []
    received = " and ".join(found) or "neither picture nor sound"
    raise EmptyMediaError(f"{path}: holds no video stream. Expected moving pictures. Received: {received}.", path=path)


def _decode(container: av.container.InputContainer, stream: av.VideoStream, path: Path) -> Iterator[av.VideoFrame]:
    """All frames of `stream`, FFmpeg's errors turned into ours; flushes the decoder, so the last frames come too."""
    num_frames, last_corrupt = 0, -1
    try:
        for frame in container.decode(stream):
            if frame.is_corrupt:
                last_corrupt = num_frames
            yield frame
            num_frames += 1
    except av.error.FFmpegError as error:
        raise _broken_off(path, num_frames, error) from error
    if num_frames == 0:
        raise EmptyMediaError(f"{path}: its video stream holds no frame. Expected at least one.", path=path)
    # Streams without an index end quietly wherever they were cut; only the picture that was cut in two tells. It is not
    # the last one if pictures that were stored before it are shown after it.
    if 0 <= num_frames - 1 - stream.codec_context.reorder_depth <= last_corrupt:
        raise DecodeError(
            f"{path}: the file ends in the middle of frame {last_corrupt}. Copy or download it again.",
            path=path,
            frame_index=last_corrupt,
        )


def _broken_off(path: Path, frame_index: int, error: av.error.FFmpegError) -> DecodeError:
    return DecodeError(
        f"{path}: decoding breaks off at frame {frame_index} ({error.strerror}). The file is damaged or was cut short. "
        "Copy or download it again.",
        path=path,
        frame_index=frame_index,
    )


def _quarter_turns(frame: av.VideoFrame) -> int:
    """How many quarter turns counter-clockwise stand the stored picture upright, 0 to 3."""
    return round(frame.rotation / 90) % 4


class _Clock:
    """Gives each decoded frame of one stream its time; the rule stands in `read_frames`."""

    def __init__(self, path: Path, stream: av.VideoStream):
        self._path = path
        self._time_base = Fraction(stream.time_base or 0)
        rate = stream.average_rate or stream.guessed_rate
        self._interval_s = float(1 / Fraction(rate)) if rate else None
        self._previous_s: float | None = None

    def time_s(self, frame: av.VideoFrame, frame_index: int) -> float:
        stamp = frame.pts if frame.pts is not None else frame.dts
        time_s = float(stamp * self._time_base) if stamp is not None else None
        if time_s is None or (self._previous_s is not None and time_s < self._previous_s):
            time_s = self._next(frame_index)
        self._previous_s = time_s
        return time_s

    def _next(self, frame_index: int) -> float:
        if self._previous_s is None:
            return 0.0
        if self._interval_s is None:
            raise DecodeError(
                f"{self._path}: frame {frame_index} has no usable time and the container names no frame rate.\n"
                "Convert the file to MP4 with a stated frame rate.",
                path=self._path,
                frame_index=frame_index,
            )
        return self._previous_s + self._interval_s
