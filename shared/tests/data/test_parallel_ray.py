"""`ordered_map` on Ray Data gives what it gives in this process, results and errors alike."""

import logging

import pytest

from nonet.data.parallel import ItemFailed, ordered_map
from nonet.errors import UserError
from nonet.testing import needs

pytestmark = [
    pytest.mark.slow,
    needs("ray"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own warnings and sockets are not ours to mend
]

WORK = """
import os, time
from nonet.errors import UserError

class Work:
    def __init__(self, bad=None):
        self.bad = bad
    def __call__(self, n):
        time.sleep(0.3 if n % 20 == 0 else 0)
        if n == self.bad:
            raise UserError("no field 'body'; name one")
        return n, b"x" * (n % 5), {"n": [n, None]}

def divide(n):
    return 1 / (n - 5)
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    name = f"ray_work_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    return __import__(name)


def test_results_are_those_of_this_process_and_a_ray_we_started_is_shut_down(work):
    import ray

    expected = list(ordered_map(work.Work(), range(50), workers=0))
    results = ordered_map(work.Work(), range(50), workers=2, engine="ray", window=20, chunk=3)
    assert not ray.is_initialized()
    assert list(results) == expected
    assert not ray.is_initialized()


def test_errors_name_their_item_and_a_ray_that_was_there_stays(work):
    import ray

    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=100 << 20,
    )
    try:
        found = []
        with pytest.raises(UserError, match=r"^item 18: no field 'body'; name one$"):
            found.extend(ordered_map(work.Work(bad=17), range(50), workers=2, engine="ray", window=10))
        assert [n for n, _, _ in found] == list(range(17))

        found = []
        with pytest.raises(ItemFailed, match=r"^item 6: ZeroDivisionError") as caught:
            found.extend(ordered_map(work.divide, range(50), workers=0, engine="ray"))
        assert found == [1 / (n - 5) for n in range(5)]
        assert "in divide" in str(caught.value.__cause__)

        def items():
            yield from range(7)
            raise UserError("a.jsonl:8: not valid JSON")

        found = []
        with pytest.raises(UserError, match=r"^a\.jsonl:8: not valid JSON$"):
            found.extend(ordered_map(abs, items(), workers=1, engine="ray", window=4))
        assert found == list(range(7))
        assert list(ordered_map(abs, [], workers=1, engine="ray")) == []
        assert ray.is_initialized()
    finally:
        ray.shutdown()
