"""The .csv of Hume-Reaction as `evaluate --submission` writes it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.hume.make import make

from emopipe.datasets.hume_table import TARGETS as REACTIONS
from emopipe.datasets.hume_table import official_ids
from emopipe.errors import ConfigError, ManifestError
from emopipe.models.bundle import Run
from emopipe.models.windows import WindowConfig
from emopipe.stages.evaluate_clips import ClipPredictions
from emopipe.stages.submission import check_submission, write_submission
from emopipe.stages.trained import Trained


def reactions(root: Path, clip_ids: tuple[str, ...], values: np.ndarray, targets: tuple[str, ...]) -> ClipPredictions:
    trained = Trained(
        Run(root.parent / "run", {}), "hume", "reactions", targets, (), "audio", "0" * 64, None,
        WindowConfig(12, target="clip"), (), None,
        of_clips=True, sound={},
    )  # fmt: skip
    count = len(clip_ids)
    return ClipPredictions(
        trained, "hume", "dev", root, clip_ids, clip_ids, np.full(count, 9), np.full(count, 9),
        np.full((count, 7), np.nan), values, None, (),
    )  # fmt: skip


def test_reactions_become_the_official_csv(tmp_path):
    root, backwards = make(tmp_path / "hume"), REACTIONS[::-1]
    values = np.arange(14).reshape(2, 7) / 20
    found = reactions(root, ("00001", "00004"), values, backwards)
    assert write_submission(found, tmp_path / "dev.csv") == ()
    ids = official_ids(root, "dev")
    assert ids == ("[00004]", "[00001]")
    np.testing.assert_allclose(check_submission(tmp_path / "dev.csv", root, "hume", "dev"), values[::-1, ::-1])
    silent = replace(found, values=np.array([values[0], np.full(7, np.nan)]))
    (note,) = write_submission(silent, tmp_path / "half.csv")
    assert "[00004]" in note
    np.testing.assert_allclose(check_submission(tmp_path / "half.csv", root, "hume", "dev"), values[[0, 0], ::-1])
    with pytest.raises(ManifestError, match="expected 2 rows.*Received: 1"):
        short = tmp_path / "short.csv"
        short.write_text("".join((tmp_path / "dev.csv").read_text().splitlines(keepends=True)[:2]))
        check_submission(short, root, "hume", "dev")
    with pytest.raises(ConfigError, match="expected dataset omg or hume. Received: ckplus"):
        check_submission(tmp_path / "dev.csv", root, "ckplus", "dev")


def test_reactions_are_refused_where_they_do_not_belong(tmp_path):
    root = make(tmp_path / "hume")
    found = reactions(root, ("00001", "00004"), np.zeros((2, 7)), REACTIONS)
    for path, changes, message in (
        ("dev.txt", {}, "reactions are predicted for whole clips. Expected a .csv"),
        ("dev.csv", {"split": "all"}, "one split of Hume-Reaction. Received: split 'all' of hume"),
        ("dev.csv", {"dataset": "omg"}, "one split of Hume-Reaction. Received: split 'dev' of omg"),
    ):
        with pytest.raises(ConfigError, match=message):
            write_submission(replace(found, **changes), tmp_path / path)
    few = replace(found, trained=replace(found.trained, targets=REACTIONS[:3]))
    with pytest.raises(ConfigError, match="adoration, amusement, anxiety.\nFor Hume-Reaction expected adoration"):
        write_submission(few, tmp_path / "dev.csv")
