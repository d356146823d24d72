# Without contextual shift: for the weights of the config that it builds on.
_base_ = './scan_clip-toy_1xb4-1000_toy-world-96x96.py'
model = dict(region_encoder=dict(shift=None))
