# Methods without training on the toy CLIP that comes with the package.
_base_ = ['./training-free_clip-vit-b16.py', './toy-clip.py']

model = dict(
    clip=dict(_delete_=True, **_base_.toy_clip),
    prompts=_base_.toy_prompts,
    vocabulary='toy_world',
    # Scenes are small, their edges sharp.
    test_cfg=dict(
        crop_size=(64, 64),
        stride=(32, 32),
        refine=dict(steps=10, dilations=(2, 4)),
        # The toy CLIP knows no other words.
        others_of_one='toy_world',
    ),
)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadOpenVocabAnnotations'),
    dict(type='PackSegInputs'),
]
