"""What a report knows of single images and of classes."""

import csv
import io
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageResults:
    """What came of each image, in the order of the split.

    Boxes are in pixels of the view's image, which has the size of the model's input.
    An image that could not be read has class -1, an IoU and a score of NaN and boxes
    of -1.

    Attributes:
        paths: `(N,)` strings; numbers of the images where the batches give no paths.
        class_ids: int32 `(N,)`, true classes; -1 for an image that could not be read.
        predicted_ids: int32 `(N,)`, the model's top classes; -1 where it gave none.
        scores: float32 `(N,)`, probability of the predicted class.
        iou: float32 `(N,)`, of the box of the true class with the best true box, at
            the report's main threshold: the tuned one, or else the fixed one.
        boxes: float32 `(N, 4)`, that box of the true class.
        true_boxes: float32 `(N, M, 4)`, padded with -1.
        errors: `(N,)` strings, each one of `box_errors.ERRORS`.
        max_box_acc_v2_hits: Boolean `(N, 3)`, whether the best of all boxes is right
            at IoU 0.3, 0.5 and 0.7, each at the threshold that is best for it on this
            split; `False` for an image that could not be read. `None` if not known.
    """

    paths: np.ndarray
    class_ids: np.ndarray
    predicted_ids: np.ndarray
    scores: np.ndarray
    iou: np.ndarray
    boxes: np.ndarray
    true_boxes: np.ndarray
    errors: np.ndarray
    max_box_acc_v2_hits: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def to_csv(self, class_names: tuple[str, ...] = ()) -> str:
        """Returns a table with a row an image.

        Args:
            class_names: Names by class id; ids are given where there are none.

        Returns:
            The text. True boxes stand in one field, four numbers each, parted by
            semicolons.
        """
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(
            [
                *("path", "class", "predicted", "score", "iou", "error"),
                *("x0", "y0", "x1", "y1", "true_boxes"),
            ]
        )
        for n in range(len(self)):
            true_boxes = self.true_boxes[n][self.true_boxes[n][:, 0] >= 0]
            writer.writerow(
                [
                    self.paths[n],
                    name_of(self.class_ids[n], class_names),
                    name_of(self.predicted_ids[n], class_names),
                    _number(self.scores[n]),
                    _number(self.iou[n]),
                    self.errors[n],
                    *map(_number, self.boxes[n]),
                    ";".join(" ".join(map(_number, box)) for box in true_boxes),
                ]
            )
        return buffer.getvalue()


@dataclass(frozen=True, eq=False, kw_only=True)
class GalleryImage:
    """An image kept for the report's page.

    Attributes:
        index: Its place in `Report.results`.
        jpeg: The image in the view, of the model's input size, as a JPEG file.
        score_map: uint8 `(h, w)`, score map of the true class; 255 stands for 1.
    """

    index: int
    jpeg: bytes = field(repr=False)
    score_map: np.ndarray = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """Figures of the images of one class; shares in [0, 1].

    Attributes:
        class_id: Id of the class.
        class_name: Its name; its id as text where no names are known.
        num_images: Images of the class that could be read; classes without one have
            no row.
        top1_cls: Share of them whose top class is right.
        gt_known_loc: Share whose box of the true class is right, at the report's
            main threshold.
        top1_loc: Share whose class and box are right, at that threshold.
    """

    class_id: int
    class_name: str
    num_images: int
    top1_cls: float
    gt_known_loc: float
    top1_loc: float


def name_of(class_id: int, class_names: tuple[str, ...]) -> str:
    """Returns the name of a class."""
    if 0 <= class_id < len(class_names):
        return class_names[class_id]
    return "" if class_id < 0 else str(class_id)


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}".rstrip("0").rstrip(".")
