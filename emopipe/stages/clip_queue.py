"""Which clips of a plan are still to be made, shared between processes through claims."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from emopipe.config import fingerprint
from emopipe.datasets.listing import printable
from emopipe.datasets.manifest import Refusal
from emopipe.provenance import utc_now
from emopipe.stages.extract_report import ExtractReport
from emopipe.stages.pipeline import StepClock
from emopipe.stages.progress import Progress
from emopipe.stages.spec import ExtractSpec, Plan, PlannedClip
from emopipe.store.cache import Cache, ShardRecord
from emopipe.store.claims import Claims
from emopipe.store.layout import ClipEntry
from emopipe.store.ledger import LedgerRow

Committed = dict[str, tuple[ShardRecord, ClipEntry]]

PICTURE_KINDS = ("faces", "features")
SOUND_KINDS = ("audio",)
_KINDS = {"all": (*PICTURE_KINDS, *SOUND_KINDS), "faces": ("faces",), "features": ("features",), "audio": ("audio",)}


@dataclass(frozen=True)
class Survey:
    """Where a plan stands before work begins.

    Attributes:
        reused: clips of which everything asked for is committed.
        failed: ledger rows of clips that failed under these settings and are not to be tried again.
        pending: the others.
    """

    reused: list[PlannedClip] = field(default_factory=list)
    failed: list[LedgerRow] = field(default_factory=list)
    pending: list[PlannedClip] = field(default_factory=list)


class ClipQueue:
    """Hands out clips that this process has claimed, and remembers what became of them.

    Args:
        spec, plan, cache, claims: what is to be made and where.
        kinds: what this queue is about; a clip whose sound fails keeps its place in the queue for its picture.

    Attributes:
        is_about_sound: whether it hands out clips for their sound and not for their picture.
        committed: clip key -> where it lies, as of the last look.
        failures: ledger rows of the clips that failed since this queue was made.
    """

    def __init__(self, spec: ExtractSpec, plan: Plan, cache: Cache, claims: Claims, kinds: tuple[str, ...]):
        self._plan, self._cache, self._claims = plan, cache, claims
        self._kinds = tuple(kind for kind in _KINDS[spec.only] if kind in kinds)
        self.is_about_sound = kinds == SOUND_KINDS
        self._retry_failed = spec.retry_failed
        self._begun = utc_now()
        self._known: frozenset[str] | None = None
        self._failed_keys: set[str] = set()
        self._news: dict[str, LedgerRow] = {}
        self.committed: Committed = {}
        self.failures: list[LedgerRow] = []

    def survey(self, *, write: bool = True) -> Survey:
        """Divide the plan's clips by what is committed and by what the ledger says.

        Clips of which nothing is to be made are in none of the parts. Entries that the adapter refused are with the
        pictures, and become ledger rows unless `write` is False.
        """
        self.look()
        ledger = self._cache.ledger.read()
        survey = Survey()
        for planned in self._plan.clips:
            keys = self._keys(planned)
            if not keys:
                continue
            rows = [ledger.get(key) for key in keys.values()]
            failed = [row for row in rows if row is not None and row.status == "failed"]
            if not self._missing(planned):
                survey.reused.append(planned)
            elif failed and not self._retry_failed:
                survey.failed.append(failed[0])
            else:
                survey.pending.append(planned)
        if self.is_about_sound:
            return survey
        refused = [_refusal_row(refusal) for refusal in self._plan.manifest.refused]
        if write:
            self._cache.ledger.write(row for row in refused if row.key not in ledger)
        survey.failed.extend(refused)
        return survey

    def wanted(self, planned: PlannedClip) -> frozenset[str]:
        """Kinds that are asked for and not committed by any process."""
        self.look()
        return self._missing(planned)

    def look(self) -> None:
        """Take in what was committed since the last look."""
        records = self._cache.records()
        names = frozenset(record.path.name for record in records)
        if names == self._known:
            return
        self._known = names
        self.committed = {}
        for header in (self._plan.faces_header, self._plan.features, self._plan.audio):
            if header is not None:
                self.committed |= self._cache.find(header.kind, header.fingerprint)

    def claimed(
        self, waiting: list[PlannedClip], later: list[PlannedClip], may_take: Callable[[frozenset[str]], bool]
    ) -> Iterator[tuple[PlannedClip, frozenset[str]]]:
        """Clips with the kinds that are wanted of them, claimed one by one as they are asked for.

        Args:
            waiting: the clips to go through.
            later: takes up those that another process has claimed or that `may_take` refuses for now.
            may_take: asked with the wanted kinds.
        """
        for planned in waiting:
            wanted = self.wanted(planned)
            keys = self._keys(planned)
            if not may_take(wanted) or not self._claims.acquire(keys[kind] for kind in wanted):
                later.append(planned)
                continue
            if wanted and self._failures_elsewhere(planned):
                self._claims.release(keys[kind] for kind in wanted)
                later.append(planned)
                continue
            still_wanted = self.wanted(planned)  # it may have been committed before the claim succeeded
            self._claims.release(keys[kind] for kind in wanted - still_wanted)
            if still_wanted:
                yield planned, still_wanted

    def fail(self, planned: PlannedClip, kind: str, error: Exception, step: str) -> None:
        """Write a failure into the ledger and free the claim."""
        self._cache.ledger.write([self.note(planned, kind, error, step)])
        self.give_up(planned, kind)

    def note(self, planned: PlannedClip, kind: str, error: Exception, step: str) -> LedgerRow:
        """Report a failure of this run that the next one need not know of."""
        clip, key = planned.clip, self._keys(planned)[kind]
        message = printable(" ".join(str(error).split())) or type(error).__name__
        frame_index = getattr(error, "frame_index", None)
        step = getattr(error, "step", step)
        row = LedgerRow(key, clip.clip_id, clip.side, step, "failed", message, type(error).__name__, frame_index)
        self.failures.append(row)
        return row

    def give_up(self, planned: PlannedClip, kind: str) -> None:
        """Free the claim on a clip that cannot be made because what it needs has failed."""
        key = self._keys(planned)[kind]
        self._failed_keys.add(key)
        self._claims.release([key])

    def has_failed(self, planned: PlannedClip, kind: str) -> bool:
        """Whether this kind of the clip failed here."""
        return self._keys(planned)[kind] in self._failed_keys

    def without_failed(self, later: list[PlannedClip]) -> list[PlannedClip]:
        """The clips of `later` at which no other process has failed since this queue was made."""
        still = []
        for planned in later:
            failed = self._failures_elsewhere(planned)
            self.failures += failed
            if not failed:
                still.append(planned)
        return still

    def _failures_elsewhere(self, planned: PlannedClip) -> list[LedgerRow]:
        """Rows of other processes that failed at this clip since this queue was made; trying it again is of no use."""
        for row in self._cache.ledger.news():
            if row.time > self._begun and (row.key not in self._news or row.time >= self._news[row.key].time):
                self._news[row.key] = row
        rows = [self._news.get(key) for key in self._keys(planned).values()]
        return [row for row in rows if row is not None and row.status == "failed"]

    def _missing(self, planned: PlannedClip) -> frozenset[str]:
        return frozenset(kind for kind, key in self._keys(planned).items() if key not in self.committed)

    def _keys(self, planned: PlannedClip) -> dict[str, str]:
        return {kind: key for kind in self._kinds if (key := planned.key(kind)) is not None}


def _refusal_row(refusal: Refusal) -> LedgerRow:
    key = fingerprint("refused", refusal.clip_id.encode("utf-8", "surrogateescape").hex(), refusal.reason)
    return LedgerRow(key, refusal.clip_id, "", "scan", "failed", refusal.reason, "ManifestError")


@dataclass(frozen=True)
class Job:
    """What the parts of one extraction share.

    Attributes:
        spec, plan: what is to be made.
        cache, claims, queue: where it goes, and who makes what.
        clock, progress, report: where seconds, news and counts go.
    """

    spec: ExtractSpec
    plan: Plan
    cache: Cache
    claims: Claims
    queue: ClipQueue
    clock: StepClock
    progress: Progress
    report: ExtractReport
