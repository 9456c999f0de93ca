"""An extraction in one process: engines, the loop over claimed clips, the report."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from emopipe.models.building import build_network
from emopipe.provenance import num_cores
from emopipe.stages.audio_step import AudioEngine, load_audio_engine
from emopipe.stages.clip_queue import PICTURE_KINDS, SOUND_KINDS, ClipQueue, Job, Survey
from emopipe.stages.extract_report import ExtractReport
from emopipe.stages.faces_step import FaceEngines, load_engines
from emopipe.stages.features_step import BATCH_SIZE, GPU_BATCH_SIZE, Crops, Network, compute, tap_sizes
from emopipe.stages.makers import AudioMaker, Claimed, FacesMaker, FeaturesMaker
from emopipe.stages.pipeline import Prefetch, StepClock
from emopipe.stages.progress import Progress
from emopipe.stages.ready_made_step import ReadyMadeMaker
from emopipe.stages.shelf import Shelf, reconcile
from emopipe.stages.spec import ExtractSpec, PlannedClip, make_plan
from emopipe.store.cache import Cache
from emopipe.store.ledger import LedgerRow

_PIECES_AHEAD = 16  # chunks of 16 rows between the faces and the network: four batches
_WAIT_S = 0.5  # between looks at clips that another process is making


def extract_clips(
    spec: ExtractSpec,
    progress: Progress | None = None,
    faces_are_made_elsewhere: Callable[[], bool] = lambda: False,
) -> ExtractReport:
    """`extract` in this process alone; picklable, without global state, safe to run beside others on one cache.

    Args:
        spec: what to make.
        progress: told what happens.
        faces_are_made_elsewhere: while it answers True, only clips whose faces are cached are taken up.
    """
    begun = time.perf_counter()
    progress = progress or Progress()
    cache = Cache(spec.cache)
    plan = make_plan(spec, cache)
    with cache.claims() as claims:
        clock, report = StepClock(), ExtractReport(notes=list(plan.notes))
        # Sound does not depend on faces: each has a queue of its own, so that the failure of one leaves the other be.
        pictures, sounds = (
            Job(spec, plan, cache, claims, ClipQueue(spec, plan, cache, claims, kinds), clock, progress, report)
            for kinds in (PICTURE_KINDS, SOUND_KINDS)
        )
        seen, heard = pictures.queue.survey(), sounds.queue.survey()
        if spec.only == "features":
            seen = _with_faces(pictures, seen)
        reconcile(pictures)
        progress.begin(len(seen.pending) + len(heard.pending))
        if seen.pending or heard.pending:
            engines = _load_engines(pictures, seen.pending)
            audio = _load_audio(sounds) if heard.pending else None
            clock.add("start", time.perf_counter() - begun)
            report.began_s = time.monotonic()
            try:
                if audio is not None:
                    _make_audio(sounds, audio, heard.pending)
                if seen.pending:
                    _make(pictures, engines, seen.pending, faces_are_made_elsewhere)
            finally:
                report.ended_s = time.monotonic()
    _conclude(report, (pictures, seen), (sounds, heard))
    return report


def _with_faces(job: Job, survey: Survey) -> Survey:
    """The survey with clips whose faces are not cached counted as failed; nothing is wrong with them for ever."""
    pending, failed = [], list(survey.failed)
    for planned in survey.pending:
        if planned.faces_key in job.queue.committed:
            pending.append(planned)
            continue
        message = "no faces are cached under these settings. Run emopipe extract without --only features first."
        clip, key = planned.clip, str(planned.faces_key)
        failed.append(LedgerRow(key, clip.clip_id, clip.side, "read", "failed", message, "FaceError"))
    return Survey(survey.reused, failed, pending)


@dataclass(frozen=True)
class _Engines:
    """What computes, loaded once per process, after the weights were resolved and before the first clip is opened."""

    faces: FaceEngines
    network: Network | None
    tap_sizes: dict[str, int]
    batch_size: int


def _load_engines(job: Job, pending: list[PlannedClip]) -> _Engines:
    """Load the engines that the pending clips need, and note where they run."""
    spec, plan, devices = job.spec, job.plan, job.report.devices
    wanted = frozenset[str]().union(*(job.queue.wanted(planned) for planned in pending))
    num_threads = max(1, num_cores() // spec.workers)
    faces = FaceEngines(None, None)
    if "faces" in wanted:
        faces = load_engines(
            plan.faces_config, device=plan.device, weights=spec.detector_weights, num_threads=num_threads
        )
        devices["detect"] = faces.detector.device if faces.detector else "cpu"
    if "features" not in wanted or plan.backbone is None:
        return _Engines(faces, None, {}, BATCH_SIZE)
    batch_size = GPU_BATCH_SIZE if plan.backbone.device == "gpu" else BATCH_SIZE
    network = build_network(plan.backbone, batch_size=batch_size, num_threads=num_threads)
    devices["features"] = network.device
    return _Engines(faces, network, tap_sizes(network), batch_size)


def _load_audio(job: Job) -> AudioEngine | None:
    """Load what makes features of sound, and note where it runs."""
    if job.plan.audio_backbone is None:
        return None
    engine = load_audio_engine(job.plan.audio_backbone, num_threads=max(1, num_cores() // job.spec.workers))
    job.report.devices["audio"] = engine.device
    return engine


def _make_audio(job: Job, engine: AudioEngine, pending: list[PlannedClip]) -> None:
    """Make the audio features of all pending clips."""
    if job.plan.audio is None:
        return
    shelf = Shelf(job, job.plan.audio)
    _in_rounds(job, [shelf], pending, AudioMaker(job, shelf, engine).make)


def _make(
    job: Job, engines: _Engines, pending: list[PlannedClip], faces_are_made_elsewhere: Callable[[], bool]
) -> None:
    """Make the faces and features of all pending clips, or take the features that are ready-made."""
    plan = job.plan
    if plan.features is not None and plan.ready_made is not None:
        shelf = Shelf(job, plan.features)
        _in_rounds(job, [shelf], pending, ReadyMadeMaker(job, plan.features, shelf).make)
        return
    faces_shelf = Shelf(job, plan.faces)
    shelves = [faces_shelf]
    faces = FacesMaker(job, faces_shelf, engines.faces)
    features = None
    if plan.features is not None:
        shelves.append(Shelf(job, plan.features))
        features = FeaturesMaker(job, shelves[-1])

    def may_take(wanted: frozenset[str]) -> bool:
        return "faces" not in wanted or not faces_are_made_elsewhere()

    def make(claimed: Claimed) -> None:
        pieces = faces.pieces(claimed)
        if engines.network is None or features is None:
            for _ in pieces:  # what is wanted of them is on the shelf
                continue
        else:
            _compute_features(job, pieces, engines, engines.network, features)

    _in_rounds(job, shelves, pending, make, may_take)


def _in_rounds(
    job: Job,
    shelves: list[Shelf],
    pending: list[PlannedClip],
    make: Callable[[Claimed], None],
    may_take: Callable[[frozenset[str]], bool] = lambda wanted: True,
) -> None:
    """Make all pending clips, waiting for those that other processes have claimed."""
    waiting = pending
    try:
        while waiting:
            later: list[PlannedClip] = []
            make(job.queue.claimed(waiting, later, may_take))
            for shelf in shelves:
                shelf.commit()
            if len(later) == len(waiting):
                time.sleep(_WAIT_S)
            waiting = job.queue.without_failed(later)
    except KeyboardInterrupt:
        for shelf in shelves:
            shelf.commit()
        raise
    finally:
        for shelf in shelves:
            shelf.abort()


def _compute_features(
    job: Job, pieces: Iterator[Crops], engines: _Engines, network: Network, features: FeaturesMaker
) -> None:
    step = partial(compute, network=network, sizes=engines.tap_sizes, batch_size=engines.batch_size)
    ready = Prefetch(pieces, _PIECES_AHEAD, "faces")
    try:
        for rows in job.clock.step("features", step, ready):
            features.shelve(rows)
    finally:
        ready.close()


def _conclude(report: ExtractReport, *parts: tuple[Job, Survey]) -> None:
    """Fill in the report what became of every clip: it is done when something of it was made and nothing failed."""
    failures: dict[str, LedgerRow] = {}
    for job, survey in parts:
        queue = job.queue
        report.seconds = dict(job.clock.seconds)
        failures |= {row.key: row for row in (*survey.failed, *queue.failures)}
        report.reused |= {planned.clip.clip_id for planned in survey.reused}
        made = [planned for planned in survey.pending if not queue.wanted(planned)]
        report.done |= {planned.clip.clip_id for planned in made}
        report.failed |= {planned.clip.clip_id for planned in survey.pending} - {each.clip.clip_id for each in made}
        for planned in made:
            found = queue.committed.get(str(planned.audio_key if queue.is_about_sound else planned.faces_key))
            notes = () if found is None else found[1].notes
            report.notes += [f"{planned.clip.clip_id}: {note}" for note in notes]
    report.failures = list(failures.values())
    report.failed |= {row.clip_id for row in report.failures}
    report.done -= report.failed
    report.reused -= report.done | report.failed
