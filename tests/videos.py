"""Videos that tests make with PyAV, mostly past `write_video`, and how their pictures are looked at."""

import os

import av
import numpy as np
from av.stream import Disposition

from emopipe.media.video import read_frames

RED, GREEN, BLUE, WHITE = (220, 30, 40), (30, 200, 60), (40, 50, 210), (230, 230, 230)
COLOUR_TOLERANCE = 8  # grey levels in the middle of a flat patch: 4:2:0, 8-bit YCbCr and the quantiser


def patches(width=64, height=48, top_left=RED):
    """Four coloured quarters, so that every turn and mirroring of the picture looks different."""
    image = np.zeros((height, width, 3), np.uint8)
    half_height, half_width = height // 2, width // 2
    image[:half_height, :half_width], image[:half_height, half_width:] = top_left, GREEN
    image[half_height:, :half_width], image[half_height:, half_width:] = BLUE, WHITE
    return image


def corners(image):
    """Colours in the middle of the four quarters: top left, top right, bottom left, bottom right."""
    height, width = image.shape[:2]
    return [image[y, x].astype(int) for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)]


def assert_corners(image, expected):
    assert np.abs(np.array(corners(image)) - np.array(expected)).max() <= COLOUR_TOLERANCE


def moving(num_frames, width=64, height=48):
    """Pictures with detail, each another, whose grey level rises by one per frame modulo 200."""
    noise = np.random.default_rng(0).integers(0, 40, (height, width, 3), dtype=np.uint8)
    return [np.roll(noise, 3 * index, axis=1) + np.uint8(index % 200) for index in range(num_frames)]


def encode(path, images, codec="libx264", pix_fmt="yuv420p", rate=25, stamps=None, unit=None, options=None, **settings):
    """Write `images` with PyAV alone; `stamps` are presentation times in `unit` seconds."""
    with av.open(os.fspath(path), "w", format=settings.pop("format", None)) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], pix_fmt
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        if unit is not None:
            stream.codec_context.time_base = unit
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = stamps[index], unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def remux(source, path, *, cover=False, options=None, streams=("video",)):
    """Copy the streams of `source` without encoding; `cover` marks the picture as a cover picture."""
    with av.open(os.fspath(source)) as reader, av.open(os.fspath(path), "w", options=options or {}) as writer:
        chosen = [stream for stream in reader.streams if stream.type in streams]
        copies = {stream.index: writer.add_stream_from_template(stream) for stream in chosen}
        if cover:
            for stream in chosen:
                if stream.type == "video":
                    copies[stream.index].disposition = Disposition.attached_pic
        for packet in reader.demux(chosen):
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                writer.mux(packet)
    return path


def times(path, **settings):
    return [frame.time_s for frame in read_frames(path, **settings)]


def write_sound(path, num_samples=48000):
    with av.open(os.fspath(path), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        tone = np.sin(np.arange(num_samples) / 20).astype(np.float32)[np.newaxis]
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return path
