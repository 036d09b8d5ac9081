"""A folder of images sorted by class -> boxes for each -> labels for a detector.

    python examples/pseudo_labels.py --model birds.keras --data DIR --out birds.json
    python examples/pseudo_labels.py ... --boxes 30.csv --format yolo --out labels

DIR holds one folder of images for each class of the model. A localizer is used as it
is, with its own map and threshold; of a classifier, `fit_localizer` makes one. The CSV
file has a box for some thirty of the images, in the columns path,x0,y0,x1,y1, and tunes
the threshold. Without it, a sheet of boxes at several thresholds is drawn, too: if
another column fits better, call again with --cam-threshold.
"""

import argparse
import tempfile
from pathlib import Path

import keras
from smoke_data import write_image_folder

import keras_wsol as wsol

FORMATS = ("coco", "yolo", "voc", "csv")
SHEET_ROWS = 12


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="a Localizer or a classifier, .keras")
    parser.add_argument("--data", help="folder with one folder of images a class")
    parser.add_argument("--boxes", help="CSV of some boxes, to tune the threshold")
    parser.add_argument("--cam-threshold", type=float, help="chosen by eye")
    parser.add_argument("--format", default="coco", choices=FORMATS)
    parser.add_argument("--out", help="file or folder to write")
    parser.add_argument("--min-score", type=float, default=0.0)
    parser.add_argument("--smoke", action="store_true", help="a few drawn images")
    options = parser.parse_args()
    if options.smoke:
        smoke()
    elif options.model and options.data and options.out:
        model = keras.saving.load_model(options.model, compile=False)
        label(model, Path(options.data), options)
    else:
        parser.error("--model, --data and --out are needed (or --smoke)")


def label(model: keras.Model, root: Path, options: argparse.Namespace) -> None:
    """Chooses a threshold, then writes the labels."""
    given = isinstance(model, wsol.models.Localizer)
    names = wsol.models.class_names_of(model.model if given else model)
    images = wsol.data.image_folder(root, class_names=names)
    print(images)
    localizer = model if given else wsol.fit_localizer(model, images)
    print(f"Score map: {localizer.score_map!r}")
    if options.boxes:
        tuned = localizer.tune(wsol.data.boxes_from_csv(images, options.boxes))
        low, high = tuned.interval
        print(
            f"Threshold {tuned.cam_threshold:.2f}, from {tuned.num_images} images "
            f"(95 % interval {low:.2f} to {high:.2f}). Expected on others: mean IoU "
            f"{tuned.held_out_mean_iou:.2f}, {tuned.held_out_gt_known_loc:.0%} of "
            "boxes with an IoU of at least 0.5."
        )
    elif options.cam_threshold is not None:
        localizer.cam_threshold = options.cam_threshold
    else:
        rows = range(0, len(images), max(1, len(images) // SHEET_ROWS))
        sheet = wsol.viz.show_thresholds(
            localizer, images, rows[:SHEET_ROWS], true_classes=True
        )
        path = Path(options.out).with_suffix(".thresholds.png")
        sheet.savefig(path)
        print(f"Threshold {localizer.cam_threshold:.2f}, the model's: look at {path}.")
    done = wsol.labels.write_pseudo_labels(
        localizer,
        images,
        options.out,
        options.format,
        class_ids="known",
        min_score=options.min_score,
    )
    print(
        f"{done.path}: {done.num_boxes} boxes; left out: {done.left_out or 'none'} "
        f"({done.left_out_path}); paths are below {done.images_root}"
    )


def smoke() -> None:
    """Does all of it with an untrained model and a few drawn images."""
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        root = write_image_folder(top / "images")
        images = wsol.data.image_folder(root)
        (Path(images.paths[0]).parent / "broken.jpg").write_bytes(b"not an image")
        model = wsol.models.build_classifier(
            "mobilenet",
            "cam",
            images.num_classes,
            weights=None,
            input_shape=(64, 64, 3),
            backbone_options={"alpha": 0.25},
            class_names=images.class_names,
        )
        boxes = top / "boxes.csv"
        lines = [f"{Path(path).name},20,20,70,60" for path in images.paths[:4]]
        boxes.write_text("\n".join(["path,x0,y0,x1,y1", *lines]))
        given = wsol.models.Localizer(model, score_map="channel_mean")
        for name, some in (("a.json", None), ("yolo", boxes), ("b.csv", boxes)):
            options = argparse.Namespace(
                boxes=some,
                cam_threshold=None,
                format={"a.json": "coco", "b.csv": "csv"}.get(name, name),
                out=str(top / name),
                min_score=0.0,
            )
            label(given, root, options)


if __name__ == "__main__":
    main()
