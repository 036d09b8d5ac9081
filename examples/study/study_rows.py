"""The columns of study.py: how a row came about, and its figures."""

import platform
from importlib.metadata import version

import keras
from study_reads import Read
from study_results import bits_of
from study_runs import Run

from keras_wsol import evaluation


def facts(run: Run, read: Read) -> dict[str, object]:
    """Returns what a row says about how it came about.

    Args:
        run: What was trained.
        read: What was read.

    Returns:
        Column to value.
    """
    backend = keras.backend.backend()
    packages = ("keras", backend, "numpy")
    return {
        "run": run.name,
        "group": run.group,
        "seed": run.seed,
        "data": run.data,
        "read": read.name,
        "method": run.method,
        "options": dict(run.options),
        "places": list(run.places or ()),
        "backbone": run.backbone,
        "backbone_options": dict(run.backbone_options),
        "freeze": list(run.freeze or ()),
        "batch_norm_momentum": run.batch_norm_momentum or "",
        "image_size": run.image_size,
        "read_size": read.image_size or run.image_size,
        "guided_filter": dict(read.guided_filter or {}),
        "second_look": dict(read.second_look or {}),
        "epochs": run.epochs,
        "rate": run.rate,
        "head_multiplier": run.head_multiplier,
        "device": device(),
        "versions": " ".join(f"{name} {version(name)}" for name in packages),
    }


def device() -> str:
    """Returns the name of the device that Keras computes on."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.devices()[0].device_kind
    if keras.backend.backend() == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    elif names := list(keras.distribution.list_devices("gpu")):
        return ", ".join(names)
    return f"{platform.machine()} CPU"


def figures(report: evaluation.Report) -> dict[str, object]:
    """Returns the columns of a report.

    Args:
        report: Of the test split, tuned on train-fullsup.

    Returns:
        Column to value; shares are rounded to four digits.
    """
    images = report.images
    row: dict[str, object] = {
        "num_images": report.num_images,
        "top1_cls": round(report.top1_cls, 4),
        "max_box_acc_v2": round(report.max_box_acc_v2, 4),
    }
    for name in ("fixed", "tuned", "oracle"):
        at = getattr(report, name)
        row |= {
            f"{name}_threshold": round(at.cam_threshold, 4),
            f"{name}_gt_known_loc": round(at.gt_known_loc, 4),
            f"{name}_top1_loc": round(at.top1_loc, 4),
        }
    low, high = report.tuned.top1_interval
    gt_low, gt_high = report.tuned.gt_known_interval
    return row | {
        "tuned_mean_iou": round(report.tuned.mean_iou, 4),
        "tuned_gt_known_interval": f"{gt_low:.4f}-{gt_high:.4f}",
        "tuned_top1_interval": f"{low:.4f}-{high:.4f}",
        "centre_gt_known_loc": round(report.centre["tuned"], 4),
        "whole_image_gt_known_loc": round(
            report.baselines["whole image"]["gt_known_loc"], 4
        ),
        "class_bits": bits_of(images.ranks == 0),
        "box_bits": bits_of(images.iou[:, images.kept] >= 0.5),
    }
