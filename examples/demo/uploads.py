"""What visitors upload, images and zips of them, to a folder of images."""

import lzma
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
MOST_FILES, MOST_BYTES = 200, 500_000_000  # of images at once, unpacked
MOST_ENTRIES = 10 * MOST_FILES  # of a zip, whatever they are
NO_IMAGE = "not an image"  # why a file is left out that is none by its name
# What a file in a zip raises that is broken, encrypted or packed in an unknown way.
BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError)
BROKEN += (EOFError, RuntimeError, OSError)


def collected(uploads: Sequence[str], folder: Path) -> list[tuple[str, str]]:
    """Copies images, those in zips, too; returns files that it left out, and why."""
    left_out: list[tuple[str, str]] = []
    sizes: list[int] = []
    for number, upload in enumerate(map(Path, uploads)):
        zipped = upload.suffix.lower() == ".zip"
        place = folder / (upload.stem if zipped else upload.name)
        if place.exists():
            place = folder / f"{number} {place.name}"
        if not zipped:
            _count(sizes, upload.stat().st_size)
            shutil.copy(upload, place)
            continue
        try:
            with zipfile.ZipFile(upload) as opened:
                if len(opened.infolist()) > MOST_ENTRIES:
                    raise ValueError(f"At most {MOST_ENTRIES} files may be in a zip.")
                for member in opened.infolist():
                    if reason := _unpacked(opened, member, place, sizes):
                        left_out.append((member.filename, reason))
        except zipfile.BadZipFile as error:
            left_out.append((upload.name, str(error)))
    return left_out


def _unpacked(
    opened: zipfile.ZipFile, member: zipfile.ZipInfo, place: Path, sizes: list[int]
) -> str:
    """Unpacks a file of a zip; returns why not, if it is broken or no image."""
    name = Path(member.filename).name
    if member.is_dir() or name.startswith("."):
        return ""
    if not name.lower().endswith(SUFFIXES):
        return NO_IMAGE
    _count(sizes, member.file_size)
    try:
        with opened.open(member) as file:
            while file.read(2**20):  # to its checksum; never more than it said
                pass
        opened.extract(member, place)  # drops roots and ".." of names, makes no links
    except BROKEN as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _count(sizes: list[int], size: int) -> None:
    sizes.append(size)
    if len(sizes) > MOST_FILES or sum(sizes) > MOST_BYTES:
        most = f"{MOST_FILES} images, {MOST_BYTES // 10**6} MB together,"
        raise ValueError(f"At most {most} are labelled at once.")
