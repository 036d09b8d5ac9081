"""Images as files of every format, and files that are none."""

import io

import numpy as np
from PIL import Image


def encode(image, file_format, **options):
    """`image` is an array or a Pillow image."""
    buffer = io.BytesIO()
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def lossless(image):
    """Name to (bytes, what a decoder must give as RGB), sizes all different."""
    height, width = image.shape[:2]
    picture = Image.fromarray(image)
    grey = np.asarray(picture.convert("L"))
    palette = picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    rgba = np.dstack([image, np.full((height, width), 40, "uint8")])
    deep = grey.astype("uint16") * 257  # 16 bits a pixel, of which 8 are kept
    three = np.repeat(grey[..., None], 3, axis=-1)
    return {
        "png": (encode(image, "PNG"), image),
        "png, grey": (encode(grey, "PNG"), three),
        "png, 16 bits": (encode(deep, "PNG"), three),
        "png, palette": (encode(palette, "PNG"), np.asarray(palette.convert("RGB"))),
        "png, alpha": (encode(rgba, "PNG"), image),
        "bmp": (encode(image[:-3], "BMP"), image[:-3]),
        "webp": (encode(image[:, 5:], "WEBP", lossless=True), image[:, 5:]),
    }


def jpegs(image):
    """Name to bytes."""
    picture = Image.fromarray(image)
    return {
        "jpeg": encode(picture, "JPEG", quality=95),
        "jpeg, grey": encode(picture.convert("L"), "JPEG"),
        "jpeg, cmyk": encode(picture.convert("CMYK"), "JPEG"),
        "jpeg, progressive": encode(picture, "JPEG", progressive=True),
    }


def broken(image):
    """Files of which no image can be made."""
    whole = encode(image, "PNG")
    return {
        "nothing": b"",
        "text": b"this is no image",
        "a PNG cut in half": whole[: len(whole) // 2],
        "a PNG's first bytes": whole[:20],
        "a JPEG's first bytes": encode(image, "JPEG")[:30],
    }
