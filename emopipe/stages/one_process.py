"""An extraction in one process: engines, the loop over claimed clips, the report."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from emopipe.models.building import build_network
from emopipe.provenance import num_cores
from emopipe.stages.clip_queue import ClipQueue, Job, Survey
from emopipe.stages.extract_report import ExtractReport, Progress, Silent
from emopipe.stages.faces_step import FaceEngines, load_engines
from emopipe.stages.features_step import BATCH_SIZE, GPU_BATCH_SIZE, Crops, Network, compute, tap_sizes
from emopipe.stages.makers import FacesMaker, FeaturesMaker
from emopipe.stages.pipeline import Prefetch, StepClock
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
    progress = progress or Silent()
    cache = Cache(spec.cache)
    plan = make_plan(spec, cache)
    with cache.claims() as claims:
        queue = ClipQueue(spec, plan, cache, claims)
        job = Job(spec, plan, cache, claims, queue, StepClock(), progress, ExtractReport(notes=list(plan.notes)))
        survey = queue.survey()
        if spec.only == "features":
            survey = _with_faces(job, survey)
        reconcile(job)
        progress.begin(len(survey.pending))
        if survey.pending:
            engines = _load_engines(job, survey.pending)
            job.clock.add("start", time.perf_counter() - begun)
            job.report.began_s = time.monotonic()
            try:
                _make(job, engines, survey.pending, faces_are_made_elsewhere)
            finally:
                job.report.ended_s = time.monotonic()
    _conclude(job, survey)
    return job.report


def _with_faces(job: Job, survey: Survey) -> Survey:
    """The survey with clips whose faces are not cached counted as failed; nothing is wrong with them for ever."""
    pending, failed = [], list(survey.failed)
    for planned in survey.pending:
        if planned.faces_key in job.queue.committed:
            pending.append(planned)
            continue
        message = "no faces are cached under these settings. Run emopipe extract without --only features first."
        clip = planned.clip
        failed.append(LedgerRow(planned.faces_key, clip.clip_id, clip.side, "read", "failed", message, "FaceError"))
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


def _make(
    job: Job, engines: _Engines, pending: list[PlannedClip], faces_are_made_elsewhere: Callable[[], bool]
) -> None:
    """Make all pending clips, waiting for those that other processes have claimed."""
    plan, queue = job.plan, job.queue
    faces_shelf = Shelf(job, plan.faces)
    shelves = [faces_shelf]
    faces = FacesMaker(job, faces_shelf, engines.faces)
    features = None
    if plan.features is not None:
        shelves.append(Shelf(job, plan.features))
        features = FeaturesMaker(job, shelves[-1])

    def may_take(wanted: frozenset[str]) -> bool:
        return "faces" not in wanted or not faces_are_made_elsewhere()

    waiting = pending
    try:
        while waiting:
            later: list[PlannedClip] = []
            pieces = faces.pieces(queue.claimed(waiting, later, may_take))
            if engines.network is None or features is None:
                for _ in pieces:  # what is wanted of them is on the shelf
                    continue
            else:
                _compute_features(job, pieces, engines, engines.network, features)
            for shelf in shelves:
                shelf.commit()
            if len(later) == len(waiting):
                time.sleep(_WAIT_S)
            waiting = queue.without_failed(later)
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


def _conclude(job: Job, survey: Survey) -> None:
    """Fill in the report what became of every clip."""
    report, queue = job.report, job.queue
    report.seconds = dict(job.clock.seconds)
    report.failures = [*survey.failed, *queue.failures]
    report.reused = {planned.clip.clip_id for planned in survey.reused}
    for planned in survey.pending:
        (report.done if not queue.wanted(planned) else report.failed).add(planned.clip.clip_id)
    report.failed |= {row.clip_id for row in survey.failed}
    for planned in job.plan.clips:
        found = queue.committed.get(planned.faces_key)
        if found is not None and planned.clip.clip_id in report.done:
            report.notes += [f"{planned.clip.clip_id}: {note}" for note in found[1].notes]
