"""Extraction onto a disk that is full, or into a cache that cannot be written: a clear message and no bad shard."""

import pytest
from extraction import FACES
from extraction_runs import PATIENCE_S, assert_equal, assert_tidy, check_names, finish, make_setting, start


@pytest.fixture(scope="module")
def setting(face_videos, kept_weights, tmp_path_factory):
    """As in test_resume, for runs that make faces only."""
    return make_setting(tmp_path_factory.mktemp("disk"), face_videos, kept_weights, (FACES,))


@pytest.mark.parametrize("share", [0.0002, 0.05, 0.7, 0.99])
def test_a_full_disk_ends_in_a_clear_message_and_no_bad_shard(setting, share):
    """Full where a share of the largest shard is written."""
    root, empty_cache, clean, _ = setting
    cache = empty_cache(f"full-{share}")
    file_bytes = int(share * max(shard.stat().st_size for shard in clean[FACES].glob("*.h5")))
    process = start(root, cache, FACES, file_bytes=file_bytes)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1, err
    assert out == ""
    lines = err.strip().splitlines()
    assert len(lines) <= 3, err
    assert lines[0].startswith(f"emopipe: {cache}")
    assert "cannot be written (File too large)" in lines[0]
    assert "free some space" in err
    assert "run the same command again" in err
    check_names(cache)
    assert_tidy(cache)
    assert finish(start(root, cache, FACES))["clips"]["failed"] == 0
    assert_equal(cache, clean[FACES])


@pytest.mark.parametrize("name", ["ledger", "claims"])
def test_a_part_of_the_cache_that_cannot_be_written_is_named(setting, name):
    root, empty_cache, _, _ = setting
    cache = empty_cache(f"blocked-{name}")
    (cache / name).write_text("a file where a folder belongs")
    process = start(root, cache, FACES)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert err.startswith(f"emopipe: {cache / name}"), err
    assert len(err.strip().splitlines()) <= 3
    check_names(cache)
