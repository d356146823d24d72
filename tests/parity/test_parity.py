# SPDX-License-Identifier: Apache-2.0
"""Our numbers are those of the published implementations."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import command
import numpy as np
import pytest
import runner
from seeded import load_case

CASES = Path(__file__).parent / 'cases'
# Parameters of the largest model that is tested every time.
SMALL = 5e7


def read(folder):
    return json.loads((folder / 'case.json').read_text())


def all_cases():
    for file in sorted(CASES.glob('*/*/case.json')):
        shapes = [entry['shape'] for entry in read(file.parent)['parameters']]
        large = sum(math.prod(shape) for shape in shapes) > SMALL
        yield pytest.param(
            file.parent,
            marks=[pytest.mark.slow] if large else [],
            id=f'{file.parent.parent.name}-{file.parent.name}',
        )


@pytest.mark.parametrize('folder', all_cases())
def test_outputs(folder):
    outputs = list(runner.compare_case(folder))
    assert outputs, 'a case compares something'
    over = [output for output in outputs if not output.passed]
    assert not over


def cases_with_an_optimizer():
    return [
        pytest.param(file.parent, id=file.parent.name)
        for file in sorted(CASES.glob('*/*/case.json'))
        if 'optimizer' in read(file.parent)
    ]


@pytest.mark.parametrize('folder', cases_with_an_optimizer())
def test_learning_rates_and_weight_decay(folder):
    case = load_case(folder)
    ours = runner.load_method(case).optimizer_table(
        case, runner.load_model(case)
    )
    theirs = {
        name: (rate, decay) for name, rate, decay in case['optimizer']['table']
    }
    assert ours.keys() == theirs.keys()
    for name, numbers in theirs.items():
        assert ours[name] == pytest.approx(numbers, rel=1e-9), name


@pytest.fixture
def tiny(tmp_path):
    """A copy of a small case, and functions that write it anew."""
    return Path(
        shutil.copytree(CASES / 'cat_seg' / 'tiny_topk', tmp_path / 'tiny')
    )


def change_golden(folder, change):
    with np.load(folder / 'golden.npz') as golden:
        arrays = {name: golden[name] for name in golden.files}
    change(arrays)
    np.savez(folder / 'golden.npz', **arrays)


def compared(folder):
    return {output.name: output for output in runner.compare_case(folder)}


def test_spoiled_numbers_are_seen(tiny):
    def spoil(arrays):
        arrays['scores'].flat[7] += 1.0
        arrays['cost_embed'] = arrays['cost_embed'][:1]
        arrays['layer0'].flat[0] = np.nan
        arrays['labels'][:40] = 77

    change_golden(tiny, spoil)
    case = read(tiny)
    case['outputs']['unheard_of'] = dict(tolerance=1.0)
    (tiny / 'case.json').write_text(json.dumps(case))
    outputs = compared(tiny)
    over = {name for name, output in outputs.items() if not output.passed}
    assert over == {
        'scores',
        'cost_embed',
        'layer0',
        'labels',
        'unheard_of',
    }
    assert outputs['cost_embed'].error == math.inf
    assert outputs['layer0'].error == math.inf
    assert outputs['unheard_of'].error == math.inf


def test_exit_statuses(tiny, capsys):
    result = subprocess.run(
        [sys.executable, str(Path(__file__).parent), str(tiny)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    output, names = result.stdout, read(tiny)['outputs']
    lines = [line for line in output.splitlines() if line.startswith('  ')]
    assert result.returncode == 0 and output.endswith('all passed\n')
    assert len(lines) == len(names)
    for line, name in zip(lines, names):
        assert line.startswith(f'  ok   {name}: relative error ')

    change_golden(tiny, lambda arrays: arrays['scores'].__imul__(1.001))
    # The folder above holds two cases: one spoiled, one that cannot run.
    broken = Path(shutil.copytree(tiny, tiny.with_name('broken')))
    case = read(broken)
    case['parameters'] = case['parameters'][1:]
    (broken / 'case.json').write_text(json.dumps(case))
    assert command.main([str(tiny.parent)]) == 1
    output, errors = capsys.readouterr()
    assert output.endswith('2 outputs over tolerance\n')
    over = [line for line in output.splitlines() if 'OVER' in line]
    assert 'cannot be run' in over[0] and 'is missing' in errors
    assert 'OVER scores: relative error 1.0e-03, tolerance 1.0e-04' in over[1]


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (shutil.rmtree, 'no case.json in'),
        (lambda f: (f / 'case.json').unlink(), 'no case.json in'),
        (lambda f: (f / 'golden.npz').unlink(), 'no golden.npz beside'),
        (lambda f: (f / 'case.json').write_text('{'), 'is no description'),
        (lambda f: (f / 'case.json').write_text('[]'), 'is no description'),
        (
            lambda f: (f / 'case.json').write_text('{"method": "magic"}'),
            "is of the method 'magic', which nothing here runs",
        ),
    ],
)
def test_wrong_folders_are_refused(tiny, spoil, message):
    assert runner.find_cases(tiny.parent) == [tiny]
    spoil(tiny)
    with pytest.raises(ValueError, match=message):
        runner.find_cases(tiny)


def test_wrong_folder_is_refused_before_any_case_runs(tiny, tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(SystemExit) as end:
        command.main([str(tiny), str(tmp_path / 'empty')])
    output, errors = capsys.readouterr()
    assert end.value.code == 2 and 'tiny' not in output
    assert errors.splitlines()[-1] == (
        f'error: no case.json in {tmp_path / "empty"}'
    )
