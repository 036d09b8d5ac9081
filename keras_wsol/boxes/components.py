"""From score maps to the boxes of their connected components, inside the graph."""

import numbers
from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.arguments import check_integer, check_number
from keras_wsol.boxes import components_tiles


def label_components(masks: Any, *, static_shapes: bool = False) -> Any:
    """Numbers the 8-connected components of each mask.

    Args:
        masks: Boolean tensor `(N, H, W)`; every size may be unknown until the call.
        static_shapes: Boolean. `False` is several times as fast on TensorFlow; XLA
            (`jit_compile=True`), LiteRT and ONNX need `True`. Other backends ignore it.

    Returns:
        int32 tensor `(N, H, W)`: 0 for background, else 1 plus the row-major index
        in its image (`y * W + x`) of the first cell of the component.

    Raises:
        ValueError: `masks` does not have three dimensions.
        TypeError: `masks` is not boolean.

    Example:
    >>> mask = [[[True, False, False, True], [False, True, False, True]]]
    >>> labels = label_components(np.array(mask))
    >>> keras.ops.convert_to_numpy(labels).tolist()
    [[[1, 0, 0, 4], [0, 1, 0, 4]]]
    """
    masks = ops.convert_to_tensor(masks)
    check_rank("masks", masks)
    dtype = keras.backend.standardize_dtype(masks.dtype)
    if dtype != "bool":
        raise TypeError(
            f"`masks` must be boolean. Received: masks.dtype={dtype}. "
            "For a score map, compare it with a threshold first."
        )
    if masks.shape[0] == 0:
        return ops.zeros(ops.shape(masks), dtype="int32")
    return _algorithm(static_shapes).label(masks)


def largest_boxes(
    score_maps: Any, cam_threshold: Any, *, static_shapes: bool = False
) -> Any:
    """Boxes the largest connected component of each score map.

    A cell counts if its score is above (not at) `cam_threshold` times the maximum of
    its map, in float32. The 8-connected component with the most cells wins; of equal
    ones, the first in row-major order. A map without such a cell (all zero, or with a
    NaN in it) gets the zero box.

    Args:
        score_maps: Tensor `(N, H, W)`, values in [0, 1]; every size may be unknown
            until the call.
        cam_threshold: Share of the maximum, in [0, 1]: one number; `(N,)`, one for
            each map; `(T, 1)` or `(T, N)`, several for each map.
        static_shapes: See `label_components`.

    Returns:
        float32 tensor `(N, 4)`, or `(T, N, 4)`: x0, y0, x1, y1 in cells, the far
        edge exclusive (see `iou`).

    Raises:
        ValueError: A shape does not fit, or a threshold is outside [0, 1].

    Example:
    >>> score_map = np.array([[0.9, 0.0, 0.6, 1.0], [0.0, 0.0, 0.8, 0.2]])
    >>> boxes = largest_boxes(score_map[None], 0.5)
    >>> keras.ops.convert_to_numpy(boxes).tolist()
    [[2.0, 0.0, 4.0, 2.0]]
    """
    maps, cuts = _maps_and_cuts(score_maps, cam_threshold, ranks=(0, 1, 2))
    if maps.shape[0] == 0:
        return ops.zeros((*ops.shape(cuts), 4), dtype="float32")
    top = _algorithm(static_shapes).top

    def boxes_at(cut: Any) -> Any:
        return top(maps > cut[:, None, None], None, 1)["boxes"][:, 0]

    return ops.map(boxes_at, cuts) if len(cuts.shape) == 2 else boxes_at(cuts)


def top_boxes(
    score_maps: Any,
    cam_threshold: Any,
    k: int,
    *,
    min_share: float = 0.3,
    static_shapes: bool = False,
) -> dict[str, Any]:
    """Boxes the `k` largest connected components of each score map.

    The rule is that of `largest_boxes`: components by falling number of cells, equal
    ones in row-major order of their first cells.

    Args:
        score_maps: Tensor `(N, H, W)`, as for `largest_boxes`.
        cam_threshold: Share of the maximum, in [0, 1]: one number or `(N,)`.
        k: Positive integer. How many components to return of each map.
        min_share: Float in [0, 1]. A component counts if it has at least this share of
            the largest one's cells, in float32; at 0, all do. Default 0.3 [ours].
        static_shapes: See `label_components`.

    Returns:
        Dictionary of tensors, filled up with zeros: `"boxes"` `(N, k, 4)`, as from
        `largest_boxes`; `"areas"` `(N, k)`, number of cells; `"mean_scores"` `(N, k)`
        of each component's cells; `"counts"` `(N,)`, how many of the `k` are there.

    Raises:
        ValueError: As for `largest_boxes`, `k` is not positive, or `min_share` is not
            in [0, 1].

    Example:
    >>> score_map = np.array([[0.9, 0.0, 0.6, 1.0], [0.0, 0.0, 0.8, 0.2]])
    >>> top = top_boxes(score_map[None], 0.5, k=3)
    >>> keras.ops.convert_to_numpy(top["areas"]).tolist()
    [[3, 1, 0]]
    >>> keras.ops.convert_to_numpy(top["counts"]).tolist()
    [2]
    """
    k, min_share = check_integer("k", k), check_number("min_share", min_share)
    maps, cuts = _maps_and_cuts(score_maps, cam_threshold, ranks=(0, 1))
    if maps.shape[0] == 0:
        return {
            "boxes": ops.zeros((0, k, 4), dtype="float32"),
            "areas": ops.zeros((0, k), dtype="int32"),
            "mean_scores": ops.zeros((0, k), dtype="float32"),
            "counts": ops.zeros((0,), dtype="int32"),
        }
    top = _algorithm(static_shapes).top(maps > cuts[:, None, None], maps, k)
    if min_share == 0:
        return top
    areas = ops.cast(top["areas"], "float32")
    kept = ops.logical_and(areas > 0, areas >= min_share * areas[:, :1])
    return {
        "boxes": ops.where(kept[..., None], top["boxes"], 0.0),
        "areas": ops.where(kept, top["areas"], 0),
        "mean_scores": ops.where(kept, top["mean_scores"], 0.0),
        "counts": ops.sum(ops.cast(kept, "int32"), axis=1),
    }


def _algorithm(static_shapes: bool) -> ModuleType:
    if keras.backend.backend() != "tensorflow" or static_shapes:
        return components_tiles
    from keras_wsol.boxes import components_runs  # loads TensorFlow

    return components_runs


def _peaks(maps: Any) -> Any:
    """Maximum (N,) of each map; NaN, which nothing is above, if a cell is NaN."""
    # XLA's maximum on a CPU passes over NaN; a sum never does.
    sums = ops.sum(maps, axis=(1, 2))
    # Without `initial`, `ops.max` refuses to work on no maps.
    peaks = ops.max(maps, axis=(1, 2), initial=-np.inf)
    return ops.where(ops.isnan(sums), sums, peaks)


def _maps_and_cuts(
    score_maps: Any, cam_threshold: Any, ranks: tuple[int, ...]
) -> tuple[Any, Any]:
    """Checks the arguments; returns float32 maps and what their cells must exceed."""
    maps = ops.convert_to_tensor(score_maps)
    check_rank("score_maps", maps)
    if isinstance(cam_threshold, str | numbers.Number | list | tuple | np.ndarray):
        for each in np.asarray(cam_threshold).ravel().tolist():
            check_number("cam_threshold", each)
    thresholds = ops.cast(ops.convert_to_tensor(cam_threshold), "float32")
    shape, batch = tuple(thresholds.shape), maps.shape[0]
    fits = not shape or shape[-1] in {batch, None} or batch is None
    if len(shape) not in ranks or not (fits or (len(shape) == 2 and shape[1] == 1)):
        allowed = "(), (N,), (T, 1) or (T, N)" if 2 in ranks else "() or (N,)"
        raise ValueError(
            f"`cam_threshold` must have shape {allowed} for the N={batch} score maps. "
            f"Received: cam_threshold.shape={shape}."
        )
    maps = ops.cast(maps, "float32")
    return maps, thresholds * _peaks(maps)


def check_rank(name: str, maps: Any) -> None:
    """Raises unless there are several maps."""
    if len(maps.shape) != 3:
        raise ValueError(
            f"`{name}` must have shape (N, H, W). "
            f"Received: {name}.shape={tuple(maps.shape)}. "
            f"For one map, use {name}[None]."
        )
