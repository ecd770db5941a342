"""BatchNorm without its step counter, which is read only where momentum is None."""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tracker.vision.rewrites.change import Change


class _Uncounted(_BatchNorm):
    """Leave `num_batches_tracked` as it is: one kernel less for each BatchNorm and step."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalize, and record running statistics, as torch's own does."""
        if self.momentum is None or not (self.training and self.track_running_stats):
            return super().forward(input)
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        return F.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, True, self.momentum, self.eps
        )


class UncountedBatchNorm1d(_Uncounted, nn.BatchNorm1d):
    """BatchNorm1d that counts no steps."""


class UncountedBatchNorm2d(_Uncounted, nn.BatchNorm2d):
    """BatchNorm2d that counts no steps."""


class UncountedBatchNorm3d(_Uncounted, nn.BatchNorm3d):
    """BatchNorm3d that counts no steps."""


UNCOUNTED: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: UncountedBatchNorm1d,
    nn.BatchNorm2d: UncountedBatchNorm2d,
    nn.BatchNorm3d: UncountedBatchNorm3d,
}


def uncounted(network: nn.Module) -> Iterator[Change]:
    """Yield a network's BatchNorms whose counter is not read."""
    for module in network.modules():
        kind = UNCOUNTED.get(type(module))
        if kind is not None and module.track_running_stats and module.momentum is not None:
            yield module, kind
