# Trained on COCO-Stuff (156 classes), tested on PASCAL VOC.
_base_ = [
    '../_base_/models/zsseg_clip-vit-b16_r101c.py',
    '../_base_/datasets/zsseg_short-side-512.py',
    '../_base_/test_sets/pascal_voc20.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-1e-4_poly.py',
]
model = dict(
    # Which of the 20 are unseen decides how they are weighed: the split of
    # PASCAL VOC, whatever COCO-Stuff trained on.
    vocabulary='voc20-15-5',
    decode_head=dict(ensemble_weight=0.4),
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
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.update(
    type='PascalVOC20ZeroShotDataset', pipeline=_base_.test_pipeline
)
val_dataloader = test_dataloader
param_scheduler = _base_.param_scheduler
param_scheduler[-1].end = 60000
train_cfg = dict(max_iters=60000)
