"""What every corpus adapter offers, and the table of corpora.

A corpus is one file here, one folder `data_manifests/<name>/` and one line in `DATASETS`.
"""

import importlib.resources
import json
import os
from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from emopipe.datasets.manifest import Manifest
from emopipe.errors import ConfigError, ManifestError
from emopipe.records import Clip, Labels, ReadyMadeRows
from emopipe.registry import Registry

DATA_VARIABLE = "EMOPIPE_DATA"
MediaKind = Literal["videos", "images"]

DATASETS = Registry(
    "dataset",
    {
        "affwild2": "emopipe.datasets.affwild2:AffWild2",
        "affwild": "emopipe.datasets.affwild:AffWild",
        "ckplus": "emopipe.datasets.ckplus:CkPlus",
        "jaffe": "emopipe.datasets.jaffe:Jaffe",
        "omg": "emopipe.datasets.omg:Omg",
        "hume": "emopipe.datasets.hume:Hume",
        "ravdess": "emopipe.datasets.ravdess:Ravdess",
        "cremad": "emopipe.datasets.cremad:Cremad",
        "folder": "emopipe.datasets.folder:Folder",
        "phantom": "emopipe.datasets.phantom:Phantom",
    },
)


class Adapter(ABC):
    """Reads one corpus in its official layout.

    Attributes:
        name: the registered name, and the folder of `data_manifests` that describes the corpus.
        tasks: what the corpus is annotated for, the default first ("va", "expr", "au"; "labels" for `folder`). Where
            corpora of one name differ, as phantoms do, `scan` sets it to what it finds.
    """

    name: ClassVar[str]
    tasks: tuple[str, ...]

    @abstractmethod
    def scan(self, root: Path, *, source: MediaKind | None = None) -> Manifest:
        """List the clips below `root`, sorted by id. Decodes nothing and reads no label.

        Args:
            root: the corpus folder.
            source: "videos", or the official "images" or pictures; None for videos if there are any.

        Raises:
            ManifestError: the folder is missing, or is not laid out like this corpus.
        """

    @abstractmethod
    def read_labels(self, clip: Clip, task: str | None = None) -> Labels:
        """What the annotators gave for one clip; `task` None is the first of `tasks`.

        Raises:
            ManifestError: the clip is not annotated for the task, or a line of its file is not what the format says;
                the error carries path, row and, where it is known, column.
        """

    def scan_ready_made(self, root: Path, name: str) -> Manifest:
        """List the clips by the files of features that the corpus brings along, sorted by id; opens none of them.

        Args:
            root: the corpus folder.
            name: of the features, as the corpus calls them ("FAUs").

        Returns:
            Clips of the kind "features", whose media are these files; clips without such a file are `missing`.

        Raises:
            ConfigError: no features of this corpus are known.
            ManifestError: the folder is not laid out like this corpus, or there are no such features; the message lists
                those that are there.
        """
        raise ConfigError(f"--ready-made {name}: '{self.name}' brings no features along. Leave the option out.")

    def read_ready_made(self, clip: Clip) -> ReadyMadeRows:
        """What the file of a clip of `scan_ready_made` holds.

        Raises:
            ConfigError: no features of this corpus are known.
            ManifestError: the file is not what the format says; carries path, row and column.
        """
        raise ConfigError(f"clip '{clip.clip_id}': '{self.name}' brings no features along.")

    @property
    def title(self) -> str:
        """Full name of the corpus."""
        return str(describe(self.name)["title"])

    @property
    def licence(self) -> str:
        """Under what terms it is given out."""
        return str(describe(self.name)["licence"])

    @property
    def citation(self) -> str:
        """What to cite."""
        return str(describe(self.name)["citation"])

    @property
    def homepage(self) -> str:
        """Where to ask for it."""
        return str(describe(self.name)["homepage"])

    @property
    def releases(self) -> list[dict[str, Any]]:
        """Known releases of each task with their clips per split: {"release", "task", "train", "dev", "test"}."""
        return list(describe(self.name).get("releases", []))

    def annotation(self, clip: Clip, task: str | None) -> tuple[str, Path]:
        """The task that is meant and the clip's annotation file for it.

        Raises:
            ConfigError: the corpus has no such task.
            ManifestError: the clip is not annotated for it.
        """
        task = task or self.tasks[0]
        if task not in self.tasks:
            raise ConfigError(f"{self.name}: no task '{task}'. Expected one of {', '.join(self.tasks)}.")
        if task not in clip.annotations:
            has = ", ".join(sorted(clip.annotations)) or "none"
            raise ManifestError(f"clip '{clip.clip_id}': no annotation for task '{task}'. Received: {has}.")
        return task, clip.annotations[task]


@cache
def describe(name: str) -> dict[str, Any]:
    """The content of `data_manifests/<name>/manifest.json`."""
    file = importlib.resources.files("emopipe_data_manifests") / name / "manifest.json"
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def load_adapter(name: str) -> Adapter:
    """The adapter of a registered corpus, which lists its clips and reads its labels.

    Args:
        name: as `emopipe datasets list` has it.

    Raises:
        UnknownNameError: the name is not registered; the message lists the known ones.

    Examples:
        >>> from pathlib import Path
        >>> from emopipe import load_adapter
        >>> adapter = load_adapter("affwild2")
        >>> adapter.tasks
        ('va', 'expr', 'au')
        >>> manifest = adapter.scan(Path("corpus"))
        >>> [(clip.clip_id, clip.split) for clip in manifest.clips]
        [('2-25-320x240', 'train'), ('video3_2', 'dev')]
        >>> labels = adapter.read_labels(manifest.clips[0])
        >>> labels.targets, labels.values.shape
        (('valence', 'arousal'), (51, 2))
    """
    adapter: Adapter = DATASETS.load(name)()
    return adapter


def resolve_root(name: str, root: Path | str | None = None) -> Path:
    """The corpus folder: `root` if it is given, else `$EMOPIPE_DATA/<name>`.

    Raises:
        ConfigError: neither is given; the message names both.

    Examples:
        >>> resolve_root("affwild2", "corpora/affwild2").name
        'affwild2'
    """
    if root is not None:
        return Path(root).expanduser()
    if data := os.environ.get(DATA_VARIABLE):
        return Path(data).expanduser() / name
    raise ConfigError(
        f"dataset '{name}': its folder is not known. Expected --root DIR, or ${DATA_VARIABLE} set to the folder that "
        f"holds '{name}'."
    )
