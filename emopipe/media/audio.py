"""Sound: the track inside a video, or a sound file, as mono samples with a place on the container's clock."""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.error
import numpy as np
import soxr

from emopipe.errors import ConfigError, DecodeError, EmptyMediaError, MediaError
from emopipe.media.containers import what_is_there
from emopipe.typing import Array, Floats

# A lost packet of AAC leaves 21 ms at 48 kHz, one of MP3 24 ms; containers round to 1 ms and streams jitter by a few.
GAP_S = 0.02
LONGEST_GAP_S = 3600.0  # beyond it a clock is broken rather than a track interrupted
CLIPPED_SHARE = 0.001  # a recording brought to full scale touches it with a few samples, a clipped one with thousands
SILENT_BELOW = 2.0**-15  # one step of 16 bits: lossy codecs make silence hiss below it
SHORT_BY_S = 0.1  # by which a track may end before its declared end: encoders round up to whole packets

_PIECE_S = 10  # of zeros handed to the resampler at once
# Sample format -> value of silence, and what full scale is above it.
_SCALES = {"u8": (2**7, 2**7), "s16": (0, 2**15), "s32": (0, 2**31), "s64": (0, 2**63), "flt": (0, 1), "dbl": (0, 1)}
# Formats of which FFmpeg guesses the length from the bit rate when a header does not say it.
_GUESSED_LENGTHS = frozenset({"mp3", "aac"})
_STREAMED_BYTES = 0x7FFF_0000  # programs that cannot go back to the header of a WAV file declare 2 or 4 GB


@dataclass(frozen=True)
class Sound:
    """The sound of one file.

    Attributes:
        samples: (N,) float32, mono, full scale is 1; lossy codecs and resampling may overshoot it.
        rate_hz: samples per second.
        start_s: time of sample 0 on the container's clock, the one that frames' `time_s` is on; need not be 0.
        native_rate_hz: samples per second in the file.
        num_channels: in the file.
        gaps: start and end, container's clock, of every stretch filled with zeros because the track has nothing there.
        notes: what a reader should know: clipped, silent, damaged or cut short.
    """

    samples: Floats
    rate_hz: int
    start_s: float
    native_rate_hz: int
    num_channels: int
    gaps: tuple[tuple[float, float], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def end_s(self) -> float:
        """Time after the last sample, seconds on the container's clock."""
        return self.start_s + len(self.samples) / self.rate_hz


def read_sound(path: Path, rate_hz: int | None = None) -> Sound:
    """The first sound track of a video or of a sound file, its channels averaged, resampled when asked for.

    Sample n lies at ``start_s + n / rate_hz`` on the same clock as the frames that `read_frames` gives. Samples that
    the container marks as the encoder's priming are left out, so that a delayed track and one that begins in mid-packet
    come out in their place. Where the time stamps leave more than 20 ms empty, zeros are put in and listed in `gaps`;
    less is taken for jitter. Where stamps go back, as in `read_frames`, they are not followed: the samples continue,
    none is dropped, and a note says so. No stamp at all means that the track runs on from 0.

    A damaged or truncated file gives what can be decoded, with a note. Decoding runs in packets: beside the samples
    that are returned, memory does not grow with length.

    Args:
        path: any container and codec that FFmpeg reads; any number of channels, integers or floats.
        rate_hz: samples per second wanted, made by soxr in high quality; None for the file's own.

    Raises:
        EmptyMediaError: there is no sound track, or there is no sample in it.
        DecodeError: no such file, not a media file, nothing in it decodes, its rate changes on the way, or its clock
            jumps by more than an hour.
        MediaError: a sample is NaN or infinite; the message has its time.
        ConfigError: `rate_hz` is below 1.

    Examples:
        >>> import tempfile, wave
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "half.wav"
        ...     with wave.open(str(path), "wb") as file:
        ...         file.setnchannels(2), file.setsampwidth(2), file.setframerate(8000)
        ...         file.writeframes(np.full((800, 2), 16384, "<i2").tobytes())
        ...     sound = read_sound(path)
        (None, None, None)
        >>> sound.rate_hz, sound.num_channels, sound.samples.shape, float(sound.samples[0]), sound.end_s
        (8000, 2, (800,), 0.5, 0.1)
    """
    if rate_hz is not None and rate_hz < 1:
        raise ConfigError(f"read_sound: expected a rate of at least 1 Hz. Received: {rate_hz}.")
    with _open(path) as container:
        stream = _sound_stream(container, path)
        track = _Track(path, rate_hz)
        for frame in _decode(container, stream, path, track.notes):
            track.add(frame)
        if len(container.streams.audio) > 1:
            track.notes.insert(0, f"{len(container.streams.audio)} sound tracks: the first is read.")
        track.notes += _short_wav(container, path)
        return track.sound(_declared_s(container, stream))


def check_sound(path: Path) -> None:
    """Open a file far enough to know that it has a sound track; decodes nothing.

    Raises:
        EmptyMediaError, DecodeError: as `read_sound`.
    """
    with _open(path) as container:
        _sound_stream(container, path)


def _open(path: Path) -> av.container.InputContainer:
    try:
        # As in `video`: absolute, for FFmpeg takes "take:1.wav" for a protocol; and no playlist reaches the network.
        return av.open(os.fspath(path.absolute()), metadata_errors="replace", options={"protocol_whitelist": "file"})
    except (av.error.FFmpegError, OSError) as error:
        raise DecodeError(f"{path}: cannot be opened for its sound. {what_is_there(path, error)}", path=path) from error


def _sound_stream(container: av.container.InputContainer, path: Path) -> av.AudioStream:
    if not container.streams.audio:
        received = "a picture without sound" if container.streams.video else "neither picture nor sound"
        raise EmptyMediaError(f"{path}: holds no sound track. Expected one. Received: {received}.", path=path)
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise DecodeError(
            f"{path}: FFmpeg has no decoder for its sound. Convert it, for instance to FLAC or AAC.", path=path
        )
    return stream


def _decode(
    container: av.container.InputContainer, stream: av.AudioStream, path: Path, notes: list[str]
) -> Iterator[av.AudioFrame]:
    """All frames of `stream`; packets that do not decode are passed over and told in `notes`."""
    num_frames, faults = 0, []
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                faults.append((packet.pts, error.strerror))
                continue
            for frame in frames:
                if frame.samples:
                    num_frames += 1
                    yield frame
    except av.error.FFmpegError as error:  # of the container, which then gives nothing more
        faults.append((None, error.strerror))
    if num_frames == 0 and faults:
        raise DecodeError(
            f"{path}: nothing of its sound decodes ({faults[0][1]}). The file is damaged. Copy or download it again.",
            path=path,
        )
    if num_frames == 0:
        raise EmptyMediaError(f"{path}: its sound track holds no sample. Expected at least one.", path=path)
    if faults:
        stamp, reason = faults[0]
        where = "" if stamp is None or stream.time_base is None else f" at {float(stamp * stream.time_base):.3f} s"
        packets = "1 packet does" if len(faults) == 1 else f"{len(faults)} packets do"
        notes.append(f"damaged or cut short: {packets} not decode, the first{where} ({reason}).")


def _declared_s(container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    """How long the track should be; None where nothing is declared, or only for the picture beside it."""
    if container.format.name in _GUESSED_LENGTHS:
        return None
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if container.duration and not container.streams.video:
        return float(container.duration / av.time_base)
    return None


def _short_wav(container: av.container.InputContainer, path: Path) -> list[str]:
    """A note if a WAV file has fewer bytes than it declares; FFmpeg takes its end for the end of the sound."""
    if container.format.name != "wav":
        return []
    with path.open("rb") as file:
        name, declared = struct.unpack("<4sI", file.read(8))
    num_bytes, declared = path.stat().st_size, declared + 8
    if name != b"RIFF" or declared > _STREAMED_BYTES or num_bytes >= declared:
        return []
    return [f"{num_bytes} bytes of {declared}: the file was cut short."]


class _Track:
    """Gathers the frames of one track; the rules stand in `read_sound`."""

    def __init__(self, path: Path, rate_hz: int | None):
        self.notes: list[str] = []
        self._path, self._rate_hz = path, rate_hz
        self._native_rate_hz = self._num_channels = 0
        self._start_s = 0.0
        self._num_native = 0  # samples at the native rate so far, zeros in gaps among them
        self._num_values = self._num_clipped = 0  # over all channels
        self._peak = 0.0
        self._gaps: list[tuple[float, float]] = []
        self._behind: tuple[float, float] | None = None  # where stamps first go back, and by how much at most
        self._resampler: soxr.ResampleStream | None = None
        self._bytes = bytearray()  # grows in place: joining arrays at the end would need the memory twice

    def add(self, frame: av.AudioFrame) -> None:
        stamp = frame.pts if frame.pts is not None else frame.dts
        time_s = None if stamp is None or frame.time_base is None else float(stamp * Fraction(frame.time_base))
        if self._num_native == 0:
            self._begin(frame, time_s or 0.0)
        elif frame.sample_rate != self._native_rate_hz:
            raise DecodeError(
                f"{self._path}: its sound changes from {self._native_rate_hz} to {frame.sample_rate} Hz at "
                f"{self._end_s():.3f} s. Expected one rate. Convert the file.",
                path=self._path,
            )
        elif time_s is not None:
            self._follow(time_s)
        channels = _channels(frame)
        self._inspect(channels, frame.format.name)
        self._append(channels.mean(axis=0, dtype=np.float32))

    def sound(self, declared_s: float | None) -> Sound:
        if self._resampler is not None:
            self._bytes += self._resampler.resample_chunk(np.zeros(0, np.float32), last=True).tobytes()
        samples = np.frombuffer(self._bytes, np.float32)
        if not len(samples):
            raise EmptyMediaError(
                f"{self._path}: {self._num_native} samples at {self._native_rate_hz} Hz leave none at "
                f"{self._rate_hz} Hz. Expected a longer sound.",
                path=self._path,
            )
        return Sound(
            samples,
            self._rate_hz or self._native_rate_hz,
            self._start_s,
            self._native_rate_hz,
            self._num_channels,
            tuple(self._gaps),
            (*self.notes, *self._findings(declared_s)),
        )

    def _findings(self, declared_s: float | None) -> Iterator[str]:
        length_s = self._num_native / self._native_rate_hz
        if declared_s is not None and declared_s - length_s > SHORT_BY_S:
            yield f"{length_s:.3f} s of sound where {declared_s:.3f} s are declared: the file may be cut short."
        if self._gaps:
            missing_s = sum(end - start for start, end in self._gaps)
            plural = "gap" if len(self._gaps) == 1 else "gaps"
            yield f"{len(self._gaps)} {plural}, {missing_s:.3f} s in all, filled with zeros."
        if self._behind is not None:
            yield (
                f"from {self._behind[0]:.3f} s on its time stamps lie up to {self._behind[1]:.3f} s before the end of "
                "what came earlier: they are not followed."
            )
        if self._peak < SILENT_BELOW:
            yield "silent: no sample reaches 1/32768 of full scale."
        share = self._num_clipped / self._num_values
        if share >= CLIPPED_SHARE:
            yield f"clipped: {100 * share:.1f} % of the samples are at full scale."

    def _begin(self, frame: av.AudioFrame, start_s: float) -> None:
        self._start_s = start_s
        self._native_rate_hz, self._num_channels = frame.sample_rate, frame.layout.nb_channels
        if self._rate_hz not in (None, frame.sample_rate):
            self._resampler = soxr.ResampleStream(frame.sample_rate, self._rate_hz, 1, dtype="float32", quality="HQ")

    def _end_s(self) -> float:
        return self._start_s + self._num_native / self._native_rate_hz

    def _follow(self, time_s: float) -> None:
        """Fill up to the time of the next frame, if it is late."""
        end_s = self._end_s()
        if time_s - end_s > LONGEST_GAP_S:
            raise DecodeError(
                f"{self._path}: the clock of its sound jumps from {end_s:.3f} to {time_s:.3f} s. "
                f"Expected gaps of up to {LONGEST_GAP_S:.0f} s. The file is damaged: remux or convert it.",
                path=self._path,
            )
        if time_s - end_s > GAP_S:
            self._gaps.append((end_s, time_s))
            missing, piece = round((time_s - end_s) * self._native_rate_hz), _PIECE_S * self._native_rate_hz
            for start in range(0, missing, piece):
                self._append(np.zeros(min(piece, missing - start), np.float32))
        elif end_s - time_s > GAP_S:
            first_s, lag_s = self._behind or (time_s, 0.0)
            self._behind = (first_s, max(lag_s, end_s - time_s))

    def _inspect(self, channels: Floats, sample_format: str) -> None:
        size = np.abs(channels)
        peak = float(size.max())
        if not np.isfinite(peak):
            index = int(np.argmin(np.isfinite(channels).all(axis=0)))
            raise MediaError(
                f"{self._path}: the sample at {self._end_s() + index / self._native_rate_hz:.4f} s is "
                f"{channels[:, index].tolist()}. Expected finite numbers. Repair or export the file again.",
                path=self._path,
            )
        self._peak = max(self._peak, peak)
        self._num_values += channels.size
        scale = _SCALES[sample_format.removesuffix("p")][1]
        full_scale = 1 - 1.5 / (2**7 if scale == 2**7 else 2**15)  # the highest step of 8 or of 16 bits
        if peak >= full_scale:
            self._num_clipped += int(np.count_nonzero(size >= full_scale))

    def _append(self, mono: Floats) -> None:
        self._num_native += len(mono)
        if self._resampler is not None:
            mono = self._resampler.resample_chunk(mono)
        self._bytes += mono.tobytes()


def _channels(frame: av.AudioFrame) -> Floats:
    """(channels, N) float32, full scale 1."""
    values: Array = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    silence, full_scale = _SCALES[frame.format.name.removesuffix("p")]
    return (values.astype(np.float32) - np.float32(silence)) / np.float32(full_scale)
