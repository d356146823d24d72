# Parameters, gradients and optimizer states are sharded over the GPUs;
# activations of CLIP's image blocks are recomputed in the backward pass.
runner_type = 'FlexibleRunner'
strategy = dict(
    type='ResumableFSDPStrategy',
    # Checkpoints have the same names and shapes as without sharding.
    state_dict_cfg='full',
    model_wrapper=dict(
        type='MMFullyShardedDataParallel',
        use_orig_params=True,
        auto_wrap_policy='is_clip_block',
        # Frozen, and run once per vocabulary.
        ignored_modules=['text_encoder'],
    ),
    activation_checkpointing=dict(check_fn='is_clip_block'),
)
