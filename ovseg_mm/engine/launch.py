# SPDX-License-Identifier: Apache-2.0
"""Building of runners and models for the scripts in ``tools/``."""

import argparse
import copy
import os
import tempfile
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmseg.apis import init_model
from mmseg.registry import MODELS, OPTIM_WRAPPERS
from torch import nn

from ovseg_mm.models import OpenVocabMaskSegmentor
from ovseg_mm.models.clip_towers import parameters_of_no_file
from ovseg_mm.models.segmentors import BaseOpenVocabSegmentor
from ovseg_mm.utils.config_file import read_config_file
from ovseg_mm.utils.config_types import is_type, type_name, type_of
from ovseg_mm.utils.devices import resolve_device, set_matmul_precision
from ovseg_mm.utils.errors import InputError, config_errors
from ovseg_mm.utils.memory import keep_freed_memory
from ovseg_mm.utils.paths import find_checkpoint
from ovseg_mm.zoo import ModelSource, resolve_model

from .adapt_config import add_missing_hooks, replace_amp_on_cpu
from .compiling import compile_towers
from .config_check import check_config
from .config_options import merge_options
from .config_shape import check_loops
from .distributed import setup_cpu_processes, unwrap
from .hooks import ActivationCheckpointingHook
from .weights import load_weights


def read_config(name: str | Path, options: dict | None = None) -> Config:
    """Read the config of a model and override settings.

    Args:
        name (str | Path): Path of a config, name of a shipped config, or name
            of a model in the zoo. The zoo's settings for the model are
            applied before ``options``.
        options (dict, optional): Settings to override, by dotted key, such as
            ``{'model.test_cfg.mode': 'whole'}``.

    Returns:
        Config: The config with the overridden settings.

    Raises:
        FileNotFoundError: If there is no such config.
        InputError: If the file is empty or cannot be read, or if a setting
            cannot be overridden.
    """
    source = resolve_model(name)
    cfg = read_config_file(source.config)
    for key in options or ():
        if key.partition('.')[0] == 'test_pipeline':
            raise InputError(
                f'{key} has no effect here: test_pipeline is for single '
                'images; set test_dataloader.dataset.pipeline'
                + key.removeprefix('test_pipeline')
            )
    merge_options(cfg, {**source.options, **(options or {})})
    return cfg


def load_config(args: argparse.Namespace, wanted: str | None = None) -> Config:
    """Read and check the config of a run, with its command-line options.

    Args:
        args (argparse.Namespace): Parsed command line with the options of
            ``tools/common_options.py``.
        wanted (str, optional): Loop whose keys must all be in the config,
            ``'training'`` or ``'testing'``. None: no loop is required.

    Returns:
        Config: The config. Its keys ``launcher`` and ``work_dir`` are set.

    Raises:
        FileNotFoundError: If there is no such config.
        InputError: If a required part of the config is missing, or if the
            config names an unknown class or argument.
        OSError: If the work folder cannot be written.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    keep_freed_memory()
    cfg = read_config(args.config, args.cfg_options)
    check_config(cfg)
    check_loops(cfg, wanted)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(cfg.filename).stem)
    check_writable(Path(cfg.work_dir), '--work-dir')
    return cfg


def build_runner(cfg: Config) -> Runner:
    """Build the runner of a config, also for several processes on CPUs.

    Args:
        cfg (Config): Config from :func:`load_config`; changed in place.

    Returns:
        Runner: The runner.

    Raises:
        InputError: If the config names an unknown class or option, or if a
            class refuses the value of an option.
    """
    add_missing_hooks(cfg)
    replace_amp_on_cpu(cfg)
    setup_cpu_processes(cfg)
    set_matmul_precision(cfg)
    with config_errors():
        if 'runner_type' in cfg:
            return RUNNERS.build(cfg)
        # MMEngine's activation checkpointing loses gradients; see the hook.
        # Its compilation compiles all training steps again for each size.
        modules = cfg.pop('activation_checkpointing', None)
        compiling = cfg.pop('compile', False)
        runner = Runner.from_cfg(cfg)
        compile_towers(unwrap(runner.model), compiling)
        if modules:
            runner.register_hook(ActivationCheckpointingHook(modules))
        return runner


def build_model(
    args: argparse.Namespace,
    checkpoint: str | Path | None = None,
    device: str | None = None,
) -> nn.Module:
    """Build the model of a config in evaluation mode.

    Args:
        args (argparse.Namespace): Parsed command line with ``config`` and
            ``cfg_options``.
        checkpoint (str | Path, optional): Checkpoint file. None: CLIP's
            weights for a model without other learned parameters, random
            weights for other models.
        device (str, optional): Device of the model. None: a GPU if there is
            one.

    Returns:
        nn.Module: The model on ``device``.

    Raises:
        FileNotFoundError: If there is no such config or checkpoint.
        InputError: If the checkpoint does not fit the model, or the device
            cannot be used.
    """
    keep_freed_memory()
    device = resolve_device(device)
    cfg = read_config(args.config, args.cfg_options)
    find_checkpoint(checkpoint)
    check_config(cfg, ('model',), 'mmseg')
    set_matmul_precision(cfg, device)
    with config_errors():
        model = init_model(cfg, device='cpu')
    # Callers of this function do not use the scores.
    model.test_cfg.setdefault('keep_scores', False)
    if checkpoint is not None or not parameters_of_no_file(model):
        load_weights(model, checkpoint)
    return model.to(device)


def build_for_images(
    source: ModelSource, device: str | None, options: dict
) -> BaseOpenVocabSegmentor:
    """Build a model that segments single images, and load its weights.

    Args:
        source (ModelSource): Config and weights of the model.
        device (str, optional): Device of the model. None: a GPU if there is
            one.
        options (dict): Settings to override, by dotted key, such as
            ``{'model.test_cfg.mode': 'whole'}``.

    Returns:
        BaseOpenVocabSegmentor: The model on ``device``, in evaluation mode.

    Raises:
        FileNotFoundError: If the config does not exist.
        InputError: If the config or an option is wrong, the weights do not
            fit the model, or the device cannot be used.
        OSError: If weights cannot be downloaded or stored.
    """
    device = resolve_device(device)
    if isinstance(source.config, Config):
        cfg = copy.deepcopy(source.config)
    else:
        cfg = read_config_file(source.config)
    merge_options(cfg, {**source.options, **options})
    check_config(cfg, ('model', 'test_pipeline'), 'mmseg')
    weights = source.fetch()
    with config_errors():
        model = init_model(cfg, None, device)
    set_matmul_precision(cfg, device)
    load_weights(model, weights)
    compile_towers(model, cfg.get('compile', False))
    return model


def enable_amp(cfg: Config) -> None:
    """Enable mixed precision: float16 on GPUs, bfloat16 on CPUs.

    Nothing changes if the type of the optimizer wrapper is not
    ``OptimWrapper``.
    """
    wrapper = cfg.optim_wrapper
    kind = dict(type=wrapper.get('type', OptimWrapper))
    if type_of(kind, OPTIM_WRAPPERS) is not OptimWrapper:
        return
    if get_device() == 'cpu':
        wrapper.type = 'AutocastOptimWrapper'
    else:
        wrapper.type = 'AmpOptimWrapper'
        wrapper.loss_scale = 'dynamic'


def enable_pictures(
    cfg: Config,
    folder: str | None,
    show: bool,
    wait_time: float,
    proposals: int = 0,
) -> None:
    """Set up a test that draws each image with its labels and prediction.

    Args:
        cfg (Config): Config of the test, changed in place.
        folder (str, optional): Folder of the drawings. None: the folder of
            the visualizer.
        show (bool): Whether to show the drawings on the screen, instead of
            saving them.
        wait_time (float): Seconds to show each drawing.
        proposals (int): Number of mask proposals to draw below each image.

    Raises:
        OSError: If the folder cannot be written.
        InputError: If ``proposals`` is not 0, and the model makes no mask
            proposals or the config tests with sliding windows
            (``mode='slide'``).
    """
    if proposals:
        if not is_type(cfg.model, OpenVocabMaskSegmentor, MODELS):
            raise InputError(
                '--show-proposals needs a model that makes mask proposals, '
                f'but the config has the model {type_name(cfg.model)}; omit '
                '--show-proposals'
            )
        if cfg.model.test_cfg.get('mode') == 'slide':
            raise InputError(
                '--show-proposals draws proposals of whole images, but the '
                'config tests with sliding windows; add '
                '--cfg-options model.test_cfg.mode=whole'
            )
        cfg.model.test_cfg.keep_proposals = proposals
    hook = cfg.default_hooks.visualization
    hook.update(draw=True, interval=1)
    if show:
        hook.update(show=True, wait_time=wait_time)
    if folder:
        check_writable(Path(folder), '--show-dir')
        cfg.visualizer.save_dir = folder


def enable_tta(cfg: Config) -> None:
    """Set up a test with test-time augmentation.

    Args:
        cfg (Config): Config of the test, changed in place. ``tta_pipeline``
            becomes the pipeline of the test data set. ``tta_model``, which
            wraps the model, becomes the model.

    Raises:
        InputError: If the config lacks ``tta_pipeline`` or ``tta_model``.
    """
    for key in ('tta_pipeline', 'tta_model'):
        if key not in cfg:
            raise InputError(
                f'--tta needs {key}, which the config lacks; add {key} or '
                'omit --tta'
            )
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    cfg.tta_model.module = cfg.model
    cfg.model = cfg.tta_model


def set_output_dir(cfg: Config, folder: str) -> None:
    """Set the folder where the test metrics save predicted label maps."""
    check_writable(Path(folder), '--out')
    evaluators = cfg.test_evaluator
    for evaluator in (
        evaluators if isinstance(evaluators, list) else [evaluators]
    ):
        evaluator.update(output_dir=folder, keep_results=True)


def check_writable(folder: Path, option: str) -> None:
    """Create a folder, and raise early if files cannot be written there.

    Args:
        folder (Path): The folder.
        option (str): Command-line option that names the folder, for the
            message.

    Raises:
        OSError: If the folder cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        if isinstance(error, FileExistsError):
            reason = 'it is a file, not a folder'
        raise OSError(
            f'{folder} cannot be written ({reason}); name another folder '
            f'with {option}'
        ) from error
