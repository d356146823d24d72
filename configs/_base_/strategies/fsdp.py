# Parameters, gradients and optimizer states are shared out over the GPUs, and
# CLIP's image blocks are computed again in the backward pass instead of
# keeping their activations.
runner_type = 'FlexibleRunner'
strategy = dict(
    type='ResumableFSDPStrategy',
    # Checkpoints have the names and shapes of those of other runs.
    state_dict_cfg='full',
    model_wrapper=dict(
        type='MMFullyShardedDataParallel',
        use_orig_params=True,
        auto_wrap_policy='is_clip_block',
        # It is frozen and runs once a vocabulary.
        ignored_modules=['text_encoder'],
    ),
    activation_checkpointing=dict(check_fn='is_clip_block'),
)
