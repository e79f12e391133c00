from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from images.outcome import Limits, Outcome, Rejected
from images.pixels import process
from images.sandbox import Crashed, SandboxPool, TimedOut

from .pictures import saved, scene

PICTURE = saved(scene())
SECONDS = 1.0


@pytest.fixture(scope="module")
def pool():
    with SandboxPool(1, memory_bytes=512 << 20, module="tests.images.hostile_decoder") as made:
        yield made


@pytest.fixture(scope="module")
def hasty_pool():
    with SandboxPool(1, seconds=SECONDS, module="tests.images.hostile_decoder") as made:
        yield made


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pids: list[int], seconds: float = 5) -> list[int]:
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(map(is_running, pids)):
        time.sleep(0.02)
    return [pid for pid in pids if is_running(pid)]


def test_child_answers_what_process_answers():
    with SandboxPool(1) as real:
        assert real.process(PICTURE) == process(PICTURE)


def test_path_and_bytes_give_the_same(pool, tmp_path):
    path = tmp_path / "scene.jpg"
    path.write_bytes(PICTURE)
    assert pool.process(path) == pool.process(PICTURE)


def test_rejection_crosses_with_its_code_and_text(pool):
    with pytest.raises(Rejected, match="SVG files are not supported") as raised:
        pool.process(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    assert (raised.value.code, raised.value.permanent) == ("unsupported_format", True)


def test_limits_reach_the_child():
    with SandboxPool(1, limits=Limits(max_pixels=1000)) as strict, pytest.raises(Rejected) as raised:
        strict.process(PICTURE)
    assert raised.value.code == "too_many_pixels"


@pytest.mark.parametrize("as_path", [True, False])
def test_too_large_files_are_refused(tmp_path, as_path):
    path = tmp_path / "large"
    path.write_bytes(bytes(2000))
    with SandboxPool(1, limits=Limits(max_bytes=1999)) as strict, pytest.raises(Rejected) as raised:
        strict.process(path if as_path else path.read_bytes())
    assert raised.value.code == "too_large"


@pytest.mark.parametrize("deed", [b"hang", b"spin"])
def test_hanging_decoder_is_killed_in_time_and_the_pool_goes_on(hasty_pool, deed):
    hasty_pool.process(PICTURE)
    with pytest.raises(TimedOut) as raised:
        hasty_pool.process(deed)
    assert not raised.value.permanent
    assert hasty_pool.process(PICTURE).width == 640


@pytest.mark.parametrize("deed", [b"segfault", b"quit", b"bug", b"forge", b"hog"])
def test_failing_decoder_is_contained_and_the_pool_goes_on(pool, deed):
    with pytest.raises(Crashed) as raised:
        pool.process(deed)
    assert not raised.value.permanent
    assert pool.process(PICTURE).width == 640


def test_crash_names_its_signal(pool):
    with pytest.raises(Crashed, match="SIGSEGV"):
        pool.process(b"segfault")


def test_memory_is_bounded(pool):
    with pytest.raises(Crashed, match="out of memory"):
        pool.process(b"hog")


def test_child_cannot_write_files(pool):
    target = Path("/tmp/loupe-sandbox-write-test")
    with pytest.raises(Crashed):
        pool.process(b"write")
    written = target.stat().st_size if target.exists() else 0
    target.unlink(missing_ok=True)
    assert written == 0


@pytest.mark.parametrize("deed", [b"secret", b"django"])
def test_child_has_neither_the_environment_nor_django(monkeypatch, deed):
    monkeypatch.setenv("LOUPE_TEST_SECRET", "1")
    with SandboxPool(1, module="tests.images.hostile_decoder") as fresh, pytest.raises(Rejected) as raised:
        fresh.process(deed)  # a child that had them would quit instead
    assert raised.value.code == "not_an_image"


def test_child_stays_warm(pool):
    pool.process(PICTURE)
    before = pool.pids()
    pool.process(PICTURE)
    assert pool.pids() == before


def test_child_outlives_the_thread_that_first_needed_it():
    with SandboxPool(1) as real:
        thread = threading.Thread(target=real.process, args=(PICTURE,))
        thread.start()
        thread.join()
        before = real.pids()
        time.sleep(0.2)  # the parent-death signal of a finished thread would arrive by now
        assert is_running(before[0])
        real.process(PICTURE)
        assert real.pids() == before


def test_child_killed_while_idle_is_replaced(pool):
    pool.process(PICTURE)
    os.kill(pool.pids()[0], signal.SIGKILL)
    time.sleep(0.1)
    assert pool.process(PICTURE).width == 640


@pytest.fixture
def warm_pair():
    """Two children that have answered already, and two threads for them."""
    pair = SandboxPool(2, seconds=SECONDS, module="tests.images.hostile_decoder")
    with pair, ThreadPoolExecutor(2) as threads:
        list(threads.map(pair.process, [PICTURE] * 8))
        yield pair, threads


def test_threads_use_several_children_at_once(warm_pair):
    pair, threads = warm_pair
    late = [threads.submit(pair.process, b"hang") for _ in range(2)]
    time.sleep(0.3)
    assert pair.pids() == []  # both are taken
    assert all(isinstance(picture.exception(), TimedOut) for picture in late)


def test_one_hanging_picture_does_not_hold_up_the_others(warm_pair):
    pair, threads = warm_pair
    hanging = threads.submit(pair.process, b"hang")
    assert isinstance(pair.process(PICTURE), Outcome)
    assert not hanging.done()
    assert isinstance(hanging.exception(), TimedOut)


def test_close_ends_the_children():
    real = SandboxPool(1)
    real.process(PICTURE)
    pids = real.pids()
    real.close()
    assert wait_until_gone(pids) == []
    with pytest.raises(RuntimeError):
        real.process(PICTURE)


ORPHAN_MAKER = """
import sys, threading
from images.sandbox import SandboxPool
from tests.images.test_sandbox import PICTURE
pool = SandboxPool(2, seconds=60, module="tests.images.hostile_decoder")
pool.process(PICTURE)
print(*pool.pids(), flush=True)
pool.process(b"{deed}")
sys.stdin.read()
"""


@pytest.mark.parametrize("deed", ["hang", "spin"])
def test_killed_parent_leaves_no_orphans(deed):
    root = Path(__file__).resolve().parents[2]
    code = ORPHAN_MAKER.replace("{deed}", deed)
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE)
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    time.sleep(0.3)  # let the child take up the picture that it will never finish
    assert len(pids) == 1 and is_running(pids[0])
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert wait_until_gone(pids) == []


def test_importing_the_pool_loads_no_decoder():
    code = "import sys, images.sandbox; sys.exit(bool({'PIL', 'numpy', 'django'} & set(sys.modules)))"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
