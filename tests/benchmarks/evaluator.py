"""How long do the boxes of all thresholds take, against OpenCV called for each?

    python -m tests.benchmarks.evaluator --maps maps.npy --csv results/evaluator.csv

Four rows: the largest box (MaxBoxAcc) and the best overlap of any box (MaxBoxAccV2),
each in our convention and in that of the published evaluator (wsolevaluation). The
loop over thresholds is the obvious one: threshold, `connectedComponentsWithStats` (or,
as published, `threshold` and `findContours`), box. It runs in this process, on the
same maps, in turn with the sweep; times and ratios are medians over the repeats, after
one call of each that also compares all their boxes or overlaps. `--measure 5794` then
sends so many maps through the metrics themselves, batch by batch, and says how long
that takes and how much memory it adds.
"""

import argparse
import csv
import os
import resource
import statistics
import time
from pathlib import Path

import cv2
import numpy as np

from keras_wsol.boxes import sweep_best_iou, sweep_largest_boxes
from keras_wsol.boxes.iou import pairwise_iou
from keras_wsol.boxes.sweep import inclusive_iou
from keras_wsol.metrics import MaxBoxAcc, MaxBoxAccV2
from tests.boxes.hard_maps import noise_maps, smooth_maps
from tests.reference import wsolevaluation_numpy as published

CUB_TEST = 5794  # images of the official test split of CUB-200-2011


def components(score_map, threshold):
    """Labels and statistics of the cells above a share of the maximum."""
    mask = (score_map > threshold * score_map.max()).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    return labels, stats[1:]  # row 0 is the background


def corners(stats):
    return np.concatenate([stats[:, :2], stats[:, :2] + stats[:, 2:4]], axis=1)


def default_largest(score_map, thresholds, true_boxes, exact_ties=False):
    boxes = np.zeros((len(thresholds), 4), np.float32)
    for t, threshold in enumerate(thresholds):
        labels, stats = components(score_map, threshold)
        if not len(stats):
            continue
        largest = stats[:, cv2.CC_STAT_AREA].argmax()
        if exact_ties:  # of equal ones the first in row-major order
            areas = stats[:, cv2.CC_STAT_AREA]
            ties = np.flatnonzero(areas == areas.max())
            firsts = [np.argmax(labels.ravel() == tie + 1) for tie in ties]
            largest = ties[np.argmin(firsts)]
        boxes[t] = corners(stats)[largest]
    return boxes


def default_best_iou(score_map, thresholds, true_boxes):
    best = np.zeros(len(thresholds), np.float32)
    for t, threshold in enumerate(thresholds):
        boxes = corners(components(score_map, threshold)[1]).astype(np.float32)
        best[t] = pairwise_iou(boxes, true_boxes, np).max(initial=0)
    return best


def published_largest(score_map, thresholds, true_boxes):
    return [published.boxes_at(score_map, t)[0] for t in thresholds]


def published_best_iou(score_map, thresholds, true_boxes):
    true_boxes = true_boxes.astype(np.int64)
    return [
        inclusive_iou(
            np.array(published.boxes_at(score_map, t, all_contours=True)), true_boxes
        ).max()
        for t in thresholds
    ]


LOOPS = {
    ("default", "largest box"): default_largest,
    ("default", "best overlap"): default_best_iou,
    ("wsolevaluation", "largest box"): published_largest,
    ("wsolevaluation", "best overlap"): published_best_iou,
}


def compare(args, maps, true_boxes, convention, measure):
    """Median milliseconds a map, loop and sweep, and the ratio of each repeat's."""
    dtype = np.float32 if convention == "default" else np.float64
    thresholds = np.linspace(0, 1, args.num_thresholds, endpoint=False, dtype=dtype)
    maps = maps.astype(dtype)
    loop = LOOPS[convention, measure]

    def opencv(**options):
        pairs = zip(maps, true_boxes, strict=True)
        return np.stack([loop(m, thresholds, b, **options) for m, b in pairs], axis=1)

    def sweep():
        if measure == "largest box":
            return sweep_largest_boxes(maps, thresholds, convention, jobs=args.jobs)
        return sweep_best_iou(maps, thresholds, true_boxes, convention, jobs=args.jobs)

    ties = {"exact_ties": True} if loop is default_largest else {}
    np.testing.assert_array_equal(sweep(), opencv(**ties))
    times = []
    for _ in range(args.repeats):
        start = time.perf_counter()
        opencv()
        middle = time.perf_counter()
        sweep()
        times.append((middle - start, time.perf_counter() - middle))
    return [
        1000 / len(maps) * statistics.median(column)
        for column in zip(*times, strict=True)
    ] + [statistics.median(slow / fast for slow, fast in times)]


def measured(args, maps, true_boxes, metric):
    """Seconds for `args.measure` maps, and the megabytes by which memory grew."""
    size = 32
    metric.update_state(true_boxes[:size], maps[:size])
    metric.reset_state()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    done = 0
    while done < args.measure:
        begin = done % len(maps)
        count = min(size, args.measure - done, len(maps) - begin)
        metric.update_state(
            true_boxes[begin : begin + count], maps[begin : begin + count]
        )
        done += count
    metric.result()
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return seconds, (after - before) / 1024


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", type=Path, help="score maps (N, H, W), a .npy file")
    parser.add_argument("--noise", action="store_true", help="noise, the worst case")
    parser.add_argument("--count", type=int, default=8, help="maps to compare on")
    parser.add_argument("--side", type=int, default=224, help="of maps that are made")
    parser.add_argument("--num-thresholds", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--measure", type=int, help="so many maps through the metrics")
    parser.add_argument("--csv", type=Path, help="also write the table here")
    return parser.parse_args()


def main():
    args = parse_args()
    rng = np.random.default_rng(0)
    if args.maps:
        maps = np.load(args.maps).astype(np.float32)
    else:
        make = noise_maps if args.noise else smooth_maps
        maps = make(rng, max(args.count, 32), args.side, args.side)
    _, height, width = maps.shape
    sides = rng.integers(0, (width, height), (2, len(maps), 1, 2))
    true_boxes = np.concatenate([sides.min(0), sides.max(0)], -1).astype(np.float32)
    cv2.setNumThreads(args.jobs)
    names = ["convention", "what", "opencv_ms_a_map", "sweep_ms_a_map", "ratio"]
    names += ["maps", "side", "first_call_s"]
    start = time.perf_counter()
    sweep_largest_boxes(maps[:1], [0.5])
    first = time.perf_counter() - start
    table = [[*names, f"seconds_for_{CUB_TEST}", "measured_maps", "seconds", "more_mb"]]
    print(f"{args.num_thresholds} thresholds, maps of {height} x {width}, ", end="")
    print(f"{args.jobs} threads, {args.repeats} repeats on {args.count} maps; ", end="")
    print(f"the first call took {first:.2f} s")
    for convention, what in LOOPS:
        few = slice(0, args.count)
        figures = compare(args, maps[few], true_boxes[few], convention, what)
        row = [convention, what, *figures, len(maps[few]), height, first]
        row.append(figures[1] * CUB_TEST / 1000)
        print(
            f"{convention:15}{what:13} OpenCV {row[2]:8.2f} ms, sweep {row[3]:6.2f} ms "
            f"a map: {row[4]:6.1f} x; {CUB_TEST} maps: {row[-1]:5.1f} s",
            flush=True,
        )
        if args.measure:
            new = MaxBoxAcc if what == "largest box" else MaxBoxAccV2
            metric = new(num_thresholds=args.num_thresholds, convention=convention)
            seconds, megabytes = measured(args, maps, true_boxes, metric)
            row += [args.measure, seconds, megabytes]
            print(
                f"{'':15}{new.__name__:13} {args.measure} maps measured: "
                f"{seconds:.1f} s, {megabytes:.0f} MB more",
                flush=True,
            )
        table.append(row)
    if args.csv:
        args.csv.parent.mkdir(parents=True, exist_ok=True)
        with args.csv.open("w", newline="") as file:
            csv.writer(file).writerows(
                [[f"{v:.3f}" if isinstance(v, float) else v for v in r] for r in table]
            )


if __name__ == "__main__":
    main()
