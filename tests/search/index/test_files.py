import os
import time
from io import BytesIO

import numpy as np
import pytest

from images import storage
from search.index import files
from search.index.errors import DamagedSegment
from search.index.manifest import File
from search.index.segment import build

KEY = "indexes/ab/abc.segment"


@pytest.fixture
def file(tmp_path):
    """A segment in storage, settled long ago."""
    built = build(tmp_path / "x", "exact", np.eye(8, dtype=np.float32), np.arange(8))
    storage.put(KEY, BytesIO((tmp_path / "x").read_bytes()), "application/octet-stream")
    settle(storage.local_path(KEY))
    return File("segment.bin", built.sha256, built.byte_size)


def settle(path):
    os.utime(path, (time.time() - 60,) * 2)


@pytest.fixture
def remote(monkeypatch):
    """Storage that is not on this machine; counts its downloads."""
    calls, real = [], storage.open
    monkeypatch.setattr(files.storage, "local_path", lambda key: None)
    monkeypatch.setattr(files.storage, "open", lambda key: calls.append(key) or real(key))
    return calls


@pytest.fixture
def compared(monkeypatch):
    """Counts whole-file comparisons; every file counts as settled."""
    calls, real = [], files.digest
    monkeypatch.setattr(files, "digest", lambda path: calls.append(path) or real(path))
    monkeypatch.setattr(files, "SETTLED_SECONDS", -1)
    return calls


def test_local_file_is_mapped_in_place(file):
    assert files.fetch(KEY, file).count == 8
    assert not list(files.folder().glob("*.segment"))


def test_file_is_compared_once_and_again_after_any_write(file, compared):
    files.fetch(KEY, file)
    files.fetch(KEY, file)
    assert len(compared) == 1
    path = storage.local_path(KEY)
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedSegment, match="checksum"):
        files.fetch(KEY, file)
    assert len(compared) == 2


def test_young_file_is_compared_every_time(file, compared, monkeypatch):
    monkeypatch.setattr(files, "SETTLED_SECONDS", 3600)
    files.fetch(KEY, file)
    files.fetch(KEY, file)
    assert len(compared) == 2


def test_note_of_another_file_is_not_believed(file, compared):
    files.fetch(KEY, file)
    (note,) = files.folder().glob("*.verified")
    note.write_text("{}")
    files.fetch(KEY, file)
    assert len(compared) == 2


def test_remote_file_is_downloaded_once(file, remote):
    files.fetch(KEY, file)
    files.fetch(KEY, file)
    assert remote == [KEY]


def test_damaged_copy_is_downloaded_anew(file, remote):
    files.fetch(KEY, file)
    (copy,) = files.folder().glob("*.segment")
    copy.write_bytes(copy.read_bytes()[:-1] + b"!")
    assert files.fetch(KEY, file).count == 8
    assert len(remote) == 2


def test_damage_in_storage_is_refused_and_leaves_no_copy(file, remote):
    storage.put(KEY, BytesIO(b"x" * file.byte_size), "application/octet-stream")
    with pytest.raises(DamagedSegment):
        files.fetch(KEY, file)
    assert not list(files.folder().glob("*.segment*"))


def test_wrong_size_is_refused_without_reading(file, compared):
    with pytest.raises(DamagedSegment, match="bytes"):
        files.fetch(KEY, File("segment.bin", file.sha256, file.byte_size + 1))
    assert compared == []


def test_missing_file(file):
    with pytest.raises(DamagedSegment):
        files.fetch("indexes/ab/absent.segment", file)


def test_clean_up_of_the_cache(file, remote):
    files.fetch(KEY, file)
    abandoned = files.folder() / "build-x"
    abandoned.mkdir()
    for path in files.folder().iterdir():
        os.utime(path, (time.time() - 10**6,) * 2)
    assert files.clean({file.sha256}) == 0
    assert not abandoned.exists()
    assert files.clean(set()) >= 1
    assert not list(files.folder().glob("*.segment"))
