"""Stage one: from a corpus folder to verified shards."""

from emopipe.stages.extract_report import ExtractReport
from emopipe.stages.one_process import extract_clips
from emopipe.stages.progress import Progress
from emopipe.stages.spec import ExtractSpec
from emopipe.stages.workers import extract_with_workers
from emopipe.store.cache import Cache


def extract(spec: ExtractSpec, progress: Progress | None = None) -> ExtractReport:
    """Make everything that `spec` asks for, in this process and in `spec.workers` others.

    Finished clips are recognised and reused; a failed clip becomes a ledger row and never stops the rest.

    Raises:
        EmopipeError: the corpus, a name or the weights are at fault; nothing was decoded.
        StorageError: the cache cannot be written; committed shards stay.
        KeyboardInterrupt: finished clips were committed first.
    """
    progress = progress or Progress()
    notes = tidy(Cache(spec.cache))
    if spec.workers == 1 or spec.only in ("features", "audio"):
        report = extract_clips(spec, progress)
    else:
        report = extract_with_workers(spec, progress)
    report.notes = [*notes, *report.notes]
    return report


def tidy(cache: Cache) -> list[str]:
    """Set a cache right after a kill or a disk fault; returns sentences about what was found.

    Partial files and claims of dead processes are deleted, shards that a kill kept from their record get it, and shards
    whose size or time changed are hashed again: a sound one is trusted again, the lost clips of a damaged one are
    dropped and thus made again by the next extraction.
    """
    notes = []
    cache.remove_partials()
    cache.claims().remove_stale()
    cache.adopt()
    for record, damage in cache.verify(cache.changed()):
        if damage is None:
            cache.trust_again(record)
        else:
            cache.drop(damage)
            notes.append(f"{record.path.name}: {damage.reason}. {len(damage.lost)} of its clips are made again.")
    return notes
