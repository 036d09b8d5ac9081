"""What was found wrong with the entries of data sets."""

import csv
import io
from collections import Counter
from dataclasses import astuple, dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong with one image.

    Attributes:
        problem: One of `keras_wsol.data.check.PROBLEMS`.
        dataset: Name and split of the data set, `cub200/test`.
        index: Index of the image in it.
        path: Path of the image.
        class_name: Its class; empty if its id has no name.
        detail: What exactly.
    """

    problem: str
    dataset: str
    index: int
    path: str
    class_name: str
    detail: str


@dataclass(frozen=True)
class CheckReport:
    """What `data.check` found.

    Attributes:
        num_images: Number of images by name and split of the data set.
        findings: What is wrong, in the order of the data sets and their images.

    Example:
    >>> found = Finding(problem="no box", dataset="pets/val", index=3,
    ...                 path="cat/3.jpg", class_name="cat", detail="")
    >>> CheckReport({"pets/val": 20}, (found,)).counts
    {'no box': 1}
    """

    num_images: dict[str, int]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def counts(self) -> dict[str, int]:
        """Problem to number of findings, the most frequent first."""
        return dict(Counter(found.problem for found in self.findings).most_common())

    def to_csv(self) -> str:
        """Returns all findings, a line each, below a header."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(map(astuple, self.findings))
        return text.getvalue()

    def to_markdown(self, max_rows: int = 50) -> str:
        """Returns a line of counts and a table of the findings.

        Args:
            max_rows: How many findings to list at most.

        Returns:
            Markdown.
        """
        images = ", ".join(f"{name} {count}" for name, count in self.num_images.items())
        counts = ", ".join(f"{name} {count}" for name, count in self.counts.items())
        text = f"Images checked: {images}. Findings: {counts or 'none'}.\n"
        if self.ok:
            return text
        rows = [_COLUMNS, ("---",) * len(_COLUMNS)]
        rows += [_cells(found) for found in self.findings[:max_rows]]
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        more = len(self.findings) - max_rows
        rest = f"\n{more} more are in `to_csv()`.\n" if more > 0 else ""
        return f"{text}\n{table}\n{rest}"


_COLUMNS = tuple(field.name for field in fields(Finding))


def _cells(found: Finding) -> tuple[str, ...]:
    # A bar or a new line in a path would end the cell.
    return tuple(
        " ".join(str(value).replace("|", "\\|").split()) for value in astuple(found)
    )
