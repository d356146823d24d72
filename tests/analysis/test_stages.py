# SPDX-License-Identifier: Apache-2.0
import mmap
import time

import pytest

from ovseg_mm.analysis.stages import (
    Cost,
    PeakMemory,
    StageClock,
    matrix_rate,
    mean_costs,
)


def burn(seconds):
    begin = time.process_time()
    while time.process_time() - begin < seconds:
        pass


def test_a_stage_inside_another_counts_for_itself():
    clock = StageClock()
    with clock.stage('outer'):
        burn(0.02)
        for _ in range(2):
            with clock.stage('inner'):
                burn(0.03)
    assert clock.costs['inner'].cpu >= 0.05
    assert clock.costs['outer'].cpu < clock.costs['inner'].cpu
    assert clock.total == clock.costs['inner'] + clock.costs['outer']


def test_watched_methods_are_put_back():
    class Worker:
        def work(self):
            return 7

    clock, worker, own = StageClock(), Worker(), Worker.work
    for owner in (worker, Worker):
        with clock.watching(owner, 'work', 'work'), pytest.raises(KeyError):
            assert worker.work() == 7
            raise KeyError
        assert vars(worker) == {} and Worker.work is own
    assert set(clock.costs) == {'work'}


def test_means():
    clocks = [StageClock(), StageClock()]
    clocks[0].costs = {'a': Cost(1, 2, 3, 4), 'b': Cost(8, 0, 0, 0)}
    clocks[1].costs = {'a': Cost(3, 2, 1, 0)}
    means = mean_costs(clocks)
    assert means['a'] == dict(seconds=2, user=2, system=2, faults=2)
    assert means['b']['seconds'] == 4


def test_peak_memory_is_that_of_the_block():
    def use(size):
        with mmap.mmap(-1, size) as pages:  # freed memory is not used again
            for start in range(0, size, mmap.PAGESIZE):
                pages[start] = 1

    use(100 << 20)
    with PeakMemory() as memory:
        use(40 << 20)
    assert 35 << 20 < memory.above < 80 << 20


def test_matrix_rate():
    assert matrix_rate(64, 0.01) > 1e6
