# Sharded over processes.
_base_ = ['./tiny_v1.py', '../../configs/_base_/strategies/fsdp.py']
