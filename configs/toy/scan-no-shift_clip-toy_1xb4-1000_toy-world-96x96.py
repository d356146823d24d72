# Without contextual shift; it takes the weights of its base config.
_base_ = './scan_clip-toy_1xb4-1000_toy-world-96x96.py'
model = dict(region_encoder=dict(shift=None))
