"""The tables of a report's page."""

from html import escape

from keras_wsol.evaluation.at_threshold import AtThreshold
from keras_wsol.evaluation.report import Report

_MEANINGS = {
    "fixed": "the localizer's own threshold",
    "tuned": "best on another split",
    "oracle": "best on this very split: an upper bound, no result",
}

_MORE = {"top5_loc": "Top-5 Loc", "mean_iou": "Mean IoU"}


def figures(report: Report) -> str:
    """The main figures, those at each threshold, and what has to be beaten."""
    main, at = report.main, _main_name(report)
    tiles = {
        f"GT-known Loc ({at})": main.gt_known_loc,
        f"Top-1 Loc ({at})": main.top1_loc,
        "MaxBoxAccV2": report.max_box_acc_v2,
        "PxAP": report.px_ap,
        "Top-1 Cls": report.top1_cls,
        "Top-5 Cls": report.top5_cls,
    }
    tile_texts = "\n".join(
        f"<div><dt>{name}</dt><dd>{percent(share)} %</dd></div>"
        for name, share in tiles.items()
        if share is not None
    )
    rows = [
        _threshold_row(name, getattr(report, name))
        for name in _MEANINGS
        if getattr(report, name) is not None
    ]
    more = [title for name, title in _MORE.items() if getattr(main, name) is not None]
    header = ["Threshold", "GT-known Loc", "Top-1 Loc", *more]
    thresholds = _table("figures", header, rows)
    baselines = _table(
        "baselines",
        ["Looks at no image", "GT-known Loc", "MaxBoxAccV2"],
        _baseline_rows(report),
    )
    v2_interval = ""
    if report.max_box_acc_v2_interval is not None:
        low, high = map(percent, report.max_box_acc_v2_interval)
        v2_interval = f"; with these held fixed, its interval is {low} to {high}"
    return f"""<dl class="tiles">
{tile_texts}
</dl>
<div class="columns">
<section>
<h2>By threshold</h2>
{thresholds}
<p class="quiet">Per cent; small figures are bootstrap 95 % intervals with the
threshold held fixed. MaxBoxAccV2 takes, at each IoU, the threshold that is best on this
split{v2_interval}.</p>
</section>
<section>
<h2>What has to be beaten</h2>
{baselines}
<p class="quiet">Per cent; the centre Gaussian is cut at thresholds chosen for it.</p>
</section>
</div>"""


def error_table(report: Report) -> str:
    """Shares of images by what came of them, with bars."""
    if not report.errors:
        return ""
    by_class = report.errors_by_class
    header = ["Outcome", "Images, %"]
    header += ["class right", "class wrong"] if by_class else []
    rows = [
        f"<tr><th>{escape(name)}</th><td>{percent(share)}</td>"
        + "".join(
            f"<td>{percent(by_class[name][word])}</td>"
            for word in ("right", "wrong")
            if by_class
        )
        + f'<td class="bar"><i style="width: {100 * share:.1f}%"></i></td></tr>'
        for name, share in report.errors.items()
    ]
    crossed = [
        f"<tr><th>class {name}</th>"
        + "".join(f"<td>{percent(boxes[box])}</td>" for box in ("right", "wrong"))
        + "</tr>"
        for name, boxes in report.class_and_box.items()
    ]
    return f"""<h2>What came of the images</h2>
{_table("errors", [*header, ""], rows)}
<p></p>
{_table("class-and-box", ["Images, %", "box right", "box wrong"], crossed)}"""


def class_table(report: Report) -> str:
    """A row for each class; its columns sort it."""
    if not report.per_class:
        return ""
    columns = ["Class", "Images", "Top-1 Cls", "GT-known Loc", "Top-1 Loc"]
    header = [
        f'<button type="button" data-kind="{"number" if place else "text"}">'
        f"{_unbroken(name)}</button>"
        for place, name in enumerate(columns)
    ]
    rows = []
    for row in report.per_class:
        shares = [row.top1_cls, row.gt_known_loc, row.top1_loc]
        cells = [(row.num_images, row.num_images)]
        cells += [(share, percent(share)) for share in shares]
        name = escape(row.class_name)
        rows.append(
            f'<tr><th data-value="{name}">{name}</th>'
            + "".join(f'<td data-value="{value}">{x}</td>' for value, x in cells)
            + "</tr>"
        )
    return f"""<h2>By class</h2>
<p class="quiet">Per cent of the images of each class, at the {_main_name(report)} \
threshold. A click on a heading sorts.</p>
<div class="per-class">
{_table("classes", header, rows, "sortable")}
</div>"""


def percent(share: float) -> str:
    """Writes a share in per cent, with one digit."""
    return f"{100 * share:.1f}"


def _main_name(report: Report) -> str:
    return "tuned" if report.tuned else "fixed"


def _threshold_row(name: str, at: AtThreshold) -> str:
    cells = [
        (at.gt_known_loc, at.gt_known_interval),
        (at.top1_loc, at.top1_interval),
    ]
    shares = "".join(
        f"<td>{percent(share)}<small>{percent(low)} to {percent(high)}</small></td>"
        for share, (low, high) in cells
    )
    more = [getattr(at, key) for key in _MORE]
    shares += "".join(f"<td>{percent(x)}</td>" for x in more if x is not None)
    return (
        f"<tr><th>{name} {at.cam_threshold:.3f}<br><small>{_MEANINGS[name]}</small>"
        f"</th>{shares}</tr>"
    )


def _baseline_rows(report: Report) -> list[str]:
    centre = {
        f"centre Gaussian, {name}": (report.centre[name], "")
        for name in _MEANINGS
        if name in report.centre
    }
    # MaxBoxAccV2 takes the best threshold at each IoU, whatever was chosen.
    *_, last = centre
    centre[last] = (centre[last][0], percent(report.centre["max_box_acc_v2"]))
    boxes = {
        name: (shares["gt_known_loc"], percent(shares["max_box_acc_v2"]))
        for name, shares in report.baselines.items()
    }
    return [
        f"<tr><th>{escape(name)}</th><td>{percent(share)}</td><td>{v2}</td></tr>"
        for name, (share, v2) in (centre | boxes).items()
    ]


def _table(name: str, header: list[str], rows: list[str], kind: str = "") -> str:
    """A table that scrolls by itself where it is wider than the screen."""
    cells = "".join(f"<th>{_unbroken(text)}</th>" for text in header)
    body = "\n".join(rows)
    return f"""<div class="wide">
<table id="{name}" class="{kind}">
<thead><tr>{cells}</tr></thead>
<tbody>
{body}
</tbody>
</table>
</div>"""


def _unbroken(text: str) -> str:
    return text.replace("Top-", "Top&#8209;").replace("GT-", "GT&#8209;")
