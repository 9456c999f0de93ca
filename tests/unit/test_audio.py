"""Sound: any format, rate and channel count, on the same clock as the frames; what is missing is said, not guessed.

Every file is made here with PyAV or scipy, so that the reader is not tested against a writer of its own.
"""

import itertools
import os
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import scipy.io.wavfile
import soxr

from emopipe.errors import ConfigError, DecodeError, EmptyMediaError, MediaError
from emopipe.media.audio import Sound, _Track, read_sound
from emopipe.media.video import read_frames, write_video

CLICK_S = 0.5
CLOCK_TOLERANCE_S = 0.001  # MP4's edit lists and Matroska count milliseconds
LOSSY_LEVEL = 0.05  # of full scale: what AAC and MP3 may add to or take from a smooth click


def click(rate_hz, seconds=1.0, at_s=CLICK_S, peak=0.6):
    """Silence with one smooth bump of 8 ms whose middle is at `at_s`."""
    time_s = np.arange(int(seconds * rate_hz)) / rate_hz
    return (peak * np.where(np.abs(time_s - at_s) < 0.004, np.cos(np.pi * (time_s - at_s) / 0.008) ** 2, 0)).astype(
        "f4"
    )


def click_time(sound):
    weight = np.abs(sound.samples.astype(float)) ** 4
    return sound.start_s + (np.arange(len(weight)) * weight).sum() / weight.sum() / sound.rate_hz


def encode(path, samples, rate_hz, codec, sample_format, layout="mono", start_s=0.0, skip=(), options=None):
    """Write (channels, N) float samples with PyAV; packets whose numbers are in `skip` are left out."""
    scale = {"s16": 32767, "s32": 2**31 - 129}.get(sample_format.removesuffix("p"))
    data = samples if scale is None else np.round(samples * scale).astype({32767: "i2"}.get(scale, "i4"))
    with av.open(os.fspath(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        frames = sound_frames(data, rate_hz, sample_format, layout, start_s)
        packets = [packet for frame in (*frames, None) for packet in stream.encode(frame)]
        for number, packet in enumerate(packets):
            if number not in skip:
                container.mux(packet)
    return path


def sound_frames(data, rate_hz, sample_format="fltp", layout="mono", start_s=0.0, size=1000):
    for start in range(0, data.shape[1], size):
        part = data[:, start : start + size]
        part = part if sample_format.endswith("p") else part.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format=sample_format, layout=layout)
        frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
        frame.pts = start + round(start_s * rate_hz)
        yield frame


def flash_and_click(path, delay_s, start_s=0.0):
    """A video of 2 s whose one white frame and whose click are at the same time; its sound begins `delay_s` late."""
    rate_hz = 48000
    with av.open(os.fspath(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=rate_hz, layout="mono")
        packets = []
        for index in range(50):
            image = np.full((48, 64, 3), 255 if index == 30 else 0, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index + round(25 * start_s), Fraction(1, 25)
            packets += video.encode(frame)
        samples = click(rate_hz, 2 - delay_s, at_s=1.2 - delay_s)[np.newaxis]
        for frame in sound_frames(samples, rate_hz, start_s=delay_s + start_s):
            packets += sound.encode(frame)
        packets += [*video.encode(None), *sound.encode(None)]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


@pytest.mark.parametrize(
    ("name", "codec", "sample_format", "rate_hz"),
    [
        ("a.wav", "pcm_s16le", "s16", 8000),
        ("a.wav", "pcm_s24le", "s32", 44100),
        ("a.wav", "pcm_f32le", "flt", 48000),
        ("a.wav", "pcm_f64le", "dbl", 11025),
        ("a.aiff", "pcm_s16be", "s16", 22050),
        ("a.flac", "flac", "s16", 48000),
        ("a.flac", "flac", "s32", 16000),
        ("a.m4a", "aac", "fltp", 44100),
        ("a.mp4", "aac", "fltp", 48000),
        ("a.mkv", "aac", "fltp", 48000),
        ("a.opus", "libopus", "flt", 48000),
    ],
)
def test_every_format_gives_the_samples_in_their_place(tmp_path, name, codec, sample_format, rate_hz):
    samples = click(rate_hz)[np.newaxis].astype("f8" if sample_format == "dbl" else "f4")
    path = encode(tmp_path / name, samples, rate_hz, codec, sample_format)
    native = read_sound(path, None)
    assert (native.rate_hz, native.native_rate_hz, native.num_channels) == (rate_hz, rate_hz, 1)
    assert native.notes == native.gaps == ()
    assert native.samples.dtype == np.float32
    if codec not in ("aac", "libopus"):
        assert np.abs(native.samples - samples[0]).max() < 1e-4
    for wanted in (rate_hz, 16000, 48000):
        sound = read_sound(path, wanted)
        assert sound.rate_hz == wanted
        assert abs(click_time(sound) - CLICK_S) < CLOCK_TOLERANCE_S
        assert abs(np.abs(sound.samples).max() - 0.6) < LOSSY_LEVEL
        assert abs(sound.end_s - 1) < 0.05  # AAC ends with a whole packet


def test_mp3_keeps_the_clock_of_its_container(tmp_path):
    path = encode(tmp_path / "a.mp3", click(44100)[np.newaxis], 44100, "libmp3lame", "fltp")
    sound = read_sound(path, 16000)
    assert 0 < sound.start_s < 0.03  # FFmpeg counts MP3 from before the decoder's delay
    assert abs(click_time(sound) - sound.start_s - CLICK_S) < CLOCK_TOLERANCE_S


def test_eight_bits_are_centred(tmp_path):
    scipy.io.wavfile.write(tmp_path / "a.wav", 8000, np.full(800, 128, np.uint8))
    assert (read_sound(tmp_path / "a.wav", None).samples == 0).all()
    scipy.io.wavfile.write(tmp_path / "b.wav", 8000, np.array([0, 64, 128, 192] * 100, np.uint8))
    assert read_sound(tmp_path / "b.wav", None).samples[:4].tolist() == [-1, -0.5, 0, 0.5]


def test_eight_kilohertz_mono_and_48_kilohertz_5_1(tmp_path):
    path = encode(tmp_path / "low.wav", click(8000)[np.newaxis], 8000, "pcm_s16le", "s16")
    assert abs(click_time(read_sound(path, 16000)) - CLICK_S) < CLOCK_TOLERANCE_S
    six = np.stack([(number + 1) / 6 * click(48000, peak=0.9) for number in range(6)])
    formats = ("six.wav", "pcm_s16le", "s16"), ("six.flac", "flac", "s16"), ("six.m4a", "aac", "fltp")
    for name, codec, sample_format in formats:
        sound = read_sound(encode(tmp_path / name, six, 48000, codec, sample_format, "5.1"), 16000)
        assert sound.num_channels == 6
        assert abs(click_time(sound) - CLICK_S) < CLOCK_TOLERANCE_S
        if codec != "aac":  # which thinks that the fourth channel is for the lowest frequencies
            assert abs(sound.samples.max() - 0.9 * 3.5 / 6) < 0.01


def test_packed_and_planar_channels_are_averaged(tmp_path):
    left_right = np.stack([click(16000), -0.5 * click(16000)])
    for name, codec, sample_format in (("packed.wav", "pcm_s16le", "s16"), ("planar.flac", "flac", "s16")):
        sound = read_sound(encode(tmp_path / name, left_right, 16000, codec, sample_format, "stereo"), None)
        assert np.abs(sound.samples - left_right.mean(axis=0)).max() < 1e-4


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
@pytest.mark.parametrize(("delay_s", "start_s"), [(0.0, 0.0), (0.7, 0.0), (0.0, 1.0), (0.4, 2.0)])
def test_sound_is_on_the_clock_of_the_frames(tmp_path, name, delay_s, start_s):
    path = flash_and_click(tmp_path / name, delay_s, start_s)
    (flash_s,) = (frame.time_s for frame in read_frames(path) if frame.image.mean() > 100)
    for rate_hz in (None, 16000):
        sound = read_sound(path, rate_hz)
        assert abs(click_time(sound) - flash_s) < CLOCK_TOLERANCE_S
        assert abs(sound.start_s - delay_s - start_s) < 0.03  # priming may stay in front, with its time
        assert sound.notes == ()


def test_sound_of_a_written_video_begins_with_its_first_frame(tmp_path):
    write_video(tmp_path / "a.mp4", [np.zeros((48, 64, 3), np.uint8)] * 25, Fraction(25), click(48000), 48000)
    sound = read_sound(tmp_path / "a.mp4", 16000)
    assert sound.start_s == 0
    assert abs(click_time(sound) - CLICK_S) < CLOCK_TOLERANCE_S


def test_pieces_are_resampled_as_the_whole_would_be(tmp_path):
    noise = (0.1 * np.random.default_rng(0).normal(size=44100)).astype("f4")
    scipy.io.wavfile.write(tmp_path / "a.wav", 44100, noise)
    sound = read_sound(tmp_path / "a.wav", 16000)
    assert np.array_equal(sound.samples, soxr.resample(noise, 44100, 16000))
    assert np.array_equal(read_sound(tmp_path / "a.wav", 44100).samples, noise)


def test_a_missing_stretch_is_zeros_and_listed(tmp_path):
    noise = (0.1 * np.random.default_rng(0).normal(size=(1, 96000))).astype("f4")
    path = encode(tmp_path / "a.mkv", noise, 48000, "flac", "s16", skip=range(5, 10))  # packets of 4,608 samples
    for rate_hz in (None, 16000):
        sound = read_sound(path, rate_hz)
        ((start_s, end_s),) = sound.gaps
        assert abs(start_s - 5 * 4608 / 48000) < CLOCK_TOLERANCE_S
        assert abs(end_s - 10 * 4608 / 48000) < CLOCK_TOLERANCE_S
        assert abs(sound.end_s - 2) < CLOCK_TOLERANCE_S
        quiet = sound.samples[int((start_s + 0.01) * sound.rate_hz) : int((end_s - 0.01) * sound.rate_hz)]
        assert np.abs(quiet).max() < 1e-4
        assert sound.notes == ("1 gap, 0.480 s in all, filled with zeros.",)
    later = int(1.5 * 48000)
    assert np.abs(read_sound(path, None).samples[later : later + 4800] - noise[0, later : later + 4800]).max() < 0.01


def gathered(*stamps_and_sizes, rate_hz=1000):
    """What the frames of one track at these times, in samples, are gathered to."""
    track = _Track(Path("a.wav"), None)
    for stamp, size in stamps_and_sizes:
        (frame,) = sound_frames(np.full((1, size), 0.5, "f4"), rate_hz, size=size)
        frame.pts = stamp
        track.add(frame)
    return track.sound(None)


def test_jitter_is_no_gap_and_does_not_add_up():
    jitter = [0, 7, -6, 12, -15, 19, 0, 19]
    sound = gathered(*((100 * number + shift, 100) for number, shift in enumerate(jitter)))
    assert (len(sound.samples), sound.gaps, sound.notes) == (800, (), ())
    drift = gathered(*((102 * number, 100) for number in range(100)))  # a clock that is 2 % off is followed
    assert len(drift.gaps) == 9
    assert abs(drift.end_s - (102 * 99 + 100) / 1000) <= 0.02


def test_time_stamps_that_go_back_or_are_missing_drop_no_sample():
    sound = gathered((0, 100), (100, 100), (50, 100), (0, 100), (400, 100))
    assert (len(sound.samples), sound.gaps) == (500, ())
    assert sound.notes == (
        "from 0.050 s on its time stamps lie up to 0.300 s before the end of what came earlier: they are not followed.",
    )
    sound = gathered((None, 100), (None, 100))
    assert (sound.start_s, len(sound.samples), sound.notes) == (0.0, 200, ())
    assert gathered((-30, 100)).start_s == -0.03


def test_a_broken_clock_and_a_change_of_rate_are_errors():
    with pytest.raises(DecodeError, match="jumps from 0.100 to 4000.000 s") as caught:
        gathered((0, 100), (4_000_000, 100))
    assert caught.value.path == Path("a.wav")
    track = _Track(Path("a.wav"), None)
    track.add(next(sound_frames(np.zeros((1, 100), "f4"), 8000)))
    with pytest.raises(DecodeError, match="changes from 8000 to 16000 Hz at 0.013 s"):
        track.add(next(sound_frames(np.zeros((1, 100), "f4"), 16000)))


def test_a_video_without_sound_and_a_picture_hold_no_track(tmp_path):
    write_video(tmp_path / "mute.mp4", [np.zeros((48, 64, 3), np.uint8)] * 5, Fraction(25))
    with pytest.raises(EmptyMediaError, match="holds no sound track. Expected one. Received: a picture without sound"):
        read_sound(tmp_path / "mute.mp4", 16000)


def test_a_file_of_no_samples_is_empty(tmp_path):
    scipy.io.wavfile.write(tmp_path / "a.wav", 16000, np.zeros(0, np.int16))
    with pytest.raises(EmptyMediaError, match="holds no sample") as caught:
        read_sound(tmp_path / "a.wav", None)
    assert caught.value.path == tmp_path / "a.wav"
    scipy.io.wavfile.write(tmp_path / "b.wav", 48000, np.zeros(1, np.int16))
    with pytest.raises(EmptyMediaError, match="1 samples at 48000 Hz leave none at 16000 Hz"):
        read_sound(tmp_path / "b.wav", 16000)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "The file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS pointer"),
        (b"no sound at all, only a line of text", "It is text"),
        (None, "There is no such file"),
    ],
)
def test_what_is_no_sound_is_named(tmp_path, content, message):
    path = tmp_path / "a.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DecodeError, match=message) as caught:
        read_sound(path, None)
    assert caught.value.path == path
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_not_finite_is_an_error_with_its_time(tmp_path, bad):
    samples = np.zeros((48000, 2), "f4")
    samples[36000, 1] = bad
    scipy.io.wavfile.write(tmp_path / "a.wav", 48000, samples)
    with pytest.raises(MediaError, match=rf"the sample at 0.7500 s is \[0.0, {bad}\]") as caught:
        read_sound(tmp_path / "a.wav", 16000)
    assert caught.value.path == tmp_path / "a.wav"


def test_clipped_and_silent_tracks_are_noted(tmp_path):
    wave = np.sin(np.arange(16000) / 20)
    cases = {
        "clipped_16": (np.clip(2 * wave, -1, 1) * 32767).astype("i2"),
        "clipped_8": np.clip(256 * wave + 128, 0, 255).astype("u1"),
        "over_1": (2 * wave).astype("f4"),
        "silent": np.zeros(16000, "i2"),
        "hiss": np.full(16000, 1e-5, "f4"),
        "fine": (0.9 * wave * 32767).astype("i2"),
        "soft": (0.001 * wave * 32767).astype("i2"),
        "fine_8": (100 * wave + 128).astype("u1"),
    }
    notes = {}
    for name, samples in cases.items():
        scipy.io.wavfile.write(tmp_path / f"{name}.wav", 16000, samples)
        notes[name] = read_sound(tmp_path / f"{name}.wav", None).notes
    for name in ("clipped_16", "clipped_8", "over_1"):
        (note,) = notes[name]
        assert note.startswith(("clipped: 66.", "clipped: 67.")), note  # |2 sin| is above 1 for two thirds of a turn
    assert notes["silent"] == notes["hiss"] == ("silent: no sample reaches 1/32768 of full scale.",)
    assert notes["fine"] == notes["soft"] == notes["fine_8"] == ()


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mkv", "a.aiff", "a.mp4"])
def test_a_truncated_file_gives_what_there_is_and_a_note(tmp_path, name):
    noise = (0.1 * np.random.default_rng(0).normal(size=(1, 64000))).astype("f4")
    codecs = {"a.wav": "pcm_s16le", "a.aiff": "pcm_s16be", "a.mp4": "aac"}
    codec = codecs.get(name, "flac")
    options = {"movflags": "faststart"} if name == "a.mp4" else {}  # its index in front, as files for the web have it
    whole = encode(tmp_path / name, noise, 16000, codec, "fltp" if codec == "aac" else "s16", options=options)
    assert read_sound(whole, None).notes == ()
    content = whole.read_bytes()
    cut = tmp_path / f"cut_{name}"
    cut.write_bytes(content[: int(0.6 * len(content))])
    sound = read_sound(cut, None)
    assert 2 < sound.end_s < 2.6
    if codec != "aac":
        assert np.abs(sound.samples[:30000] - noise[0, :30000]).max() < 1e-4
    assert any("cut short" in note for note in sound.notes), sound.notes


def test_damage_in_the_middle_costs_its_packets_only(tmp_path):
    noise = (0.1 * np.random.default_rng(0).normal(size=(1, 64000))).astype("f4")
    content = bytearray(encode(tmp_path / "a.mp4", noise, 16000, "aac", "fltp").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = np.random.default_rng(1).bytes(2000)
    (tmp_path / "bad.mp4").write_bytes(content)
    sound = read_sound(tmp_path / "bad.mp4", None)
    assert abs(sound.end_s - 4) < 0.1
    assert "do not decode" in sound.notes[0]
    assert abs(sum(end - start for start, end in sound.gaps) - 0.5) < 0.5
    assert all(1 < start < end < 3 for start, end in sound.gaps)


def test_the_first_of_several_tracks_is_read(tmp_path):
    with av.open(os.fspath(tmp_path / "a.mkv"), "w") as container:
        streams = [container.add_stream("flac", rate=16000, layout="mono") for _ in range(2)]
        for stream, peak in zip(streams, (0.25, 0.75), strict=True):
            data = (click(16000, peak=peak)[np.newaxis] * 32767).astype("i2")
            frames = sound_frames(data, 16000, "s16")
            for packet in itertools.chain(*(stream.encode(frame) for frame in frames), stream.encode(None)):
                container.mux(packet)
    sound = read_sound(tmp_path / "a.mkv", None)
    assert abs(sound.samples.max() - 0.25) < 0.01
    assert sound.notes == ("2 sound tracks: the first is read.",)


def test_memory_stays_with_the_samples_that_are_returned(tmp_path):
    scipy.io.wavfile.write(tmp_path / "long.wav", 48000, np.zeros(48000 * 300, np.int16))
    tracemalloc.start()
    sound = read_sound(tmp_path / "long.wav", 16000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(sound.samples) == 16000 * 300
    assert peak < 1.5 * sound.samples.nbytes


def test_a_rate_below_one_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="at least 1 Hz. Received: 0"):
        read_sound(tmp_path / "a.wav", 0)


def test_the_end_of_a_sound():
    assert Sound(np.zeros(8000, "f4"), 16000, 1.5, 16000, 1).end_s == 2.0
