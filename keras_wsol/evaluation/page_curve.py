"""The threshold curves of a report's page."""

import numpy as np

from keras_wsol.evaluation.report import Report

_WIDTH, _HEIGHT = 480, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 58, 44
_LINE_OF_TEXT = 17


def curve(report: Report) -> str:
    """GT-known Loc and Top-1 Loc by threshold, with the table's thresholds marked."""
    drawn = _line(report.thresholds, report.gt_known_curve, "line")
    axis, names = "GT-known Loc, %", ""
    if report.top1_loc_curve is not None:
        drawn += _line(report.thresholds, report.top1_loc_curve, "line second")
        axis = "Images, %"
        names = '\n<p class="quiet">Solid: GT-known Loc. Dashed: Top-1 Loc.</p>'
    lines = [*_axes(axis), drawn, *_marks(report)]
    return f"""<h2>Boxes by threshold</h2>
<svg class="curve" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" \
aria-label="Localization by threshold">
{chr(10).join(lines)}
</svg>{names}"""


def _line(thresholds: np.ndarray, shares: np.ndarray, style: str) -> str:
    points = " ".join(
        f"{_x(threshold):.1f},{_y(share):.1f}"
        for threshold, share in zip(thresholds, shares, strict=True)
    )
    return f'<polyline class="{style}" points="{points}"/>'


def _x(threshold: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * float(threshold)


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * float(share)


def _axes(name: str) -> list[str]:
    lines = []
    for fifth in range(6):
        share = fifth / 5
        x, y = _x(share), _y(share)
        lines += [
            f'<line class="grid" x1="{_x(0)}" x2="{_x(1)}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{round(100 * share)}</text>",
            f'<text x="{x:.1f}" y="{_y(0) + 18:.1f}" text-anchor="middle">'
            f"{share:.1f}</text>",
        ]
    middle = (_x(0) + _x(1)) / 2
    return [
        *lines,
        f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">threshold</text>',
        f'<text x="4" y="{_TOP - 42}">{name}</text>',
    ]


def _marks(report: Report) -> list[str]:
    lines, names = [], []
    # Each name has a line of its own, since thresholds may lie close to each other.
    for place, name in enumerate(("oracle", "tuned", "fixed")):
        at = getattr(report, name)
        if at is None:
            continue
        x, y = _x(at.cam_threshold), _y(at.gt_known_loc)
        top = _TOP - 42 + _LINE_OF_TEXT * place
        side, gap = ("end", -5) if at.cam_threshold > 0.5 else ("start", 5)
        lines += [
            f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{top - 10}" '
            f'y2="{_y(0):.1f}"/>',
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"/>',
        ]
        names.append(
            f'<text x="{x + gap:.1f}" y="{top}" text-anchor="{side}">{name} '
            f"{at.cam_threshold:.2f}: {100 * at.gt_known_loc:.1f} %</text>"
        )
    return lines + names
