"""The ledger: the latest row per clip key wins, whoever wrote it and however it ended."""

import subprocess
import sys

import pytest

from emopipe.errors import StorageError
from emopipe.store.ledger import Ledger, LedgerRow

DONE = LedgerRow("k1", "a", "", "faces", "done", "2 fewer frames.")
FAILED = LedgerRow("k1", "a", "left", "decode", "failed", "breaks off", "DecodeError", 17)

WRITER = """
import sys
from pathlib import Path
from emopipe.store.ledger import Ledger, LedgerRow
rows = [LedgerRow(key, key, "", "decode", "failed", "no", "DecodeError", 3) for key in sys.argv[2:]]
Ledger(Path(sys.argv[1])).write(rows)
"""


def write_elsewhere(folder, *keys):
    subprocess.run([sys.executable, "-c", WRITER, str(folder), *keys], check=True)


def untimed(row):
    return {name: value for name, value in vars(row).items() if name != "time"}


def test_rows_come_back_with_the_time_of_writing(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.write([FAILED])
    (row,) = ledger.read().values()
    assert untimed(row) == untimed(FAILED)
    assert row.time > "2020"


def test_the_latest_row_of_a_key_wins(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.write([FAILED])
    ledger.write([DONE, LedgerRow("k2", "b", "", "faces", "done")])
    assert {key: row.status for key, row in ledger.read().items()} == {"k1": "done", "k2": "done"}
    ledger.write([FAILED])
    assert ledger.read()["k1"].frame_index == 17


def test_rows_of_several_processes_are_merged_by_time(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.write([DONE])
    write_elsewhere(tmp_path, "k1", "k3")
    assert {key: row.status for key, row in ledger.read().items()} == {"k1": "failed", "k3": "failed"}
    ledger.write([DONE])  # into the older file
    assert ledger.read()["k1"].status == "done"
    assert len(list(tmp_path.glob("*.jsonl"))) == 2


def test_a_line_that_a_kill_cut_off_is_not_a_row(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.write([DONE])
    (path,) = tmp_path.glob("*.jsonl")
    whole = path.read_text()
    path.write_text(whole + whole[: len(whole) // 2])
    assert untimed(ledger.read()["k1"]) == untimed(DONE)
    path.write_text(whole + "\n[1, 2]\nnot JSON\n" + '{"key": "k9"}\n')
    assert list(ledger.read()) == ["k1"]


def test_no_rows_make_no_file(tmp_path):
    Ledger(tmp_path / "ledger").write([])
    assert not (tmp_path / "ledger").exists()
    assert Ledger(tmp_path / "ledger").read() == {}


def test_names_that_are_not_utf8_survive(tmp_path):
    Ledger(tmp_path).write([LedgerRow("k", "caf\udce9", "", "decode", "failed", "line\nbreak")])
    row = Ledger(tmp_path).read()["k"]
    assert (row.clip_id, row.message) == ("caf\udce9", "line\nbreak")


def test_news_are_the_rows_of_others_each_told_once(tmp_path):
    ledger = Ledger(tmp_path)
    assert ledger.news() == []
    ledger.write([DONE])
    write_elsewhere(tmp_path, "x", "y")
    assert [row.key for row in ledger.news()] == ["x", "y"]
    assert ledger.news() == []
    write_elsewhere(tmp_path, "z")
    assert [row.key for row in ledger.news()] == ["z"]


def test_news_wait_for_a_line_to_be_complete(tmp_path):
    write_elsewhere(tmp_path, "x")
    (path,) = tmp_path.glob("*.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    ledger = Ledger(tmp_path)
    assert [row.key for row in ledger.news()] == ["x"]
    path.write_bytes(whole + whole)
    assert [row.key for row in ledger.news()] == ["x"]


def test_a_ledger_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "ledger").write_text("a file")
    with pytest.raises(StorageError, match=r"ledger.*cannot be written"):
        Ledger(tmp_path / "ledger").write([DONE])
