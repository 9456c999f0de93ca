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

    Args:
        spec: what is asked for.
        progress: told of clips and frames as they are finished; None for silence.

    Returns:
        Which clips were made, reused and failed, and how long each step took.

    Raises:
        EmopipeError: the corpus, a name or the weights are at fault; nothing was decoded.
        StorageError: the cache cannot be written; committed shards stay.
        KeyboardInterrupt: finished clips were committed first.

    Examples:
        >>> from pathlib import Path
        >>> from emopipe import ExtractSpec, extract
        >>> spec = ExtractSpec("folder", Path("corpus/batch1"), Path("another_cache"), only="faces")
        >>> report = extract(spec)
        >>> report.done, report.frames, report.is_complete
        ({'2-25-320x240'}, 50, True)
        >>> extract(spec).reused
        {'2-25-320x240'}
    """
    progress = progress or Progress()
    notes = tidy(Cache(spec.cache))
    if spec.workers == 1 or spec.only in ("features", "audio") or spec.ready_made is not None:
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
