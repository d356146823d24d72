# SPDX-License-Identifier: Apache-2.0
import warnings
import zipfile
from typing import Optional

import pytest
import torch
from torch import Tensor, nn

from ovseg_mm.checkpoints import read_weights

pytestmark = pytest.mark.filterwarnings('ignore::FutureWarning')


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, 2)
        self.mlp = nn.Sequential(
            nn.Linear(width, 8), nn.GELU(), nn.Linear(8, width, bias=False)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.norm(x + self.attn(x, x, x)[0]))


class Tower(nn.Module):
    """Attributes of all kinds, in an order that is not that of a state."""

    optional: Optional[Tensor]  # noqa: UP045
    absent: Optional[Tensor]  # noqa: UP045

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('input_resolution', torch.tensor(224))
        self.blocks = nn.ModuleList([Block(4), Block(4)])
        self.scale = nn.Parameter(torch.tensor(2.6593))
        self.conv = nn.Conv2d(3, 4, 2, bias=False)
        self.register_buffer('hidden', torch.ones(2), persistent=False)
        self.register_parameter('none', None)
        self.register_buffer('no_buffer', None)
        base = torch.arange(12.0)
        self.register_buffer('base', base)
        self.register_buffer('view', base.view(3, 4).t())
        self.register_buffer('part', base[5:9])
        self.register_buffer('flags', torch.tensor([True, False]))
        self.register_buffer('short', torch.rand(3).bfloat16())
        self.register_buffer('empty', torch.zeros(0, 3))
        self.plain = torch.ones(4)
        self.tensors = [torch.ones(2)]
        self.table = {'x': torch.ones(1)}
        self.optional = torch.ones(1)
        self.absent = None
        self.names, self.size, self.rate = ['a', 'b'], (3, 4), 0.5
        self.tied = self.blocks[0]
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        optional = self.optional
        assert optional is not None and self.absent is None
        x = x * self.scale + self.tensors[0].sum() + self.table['x']
        x = x * self.rate * self.size[0] + len(self.names) + optional
        for block in self.blocks:
            x = block(x)
        return self.norm(self.tied(x) + self.part + self.plain)


class Frozen(nn.Module):
    """With constants in its code, which are not in its state."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.mask = torch.full((4, 4), float('-inf')).triu_(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) @ self.mask.exp() + torch.arange(4.0) * 2


def save(kind: str, half: bool, path) -> None:
    torch.manual_seed(0)
    if kind == 'scripted':
        module = Tower().half() if half else Tower()
        torch.jit.script(module).save(str(path))
    elif kind == 'scripted in eval mode':
        torch.jit.script(Tower().eval()).save(str(path))
    else:
        module = Frozen()
        traced = torch.jit.trace(module, torch.rand(2, 4))
        (traced.half() if half else traced).save(str(path))


@pytest.mark.parametrize('half', [False, True])
@pytest.mark.parametrize(
    'kind', ['scripted', 'traced', 'scripted in eval mode']
)
def test_tensors_are_those_of_torch(tmp_path, kind, half):
    path = tmp_path / 'model.pt'
    save(kind, half, path)
    expected = torch.jit.load(str(path), map_location='cpu').state_dict()
    found = read_weights(path).tensors
    assert list(found) == list(expected)
    pointers = {}
    for name, tensor in expected.items():
        ours = found[name]
        assert not ours.requires_grad
        assert (ours.dtype, ours.shape) == (tensor.dtype, tensor.shape), name
        assert ours.stride() == tensor.stride(), name
        assert ours.storage_offset() == tensor.storage_offset(), name
        assert torch.equal(ours, tensor), name
        # Equal storages where torch has equal ones, and there alone.
        pair = (
            tensor.untyped_storage().data_ptr(),
            ours.untyped_storage().data_ptr(),
        )
        pointers.setdefault(pair[0], set()).add(pair[1])
    assert all(len(own) == 1 for own in pointers.values())


def test_openai_archives(openai_archive):
    expected = torch.jit.load(str(openai_archive)).state_dict()
    found = read_weights(openai_archive).tensors
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in found)


class Writer(nn.Module):
    """Overwrites a file when it is loaded."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.weight = torch.ones(2)

    @torch.jit.export
    def __getstate__(self) -> tuple[str, Tensor, bool]:
        return self.path, self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, Tensor, bool]) -> None:
        self.path = state[0]
        self.training = state[2]
        self.weight = torch.from_file(state[0], True, 4).fill_(7)

    def forward(self) -> int:
        return 0


class Outer(nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.inner = Writer(path)

    def forward(self) -> int:
        return self.inner()


@pytest.mark.parametrize('kind', [Writer, Outer])
def test_code_of_an_archive_is_not_run(tmp_path, kind):
    victim = tmp_path / 'victim'
    victim.write_bytes(b'0123456789abcdef')
    path = tmp_path / 'evil.pt'
    torch.jit.script(kind(str(victim))).save(str(path))
    with pytest.raises(ValueError, match=r'evil\.pt .*defines __setstate__'):
        read_weights(path)
    assert victim.read_bytes() == b'0123456789abcdef'
    # torch itself does run it.
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.jit.load(str(path))
    assert victim.read_bytes() != b'0123456789abcdef'


def rewritten(path, **changed):
    """The archive with other contents of some members; None leaves out."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in members.items():
            content = changed.get(name.partition('/')[2], content)
            if content is not None:
                archive.writestr(name, content)


@pytest.mark.parametrize(
    'changed',
    [
        {'data/0': None},
        {'data/0': b'x'},
        {'data.pkl': b'\x80\x02}.'},
        {'data.pkl': b'\x80\x02cos\nsystem\nX\x01\x00\x00\x00a\x85R.'},
        {'data.pkl': b''},
        {'data.pkl': None},
        {'code/__torch__/torch/nn/modules/conv.py': b'\xff\xff'},
    ],
)
def test_damaged_archives(tmp_path, changed):
    path = tmp_path / 'model.pt'
    save('scripted', False, path)
    rewritten(path, **changed)
    with pytest.raises(ValueError) as error:
        read_weights(path)
    assert 'model.pt cannot be read as a TorchScript' in str(error.value)
    assert len(str(error.value).splitlines()) == 1
