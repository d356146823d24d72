# COCO-Stuff 164k as training data of ZSSeg; test images have a short side of
# 512 pixels.
_base_ = './zsseg_coco-stuff164k-156-15.py'

test_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='Resize', scale=(2048, 512), keep_ratio=True, backend='pillow'),
    # after Resize: labels are compared at the size of the original image
    dict(type='LoadOpenVocabAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(
                    type='Resize',
                    scale=(3584, short),
                    keep_ratio=True,
                    backend='pillow',
                )
                for short in range(256, 897, 128)
            ],
            [
                dict(type='RandomFlip', prob=0.0, direction='horizontal'),
                dict(type='RandomFlip', prob=1.0, direction='horizontal'),
            ],
            [dict(type='LoadOpenVocabAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
