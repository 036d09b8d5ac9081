"""Files on which two decoders may differ, made by hand."""

import struct
import zlib

import numpy as np
from PIL import Image, ImageChops

from tests.data.handmade import (
    behind_start,
    chunk,
    downward_bmp,
    encode,
    exif,
    frame_of,
    gif,
    old_bmp,
    segment,
)
from tests.data.small_datasets import gradient

RGB = gradient(24, 40)
PICTURE = Image.fromarray(RGB)
PALETTE = PICTURE.quantize(16)
FRAMES = {"save_all": True, "append_images": [Image.fromarray(255 - RGB)]}
JPEG = encode(RGB, "JPEG", quality=95)
PROGRESSIVE = encode(RGB, "JPEG", quality=95, progressive=True)
PNG, BMP = encode(RGB, "PNG"), encode(RGB, "BMP")
WEBP, GIF = encode(RGB, "WEBP", lossless=True), encode(PALETTE, "GIF")
ALPHA = np.dstack([RGB, 255 - RGB[..., 0]])


def png_of(rows, bits, color, *, size=(24, 40), packed=None):
    """A PNG of raw rows, without filters."""
    head = struct.pack(">IIBBBBB", *size[::-1], bits, color, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = ((b"IHDR", head), (b"IDAT", packed or data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def bmp_of(bits, rows, *, compression=0, colors=0, masks=()):
    """A BMP of raw rows from below."""
    between = struct.pack(f"<{len(masks)}I", *masks)
    between += bytes(np.arange(colors, dtype="uint8").repeat(4))
    head = struct.pack("<IiiHHI", 40, 40, 24, 1, bits, compression)
    head += struct.pack("<IiiII", len(rows), 0, 0, colors, 0)
    start = 14 + len(head) + len(between)
    head = b"BM" + struct.pack("<III", start + len(rows), 0, start) + head
    return head + between + rows


def with_scans(count):
    """A progressive JPEG whose last scan comes again, `count` scans in all."""
    start = PROGRESSIVE.rindex(b"\xff\xda")
    more = count - PROGRESSIVE.count(b"\xff\xda")
    return PROGRESSIVE[:-2] + PROGRESSIVE[start:-2] * more + b"\xff\xd9"


def full_png(megabytes):
    """A PNG of a pixel, behind which zeros are packed."""
    packer = zlib.compressobj(9)
    zeros = b"".join(packer.compress(bytes(2**20)) for _ in range(megabytes))
    return png_of([], 8, 0, size=(1, 1), packed=zeros + packer.flush())


DEEP = (RGB.astype(">u2") * 257).reshape(24, -1)
GREY = RGB[::-1, :, 0]
BGRX = np.dstack([RGB[::-1, :, ::-1], GREY]).tobytes()
RUNS = b"".join(bytes([1, value]) for row in GREY for value in row)
MASKS = (0xFF0000, 0xFF00, 0xFF)

# Name to file, and whether it is read; `None` if by one decoder alone, so that the
# verification refuses it.
HARD = {
    "grey jpeg": (encode(RGB[..., 0], "JPEG", quality=95), True),
    "cmyk jpeg": (encode(PICTURE.convert("CMYK"), "JPEG", quality=95), True),
    "cmyk jpeg without Adobe's mark": (
        encode(ImageChops.invert(PICTURE.convert("CMYK")), "JPEG", quality=95).replace(
            b"Adobe", b"adobe"
        ),
        True,
    ),
    "jpeg and more": (JPEG + bytes(range(256)), True),
    "two jpegs": (JPEG + JPEG, True),
    "turned jpeg": (behind_start(JPEG, segment(0xE1, exif(6))), True),
    "turned behind the frame": (
        JPEG[: frame_of(JPEG) + 19]
        + segment(0xE1, exif(6))
        + JPEG[frame_of(JPEG) + 19 :],
        True,
    ),
    "jpeg, filled": (
        behind_start(JPEG, b"\xff" * 20_000, segment(0xE1, exif(6))),
        True,
    ),
    "half a jpeg": (JPEG[: len(JPEG) // 2], False),
    "jpeg without end": (JPEG[:-2], False),
    "jpeg of 100 scans": (with_scans(100), True),
    "jpeg of 101 scans": (with_scans(101), False),
    # A preview has scans, and what follows may be anything, such as a film.
    "progressive preview and film": (
        behind_start(PROGRESSIVE, segment(0xE1, exif(1) + PROGRESSIVE))
        + b"\xff\xda\0\x0b\1" * 5000,
        True,
    ),
    "jpeg of 1001 segments": (
        behind_start(JPEG, segment(0xFE, b"") * 1001, segment(0xE1, exif(6))),
        False,
    ),
    "png and more": (PNG + b"more", True),
    "png without end": (PNG[:-12], False),
    "png without the last byte": (PNG[:-1], False),
    "png, wrong checksum": (PNG[:-16] + bytes(4) + PNG[-12:], False),
    "png, wrong checksum of a note": (
        PNG[:33] + chunk(b"tEXt", b"a\0b")[:-1] + b"?" + PNG[33:],
        None,
    ),
    "png, 16 bits": (png_of([row.tobytes() for row in DEEP], 16, 2), True),
    "png, 16 bits of grey": (encode(RGB[..., 0].astype("uint16") * 200, "PNG"), True),
    "png, a bit": (encode(PICTURE.convert("1"), "PNG"), True),
    "png, grey with alpha": (encode(ALPHA[..., [0, 3]], "PNG"), True),
    "png, palette with alpha": (
        encode(PALETTE, "PNG", transparency=bytes(range(16))),
        True,
    ),
    "png, animated": (encode(PICTURE, "PNG", **FRAMES), True),  # as the first
    "png, full": (full_png(600), False),
    "gif of two frames": (encode(PALETTE, "GIF", **FRAMES), True),
    "gif, transparent": (encode(PALETTE, "GIF", transparency=3), True),
    "gif without end": (GIF[:-1], True),
    "half a gif": (GIF[: len(GIF) // 2], False),
    "gif of a part": (gif((24, 40), ((3, 4), np.ones((5, 6), int))), False),
    "webp of two frames": (encode(PICTURE, "WEBP", **FRAMES), False),
    "webp with alpha": (encode(ALPHA, "WEBP", lossless=True), True),
    "webp and more": (WEBP + b"more", True),
    "webp without the last byte": (WEBP[:-1], False),
    "bmp, a bit": (encode(PICTURE.convert("1"), "BMP"), False),
    "bmp, 4 bits": (bmp_of(4, bytes(480), colors=16), False),
    "bmp, 16 bits": (bmp_of(16, bytes(1920)), False),
    "bmp, 16 bits, masked": (
        bmp_of(16, bytes(1920), compression=3, masks=(0xF800, 0x7E0, 0x1F)),
        False,
    ),
    "bmp, rle8": (bmp_of(8, RUNS, compression=1, colors=256), False),
    "bmp, rle8 of the right length": (
        bmp_of(8, RUNS[:960], compression=1, colors=256),
        False,
    ),
    "bmp, few colors": (bmp_of(8, (GREY // 16).tobytes(), colors=16), True),
    "bmp, 32 bits": (bmp_of(32, BGRX), True),
    "bmp, masked": (bmp_of(32, BGRX, compression=3, masks=MASKS), True),
    "bmp, masked otherwise": (
        bmp_of(32, BGRX, compression=3, masks=MASKS[::-1]),
        False,
    ),
    "bmp, alpha": (encode(ALPHA, "BMP"), True),
    "bmp of OS/2": (old_bmp(RGB), False),
    "bmp, downward": (downward_bmp(RGB), True),
    "bmp and more": (BMP + b"more", False),
    "bmp without the last byte": (BMP[:-1], False),
    "tiff": (encode(RGB, "TIFF"), False),
    "ico": (encode(RGB, "ICO"), False),
    "nothing": (b"", False),
}
