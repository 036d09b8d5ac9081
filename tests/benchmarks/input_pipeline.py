"""Do batches come as fast as the bare reading, decoding and resizing of the machine?

    python -m tests.benchmarks.input_pipeline --data cub --csv results/input.csv

The bare alternative is what `tf.data` takes at the least for the same: `read_file`,
`decode_jpeg`, `resize` to 224 (bilinear, antialiased as ours; a row without it shows
what that costs), `batch`, `prefetch`, with AUTOTUNE, no crop, no flip. Ours: training
batches, and evaluation batches of both views. All run in this process, in turn, in
rounds; the ratios are medians over the rounds of ours against the bare one of the same
round: of images a second, and of images a second of processor time, which others on the
machine disturb less. `--draw 512` draws photographs' stand-ins of 500 x 375 instead of
`--data`. The last row tells what `decode_and_crop_jpeg` would save of `decode_jpeg` for
a window of 224/256 of each side.
"""

import argparse
import csv
import datetime
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_wsol import data

SIZE = (224, 224)


def drawn(folder, count):
    """A data set of JPEG files of 500 x 375 with details, some 40 kB each."""
    rng = np.random.default_rng(0)
    for index in range(count):
        small = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize((500, 375), Image.Resampling.BICUBIC)
        picture.save(folder / f"{index}.jpg", quality=90)
    return data.image_files(folder)


def bare(paths, batch_size, antialias):
    def one(path):
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        # A tuple, as ours: of a batch, the first entry is all images.
        return (tf.image.resize(image, SIZE, antialias=antialias),)

    images = tf.data.Dataset.from_tensor_slices(paths.astype(str))
    images = images.map(one, num_parallel_calls=tf.data.AUTOTUNE)
    batches = images.batch(batch_size, drop_remainder=True)
    return batches.prefetch(tf.data.AUTOTUNE)


def pass_over(batches):
    """Images a second, and a second of processor time."""
    wall, processor, count = time.perf_counter(), time.process_time(), 0
    for images, *_ in batches:
        count += len(images)
    return (
        count / (time.perf_counter() - wall),
        count / (time.process_time() - processor),
    )


def rates(cases, rounds):
    for batches in cases.values():
        pass_over(batches)
    return [{name: pass_over(b) for name, b in cases.items()} for _ in range(rounds)]


def cropped_decode(paths):
    """Milliseconds of `decode_jpeg` and of `decode_and_crop_jpeg`, best of five."""
    files = [tf.constant(Path(path).read_bytes()) for path in paths]
    sizes = [tf.io.extract_jpeg_shape(file).numpy()[:2] for file in files]
    windows = [tf.constant([*(s // 16), *(s * 7 // 8)], tf.int32) for s in sizes]
    pairs = list(zip(files, windows, strict=True))

    def seconds(decode):
        start = time.process_time()
        for file, window in pairs:
            decode(file, window)
        return time.process_time() - start

    def whole(file, _):
        return tf.io.decode_jpeg(file, channels=3)

    def crop(file, window):
        return tf.image.decode_and_crop_jpeg(file, window, channels=3)

    turns = [(seconds(whole), seconds(crop)) for _ in range(5)]
    return [1000 / len(pairs) * min(column) for column in zip(*turns, strict=True)]


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="folder of CUB-200-2011")
    source.add_argument("--draw", type=int, help="draw so many images of 500 x 375")
    parser.add_argument("--images", type=int, default=4000, help="images in a pass")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--csv", type=Path, help="also write the table here")
    return parser.parse_args()


def main():
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        dataset = drawn(folder, args.draw) if args.draw else data.cub200(args.data)
        # A pass of a small data set is over before functions are warm.
        repeated = np.arange(args.images // args.batch * args.batch) % len(dataset)
        many = dataset.take(repeated, "many")
        options = {"training": True, "image_size": SIZE}
        cases = {
            "bare": bare(many.paths, args.batch, True),
            "bare, not antialiased": bare(many.paths, args.batch, False),
            "training": many.batches(args.batch, **options),
            "evaluation, whole": many.batches(args.batch),
            "evaluation, center crop": many.batches(args.batch, view="center_crop"),
        }
        rounds = rates(cases, args.rounds)
        decodes = cropped_decode(dataset.paths[:64])
    setting = [
        f"{args.draw} of 500x375" if args.draw else dataset.name,
        args.images,
        args.batch,
        args.rounds,
        f"{len(os.sched_getaffinity(0))} cores, {platform.machine()} CPU",
        f"tensorflow {tf.__version__}",
        datetime.date.today().isoformat(),
    ]
    names = ["what", "images_a_s", "ratio", "images_a_cpu_s", "cpu_ratio"]
    names += ["images", "a_pass", "batch", "rounds", "machine", "versions", "date"]
    table = [names]
    for name in cases:
        row = [name]
        for kind in (0, 1):
            row.append(statistics.median(r[name][kind] for r in rounds))
            ratio = [r[name][kind] / r["bare"][kind] for r in rounds]
            row.append(statistics.median(ratio))
        print(
            f"{name:25}{row[1]:7.0f} images/s, {row[2]:5.2f} of bare; "
            f"{row[3]:7.0f} a processor second, {row[4]:5.2f} of bare",
            flush=True,
        )
        table.append([row[0], *(f"{value:.3f}" for value in row[1:]), *setting])
    print(f"decode {decodes[0]:.3f} ms, decode and crop {decodes[1]:.3f} ms")
    rates_of = [f"{1000 / ms:.3f}" for ms in decodes]
    saved = f"{decodes[0] / decodes[1]:.3f}"
    table.append(["decode", "", "", rates_of[0], "", *setting])
    table.append(["decode and crop", "", "", rates_of[1], saved, *setting])
    if args.csv:
        args.csv.parent.mkdir(parents=True, exist_ok=True)
        with args.csv.open("w", newline="") as file:
            csv.writer(file).writerows(table)


if __name__ == "__main__":
    main()
