# COCO-Stuff, 156 seen and 15 unseen classes, learned prompts.
_base_ = [
    '../_base_/models/zsseg_clip-vit-b16_r101c.py',
    '../_base_/datasets/zsseg_coco-stuff164k-156-15.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-1e-4_poly-60k.py',
]
model = dict(
    # Learned in a first stage; see the README for how to give them. Without
    # prompt_weights they are trained along.
    text_encoder=dict(
        type='CLIPPromptedTextTransformer',
        finetune='prompt',
        prefix_length=16,
        prompt_weights=None,
    ),
    prompts=dict(templates=['{}']),
)
