# Without the semantic integration module; it must be trained.
_base_ = './scan_clip-toy_1xb4-1000_toy-world-96x96.py'
model = dict(decode_head=dict(integration=None))
