"""Folds: whose pictures are tested, and the published rule that cuts a list of pictures."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from emopipe.config import to_dict
from emopipe.datasets.manifest import Manifest
from emopipe.datasets.splits import Folds, require_splits, shared_subjects, with_folds
from emopipe.errors import ConfigError, ManifestError
from emopipe.records import Clip
from emopipe.stages.cnn_config import TrainCnnConfig


def manifest_of(counts: dict[str, int]) -> Manifest:
    """Subject -> number of clips, four to a sequence."""
    clips = (
        Clip(f"{subject}/{number // 4:03d}/{number:05d}", Path("x.png"), "picture", subject=subject)
        for subject, count in counts.items()
        for number in range(count)
    )
    return Manifest("ckplus", Path("corpus"), tuple(sorted(clips, key=lambda clip: clip.clip_id)))


OFFICIAL = manifest_of({f"S{number:03d}": 12 if number < 91 else 8 for number in range(118)})  # 327 sequences
OFFICIAL_CLIPS = 1308


def splits_of(manifest: Manifest) -> dict[str, set[str]]:
    """Subject -> the splits that it is in."""
    found: dict[str, set[str]] = {}
    for clip in manifest.clips:
        found.setdefault(clip.subject, set()).add(clip.split)
    return found


def test_no_subject_is_in_two_splits_and_each_is_tested_exactly_once():
    assert len(OFFICIAL.clips) == OFFICIAL_CLIPS
    tested, judged = Counter(), Counter()
    for fold in range(10):
        divided = with_folds(OFFICIAL, Folds(10, fold))
        assert [replace(clip, split=None) for clip in divided.clips] == list(OFFICIAL.clips)
        assert shared_subjects(divided.clips) == {}
        assert divided.notes == ()
        splits = splits_of(divided)
        sizes = Counter(next(iter(found)) for found in splits.values())
        assert sizes["test"] in (11, 12)
        assert sizes["dev"] in (11, 12)
        tested.update(subject for subject, found in splits.items() if found == {"test"})
        judged.update(subject for subject, found in splits.items() if found == {"dev"})
    assert len(tested) == len(judged) == 118
    assert {*tested.values(), *judged.values()} == {1}


def test_the_dev_fold_is_the_next_test_fold():
    def subjects(fold: int, split: str) -> set[str]:
        return {subject for subject, found in splits_of(with_folds(OFFICIAL, Folds(4, fold))).items() if split in found}

    assert subjects(0, "dev") == subjects(1, "test")
    assert subjects(3, "dev") == subjects(0, "test")


def test_the_seed_decides_and_the_order_of_clips_does_not():
    one, other = (splits_of(with_folds(OFFICIAL, Folds(seed=seed))) for seed in (0, 1))
    assert one != other
    backward = replace(OFFICIAL, clips=OFFICIAL.clips[::-1])
    assert splits_of(with_folds(backward, Folds())) == one


def test_the_published_rule_cuts_the_list_of_pictures():
    counts, cut_sequences = Counter(), 0
    for seed in range(20):
        divided = with_folds(OFFICIAL, Folds(10, 0, "images", seed))
        assert Counter(clip.split for clip in divided.clips) == {"train": 1177, "dev": 131}
        shared = shared_subjects(divided.clips)
        assert len(shared) <= 1
        counts[len(shared)] += 1
        (note,) = divided.notes
        assert "divided by images" in note
        assert (f"subject {next(iter(shared))} is in both" if shared else "falls between two subjects") in note
        parts: dict[str, set[str]] = {}
        for clip in divided.clips:
            parts.setdefault(clip.clip_id.rpartition("/")[0], set()).add(clip.split)
        cut_sequences += sum(len(found) > 1 for found in parts.values())
    assert counts[1] >= 15
    assert cut_sequences >= 15


def test_dev_pictures_of_the_published_rule_are_whole_subjects_but_one():
    divided = with_folds(OFFICIAL, Folds(10, 0, "images"))
    whole = [subject for subject, found in splits_of(divided).items() if found == {"dev"}]
    assert 9 <= len(whole) <= 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_folds": 2}, "folds: expected at least 3 with rule 'subjects'. Received: 2"),
        ({"num_folds": 1, "rule": "images"}, "folds: expected at least 2"),
        ({"num_folds": 1, "rule": "keep-test"}, "folds: expected at least 2 with rule 'keep-test'. Received: 1"),
        ({"fold": 10}, "fold: expected 0 to 9, of 10. Received: 10"),
        ({"fold": -1}, "fold: expected 0 to 9"),
        ({"fold": 10, "rule": "keep-test"}, "fold: expected 0 to 9, of 10. Received: 10"),
        ({"fold": 1, "rule": "images"}, "rule 'images' has one division only. Expected fold 0. Received: 1"),
        ({"num_folds": 2, "rule": "numbers"}, "folds: expected at least 3 with rule 'numbers'. Received: 2"),
        ({"rule": "numbers", "seed": 1}, "rule 'numbers' goes by the subjects' names. Expected 0. Received: 1"),
        ({"rule": "people"}, "fold rule: expected one of subjects, images, keep-test, numbers. Received: 'people'"),
        ({"seed": -1}, "seed of the folds: expected at least 0"),
    ],
)
def test_folds_that_do_not_exist_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        Folds(**changes)


def test_splits_of_the_corpus_and_too_few_subjects_are_refused():
    divided = with_folds(OFFICIAL, Folds())
    with pytest.raises(ManifestError, match=r"ckplus have splits of their own(.|\n)*Leave out --folds"):
        with_folds(divided, Folds())
    with pytest.raises(ManifestError, match="splits of their own"):
        with_folds(replace(OFFICIAL, task_splits={"va": {}}), Folds())
    few = manifest_of({"S001": 8, "S002": 8, "S003": 8})
    with pytest.raises(ManifestError, match=r"at least as many subjects as folds, 4. Received: 3 subjects"):
        with_folds(few, Folds(4))
    assert {clip.split for clip in with_folds(few, Folds(4, rule="images")).clips} == {"train", "dev"}
    with pytest.raises(ManifestError, match=r"as many clips as folds, 25. Received: 24"):
        with_folds(few, Folds(25, rule="images"))


def test_numbered_subjects_are_dealt_in_the_order_of_their_names():
    actors = manifest_of({f"{number:02d}": 5 for number in (*range(24, 12, -1), *range(1, 13))})
    for fold in range(6):
        divided = with_folds(actors, Folds(6, fold, "numbers"))
        assert divided.notes == ()
        for clip in divided.clips:
            part = (int(clip.subject) - 1) % 6
            assert clip.split == {fold: "test", (fold + 1) % 6: "dev"}.get(part, "train")
    with pytest.raises(ManifestError, match="splits of their own"):
        with_folds(divided, Folds(6, 0, "numbers"))
    with pytest.raises(ManifestError, match=r"at least as many subjects as folds, 25. Received: 24 subjects"):
        with_folds(actors, Folds(25, 0, "numbers"))


def with_official_splits() -> Manifest:
    """Seven subjects train, five are dev, three are test, and one is in train and dev; "S015" has no split."""
    parts = ["train"] * 7 + ["dev"] * 5 + ["test"] * 3
    manifest = manifest_of({f"S{number:03d}": 4 for number in range(16)})
    splits = {f"S{number:03d}": split for number, split in enumerate(parts)}
    clips = [replace(clip, split=splits.get(clip.subject)) for clip in manifest.clips]
    clips[0] = replace(clips[0], split="dev")
    return replace(manifest, dataset="omg", clips=tuple(clips), notes=("from the corpus",))


@pytest.mark.parametrize("num_folds", [2, 5, 12])
def test_folds_of_train_and_dev_leave_the_official_test_part_alone(num_folds):
    official, judged = with_official_splits(), Counter()
    outside = {clip.clip_id: clip.split for clip in official.clips if clip.split not in ("train", "dev")}
    assert Counter(outside.values()) == {"test": 12, None: 4}
    for fold in range(num_folds):
        divided = with_folds(official, Folds(num_folds, fold, "keep-test"))
        assert [replace(clip, split=None) for clip in divided.clips] == [
            replace(clip, split=None) for clip in official.clips
        ]
        assert {clip.clip_id: clip.split for clip in divided.clips if clip.clip_id in outside} == outside
        assert shared_subjects(divided.clips) == {}
        assert divided.notes == official.notes
        splits = {subject: found for subject, found in splits_of(divided).items() if found <= {"train", "dev"}}
        assert len(splits) == 12
        dev = [subject for subject, found in splits.items() if found == {"dev"}]
        assert len(dev) in (12 // num_folds, -(-12 // num_folds))
        judged.update(dev)
    assert judged == {f"S{number:03d}": 1 for number in range(12)}


def test_the_seed_deals_the_train_and_dev_parts_out_anew():
    one, other = (splits_of(with_folds(with_official_splits(), Folds(4, 0, "keep-test", seed))) for seed in (0, 1))
    assert one != other


def test_what_has_no_official_train_and_dev_part_cannot_keep_its_test_part():
    official = with_official_splits()
    with pytest.raises(ManifestError, match="at least as many subjects as folds, 13. Received: 12 subjects"):
        with_folds(official, Folds(13, 0, "keep-test"))
    tests = replace(official, clips=tuple(clip for clip in official.clips if clip.split == "test"))
    for without in (OFFICIAL, tests, replace(official, task_splits={"va": {}})):
        with pytest.raises(ManifestError, match=r"'keep-test' divides the official train and dev parts(.|\n)*subjects"):
            with_folds(without, Folds(4, 0, "keep-test"))


def test_a_corpus_without_splits_is_told_about_folds():
    with pytest.raises(
        ManifestError, match=r"none of the 1308 clips of ckplus has a split.*\n.*--folds N and --fold K"
    ):
        require_splits(OFFICIAL)
    require_splits(with_folds(OFFICIAL, Folds()))


def test_folds_survive_the_settings_of_a_run():
    config = TrainCnnConfig(folds=Folds(5, 2, seed=3))
    content = to_dict(config)
    assert content["folds"] == {"num_folds": 5, "fold": 2, "rule": "subjects", "seed": 3}
    assert TrainCnnConfig(**content) == config
    assert TrainCnnConfig(**to_dict(TrainCnnConfig())).folds is None
    with pytest.raises(ConfigError, match="Folds has no field 'fould'. Did you mean 'fold'"):
        TrainCnnConfig(folds={"fould": 1})
