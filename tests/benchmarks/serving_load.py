"""Does an exported model stand two thousand requests of every kind, and at what memory?

    python -m tests.benchmarks.serving_load --requests 2000 --out results/load.csv

Exports a MobileNet, loads the SavedModel in this process without `keras_wsol`'s help
and sends batches of 1 to 8 encoded images to `serve_bytes`: JPEG (grey, CMYK,
progressive, turned by EXIF), PNG (palette, alpha, 16 bits), BMP and WebP, sides
from 1x1 to 4000x3000, 5 % of them cut and overwritten and 1 % bombs: small files of
each format that claim more than 50 megapixels. It fails if a call fails, if a good
image gets no answer, if a bomb gets one, if one of 16 images that are known gets
another box than alone, or if the resident memory grows by a twentieth in the second
half.
"""

import argparse
import csv
import io
import resource
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

FORMATS = (
    "jpeg", "jpeg grey", "jpeg cmyk", "jpeg progressive", "jpeg exif", "png",
    "png palette", "png alpha", "png 16", "bmp", "webp",
)  # fmt: skip
BROKEN, BOMBS = 0.05, 0.01
KNOWN_GOOD = 16


def draw(rng, height, width):
    """A smooth picture with some noise: compresses as photographs do."""
    small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encode(picture, kind):
    buffer = io.BytesIO()
    if kind == "jpeg exif":
        exif = Image.Exif()
        exif[0x0112] = 6
        picture.save(buffer, "JPEG", exif=exif)
    elif kind.startswith("jpeg"):
        mode = {"jpeg grey": "L", "jpeg cmyk": "CMYK"}.get(kind, "RGB")
        progressive = kind == "jpeg progressive"
        picture.convert(mode).save(buffer, "JPEG", progressive=progressive)
    elif kind == "png 16":
        grey = np.asarray(picture.convert("L")).astype("uint16") * 257
        Image.fromarray(grey).save(buffer, "PNG")
    elif kind.startswith("png"):
        mode = {"png palette": "P", "png alpha": "RGBA"}.get(kind, "RGB")
        picture.convert(mode).save(buffer, "PNG", compress_level=1)
    else:
        picture.save(
            buffer, kind.upper(), **({"quality": 70} if kind == "webp" else {})
        )
    return buffer.getvalue()


def bombs():
    """Small files that claim 12000x9000 pixels, and a PNG that has them."""
    width, height = 12000, 9000
    small = Image.new("RGB", (64, 48))
    claims = [png_bomb()]
    for kind, where, content in (
        ("JPEG", b"\xff\xc0", height.to_bytes(2) + width.to_bytes(2)),
        ("PNG", b"IHDR", width.to_bytes(4) + height.to_bytes(4)),
        ("GIF", b"GIF8", width.to_bytes(2, "little") + height.to_bytes(2, "little")),
        ("BMP", b"BM", width.to_bytes(4, "little") + height.to_bytes(4, "little")),
        (
            "WEBP",
            b"\x9d\x01\x2a",
            width.to_bytes(2, "little") + height.to_bytes(2, "little"),
        ),
    ):
        buffer = io.BytesIO()
        small.save(buffer, kind)
        data = bytearray(buffer.getvalue())
        place = data.index(where) + {"JPEG": 5, "GIF": 6, "BMP": 18}.get(
            kind, len(where)
        )
        data[place : place + len(content)] = content
        claims.append(bytes(data))
    return claims


def png_bomb():
    """A PNG of 100 kB or so that would decode to 12000x9000 pixels."""

    def chunk(name, content):
        data = name + content
        return len(content).to_bytes(4) + data + zlib.crc32(data).to_bytes(4)

    width, height = 12000, 9000
    header = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 0, 0, 0, 0])
    rows = zlib.compress(bytes((width + 1) * height), 9)
    signature = b"\x89PNG\r\n\x1a\n"
    return (
        signature + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def side(rng, longest):
    """A length, as likely between 10 and 100 as between 100 and 1000."""
    return max(1, round(float(np.exp(rng.uniform(0, np.log(longest))))))


def readable(content):
    """Whether Pillow can read it to the end, within the limit of pixels."""
    try:
        image = Image.open(io.BytesIO(content))
        # A broken header may claim terabytes.
        if image.width * image.height > 50_000_000:
            return False
        image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return True


def request(rng, pool, claims):
    """Contents and kinds of one call."""
    contents, kinds = [], []
    for _ in range(rng.integers(1, 9)):
        content = pool[rng.integers(len(pool))]
        chance = rng.uniform()
        if chance < BOMBS:
            content, kind = claims[rng.integers(len(claims))], "bomb"
        elif chance < BOMBS + BROKEN:
            broken = bytearray(content[: rng.integers(0, len(content) + 1)])
            for place in rng.integers(0, max(1, len(broken)), 8):
                if broken:
                    broken[place] = rng.integers(256)
            content, kind = bytes(broken), "broken"
        else:
            kind = "good"
        contents.append(content)
        kinds.append(kind)
    return contents, kinds


def resident_mb():
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def export(folder):
    from keras_wsol import export, models

    model = models.build_classifier(
        "mobilenet",
        "adl",
        10,
        weights=None,
        input_shape=(96, 96, 3),
        backbone_options={"alpha": 0.25},
    )
    return export.export_saved_model(models.Localizer(model), Path(folder) / "1")


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--pool", type=int, default=240, help="different good images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, metavar="FILE.csv")
    return parser.parse_args()


def make_pool(rng, count):
    """Good images of every format, the extreme sizes among them."""
    sizes = [(1, 1), (3000, 4000), (1, 4000), (3000, 1)]
    sizes += [(side(rng, 3000), side(rng, 4000)) for _ in range(count - 4)]
    return [
        encode(draw(rng, *size), FORMATS[index % len(FORMATS)])
        for index, size in enumerate(sizes)
    ]


def problem(kind, content, valid, boxes, known):
    """What is wrong with the answer to one image, or `None`."""
    if kind == "good" and not valid:
        return "no answer to a good image"
    alone = known.get(content) if kind == "good" else None
    if alone is not None and not np.allclose(boxes, alone, atol=1e-2):
        return "the rest of the batch changed an answer"
    if kind == "bomb" and valid:
        return "a bomb was decoded"
    if not valid and boxes.any():
        return "a box without an answer"
    return None


def send(serve, rng, pool, options):
    """Sends the requests; gives counts, milliseconds and memory."""
    import tensorflow as tf

    claims = bombs()
    known = {
        content: serve(image_bytes=tf.constant([content]))["boxes"].numpy()[0]
        for content in pool[:KNOWN_GOOD]
    }
    counts, memory, milliseconds = Counter(), {}, []
    for number in range(1, options.requests + 1):
        contents, kinds = request(rng, pool, claims)
        started = time.perf_counter()
        found = serve(image_bytes=tf.constant(contents))
        valid, boxes = found["valid"].numpy()[:, 0], found["boxes"].numpy()
        milliseconds.append((time.perf_counter() - started) * 1e3)
        for content, kind, answered, box in zip(
            contents, kinds, valid, boxes, strict=True
        ):
            if wrong := problem(kind, content, answered, box, known):
                raise SystemExit(f"call {number}: {wrong}")
            counts[kind] += 1
            counts["answered although broken"] += kind == "broken" and bool(answered)
            unread = kind == "broken" and not answered and readable(content)
            counts["not answered although Pillow reads it"] += unread
        counts["megabytes"] += sum(map(len, contents)) / 2**20
        if number in (options.requests // 10, options.requests // 2, options.requests):
            memory[number] = resident_mb()
    return counts, milliseconds, memory


def main():
    """Sends the requests and prints what happened."""
    import tensorflow as tf

    options = parse()
    Image.MAX_IMAGE_PIXELS = None
    rng = np.random.default_rng(options.seed)
    pool = make_pool(rng, options.pool)
    with tempfile.TemporaryDirectory() as folder:
        serve = tf.saved_model.load(str(export(folder))).signatures["serve_bytes"]
    counts, milliseconds, memory = send(serve, rng, pool, options)
    row = {
        "calls": options.requests,
        **{name: round(count) for name, count in counts.items()},
        "median ms": round(float(np.median(milliseconds)), 1),
        "p99 ms": round(float(np.percentile(milliseconds, 99)), 1),
        **{f"resident MB after {n}": round(mb) for n, mb in memory.items()},
        "peak MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "tensorflow": tf.__version__,
        "seed": options.seed,
    }
    half, end = memory[options.requests // 2], memory[options.requests]
    if end > 1.05 * half:
        raise SystemExit(f"memory grew from {half:.0f} to {end:.0f} MB")
    for name, value in row.items():
        print(f"{name:40} {value}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerow(row)


if __name__ == "__main__":
    main()
