r"""The best that was found without a box in training, on birds and on ten kinds.

    python examples/study/study_best.py --data DIR --weights DIR --out runs/grid

EfficientNet-Lite0 as ImageNet left it, a linear head on its frozen features, and maps
read at a larger size: size and maps were chosen on held-out images. A row for each seed
goes to OUT/study.csv.
"""

import keras
import numpy as np
from study import splits_of
from study_grid import parser_of
from study_maps import WEIGHTS, with_head
from study_reads import Read
from study_results import missing_reads, write_row
from study_rows import facts, figures
from study_runs import SEEDS, Run

from keras_wsol import cam, data, evaluation, models

BACKBONE = "efficientnet_lite0"
IMAGES = 300  # that maps are fitted to
LAYERS = ("block7a_expand_activation", "block6d_expand_activation")


def best_runs() -> list[Run]:
    """Both data sets, with each seed."""
    sizes = {"cub40": 288, "imagenette10": 352}
    return [
        Run(
            name=f"best-{name}",
            group="best",
            seed=seed,
            data=name,
            backbone=BACKBONE,
            backbone_options={},
            freeze=("backbone",),
            epochs=30,  # of the head
            rate=0.01,
            reads=(Read(name=f"best-{size}", image_size=size),),
        )
        for name, size in sizes.items()
        for seed in SEEDS
    ]


def localizer_of(
    model: keras.Model, train: data.ImageDataset, run: Run
) -> models.Localizer:
    """The localizer of a data set."""
    size = 2 * (run.reads[0].image_size,)
    if run.data == "cub40":
        return models.fit_localizer(
            model, train, input_sizes=[size], seed=run.seed, verbose=False
        )
    larger = models.with_input_size(model, size)
    order = np.random.default_rng(run.seed).permutation(len(train))
    some = train.take(np.sort(order[:IMAGES]), train.split)
    fitted = [cam.ByClass.fit(larger, some, layer) for layer in LAYERS]
    # Its own threshold is only of the column "fixed".
    return models.Localizer(larger, 0.5, score_map=cam.Mean((*fitted, cam.CAM())))


def main() -> None:
    """Runs the command line."""
    options = parser_of(__doc__).parse_args()
    csv_path = options.out / "study.csv"
    for run in best_runs():
        for read in missing_reads(csv_path, run):
            train, held_out, test = splits_of(run.data, options).values()
            weights = options.weights / WEIGHTS[BACKBONE]
            model = with_head(BACKBONE, weights, train, run.seed)
            localizer = localizer_of(model, train, run)
            report = evaluation.evaluate(localizer, test, tune_on=held_out)
            notes = {"notes": " | ".join(localizer.notes.values())}
            write_row(csv_path, facts(run, read) | notes | figures(report))
            print(run.key, report.tuned, flush=True)


if __name__ == "__main__":
    main()
