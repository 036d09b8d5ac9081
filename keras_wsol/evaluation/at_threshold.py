"""Localization at one threshold."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AtThreshold:
    """Localization at one threshold of the score map. All figures are in [0, 1].

    Attributes:
        cam_threshold: The threshold.
        gt_known_loc: Share of images whose box of the true class is right.
        top1_loc: Share of images whose class and box are right.
        gt_known_interval: Bootstrap 95 % interval of `gt_known_loc`.
        top1_interval: Bootstrap 95 % interval of `top1_loc`.
        top5_loc: Share of images whose class is among the top five and whose box of
            the true class is right; `None` if not known.
        mean_iou: Mean IoU of the boxes of the true class; `None` if not known.

    Intervals hold the threshold fixed. Those of the oracle therefore leave out that it
    was chosen on the very same images, which makes its figures too high.
    """

    cam_threshold: float
    gt_known_loc: float
    top1_loc: float
    gt_known_interval: tuple[float, float]
    top1_interval: tuple[float, float]
    top5_loc: float | None = None
    mean_iou: float | None = None
