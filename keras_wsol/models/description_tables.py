"""The tables of a description of a model, as plain text and in Markdown."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_wsol.models.description import Place, Stage

Table = list[list[str]]  # the first row has the titles


def stage_table(stages: Sequence["Stage"]) -> Table:
    """A row for each size of the maps."""
    rows = [
        [
            "pooled" if stage.size is None else "{} x {}".format(*stage.size),
            f"{stage.channels:,}",
            f"{stage.layers:,}",
            f"{stage.first} ... {stage.last}",
            f"{stage.parameters:,}",
            f"{stage.multiply_adds:,}",
        ]
        for stage in stages
    ]
    title = ["map", "channels", "layers", "from ... to", "parameters", "multiply-adds"]
    return [title, *rows]


def place_table(places: Sequence["Place"]) -> Table:
    """A row for each inserted layer."""
    rows = [
        [
            place.layer,
            place.after,
            " x ".join(map(str, place.shape)),
            ", ".join(f"{name}={value!r}" for name, value in place.options.items())
            or "-",
            f"{place.parameters:,}",
            f"{place.multiply_adds:,}",
            "-" if place.training_flops is None else f"{place.training_flops:,}",
        ]
        for place in places
    ]
    title = ["inserted", "after", "map", "options", "parameters", "multiply-adds"]
    return [[*title, "operations in training"], *rows]


def cost_table(
    multiply_adds: int,
    parameters: int,
    trainable_parameters: int,
    overheads: Sequence[float | None],
) -> Table:
    """One row, with the columns of the papers' tables.

    Args:
        multiply_adds: For one image.
        parameters: All weights.
        trainable_parameters: Those that are trained.
        overheads: Of computation, parameters and training, as shares.

    Returns:
        The titles and the row.
    """
    titles = ["multiply-adds (G)", "parameters (M)", "trained (M)"]
    titles += ["overhead: computation (%)", "parameters (%)", "in training (%)"]
    figures = [
        f"{multiply_adds / 1e9:.2f}",
        f"{parameters / 1e6:.2f}",
        f"{trainable_parameters / 1e6:.2f}",
    ]
    return [titles, [*figures, *map(_percent, overheads)]]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.3f}"


def text(table: Table) -> str:
    """The table in aligned columns."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in table
    ]
    return "\n".join(line.rstrip() for line in lines)


def markdown(table: Table) -> str:
    """The table in Markdown."""
    title, *rows = table
    lines = [title, ["---"] * len(title), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
