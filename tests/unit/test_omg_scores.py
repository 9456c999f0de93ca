"""Scores of OMG-Emotion: over all utterances, per video as it was before, and over those of new sources."""

import numpy as np
import pytest

from emopipe.errors import MetricError
from emopipe.metrics import concordance
from emopipe.stages.utterance_scores import omg_scores

# --- scores


def scores_of(found):
    return {(score.metric, score.target): score for score in found.scores}


def some_scores(**changes):
    generator = np.random.default_rng(3)
    clip_ids = [f"v{source}_{part}/utterance_{k}" for source in range(6) for part in (1, 2) for k in range(5)]
    truth = generator.uniform(0, 1, (60, 2))
    prediction = 0.6 * truth + 0.3 * generator.uniform(0, 1, (60, 2))
    arguments = {"truth": truth, "prediction": prediction, "clip_ids": clip_ids} | changes
    found = omg_scores(
        arguments["truth"], arguments["prediction"], ("valence", "arousal"), arguments["clip_ids"],
        disjoint=changes.get("disjoint", set(clip_ids[:20])),
    )  # fmt: skip
    return truth, prediction, clip_ids, found


def test_the_official_score_is_one_concordance_over_all_utterances():
    truth, prediction, _, found = some_scores()
    scores = scores_of(found)
    for column, target in enumerate(("valence", "arousal")):
        x, y = truth[:, column], prediction[:, column]
        r, s, t = np.corrcoef(x, y)[0, 1], x.std(), y.std()  # as the official evaluator writes it
        official = 2 * r * s * t / (s**2 + t**2 + (x.mean() - y.mean()) ** 2)
        assert scores["ccc", target].value == pytest.approx(official)
        assert scores["mse", target].value == pytest.approx(((x - y) ** 2).mean())
        assert scores["pearson", target].value == pytest.approx(r)
    score = scores["ccc", "mean"]
    assert (score.num_rows, score.num_clips) == (60, 6)  # intervals are over sources
    assert score.low < score.value < score.high
    assert found.notes == ()


def test_the_older_score_is_a_mean_over_videos_and_parts_are_videos():
    truth, prediction, _, found = some_scores()
    score = scores_of(found)["ccc_per_video", "arousal"]
    each = [concordance(truth[k : k + 5, 1], prediction[k : k + 5, 1]) for k in range(0, 60, 5)]
    assert score.value == pytest.approx(np.mean(each))
    assert score.low < score.value < score.high
    assert (score.num_rows, score.num_clips) == (60, 6)
    assert abs(score.value - scores_of(found)["ccc", "arousal"].value) > 1e-3


def test_the_source_disjoint_score_is_that_of_the_subset():
    truth, prediction, clip_ids, found = some_scores()
    score = scores_of(found)["ccc_source_disjoint", "valence"]
    assert score.value == pytest.approx(concordance(truth[:20, 0], prediction[:20, 0]))
    assert (score.num_rows, score.num_clips) == (20, 2)
    _, _, _, found = some_scores(disjoint={clip_ids[0]})
    assert "ccc_source_disjoint" not in {score.metric for score in found.scores}
    assert found.notes == ("1 of 60 utterances are source-disjoint: too few to score them alone.",)


def test_videos_with_one_scored_utterance_have_no_score_of_their_own():
    truth, prediction, clip_ids, _ = some_scores()
    clip_ids = [*clip_ids[:-1], "alone/utterance_1"]
    _, _, _, found = some_scores(clip_ids=clip_ids)
    assert found.notes == ("1 of 13 videos have a single scored utterance and no score of their own.",)
    each = [concordance(truth[k : min(k + 5, 59), 0], prediction[k : min(k + 5, 59), 0]) for k in range(0, 60, 5)]
    assert scores_of(found)["ccc_per_video", "valence"].value == pytest.approx(np.mean(each))


def test_rows_that_cannot_be_scored_are_refused():
    _, _, clip_ids, _ = some_scores()
    with pytest.raises(MetricError, match="clip_ids: expected 60 utterances, each once. Received: 60, of which 59"):
        some_scores(clip_ids=[*clip_ids[:-1], clip_ids[0]])
    with pytest.raises(MetricError, match="expected finite numbers"):
        some_scores(prediction=np.full((60, 2), np.nan))
