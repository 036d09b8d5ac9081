"""Tools around `fit`: a search of arguments, loggers, and Keras' own callbacks."""

import json

import keras
import keras_tuner
import mlflow
import numpy as np
import wandb
from wandb.integration.keras import WandbMetricsLogger

from keras_wsol import data
from keras_wsol.evaluation import LocalizationEvaluation
from keras_wsol.layers import ADL
from keras_wsol.models import Localizer, build_classifier

SIZE = (64, 64)


def compiled(drop_threshold=0.8):
    model = build_classifier(
        "mobilenet",
        ADL(drop_threshold=drop_threshold),
        3,
        weights=None,
        input_shape=(*SIZE, 3),
        backbone_options={"alpha": 0.25},
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"])
    return model


def images(split):
    return data.synthetic(num_images=12, num_classes=3, image_size=64, split=split)


def watch():
    return LocalizationEvaluation(images("train-fullsup"), num_thresholds=10)


def batches():
    return images("train-weaksup").batches(4, training=True, image_size=SIZE)


def test_keras_tuner_searches_a_threshold_by_boxes(tmp_path):
    tuner = keras_tuner.GridSearch(
        lambda search: compiled(search.Choice("drop_threshold", [0.7, 0.9])),
        objective=keras_tuner.Objective("val_gt_known_loc", "max"),
        directory=tmp_path,
    )
    tuner.search(batches(), epochs=1, steps_per_epoch=3, callbacks=[watch()])
    found = {trial.hyperparameters.get("drop_threshold") for trial in trials(tuner)}
    assert found == {0.7, 0.9}
    assert all(0 <= trial.score <= 1 for trial in trials(tuner))
    (best,) = tuner.get_best_models(1)
    assert Localizer(best).predict(np.zeros((1, *SIZE, 3)), verbose=0)["boxes"].size


def trials(tuner):
    return tuner.oracle.trials.values()


def test_mlflow_logs_what_is_localized(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file://{tmp_path}/mlruns")
    mlflow.set_experiment("birds")
    with mlflow.start_run() as run:
        history = compiled().fit(
            batches(),
            epochs=2,
            steps_per_epoch=3,
            callbacks=[watch(), Mlflow()],
            verbose=0,
        )
    logged = mlflow.get_run(run.info.run_id).data.metrics
    np.testing.assert_allclose(
        logged["val_gt_known_loc"], history.history["val_gt_known_loc"][-1]
    )


class Mlflow(keras.callbacks.Callback):
    """The few lines that MLflow's documentation gives for callbacks of one's own."""

    def on_epoch_end(self, epoch, logs=None):
        mlflow.log_metrics({k: float(v) for k, v in logs.items()}, step=epoch)


def test_weights_and_biases_logs_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    with wandb.init(mode="offline", dir=tmp_path, project="birds") as run:
        compiled().fit(
            batches(),
            epochs=1,
            steps_per_epoch=3,
            callbacks=[watch(), WandbMetricsLogger()],
            verbose=0,
        )
        assert "epoch/val_gt_known_loc" in dict(run.summary)


def test_keras_callbacks_keep_stop_and_resume(tmp_path):
    model, best = compiled(), tmp_path / "best.keras"
    history = model.fit(
        batches(),
        epochs=4,
        steps_per_epoch=3,
        callbacks=[
            watch(),
            keras.callbacks.ModelCheckpoint(
                best, monitor="val_gt_known_loc", mode="max", save_best_only=True
            ),
            keras.callbacks.EarlyStopping("val_gt_known_loc", mode="max", patience=1),
            keras.callbacks.BackupAndRestore(tmp_path / "backup"),
        ],
        verbose=0,
    ).history
    figures = history["val_gt_known_loc"]
    stop = next((i for i in range(1, 4) if figures[i] <= max(figures[:i])), 3)
    assert len(figures) == stop + 1
    kept = keras.saving.load_model(best)
    assert [x.name for x in kept.layers] == [x.name for x in model.layers]
    assert json.loads(kept.to_json())["config"]["name"] == "mobilenet_adl"
