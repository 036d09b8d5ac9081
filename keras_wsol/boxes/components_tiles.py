"""Connected components in `keras.ops`, on tiles of two by two cells.

All cells of a tile touch each other, so it holds one component at most, and there are
a quarter as many tiles as cells. Shapes are static: for XLA, LiteRT and ONNX.

Labels are numbers of tiles within an image: PyTorch's segment reductions pass
through float32, which is exact up to 2**24, so maps may have 2**24 cells.
"""

from typing import Any

from keras import ops

# The eight neighbours of a tile as (row, column) steps.
_TILE_STEPS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


def label(masks: Any) -> Any:
    """Labels (N, H, W) int32 of masks, as `keras_wsol.boxes.label_components`."""
    _, height, width = ops.shape(masks)
    cells = _split(masks)
    ids, num_ids = _segments(_roots(cells))
    codes = ops.reshape(_first_cell_codes(cells, height, width), (-1,))
    codes = ops.take(ops.segment_max(codes, ids, num_segments=num_ids), ids, axis=0)
    labels = height * width + 1 - ops.reshape(codes, ops.shape(cells[0]))
    labels = ops.repeat(ops.repeat(labels, 2, axis=1), 2, axis=2)
    return ops.where(masks, labels[:, :height, :width], 0)


def top(masks: Any, scores: Any, k: int) -> dict[str, Any]:
    """Measures components as `top_boxes`; `"mean_scores"` only with `scores`."""
    batch, height, width = ops.shape(masks)
    cells = _split(masks)
    _, rows, columns = ops.shape(cells[0])
    ids, num_ids = _segments(_roots(cells))

    def per_root(reduction: Any, values: Any) -> Any:
        table = reduction(ops.reshape(values, (-1,)), ids, num_segments=num_ids)
        # Slots without a root hold the least integer of the backend.
        return ops.maximum(ops.reshape(table, (batch, rows * columns)), 0)

    areas = sum(ops.cast(corner, "int32") for corner in cells)
    areas = per_root(ops.segment_sum, areas)
    codes = per_root(ops.segment_max, _first_cell_codes(cells, height, width))
    chosen = _largest_first(areas, codes, k)
    counts = ops.minimum(ops.sum(ops.cast(areas > 0, "int32"), axis=1), k)
    found = ops.arange(k, dtype="int32")[None] < counts[:, None]

    def pick(table: Any) -> Any:
        picked = ops.take_along_axis(table, chosen, axis=1)
        return ops.where(found, picked, ops.zeros_like(picked))

    (top_left, top_right, bottom_left, bottom_right) = cells
    x, y = _origins(cells)
    left, right = top_left | bottom_left, top_right | bottom_right
    # A minimum is the maximum of the distance from the far side.
    from_right = per_root(ops.segment_max, width - x - ops.where(left, 0, 1))
    x1 = per_root(ops.segment_max, x + ops.where(right, 2, 1))
    y1 = per_root(ops.segment_max, y + ops.where(bottom_left | bottom_right, 2, 1))
    y0 = (height * width - codes) // width
    areas = pick(areas)
    sides = [pick(side) for side in (width - from_right, y0, x1, y1)]
    boxes = ops.cast(ops.stack(sides, axis=-1), "float32")
    result = {"boxes": boxes, "areas": areas, "counts": counts}
    if scores is not None:
        sums = sum(_split(ops.where(masks, scores, 0.0)))
        sums = pick(per_root(ops.segment_sum, sums))
        result["mean_scores"] = sums / ops.cast(ops.maximum(areas, 1), "float32")
    return result


def _split(cells: Any) -> list[Any]:
    """Cuts (N, H, W) into the four corners (N, ceil(H/2), ceil(W/2)) of its tiles."""
    batch, height, width = ops.shape(cells)
    rows, columns = (height + 1) // 2, (width + 1) // 2
    # One row and one column too many, then cut: the padding is static so.
    cells = ops.pad(cells, ((0, 0), (0, 1), (0, 1)))[:, : 2 * rows, : 2 * columns]
    cells = ops.reshape(cells, (batch, rows, 2, columns, 2))
    upper, lower = cells[:, :, 0], cells[:, :, 1]
    return [upper[..., 0], upper[..., 1], lower[..., 0], lower[..., 1]]


def _origins(cells: list[Any]) -> tuple[Any, Any]:
    """Column and row of each tile's first corner, whether it is set or not."""
    _, rows, columns = ops.shape(cells[0])
    x = 2 * ops.reshape(ops.arange(columns, dtype="int32"), (1, 1, columns))
    return x, 2 * ops.reshape(ops.arange(rows, dtype="int32"), (1, rows, 1))


def _first_cell_codes(cells: list[Any], height: Any, width: Any) -> Any:
    """Size of the image minus the index of the tile's first cell; 0 if it is empty."""
    x, y = _origins(cells)
    code = height * width - (y * width + x)
    codes = ops.zeros_like(cells[0], dtype="int32")
    for corner, step in zip(cells[::-1], (width + 1, width, 1, 0), strict=True):
        codes = ops.where(corner, code - step, codes)
    return codes


def _shifted(padded: Any, step: tuple[int, int]) -> Any:
    row, column = step
    return padded[:, 1 + row : (row - 1) or None, 1 + column : (column - 1) or None]


def _pad(tiles: Any) -> Any:
    return ops.pad(tiles, ((0, 0), (1, 1), (1, 1)))


def _links(cells: list[Any]) -> list[Any]:
    """For each step, whether (N, rows, columns) a tile touches the tile there."""
    a, b, c, d = cells
    sides = {-1: a | c, 1: b | d}, {-1: a | b, 1: c | d}
    corners = {(-1, -1): a, (-1, 1): b, (1, -1): c, (1, 1): d}

    def facing(row: int, column: int) -> Any:
        if row and column:
            return corners[row, column]
        return sides[1][row] if row else sides[0][column]

    return [
        facing(row, column) & _shifted(_pad(facing(-row, -column)), (row, column))
        for row, column in _TILE_STEPS
    ]


def _segments(labels: Any) -> tuple[Any, Any]:
    """Labels, flattened and distinct between images, and how many there can be."""
    batch, rows, columns = ops.shape(labels)
    firsts = ops.arange(batch, dtype="int32") * (rows * columns)
    labels = ops.reshape(labels + ops.reshape(firsts, (-1, 1, 1)), (-1,))
    return labels, ops.shape(labels)[0]


def _roots(cells: list[Any]) -> Any:
    """For each tile (N, rows, columns) the last tile of its component, as int32."""
    # Labels only grow, and only to labels of the same component, so the loop is right
    # when it ends: when no tile sees a larger label next to it.
    links = _links(cells)
    batch, rows, columns = ops.shape(cells[0])
    labels = ops.reshape(ops.arange(rows * columns, dtype="int32"), (1, rows, columns))
    labels = labels + ops.zeros((batch, 1, 1), dtype="int32")

    def around(labels: Any) -> Any:
        padded, best = _pad(labels), labels
        for step, link in zip(_TILE_STEPS, links, strict=True):
            best = ops.maximum(best, ops.where(link, _shifted(padded, step), 0))
        return best

    def grow(labels: Any, best: Any, _: Any) -> tuple[Any, Any, Any]:
        ids, num_ids = _segments(labels)
        best = ops.reshape(best, (-1,))
        # The tile that gives a component its label takes the best label seen from
        # anywhere in it; the others then read it there, twice as far each time.
        best = ops.maximum(ops.segment_max(best, ids, num_segments=num_ids), best)
        for _ in range(2):
            best = ops.reshape(best, (batch, rows, columns))
            best = ops.take(ops.reshape(best, (-1,)), _segments(best)[0], axis=0)
        labels = ops.reshape(best, (batch, rows, columns))
        best = around(labels)
        return labels, best, ops.any(best > labels)

    best = around(labels)
    start = (labels, best, ops.any(best > labels))
    return ops.while_loop(lambda labels, best, growing: growing, grow, start)[0]


def _largest_first(areas: Any, codes: Any, k: int) -> Any:
    """Slots (N, k) of the largest areas (N, S); of equal ones the largest code's."""
    slots = ops.arange(ops.shape(areas)[1], dtype="int32")[None]
    ranks = ops.arange(k, dtype="int32")[None]

    # A top_k or argsort would do, were the order of equals defined everywhere.
    def pick(rank: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        left, chosen = state
        largest = left == ops.max(left, axis=1, keepdims=True)
        slot = ops.argmax(ops.where(largest, codes, -1), axis=1)
        slot = ops.expand_dims(ops.cast(slot, "int32"), 1)
        chosen = ops.where(ranks == rank, slot, chosen)
        return ops.where(slots == slot, 0, left), chosen

    chosen = ops.zeros_like(areas[:, :1]) + ops.zeros_like(ranks)
    return ops.fori_loop(0, k, pick, (areas, chosen))[1]
