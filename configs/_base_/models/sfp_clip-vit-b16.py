# SFP (ICCV 2025).
_base_ = './training-free_clip-vit-b16.py'

model = dict(backbone=dict(last_block=dict(type='SFPBlock')))
