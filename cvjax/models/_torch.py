"""What model files share that take weights from PyTorch: names of the arrays of a layer, and torch's own initialisation."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn

LEAF = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}  # ours -> torch's
ONE_CROP = "ImageNet val, 1 crop of 224, torchvision's IMAGENET1K_V1 weights"  # how these accuracies were measured
uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # in +-1/sqrt(fan-in), as torch's Linear and Conv2d start


def classes(arrays: Mapping[str, Any], last: str) -> dict[str, int]:
    """The setting num_classes, which the weights of the last layer say; {} where there are none."""
    weights = arrays.get(last)
    return {"num_classes": len(weights)} if weights is not None and weights.ndim else {}
