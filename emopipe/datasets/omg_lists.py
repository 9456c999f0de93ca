"""The official lists of OMG-Emotion together: the splits, their order, and the sources that they share.

`video` in a list is the digest of a YouTube video, its source, with ``_N`` behind it for the N-th part of a long one.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from emopipe.datasets.listing import entries, printable, some, why_not_inside
from emopipe.datasets.omg_table import LABELLED, UNLABELLED, OmgTable, read_table
from emopipe.errors import ManifestError
from emopipe.records import Split

_FOLDERS_DEEP = 2  # below the root, in which lists are looked for
_PART = re.compile(r"_\d+$")
# The splits that a split must share no source with: dev is for what train learned, test for what both decided.
_EARLIER: Final[Mapping[Split, tuple[Split, ...]]] = {"train": (), "dev": ("train",), "test": ("train", "dev")}


@dataclass(frozen=True)
class OmgLists:
    """The official lists below one root: split -> its list, and plain sentences about what is unusual in them.

    Where there are two lists of test, that is the one with labels.
    """

    tables: Mapping[Split, OmgTable]
    notes: tuple[str, ...]


def video_of(clip_id: str) -> str:
    """The video of an utterance: what the older official score takes its means over.

    Examples:
        >>> video_of("74de88564_1/utterance_3")
        '74de88564_1'
    """
    return clip_id.rpartition("/")[0]


def source_of(clip_id: str) -> str:
    """The YouTube video of an utterance: its parts are one source.

    Examples:
        >>> source_of("74de88564_1/utterance_3"), source_of("74de88564/utterance_1")
        ('74de88564', '74de88564')
    """
    return _PART.sub("", video_of(clip_id))


def official_rows(root: Path, split: Split) -> tuple[tuple[str, str], ...]:
    """(video, utterance) of every row of a split's list in the official order, those without media included.

    Raises:
        ManifestError: there is no list of that split, or it is not in order.

    Examples:
        >>> official_rows(Path("corpora/omg"), "dev")[0]                         # doctest: +SKIP
        ('74de88564', 'utterance_1.mp4')
    """
    return tuple((row.video, row.utterance) for row in official_table(root, split).rows.values())


def official_table(root: Path, split: Split) -> OmgTable:
    """The list of one split; errors as `official_rows`."""
    tables = read_lists(root).tables
    if split not in tables:
        names = [name for name, of in (*LABELLED.items(), (UNLABELLED, "test")) if of == split]
        raise ManifestError(
            f"{printable(root)}: no list of split '{split}'. Expected {' or '.join(names) or 'train, dev or test'}.\n"
            f"Received: {', '.join(printable(table.path.name) for table in tables.values())}.",
            path=root,
        )
    return tables[split]


def source_disjoint(root: Path, split: Split, against: Collection[Split] | None = None) -> frozenset[str]:
    """Clip ids of the utterances of a split whose source is in none of the splits before it.

    The official splits share sources: of 617 utterances of dev, 392 are from a YouTube video that train has too, of
    2,229 of test 540, and 555 from one of train or dev. Sources are those of the lists, whether or not their media are
    there, so that the subset is the same for everybody.

    Args:
        root: the corpus.
        split: whose utterances.
        against: which splits must not have the source; None for train where `split` is dev, and for train and dev
            where it is test, because what is chosen on dev has seen its people. ("train",) gives the other reading.

    Raises:
        ManifestError: there is no list of `split`.
    """
    own = official_table(root, split).rows
    tables = read_lists(root).tables
    earlier = _EARLIER[split] if against is None else against
    taken = {source_of(clip_id) for name in earlier if name in tables for clip_id in tables[name].rows}
    return frozenset(clip_id for clip_id in own if source_of(clip_id) not in taken)


def read_lists(root: Path) -> OmgLists:
    """Find and read the official lists, in the root or at most two folders below it.

    Raises:
        ManifestError: two lists have the same name, one is not CSV or lacks a column, or an utterance is listed twice.
    """
    found = {name: read_table(path) for name, path in sorted(find_lists(root).items())}
    tables: dict[Split, OmgTable] = {split: found[name] for name, split in LABELLED.items() if name in found}
    notes = []
    for table in found.values():
        if table.skipped:
            what = "row names no video and is" if len(table.skipped) == 1 else "rows name no video and are"
            lines = some([str(line) for line in table.skipped])
            notes.append(f"{printable(table.path.name)}: {len(table.skipped)} {what} left out (line {lines}).")
    if UNLABELLED in found:
        labelled = tables.setdefault("test", found[UNLABELLED])
        if odd := sorted(labelled.rows.keys() ^ found[UNLABELLED].rows.keys()):
            which = "the one with labels counts"
            notes.append(f"the two lists of test differ in {len(odd)} utterances; {which}: {some(odd)}.")
    _refuse_two_splits(tables)
    return OmgLists(tables, tuple(notes))


def find_lists(root: Path) -> dict[str, Path]:
    """Official name -> path of the lists that are there; case does not count.

    Raises:
        ManifestError: there are two of one name, or a link leads out of the root.
    """
    wanted = {name.lower(): name for name in (*LABELLED, UNLABELLED)}
    found: dict[str, Path] = {}
    folders = [(root, 0)]
    for folder, depth in folders:
        for entry in entries(folder):
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                if depth < _FOLDERS_DEEP:
                    folders.append((path, depth + 1))
                continue
            name = wanted.get(entry.name.lower())
            if name is None:
                continue
            if reason := why_not_inside(root, entry):
                raise ManifestError(reason, path=path)
            if name in found:
                raise ManifestError(
                    f"{printable(path)}: expected one {name} below {printable(root)}. Received a second one.\n"
                    f"The other is {printable(found[name])}. Remove one of them.",
                    path=path,
                )
            found[name] = path
    return found


def _refuse_two_splits(tables: Mapping[Split, OmgTable]) -> None:
    seen: dict[str, OmgTable] = {}
    for table in tables.values():
        for clip_id, row in table.rows.items():
            if (other := seen.setdefault(clip_id, table)) is not table:
                raise ManifestError(
                    f"{printable(table.path)}, line {row.line}: '{row.video}', '{row.utterance}' is in another split "
                    f"too.\nReceived: {printable(other.path)}, line {other.rows[clip_id].line}. Remove one of the two.",
                    path=table.path,
                    row=row.line,
                )
