"""What came of each image, put together batch by batch."""

from collections import defaultdict

import numpy as np

from keras_wsol.evaluation.box_errors import box_errors
from keras_wsol.evaluation.image_results import ClassRow, ImageResults


class ResultsByImage:
    """Keeps a few numbers an image, also of those that could not be read."""

    def __init__(self) -> None:
        self._parts: dict[str, list[np.ndarray]] = defaultdict(list)
        self._paths: list[str] = []

    def __len__(self) -> int:
        return len(self._paths)

    def path(self, index: int) -> str:
        """Returns the path of an image; its number where batches give no paths."""
        return self._paths[index]

    def add(
        self,
        batch: dict[str, np.ndarray],
        logits: np.ndarray,
        boxes: np.ndarray,
        overlap: np.ndarray,
        enclosing: np.ndarray,
    ) -> None:
        """Adds a batch; all but the batch is of the images alone that could be read."""
        class_ids, count = batch["class_ids"], len(batch["class_ids"])
        read = class_ids >= 0
        start = len(self)
        paths = batch.get("paths", np.arange(start, start + count))
        self._paths += [str(path) for path in paths.tolist()]
        predicted, scores = _top_class(logits)
        true_boxes = np.where(read[:, None, None], batch["boxes"], -1)
        right = predicted == class_ids[read]
        words = box_errors(boxes, enclosing, true_boxes[read], right)
        parts = self._parts
        parts["class_ids"].append(class_ids.astype("int32"))
        parts["predicted_ids"].append(_spread(predicted.astype("int32"), read, -1))
        parts["scores"].append(_spread(scores.astype("float32"), read, np.nan))
        parts["iou"].append(_spread(overlap.astype("float32"), read, np.nan))
        parts["boxes"].append(_spread(boxes.astype("float32"), read, -1))
        parts["true_boxes"].append(true_boxes.astype("float32"))
        parts["errors"].append(_spread(words, read, "unread"))

    def results(self, v2_hits: np.ndarray) -> ImageResults:
        """Returns all that was added."""
        most = max(len(boxes[0]) for boxes in self._parts["true_boxes"])
        self._parts["true_boxes"] = [
            np.pad(
                boxes, [(0, 0), (0, most - boxes.shape[1]), (0, 0)], constant_values=-1
            )
            for boxes in self._parts["true_boxes"]
        ]
        found = {name: np.concatenate(parts) for name, parts in self._parts.items()}
        return ImageResults(
            paths=np.array(self._paths),
            max_box_acc_v2_hits=_spread(v2_hits, found["class_ids"] >= 0, False),
            **found,
        )


def class_rows(
    results: ImageResults, class_names: tuple[str, ...]
) -> tuple[ClassRow, ...]:
    """Figures of each class that has an image which could be read."""
    rows = []
    for class_id in np.unique(results.class_ids[results.class_ids >= 0]).tolist():
        of_class = results.class_ids == class_id
        words = results.errors[of_class]
        rows.append(
            ClassRow(
                class_id=class_id,
                class_name=class_names[class_id] if class_names else str(class_id),
                num_images=int(of_class.sum()),
                top1_cls=float((results.predicted_ids[of_class] == class_id).mean()),
                gt_known_loc=float(np.isin(words, ("right", "wrong class")).mean()),
                top1_loc=float((words == "right").mean()),
            )
        )
    return tuple(rows)


def _top_class(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Top class, of equal ones the first, and its probability; -1 and NaN if none."""
    usable = np.isfinite(logits).all(axis=1)
    logits = np.where(usable[:, None], logits, 0).astype("float64")
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = exponentials.max(axis=1) / exponentials.sum(axis=1)
    return np.where(usable, logits.argmax(axis=1), -1), np.where(usable, scores, np.nan)


def _spread(
    values: np.ndarray, read: np.ndarray, missing: float | str | bool
) -> np.ndarray:
    """Puts values of the images that could be read to their places in the batch."""
    dtype = "<U13" if values.dtype.kind == "U" else values.dtype
    spread = np.full((len(read), *values.shape[1:]), missing, dtype)
    spread[read] = values
    return spread
