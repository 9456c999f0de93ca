"""The phantom corpus as a dataset: reads `phantom.json` and hands over to the adapter of its layout."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from emopipe.datasets.adapter import Adapter, MediaKind, load_adapter
from emopipe.datasets.listing import not_found, require_folder
from emopipe.datasets.manifest import Manifest
from emopipe.errors import ManifestError
from emopipe.records import Clip, Labels

TITLE = "phantom corpus"
EXPECTED = "phantom.json, which `emopipe phantom DIR` writes last (an interrupted run has none)"
SETTINGS_FILE = "phantom.json"  # written last by `emopipe phantom`
TRUTH_FOLDER = "truth"


class Phantom(Adapter):
    """Generated faces with known labels, in the official layout of another corpus, with their true subjects.

    Until a corpus is scanned, `tasks` are those of the layout that has all of them.
    """

    name = "phantom"
    tasks: tuple[str, ...] = ("va", "expr", "au")

    def scan(self, root: Path, *, source: MediaKind | None = None) -> Manifest:
        require_folder(root, TITLE, EXPECTED)
        record = read_record(root)
        official = load_adapter(record["settings"]["layout"])
        manifest = official.scan(root, source=source)
        self.tasks = official.tasks
        known: dict[str, dict[str, str]] = record["clips"]
        clips, missing = (
            tuple(
                replace(clip, subject=known[clip.clip_id]["subject"]) if clip.clip_id in known else clip
                for clip in part
            )
            for part in (manifest.clips, manifest.missing)
        )
        return replace(manifest, dataset=self.name, clips=clips, missing=missing)

    def read_labels(self, clip: Clip, task: str | None = None) -> Labels:
        root = next((folder for folder in clip.media.parents if (folder / SETTINGS_FILE).is_file()), clip.media.parent)
        return load_adapter(read_record(root)["settings"]["layout"]).read_labels(clip, task)


def read_record(root: Path) -> dict[str, Any]:
    """The content of a phantom corpus' `phantom.json`.

    Raises:
        ManifestError: it is missing, or is not what `emopipe phantom` writes.
    """
    path = root / SETTINGS_FILE
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        if isinstance(record["settings"]["layout"], str) and isinstance(record["clips"], dict):
            return record
    except FileNotFoundError as error:
        raise not_found(root, TITLE, EXPECTED) from error
    except (ValueError, KeyError, TypeError) as error:
        raise _unlike(path) from error
    raise _unlike(path)


def faceless_clips(root: Path) -> set[str]:
    """Ids of the clips of a phantom corpus that show nobody, on purpose; none of stills."""

    def shows_nobody(clip_id: str) -> bool:
        path = root / TRUTH_FOLDER / f"{clip_id}.csv"
        if not path.exists():
            return False
        with path.open(newline="") as file:
            return all(row["face_visible"] == "0" for row in csv.DictReader(file))

    return set(filter(shows_nobody, read_record(root)["clips"]))


def _unlike(path: Path) -> ManifestError:
    return ManifestError(f"{path}: expected the settings and clips that `emopipe phantom` writes.", path=path)
