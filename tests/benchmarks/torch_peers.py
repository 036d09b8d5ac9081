"""pytorch-grad-cam and torch-cam, also beside a torchvision of another build."""

import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # PyPI's build is for CUDA: beside a PyTorch for CPUs, two operations are missing
    # that it describes on import. pytorch-grad-cam imports it, and calls neither.
    _library = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _library.define(f"{_name}(Tensor boxes, Tensor scores, float iou) -> Tensor")

import pytorch_grad_cam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torchcam import methods as torchcam_methods

__all__ = ["ClassifierOutputTarget", "pytorch_grad_cam", "torchcam_methods"]
