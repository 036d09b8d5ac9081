"""The CSV of study.py: which rows are there, and how one is added."""

import csv
import json
from pathlib import Path

import numpy as np
from study_reads import Read
from study_runs import Run


def bits_of(hits: np.ndarray) -> str:
    """Packs which images are right into hexadecimal digits, in the order of the split.

    Args:
        hits: Boolean `(N,)`.

    Returns:
        Text; eight images a byte, the last byte filled up with zeros.

    Example:
    >>> bits_of(np.array([True, False, False, True, True]))
    '98'
    """
    return np.packbits(hits).tobytes().hex()


def hits_of(bits: str, count: int) -> np.ndarray:
    """Unpacks `bits_of`.

    Args:
        bits: Text of a row.
        count: Number of images.

    Returns:
        Boolean `(count,)`.

    Example:
    >>> hits_of("98", 5).tolist()
    [True, False, False, True, True]
    """
    return np.unpackbits(np.frombuffer(bytes.fromhex(bits), "uint8"))[:count] > 0


def read_rows(path: Path) -> list[dict[str, str]]:
    """Returns the rows of a CSV; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def missing_reads(path: Path, run: Run) -> tuple[Read, ...]:
    """Returns what a run is yet to be read by.

    Args:
        path: The CSV.
        run: The run.

    Returns:
        The reads without a row.

    Raises:
        SystemExit: A row of the run has another configuration.
    """
    rows = [row for row in read_rows(path) if row_key(row)[:2] == (run.name, run.seed)]
    told = {"method": run.method, "epochs": str(run.epochs), "rate": str(run.rate)}
    told |= {"data": run.data}
    told |= {"options": json.dumps(dict(run.options)), "backbone": run.backbone}
    told |= {"places": json.dumps(list(run.places or ()))}
    told |= {"freeze": json.dumps(list(run.freeze or ()))}
    told |= {"batch_norm_momentum": str(run.batch_norm_momentum or "")}
    told |= {"image_size": str(run.image_size)}
    told |= {"backbone_options": json.dumps(dict(run.backbone_options))}
    told |= {"head_multiplier": str(run.head_multiplier)}
    for row in rows:
        other = {
            key: row.get(key, "")
            for key, value in told.items()
            if (data_of(row) if key == "data" else row.get(key, "")) != value
        }
        if other:
            raise SystemExit(
                f"{path} has a row of {run.key} with {other}, where the study has "
                f"{ {key: told[key] for key in other} }: rename the run or the row."
            )
    there = {row["read"] for row in rows}
    return tuple(read for read in run.reads if read.name not in there)


def data_of(row: dict[str, str]) -> str:
    """Returns the name of the data set; rows from before there were two have none."""
    return row.get("data") or "cub40"


def row_key(row: dict[str, str]) -> tuple[str, int, str]:
    """Returns name, seed and read, which no two rows share."""
    return row["run"], int(row["seed"]), row["read"]


def write_row(path: Path, row: dict[str, object]) -> None:
    """Adds a row; the file is whole at any time.

    Args:
        path: The CSV; its folder is made.
        row: Column to value; dictionaries and lists are written as JSON.
    """
    text = {
        key: json.dumps(value) if isinstance(value, dict | list) else str(value)
        for key, value in row.items()
    }
    rows = [*read_rows(path), text]
    columns = list(dict.fromkeys(key for each in rows for key in each))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)
