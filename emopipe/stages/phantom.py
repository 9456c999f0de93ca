"""Making the phantom corpus: generated faces whose true labels are known, in an official layout."""

import contextlib
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from emopipe.config import FacesConfig
from emopipe.datasets.phantom import SETTINGS_FILE, TRUTH_FOLDER
from emopipe.datasets.phantom_cast import Portrait, cast, official_crop, sound_of, truth_table
from emopipe.datasets.phantom_layouts import Layout, PhantomSettings, VideoPlan, find_layout
from emopipe.datasets.phantom_reactions import REACTION_LAYOUTS
from emopipe.datasets.phantom_scene import Actor, five_points
from emopipe.datasets.phantom_stills import STILL_LAYOUTS, Sitting, clip_id_of, render_sitting
from emopipe.datasets.phantom_utterances import UTTERANCE_LAYOUTS
from emopipe.datasets.phantom_voice import SAMPLE_RATE_HZ
from emopipe.errors import ConfigError, MediaError
from emopipe.faces.detection import detect_images, load_detector
from emopipe.faces.landmarks import load_landmarker, predictor_square
from emopipe.files import write_json, write_whole
from emopipe.media.video import write_video
from emopipe.processes import deaf_children, process_pool
from emopipe.typing import Bools, Image
from emopipe.version import __version__

DEFAULT_PORTRAIT = "skimage.data.astronaut"  # NASA, public domain; comes with scikit-image
PORTRAIT_SUFFIXES = (".jpg", ".jpeg", ".png")
CROP_QUALITY = 92
_UNFINISHED = ".unfinished"  # folder of what a corpus is to become, and the digests of what is finished

OnVideo = Callable[[int, int], None]
WorkType = TypeVar("WorkType", "_Work", "_Stills")


@dataclass(frozen=True)
class PhantomReport:
    """What was made: number of videos (0 of stills), clips and frames, and the seconds of all clips together."""

    num_videos: int
    num_clips: int
    num_frames: int
    media_s: float


@dataclass(frozen=True)
class _Stills:
    """All that a worker needs for the pictures of one subject."""

    folder: Path
    settings: PhantomSettings
    sitting: Sitting
    portrait: Portrait

    @property
    def name(self) -> str:
        """Of the subject."""
        return self.sitting.name


@dataclass(frozen=True)
class _Work:
    """All that a worker needs for one video."""

    folder: Path
    settings: PhantomSettings
    video: VideoPlan
    portraits: tuple[Portrait, ...]

    @property
    def name(self) -> str:
        """Of the video."""
        return self.video.name


def make_phantom(
    folder: Path,
    settings: PhantomSettings,
    faces: Path | None = None,
    num_workers: int = 1,
    on_video: OnVideo | None = None,
) -> PhantomReport:
    """Write a phantom corpus.

    The same settings and portraits give the same labels, byte for byte, and the same pixels before encoding; how many
    workers there are changes nothing. `phantom.json` keeps the settings, the portraits and a digest of the pixels.
    A call that was stopped goes on with what it had not finished.

    Args:
        folder: where to; must be empty or absent, or hold what a stopped call with the same settings left.
        settings: layout, subjects, length, seed, size.
        faces: folder of portraits, searched with its folders; one identity for each subject. None for one photograph
            that comes with scikit-image, given another shape and colour for each subject.
        num_workers: processes.
        on_video: called with (videos done, videos in all); with subjects where there are stills.

    Raises:
        ConfigError: `folder` holds something else, or there are fewer portraits than subjects.
        StorageError: the disk is full or the folder cannot be written.
    """
    _check_folder(folder)
    portraits = load_portraits(faces, settings)
    _begin(folder, settings, portraits)
    make = _make_stills if settings.layout in STILL_LAYOUTS else _make_videos
    report = make(folder, settings, portraits, num_workers, on_video)
    shutil.rmtree(folder / _UNFINISHED)
    return report


def _check_folder(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / _UNFINISHED).is_dir())):
        raise ConfigError(f"{folder}: expected an empty or absent folder for the phantom corpus. Choose another.")


def _begin(folder: Path, settings: PhantomSettings, portraits: list[Portrait]) -> None:
    """Note what the corpus is to become; refuse to go on with another one, and clear away what broke off."""
    path = folder / _UNFINISHED / "phantom.json"
    wanted = {"settings": asdict(settings), "portraits": [portrait.source for portrait in portraits]}
    if path.exists() and json.loads(path.read_text()) != wanted:
        raise ConfigError(
            f"{folder}: holds an unfinished corpus of other settings or portraits.\n"
            "Expected those that it was begun with. Choose another folder, or delete this one."
        )
    for partial in [*folder.rglob(".*.partial")]:
        partial.unlink()
    write_json(path, wanted)


def _make_videos(
    folder: Path, settings: PhantomSettings, portraits: list[Portrait], num_workers: int, on_video: OnVideo | None
) -> PhantomReport:
    layout = _layout_of(settings)
    videos = layout.plan(settings)
    work = [_Work(folder, settings, video, tuple(portraits[clip.subject] for clip in video.clips)) for video in videos]
    digests = _all_rendered(folder, render_video, work, num_workers, on_video)
    layout.write_lists(folder, settings, videos)
    reaction = REACTION_LAYOUTS.get(settings.layout)
    has_splits = reaction is None or reaction.has_splits
    clips = {
        clip.name: {
            "subject": f"subject{clip.subject:03d}",
            "split": clip.split if has_splits else None,
            "video": video.path,
        }
        for video in videos
        for clip in video.clips
    }
    _write_record(folder, settings, clips, portraits, digests)
    lengths_s = [video.clips[0].seconds_of(settings) for video in videos]
    num_frames = sum(int(round(seconds * settings.frame_rate)) for seconds in lengths_s)
    return PhantomReport(len(videos), len(clips), num_frames, sum(lengths_s))


def _layout_of(settings: PhantomSettings) -> Layout:
    name = settings.layout
    return UTTERANCE_LAYOUTS.get(name) or REACTION_LAYOUTS.get(name) or find_layout(name)


def _make_stills(
    folder: Path, settings: PhantomSettings, portraits: list[Portrait], num_workers: int, on_video: OnVideo | None
) -> PhantomReport:
    layout = STILL_LAYOUTS[settings.layout]
    sittings = layout.plan(settings)
    work = [_Stills(folder, settings, sitting, portraits[sitting.subject]) for sitting in sittings]
    digests = _all_rendered(folder, _render_stills, work, num_workers, on_video)
    clips = {
        clip_id_of(layout, path): {"subject": sitting.name, "split": None, "picture": path}
        for sitting in sittings
        for take in sitting.takes
        for path in take.clips
    }
    _write_record(folder, settings, clips, portraits, digests)
    num_pictures = sum(len(take.pictures) for sitting in sittings for take in sitting.takes)
    return PhantomReport(0, len(clips), num_pictures, 0.0)


def _all_rendered(
    folder: Path,
    render: Callable[[WorkType], tuple[str, str]],
    work: list[WorkType],
    num_workers: int,
    on_video: OnVideo | None,
) -> dict[str, str]:
    """Name -> pixel digest of each piece of work, once all are done; what a stopped call had done is kept."""
    digests = {}
    for item in work:
        with contextlib.suppress(FileNotFoundError):
            digests[item.name] = _digest_path(folder, item.name).read_text()
    pending = [item for item in work if item.name not in digests]
    if on_video:
        on_video(len(digests), len(work))
    for name, digest in _rendered(render, pending, num_workers):
        write_whole(_digest_path(folder, name), digest.encode())
        digests[name] = digest
        if on_video:
            on_video(len(digests), len(work))
    return digests


def _digest_path(folder: Path, name: str) -> Path:
    return folder / _UNFINISHED / f"{name}.sha256"


def _rendered(
    render: Callable[[WorkType], tuple[str, str]], work: list[WorkType], num_workers: int
) -> Iterator[tuple[str, str]]:
    if num_workers <= 1 or not work:
        yield from map(render, work)
        return
    with process_pool(min(num_workers, len(work))) as pool:
        with deaf_children():
            futures = [pool.submit(render, item) for item in work]
        for future in as_completed(futures):
            yield future.result()


def _render_stills(work: _Stills) -> tuple[str, str]:
    cv2.setNumThreads(1)  # one subject per process
    return work.sitting.name, render_sitting(work.folder, work.settings, work.sitting, work.portrait)


def render_video(work: _Work) -> tuple[str, str]:
    """Write one video with everything that belongs to it. Returns its name and the SHA-256 of its pixels."""
    cv2.setNumThreads(1)  # one video per process; more threads would only fight
    settings, video, folder = work.settings, work.video, work.folder
    layout = _layout_of(settings)
    scene, actors = cast(settings, video, work.portraits)
    reaction = REACTION_LAYOUTS.get(settings.layout)
    if reaction is not None:
        actors = [
            replace(actor, performance=reaction.act(settings, clip, actor.performance))
            for clip, actor in zip(video.clips, actors, strict=True)
        ]
    visible = []
    for clip, actor in zip(video.clips, actors, strict=True):
        table, seen = truth_table(settings, actor)
        write_whole(folder / TRUTH_FOLDER / f"{clip.name}.csv", table.encode())
        layout.write_annotations(folder, clip, actor.performance)
        visible.append(seen)
    digest = hashlib.sha256()

    def watched() -> Iterator[Image]:
        for index, frame in enumerate(scene.film(actors)):
            digest.update(frame.tobytes())
            if layout.has_crops:
                _write_crops(work, actors, visible, index, frame)
            yield frame

    sound = sound_of(settings, video, actors)
    if reaction is not None:
        reaction.write_sound(folder, video.clips[0], sound)
    write_video(folder / video.path, watched(), Fraction(settings.frame_rate), sound, SAMPLE_RATE_HZ)
    return video.name, digest.hexdigest()


def _write_crops(work: _Work, actors: list[Actor], visible: list[Bools], index: int, frame: Image) -> None:
    """The official crops of one frame, numbered from 1; none where no face can be seen."""
    for clip, actor, seen in zip(work.video.clips, actors, visible, strict=True):
        if not seen[index]:
            continue
        crop = official_crop(frame, five_points(actor, index, work.settings.width, work.settings.height))
        path = work.folder / "cropped_aligned" / clip.name / f"{index + 1:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        PillowImage.fromarray(crop).save(buffer, "JPEG", quality=CROP_QUALITY)
        path.write_bytes(buffer.getvalue())


def load_portraits(faces: Path | None, settings: PhantomSettings) -> list[Portrait]:
    """A portrait for each subject.

    The part of a file's name before the first "_" names the person; of several pictures of one person the first by
    path is used, so no identity is used for two subjects. The seed shuffles the people.

    Raises:
        ConfigError: there are fewer people than subjects.
    """
    finder = _FaceFinder()
    if faces is None:
        from skimage.data import astronaut

        photograph: Image = astronaut()  # type: ignore[no-untyped-call]  # scikit-image has no annotations here
        return [finder.portrait(photograph, DEFAULT_PORTRAIT)] * settings.num_subjects
    paths = sorted(path for path in faces.rglob("*") if path.suffix.lower() in PORTRAIT_SUFFIXES)
    people: dict[str, Path] = {}
    for path in paths:
        people.setdefault(path.stem.partition("_")[0], path)
    names = sorted(people)
    portraits: list[Portrait] = []
    for number in np.random.default_rng(np.random.SeedSequence(settings.seed)).permutation(len(names)):
        if len(portraits) == settings.num_subjects:
            break
        path = people[names[number]]
        try:
            with PillowImage.open(path) as picture:
                image = np.asarray(picture.convert("RGB"))
            portraits.append(finder.portrait(image, path.relative_to(faces).as_posix()))
        except (UnidentifiedImageError, MediaError):
            continue  # not a picture, or not of a face; the count below decides whether that matters
    if len(portraits) < settings.num_subjects:
        raise ConfigError(
            f"{faces}: expected portraits of {settings.num_subjects} people, one for each subject. "
            f"Received: {len(portraits)} with a face, of {len(names)} people in {len(paths)} pictures.\n"
            "Give a larger folder or fewer --subjects. The name before the first '_' says who is pictured."
        )
    return portraits


class _FaceFinder:
    """Finds the largest face of a photograph and its landmarks."""

    def __init__(self) -> None:
        self._detector, self._landmarker = load_detector("retinaface"), load_landmarker("dlib68")

    def portrait(self, image: Image, source: str) -> Portrait:
        faces = detect_images([image], self._detector, FacesConfig())[0]
        if not len(faces):
            raise MediaError(f"{source}: expected a portrait. No face was found.")
        width, height = (faces.boxes[:, 2:] - faces.boxes[:, :2]).T
        largest = int(np.argmax(width * height))
        square = predictor_square(faces.boxes[largest], faces.points[largest], "retinaface")
        return Portrait(image, self._landmarker.landmarks(image, square), source)


def _write_record(
    folder: Path,
    settings: PhantomSettings,
    clips: Mapping[str, Mapping[str, str | None]],
    portraits: list[Portrait],
    digests: Mapping[str, str],
) -> None:
    """phantom.json, which is written last: its presence means that the corpus is whole."""
    record = {
        "program": f"emopipe {__version__}",
        "settings": asdict(settings),
        "portraits": [portrait.source for portrait in portraits],
        "clips": clips,
        "pixels_sha256": dict(sorted(digests.items())),
    }
    write_json(folder / SETTINGS_FILE, record)
