"""A report as one page that needs nothing else."""

from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from keras_wsol.evaluation.page_curve import curve
from keras_wsol.evaluation.page_gallery import gallery
from keras_wsol.evaluation.page_tables import class_table, error_table, figures
from keras_wsol.evaluation.report import Report
from keras_wsol.evaluation.written import write_text


def write_page(report: Report, path: str | Path) -> None:
    """Writes a report as one HTML file, which needs no network and no other file."""
    write_text(_document(report), path)


def _document(report: Report) -> str:
    counts = f"{report.num_images:,} images"
    if report.num_skipped:
        counts += f", {report.num_skipped:,} more could not be read"
    return Template(_packaged("page.html")).substitute(
        title=escape(f"{report.model} on {report.dataset}, {report.split}"),
        style=_packaged("page.css"),
        script=_packaged("page.js"),
        model=escape(report.model),
        dataset=escape(report.dataset),
        split=escape(report.split),
        view=escape(report.view),
        counts=counts,
        figures=figures(report),
        details=_details(report),
        gallery=gallery(report),
        notes=_notes(report),
    )


def _details(report: Report) -> str:
    """The curve beside the errors, and the table by class below both."""
    beside = [curve(report), error_table(report)]
    sections = "\n".join(f"<section>\n{part}\n</section>" for part in beside if part)
    return f'<div class="columns">\n{sections}\n</div>\n{class_table(report)}'


def _notes(report: Report) -> str:
    if not report.notes:
        return ""
    lines = (
        f"<li>{escape(str(name))}: {escape(str(note))}</li>"
        for name, note in report.notes.items()
    )
    return "<h2>How this was measured</h2>\n<ul>\n{}\n</ul>".format("\n".join(lines))


def _packaged(name: str) -> str:
    file = resources.files("keras_wsol.evaluation").joinpath(name)
    return file.read_text(encoding="utf-8")
