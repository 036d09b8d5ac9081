"""Which score map suits which images: every candidate of `fit_localizer` on test.

    python examples/study/study_maps.py --data DIR --weights DIR --out CSV

Of each data set and backbone, a head is trained on frozen features (or --model gives a
trained classifier), the candidates are fitted to training images and measured on test
images: at the threshold that is chosen without boxes, at the one that is tuned on the
held-out images with boxes, and at the best one for the test images, an upper bound. The
row that `fit_localizer` takes is marked. --out keeps what is there; a data set and
backbone that it has is passed over.

`--table` prints the Markdown of what --out has.

DIR of the data holds cub40/CUB_200_2011, imagenette10, stanford_cars40, oxford_pets3;
that of the weights the files of `WEIGHTS`.
"""

import argparse
import csv
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
from study_data import DATA, splits
from study_rows import device
from study_training import lite0

import keras_wsol as wsol
from keras_wsol.boxes import sweep_largest_boxes
from keras_wsol.boxes.iou import pairwise_iou
from keras_wsol.cam.split import split_at
from keras_wsol.models.candidates import (
    Sample,
    candidates,
    choose,
    in_words,
    read_sample,
)
from keras_wsol.models.map_layers import map_layers
from keras_wsol.models.tune import view_batches

WEIGHTS = {
    "mobilenet-0.75": "mobilenet_v1_0.75_224_tf_no_top.weights.h5",
    "mobilenet_v2": "mobilenet_v2_1.0_224_tf_no_top.weights.h5",
    "efficientnet_lite0": "efficientnet_lite0_no_top.keras",
}
THRESHOLDS = np.linspace(0, 1, 100, endpoint=False, dtype="float32")
DEFAULT = 20  # the threshold of CAM's paper, 0.2, among them
HEAD_IMAGES = 1000
# Of score maps, in the table.
SHORT = {
    "mean of ": "",
    "Foreground of ": "F ",
    "DDT of ": "D ",
    " by class": "*",
    " and CAM without negative weights": ", P",
}


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=[], help="data sets, backbones")
    parser.add_argument("--model", type=Path, help="a trained localizer or classifier")
    parser.add_argument("--name", default="frozen", help="how the model was trained")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(options.out))
        return
    done = set()
    if options.out.exists():
        with options.out.open(newline="") as file:
            done = {
                (x["data"], x["backbone"], x["model"]) for x in csv.DictReader(file)
            }
    for name in DATA:
        for backbone in WEIGHTS:
            key = (name, backbone, options.name)
            if key in done or not set(options.only) <= {name, backbone}:
                continue
            rows = measured(name, backbone, options)
            for row in rows:
                print(row)
            written(options.out, rows)


def measured(name: str, backbone: str, options: argparse.Namespace) -> list[dict]:
    """Rows of one data set and backbone."""
    train, held_out, test = splits(name, options.data / name)
    if options.model:
        model = keras.saving.load_model(options.model, compile=False)
        model = getattr(model, "model", model)
    else:
        model = with_head(backbone, options.weights / WEIGHTS[backbone], train)
    keras.utils.set_random_seed(options.seed)
    found, sample = candidates(model, train, held_out, seed=options.seed)
    with_boxes = choose(found)
    without = choose([replace(each, tuned=None) for each in found])
    size = tuple(model.input_shape[1:3])
    batches = list(view_batches(test, "whole", size, 32))
    parts = [batches[start : start + 10] for start in range(0, len(batches), 10)]
    tested = [read_sample(model, map_layers(model), part) for part in parts]
    right_class = [x.logits.argmax(axis=1) == x.class_ids for x in tested]
    facts = {
        "data": name,
        "backbone": backbone,
        "model": options.name,
        "num_images": len(test),
        "top1_cls": round(100 * float(np.concatenate(right_class).mean()), 2),
        "fitted_on": len(sample),
        "tuned_on": len(held_out),
        "seed": options.seed,
        "device": device(),
        "versions": " ".join(f"{x} {version(x)}" for x in ("keras", "tensorflow")),
    }
    rows = []
    for each in found:
        right = np.concatenate([ious(x, each.score_map) >= 0.5 for x in tested])
        right = right.mean(axis=0)

        def at(threshold: float, right: np.ndarray = right) -> float:
            place = np.abs(THRESHOLDS - threshold).argmin()
            return round(100 * float(right[place]), 2)

        rows.append(
            {
                **facts,
                "score_map": in_words(each.score_map),
                "contrast": round(each.contrast, 4),
                "chosen_without_boxes": int(each.score_map is without.score_map),
                "chosen_with_boxes": int(each is with_boxes),
                "threshold_without_boxes": round(each.contrast_threshold, 3),
                "threshold_tuned": round(each.tuned.cam_threshold, 3),
                "gt_known_without_boxes": at(each.contrast_threshold),
                "gt_known_tuned": at(each.tuned.cam_threshold),
                "gt_known_at_0.2": at(0.2),
                "gt_known_best": round(100 * float(right.max()), 2),
            }
        )
    return rows


def table(path: Path) -> str:
    """The results in short: a line for each data set and classifier."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    keys = list(dict.fromkeys((x["data"], x["backbone"], x["model"]) for x in rows))
    lines = [
        "| data | classifier | CAM at 0.2 | CAM, tuned | best of all, tuned "
        "| without boxes | with boxes | taken without boxes |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for key in keys:
        of = [x for x in rows if (x["data"], x["backbone"], x["model"]) == key]
        cam = next(x for x in of if x["score_map"] == "CAM")
        one = next(x for x in of if x["chosen_without_boxes"] == "1")
        other = next(x for x in of if x["chosen_with_boxes"] == "1")
        figures = [
            cam["gt_known_at_0.2"],
            cam["gt_known_tuned"],
            max((x["gt_known_tuned"] for x in of), key=float),
            one["gt_known_without_boxes"],
            other["gt_known_tuned"],
        ]
        shown = " | ".join(f"{float(x):.1f}" for x in figures)
        name = f"{key[1]}, {key[2]}"
        taken = one["score_map"]
        for long, short in SHORT.items():
            taken = taken.replace(long, short)
        threshold = float(one["threshold_without_boxes"])
        lines.append(f"| {key[0]} | {name} | {shown} | {taken}, {threshold:.2f} |")
    return "\n".join(lines)


def ious(sample: Sample, score_map: wsol.cam.ScoreMap) -> np.ndarray:
    """IoU of each image's box at every threshold, `(N, T)`."""
    maps = sample.maps(score_map, sample.split.input_size)
    swept = sweep_largest_boxes(maps, THRESHOLDS).transpose(1, 0, 2)
    return pairwise_iou(swept, sample.boxes, np).max(axis=-1, initial=0)


def with_head(
    backbone: str, weights: Path, train: wsol.data.ImageDataset, seed: int = 0
) -> keras.Model:
    """A classifier whose head is trained on the frozen features of some images."""
    names = train.class_names
    if weights.suffix == ".keras":
        own = lite0(weights, 224)
        pooled = keras.layers.GlobalAveragePooling2D()(own.output)
        head = keras.layers.Dense(len(names), name="head_logits")
        model = keras.Model(own.input, head(pooled), name=backbone)
    else:
        row, _, alpha = backbone.partition("-")
        model = wsol.build_classifier(
            row,
            num_classes=len(names),
            class_names=names,
            weights=weights,
            backbone_options={"alpha": float(alpha)} if alpha else None,
        )
    order = np.random.default_rng(seed).permutation(len(train))[:HEAD_IMAGES]
    some = train.take(np.sort(order), train.split)
    network, pooled = split_at(model).network, []
    for batch in some.evaluation_batches(32, image_size=(224, 224), view="whole"):
        pooled.append(network.predict_on_batch(batch["images"])[0].mean(axis=(1, 2)))
    features = np.concatenate(pooled)
    scale = features.std(axis=0) + 1e-3
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(features.shape[1:])
    dense = keras.layers.Dense(
        len(names), kernel_regularizer=keras.regularizers.L2(1e-3)
    )
    head = keras.Model(inputs, dense(inputs))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    head.compile(keras.optimizers.Adam(0.01), loss)
    head.fit(features / scale, some.class_ids, 100, epochs=30, verbose=0)
    kernel, bias = head.layers[-1].get_weights()
    model.get_layer("head_logits").set_weights([kernel / scale[:, None], bias])
    return model


def written(path: Path, rows: list[dict]) -> None:
    """Adds rows to a CSV file."""
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
