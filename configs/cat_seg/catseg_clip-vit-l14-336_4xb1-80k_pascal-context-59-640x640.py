# Trained on COCO-Stuff, tested on PASCAL-Context 59.
_base_ = [
    '../_base_/models/catseg_clip-vit-l14-336.py',
    '../_base_/datasets/coco-stuff164k.py',
    '../_base_/test_sets/pascal_context_59.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-4_cosine-80k.py',
]
model = dict(vocabulary='pc59')
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
env_cfg = dict(float32_matmul_precision='high')
