# SPDX-License-Identifier: Apache-2.0
"""Memory that PyTorch allocates."""

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile


def peak_memory(call: Callable[[], object]) -> int:
    """Most bytes of tensors that a call holds at a time, on the CPU.

    The profiler sees every allocation, so the number does not depend on the
    machine.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as p:
        result = call()
    del result
    events = p.profiler.kineto_results.events()
    held = peak = 0
    for event in events:
        if event.name() == '[memory]':
            held += event.nbytes()
            peak = max(peak, held)
    return peak
