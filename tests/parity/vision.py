"""torchvision, also where it was built for another torch: its compiled operators are then missing, and names stand in for them."""

from torch import library

try:
    import torchvision
except RuntimeError:
    for name in ("nms", "qnms"):
        library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

__all__ = ["torchvision"]
