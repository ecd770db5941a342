"""What training can be sped up with, by name; how each is done, `tracker.training.execution` knows."""

from __future__ import annotations

from tracker.study.errors import UsageError

ACCELERATIONS: dict[str, str] = {
    "centre_tap": "a convolution that meets a 1x1 map is done as its centre tap",
    "running_concatenation": "a dense block's features lie in one buffer from the beginning",
    "no_step_counters": "BatchNorm does not count steps, since nothing reads the count",
    "channels_last": "images and weights lie with their channels together, as convolutions want them",
    "fused_optimizer": "the optimizer updates each parameter in one kernel",
    "fused_input": "a batch is gathered, cropped, flipped and normalized at once",
    "compile": "the network is compiled by torch.compile, once for each size of batch",
    "cudnn_benchmark": "cuDNN tries its kernels for each shape, and keeps the fastest, which may vary; on CUDA only",
    "cuda_graph": "a whole step, and evaluation, is recorded once and replayed without the host; on CUDA only",
}
"""Every acceleration. Each computes what the plain path computes, up to rounding, and can be left out."""


def parse_accelerations(text: str) -> frozenset[str] | None:
    """Read `plain`, or names with commas between them; None for `auto`.

    Raises:
        UsageError: another word.
    """
    if text == "auto":
        return None
    names = [] if text == "plain" else [name.strip() for name in text.split(",")]
    if unknown := sorted(set(names) - set(ACCELERATIONS)):
        raise UsageError(
            f"{unknown[0]!r} is not an acceleration", f"accepted: auto, plain, or some of {','.join(ACCELERATIONS)}"
        )
    return frozenset(names)
