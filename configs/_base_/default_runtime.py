default_scope = 'mmseg'
# Registers the package's classes with MMSegmentation.
custom_imports = dict(imports=['ovseg_mm'])
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(
    type='OpenVocabVisualizer', vis_backends=vis_backends, name='visualizer'
)
log_processor = dict(by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
# Without a fixed seed a resumed run would draw another order of images.
randomness = dict(seed=0)
tta_model = dict(type='OpenVocabTTAModel')
custom_hooks = [
    dict(type='CheckpointGuardHook'),
    dict(type='FiniteLossHook'),
    dict(type='VocabularyHook'),
]
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # Two are kept and written atomically, so that a kill loses none.
    checkpoint=dict(
        type='CheckpointHook',
        by_epoch=False,
        interval=5000,
        max_keep_ckpts=2,
        backend_args=dict(backend='atomic'),
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='OpenVocabVisualizationHook'),
)
