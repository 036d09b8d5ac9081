"""Trains as one of several processes of JAX. Run by `test_two_processes.py`.

python -m tests.training.one_of_two_processes WEIGHTS.npz ADDRESS COUNT PROCESS
"""

import sys

import keras
import numpy as np

from keras_wsol import models, training
from keras_wsol.layers import ADL
from tests.data.small_datasets import in_memory, noise

CASES = {"cam": "batch_norm", "adl": None}  # and what is frozen


def trained(case, shard):
    # Made here: JAX must not start before the processes have met.
    method = ADL(0.5, draw="sample") if case == "adl" else case
    inputs = keras.Input((14, 21, 3))
    x = keras.layers.Conv2D(6, 3, strides=2, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="bn")(x)
    body = keras.Model(inputs, keras.layers.ReLU(name="maps")(x))
    model = models.build_classifier(
        body,
        method,
        12,
        weights=None,
        backbone_options={"normalization": "tf"},
        freeze=CASES[case],
        seed=1,
    )
    model.compile(
        training.LayerwiseSGD(0.05, multipliers={"head_*": 2.0}),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    batches = in_memory(noise(12)).training_sequence(
        4, seed=3, image_size=(14, 21), shard=shard
    )
    history = model.fit(
        batches,
        steps_per_epoch=batches.steps_per_epoch,
        epochs=2,
        shuffle=False,
        verbose=0,
    )
    variables = [*model.variables, *model.optimizer.variables]
    arrays = {
        f"{case}/{index}/{v.path}": keras.ops.convert_to_numpy(v)
        for index, v in enumerate(variables)
    }
    return arrays | {f"{case}/loss": np.array(history.history["loss"])}


def main(path, address, count, process):
    if count > 1:
        keras.distribution.initialize(address, count, process)
        keras.distribution.set_distribution(
            keras.distribution.DataParallel(auto_shard_dataset=False)
        )
        assert len(keras.distribution.list_devices()) == count
    arrays = [trained(case, (process, count)) for case in CASES]
    np.savez(path, **{key: a for each in arrays for key, a in each.items()})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
