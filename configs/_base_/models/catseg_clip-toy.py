# CAT-Seg at a size that two CPU cores train in minutes, on the toy CLIP that
# comes with the package (tools/train_toy_clip.py makes it).
_base_ = ['./catseg_clip-vit-b16.py', './toy-clip.py']

model = dict(
    clip=dict(_delete_=True, finetune='attention', **_base_.toy_clip),
    prompts=_base_.toy_prompts,
    train_vocabulary=dict(
        _delete_=True, class_texts='toy_world', subset='seen'
    ),
    vocabulary='toy_world',
    backbone=dict(last_block='value', out_indices=(1, 2), input_size=None),
    neck=dict(in_channels=64, out_channels=(16, 16)),
    decode_head=dict(
        text_channels=64,
        appearance_channels=64,
        decoder_guidance_channels=(16, 16),
        prompt_channels=3,
        embed_dims=32,
        text_guidance_dims=16,
        appearance_guidance_dims=16,
        window_size=8,
        pooling=1,
        pad_len=None,
        decoder_dims=(24, 16),
        decoder_guidance_dims=(8, 8),
        init_bias=-3.0,
    ),
    test_cfg=dict(
        crop_size=(64, 64), stride=(32, 32), canvas=None, global_view=False
    ),
)
