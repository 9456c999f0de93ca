"""Scores of utterances: the official one of OMG-Emotion, the older official one, and that of people not trained on."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from emopipe.bootstrap import Score, checked_pair, clip_groups, draw_clips, with_intervals
from emopipe.datasets.omg_lists import source_of, video_of
from emopipe.errors import MetricError
from emopipe.metrics import per_clip_scores, regression_scores
from emopipe.typing import Array, Floats

PER_VIDEO = "ccc_per_video"
SOURCE_DISJOINT = "ccc_source_disjoint"
_FEWEST = 2  # utterances, without which no agreement is defined


@dataclass(frozen=True)
class UtteranceScores:
    """Scores of one split.

    Attributes:
        scores: every metric of `regression_scores` over all utterances, whose `ccc` is the official score; then
            `ccc_per_video` and `ccc_source_disjoint`. Intervals are over sources, `num_clips` counts them.
        notes: plain sentences about what could not be scored.
    """

    scores: tuple[Score, ...]
    notes: tuple[str, ...]


def omg_scores(
    truth: Floats,
    prediction: Floats,
    targets: Sequence[str],
    clip_ids: Sequence[str],
    *,
    disjoint: Collection[str] | None = None,
    subjects: Sequence[str] | None = None,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> UtteranceScores:
    """Score predictions of OMG-Emotion utterances.

    * `ccc`: one concordance over all utterances with population moments, as the official evaluator computes it since
      its last version, and as the leaderboard has it.
    * `ccc_per_video`: one for each video, then their mean, as its first version did. Videos with a single scored
      utterance have none and are left out; one whose labels or predictions are constant counts 0.
    * `ccc_source_disjoint`: `ccc` over the utterances of `disjoint` only.

    Args:
        truth: (N, K) labels.
        prediction: (N, K) predictions, finite.
        targets: names of the K columns.
        clip_ids: N clip ids, "<video>/utterance_K", each once.
        disjoint: clip ids whose source no earlier split has, see `omg_lists.source_disjoint`; None where no such score
            is wanted.
        subjects: what the bootstrap draws, one for each utterance; None for the YouTube video that the id names.
        num_bootstrap: draws; 0 for no intervals.
        seed: of the draws.

    Raises:
        MetricError: shapes do not fit, there are no rows, a number is not finite, or an utterance comes twice.

    Source:
        Evaluator of the OMG-Emotion challenge (Barros et al., "The OMG-Emotion Behavior Dataset", IJCNN 2018).

    Examples:
        >>> found = omg_scores([[0.0], [1.0]], [[0.0], [0.5]], ["valence"], ["a_1/utterance_1", "a_1/utterance_2"])
        >>> [(score.metric, round(score.value, 3)) for score in found.scores if "ccc" in score.metric][::2]
        [('ccc', 0.667), ('ccc_per_video', 0.667)]
    """
    truth, prediction = checked_pair(np.asarray(truth), np.asarray(prediction), (len(targets),))
    if len(set(clip_ids)) != len(truth) or len(clip_ids) != len(truth):
        raise MetricError(
            f"clip_ids: expected {len(truth)} utterances, each once. "
            f"Received: {len(clip_ids)}, of which {len(set(clip_ids))} differ."
        )
    sources = np.array([source_of(clip_id) for clip_id in clip_ids] if subjects is None else list(subjects))
    draws = {"num_bootstrap": num_bootstrap, "seed": seed}
    scores = regression_scores(truth, prediction, targets, sources, **draws)
    notes: list[str] = []
    scores += _per_video(truth, prediction, targets, clip_ids, sources, notes, **draws)
    if disjoint is not None:
        kept = np.array([clip_id in disjoint for clip_id in clip_ids])
        if kept.sum() >= _FEWEST:
            found = regression_scores(truth[kept], prediction[kept], targets, sources[kept], **draws)
            scores += [replace(score, metric=SOURCE_DISJOINT) for score in found if score.metric == "ccc"]
        else:
            notes.append(f"{kept.sum()} of {len(kept)} utterances are source-disjoint: too few to score them alone.")
    return UtteranceScores(tuple(scores), tuple(notes))


def _per_video(
    truth: Floats,
    prediction: Floats,
    targets: Sequence[str],
    clip_ids: Sequence[str],
    sources: Array,
    notes: list[str],
    *,
    num_bootstrap: int,
    seed: int,
) -> list[Score]:
    """The mean over videos; the draws are of sources, each with all its videos."""
    videos, group = clip_groups(np.array([video_of(clip_id) for clip_id in clip_ids]), len(truth))
    sizes = np.bincount(group, minlength=len(videos))
    kept = sizes[group] >= _FEWEST
    if alone := int((sizes < _FEWEST).sum()):
        notes.append(f"{alone} of {len(videos)} videos have a single scored utterance and no score of their own.")
    if not kept.any():
        return []
    found = per_clip_scores(truth[kept], prediction[kept], targets, videos[group[kept]])
    source_of_video = dict(zip(videos[group].tolist(), sources.tolist(), strict=True))
    names, place = np.unique([source_of_video[video] for video in found], return_inverse=True)
    values = np.array([[score.value for score in scores if score.metric == "ccc"] for scores in found.values()])
    sums = np.zeros((len(names), values.shape[1] + 1))  # of the videos of each source, and how many they are
    np.add.at(sums, place, np.column_stack([values, np.ones(len(values))]))
    drawn = draw_clips(sums, num_bootstrap, seed)
    labels = [score.target for score in next(iter(found.values())) if score.metric == "ccc"]
    means = drawn[:, :-1] / drawn[:, -1:]
    return with_intervals(PER_VIDEO, labels, values.mean(axis=0), means, int(kept.sum()), len(names))
