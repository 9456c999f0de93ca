"""Runs of any kind; among them decision-level fusion, a run that is the weighted average of other runs.

Source:
    Kollias and Zafeiriou, arXiv:1910.01417, section 5.4.2, Eq. 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emopipe.errors import ConfigError, RunError
from emopipe.models.bundle import Run, open_run, place_file
from emopipe.models.windows import NONE
from emopipe.stages.evaluate import predict_split, score
from emopipe.stages.evaluate_clips import ClipPredictions, clip_predictions
from emopipe.stages.evaluation import Evaluation, SplitPredictions
from emopipe.stages.predictions import Fill
from emopipe.stages.trained import Trained, open_trained
from emopipe.typing import Floats

_MEMBERS = "members"


@dataclass(frozen=True)
class Fusion:
    """An opened fusion.

    Attributes:
        run: the folder.
        members: the runs in it.
        weights: (M, K) share of each member in each target; the shares of a target sum to 1.
    """

    run: Run
    members: tuple[Trained, ...]
    weights: Floats


def open_fusion(folder: Path) -> Fusion:
    """Open a run that `fuse --level decision` made.

    Raises:
        RunError: there is none, or a member is not whole.
    """
    run = open_run(folder)
    if run.kind != "fusion" or not run.content.get("finished"):
        raise RunError(f"{folder}: is not a finished fusion. Make it again with emopipe fuse.")
    members = tuple(open_trained(path) for path in _member_folders(run))
    return Fusion(run, members, np.array(run.content["weights"]))


def is_fusion(folder: Path) -> bool:
    """Whether a run folder holds a decision-level fusion."""
    return open_run(folder).kind == "fusion"


def evaluate(
    run: Path,
    *,
    split: str,
    cache: Path,
    root: Path | None = None,
    dataset: str | None = None,
    fill: Fill = "short",
    num_bootstrap: int = 1000,
) -> Evaluation:
    """Predict every frame of a split that can be predicted, write the predictions, and score the labelled ones.

    Args:
        run: a run of `train-cnn`, `train-rnn` or `fuse`.
        split: "train", "dev", "test", "none" for clips without one, or "all" for every clip.
        cache: holds faces, features or sound made with the settings that the run was trained on.
        root: the corpus; None for where it was at extraction.
        dataset: another corpus than the one it was trained on.
        fill: what becomes of frames without a full window; see `emopipe.stages.predictions.window_predictions`.
        num_bootstrap: draws of clips for the intervals.

    Returns:
        Every score with its 95 % interval over clips, and where the predictions lie: `predictions/<split>.csv` in the
        run.

    Raises:
        RunError: no run, an unfinished one, or one of a newer version.
        ConfigError: the cache lacks its input, the corpus has other classes, or a fusion's members differ in clips.
        ManifestError: no frame has both a label and a prediction.
        ShardError: a shard of the cache is damaged.
        WeightsError, DeviceError: a network of the run is damaged, or cannot run here.
        StorageError: the run folder cannot be written.

    Examples:
        >>> from pathlib import Path
        >>> from emopipe import evaluate
        >>> found = evaluate(Path("runs/gru"), split="dev", cache=Path("cache"))
        >>> found.unit, found.num_units
        ('frames', 50)
        >>> [(score.metric, score.target) for score in found.scores[:3]]
        [('ccc', 'valence'), ('ccc', 'arousal'), ('ccc', 'mean')]
        >>> found.predictions.as_posix()
        'runs/gru/predictions/dev.csv'
    """
    found = predict_run(run, split=split, cache=cache, root=root, dataset=dataset, fill=fill)
    return score(found, num_bootstrap=num_bootstrap)


def predict_run(
    folder: Path,
    *,
    split: str,
    cache: Path,
    root: Path | None = None,
    dataset: str | None = None,
    fill: Fill = "short",
) -> SplitPredictions | ClipPredictions:
    """What a run of any kind says of a split, for `emopipe.stages.evaluate.score`.

    A fusion speaks of clips where clips have one label each, else of frames. Arguments and errors as of `evaluate`.
    """

    def predictions(trained: Trained) -> SplitPredictions:
        return predict_split(trained, split=split, cache=cache, root=root, dataset=dataset, fill=fill)

    if not is_fusion(folder):
        return predictions(open_trained(folder))
    fusion = open_fusion(folder)
    found = [predictions(member) for member in fusion.members]
    first = found[0]
    if first.of_clips:
        clips = averaged_clips([clip_predictions(each) for each in found], fusion.weights)
        return replace(clips, trained=replace(clips.trained, run=fusion.run))
    for each in found[1:]:
        if each.rows.clip_ids != first.rows.clip_ids or len(each.rows) != len(first.rows):
            raise ConfigError(f"{folder}: its members' caches hold other clips. Extract all of them again.")
    values, how = averaged_frames([each.values for each in found], [each.how for each in found], fusion.weights)
    return replace(first, trained=replace(first.trained, run=fusion.run), values=values, how=how)


def place_members(run: Run, members: Sequence[Trained]) -> None:
    """Put what predicts of each member into the fusion's folder, so that it can be moved alone.

    Raises:
        StorageError: it cannot be written.
    """
    for place, member in zip(_member_folders(run, len(members)), members, strict=True):
        source = member.run.folder
        for path in (source / "run.json", member.run.network, *sorted(member.run.weights_folder.glob("*"))):
            place_file(path, place / path.relative_to(source))


def averaged_clips(found: Sequence[ClipPredictions], weights: Floats) -> ClipPredictions:
    """The weighted average of what members say of clips, before and after their own post-processing.

    Raises:
        ConfigError: they are about other clips.
    """
    first = found[0]
    for each in found[1:]:
        if each.clip_ids != first.clip_ids:
            odd = sorted(set(each.clip_ids) ^ set(first.clip_ids))
            raise ConfigError(
                f"{each.trained.run.folder}: is about other clips of split '{each.split}' than "
                f"{first.trained.run.folder} (the first: '{odd[0]}').\nExtract the missing ones."
            )
    shares = weights[:, None, :]
    values = (np.stack([each.values for each in found]) * shares).sum(axis=0)
    raw = (np.stack([each.values if each.raw is None else each.raw for each in found]) * shares).sum(axis=0)
    return replace(first, values=values, raw=raw)


def averaged_frames(values: Sequence[Floats], how: Sequence[np.ndarray], weights: Floats) -> tuple[Floats, np.ndarray]:
    """The weighted average of what members say of frames; a frame needs all of them.

    Args:
        values: M times (R, K).
        how: M times (R,), codes of `HOW_NAMES`.
        weights: (M, K).
    """
    everyone = np.all([codes != NONE for codes in how], axis=0)
    average = (np.stack(values) * weights[:, None, :]).sum(axis=0)
    return np.where(everyone[:, None], average, np.nan), np.where(everyone, how[0], NONE).astype(np.uint8)


def _member_folders(run: Run, count: int | None = None) -> list[Path]:
    folder = run.folder / _MEMBERS
    number = count if count is not None else int(run.content["settings"]["num_members"])
    return [folder / str(place) for place in range(number)]
