"""Image files put together byte by byte, for what no library would write."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def encode(image, file_format, **options):
    """`image` is an array or a Pillow image."""
    buffer = io.BytesIO()
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def exif(value, *, order="<", kind=3, count=1, directory=8, magic=42):
    """An EXIF block of three entries, the second of them the orientation."""
    mark = {"<": b"II", ">": b"MM"}[order]
    head = mark + struct.pack(order + "HI", magic, directory)
    entry = (0x0112, kind, count, value) + (() if kind == 4 else (0,))
    entries = [
        struct.pack(order + "HHII", 0x0100, 4, 1, 70_000),
        struct.pack(order + ("HHII" if kind == 4 else "HHIHH"), *entry),
        struct.pack(order + "HHIHH", 0x0128, 3, 1, 2, 0),
    ]
    table = struct.pack(order + "H", len(entries)) + b"".join(entries)
    return b"Exif\0\0" + head + table + bytes(4)


def segment(marker, content):
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def behind_start(jpeg, *pieces):
    """Puts bytes right behind the first marker of a JPEG."""
    return jpeg[:2] + b"".join(pieces) + jpeg[2:]


def frame_of(jpeg):
    """Where the segment with the size starts, in a JPEG without rubbish."""
    place = 2
    while jpeg[place + 1] not in (0xC0, 0xC1, 0xC2):
        place += 2 + struct.unpack(">H", jpeg[place + 2 : place + 4])[0]
    return place


def chunk(kind, content):
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def large_png(height, width):
    """A whole PNG of one bit a pixel, white above black: 60 megapixels are 15 kB."""
    packer = zlib.compressobj(9)
    length = (width + 7) // 8
    rows = [
        b"\0" + (b"\xff" if 2 * y < height else b"\0") * length for y in range(height)
    ]
    pixels = b"".join(map(packer.compress, rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(kind, content)
        for kind, content in ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    )


COLORS = ((0, 0, 0), (250, 10, 20), (30, 240, 50), (60, 70, 230))


def gif(canvas, *frames, extensions=b""):
    """A GIF of four colors. Each frame: (top, left) and an array of their numbers."""
    height, width = canvas
    out = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x81, 0, 0)
    out += bytes(np.array(COLORS, "uint8")) + extensions
    for (top, left), numbers in frames:
        place = struct.pack("<HHHHB", left, top, *numbers.shape[::-1], 0)
        out += b"," + place + _pixels(numbers)
    return out + b";"


def _pixels(numbers):
    # The table of codes is cleared before it grows: each code has three bits.
    codes = []
    for place, number in enumerate(numbers.ravel().tolist()):
        codes += [4] * (place % 2 == 0) + [number]
    bits = sum(code << 3 * place for place, code in enumerate([*codes, 5]))
    data = bits.to_bytes(len(codes) // 2 + 2, "little")
    blocks = [data[start : start + 255] for start in range(0, len(data), 255)]
    return b"\x02" + b"".join(bytes([len(x)]) + x for x in blocks) + b"\0"


def old_bmp(image):
    """The header of OS/2; `image` (H, W, 3)."""
    height, width = image.shape[:2]
    rows = np.zeros((height, (3 * width + 3) // 4 * 4), "uint8")
    rows[:, : 3 * width] = image[::-1, :, ::-1].reshape(height, -1)
    head = struct.pack("<IHHHH", 12, width, height, 1, 24)
    return b"BM" + struct.pack("<III", 26 + rows.size, 0, 26) + head + rows.tobytes()


def downward_bmp(image):
    """Rows from the top to the bottom, told by a negative height."""
    file = bytearray(encode(image[::-1], "BMP"))
    file[22:26] = struct.pack("<i", -len(image))
    return bytes(file)
