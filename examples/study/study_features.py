"""Features of frozen layers, computed once: trainings and reads of seconds.

What stands up to `Run.cut` is frozen, so that its features of a crop are the same in
every run. They are those of the crops that `study.py` would train on with seed 0, pass
by pass, in float16; all seeds share them. Where a module drops in front of the cut, its
draws are stored with the crops, in a file for each run.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from study_runs import Run
from study_training import BATCH_SIZE, compiled, training_batches

from keras_wsol import data, models
from keras_wsol.cam.score_map import Evidence

Stored = dict[bytes, np.ndarray]


@dataclass(frozen=True, eq=False)
class Features:
    """What is kept of a data set and a backbone."""

    crops: np.ndarray  # float16 (epochs * N, h, w, c), pass by pass
    class_ids: np.ndarray
    epochs: int
    images: Stored  # by digest: features of held-out and test images


def features_of(
    run: Run, model: keras.Model, splits: dict[str, data.ImageDataset], folder: Path
) -> Features:
    """Computes the features of a run's data and backbone, or finds them.

    Args:
        run: Says data, backbone, layer, size and epochs.
        model: Its classifier, not trained.
        splits: The data.
        folder: Where they are kept.

    Returns:
        The features.
    """
    key = f"{run.data}-{run.backbone}-{run.cut}-{run.image_size}"
    trunk = trunk_of(run, model)
    train = splits["train-weaksup"]
    count = run.epochs * train.steps_per_epoch(BATCH_SIZE) * BATCH_SIZE
    crops = folder / f"{key}-{crops_key(run, model)}.npy"
    ids = crops.with_suffix(".ids.npy")
    if not (crops.is_file() and ids.is_file()):
        folder.mkdir(parents=True, exist_ok=True)
        part = crops.with_suffix(".part")
        shape = (count, *trunk.output_shape[1:])
        file = np.lib.format.open_memmap(part, "w+", "float16", shape)
        class_ids = np.zeros(count, "int32")
        batches = iter(training_batches(train, replace(run, seed=0), 0))
        for start in range(0, count, BATCH_SIZE):
            images, labels = next(batches)
            found = trunk(images, training=drops(trunk))
            file[start : start + BATCH_SIZE] = keras.ops.convert_to_numpy(found)
            class_ids[start : start + BATCH_SIZE] = labels
        file.flush()
        np.save(ids, class_ids)
        part.rename(crops)
    size = (run.image_size, run.image_size)
    stored: Stored = {}
    for name in ("train-fullsup", "test"):
        path = folder / f"{key}-{name}.npz"
        if not path.is_file():
            found, digests = [], []
            for batch in splits[name].evaluation_batches(BATCH_SIZE, image_size=size):
                images = batch["images"]
                found.append(np.float16(trunk.predict_on_batch(images)))
                digests.extend(map(digest, images))
            part = path.with_suffix(".part.npz")
            np.savez(part, features=np.concatenate(found), digests=np.array(digests))
            part.rename(path)
        with np.load(path) as kept:
            stored |= zip(kept["digests"].tolist(), kept["features"], strict=True)
    return Features(np.load(crops, mmap_mode="r"), np.load(ids), run.epochs, stored)


def trunk_of(run: Run, model: keras.Model) -> keras.Model:
    """The frozen layers of a classifier."""
    return keras.Model(model.inputs[0], model.get_layer(run.cut).output)


def drops(trunk: keras.Model) -> bool:
    """Whether a module stands in the frozen layers, and drops in training."""
    return bool(models.inserted_layers(trunk))


def crops_key(run: Run, model: keras.Model) -> str:
    """Two runs with the same data, backbone and key train on the same features."""
    named = f"-{run.key}" if drops(trunk_of(run, model)) else ""
    return f"{run.epochs}{named}"


def digest(image: np.ndarray) -> bytes:
    """By what an image is known again; never ends in a zero, which NumPy drops."""
    pixels = np.ascontiguousarray(image, "float32")
    return hashlib.blake2b(pixels, digest_size=16).hexdigest().encode()


class Crops(Sequence[tuple[np.ndarray, np.ndarray]]):
    """All batches of a training: each pass by its own crops, in an order by seed."""

    def __init__(self, features: Features, seed: int) -> None:
        self.features = features
        draw = np.random.default_rng(seed)
        passes = np.arange(len(features.crops)).reshape(features.epochs, -1)
        self.order = draw.permuted(draw.permutation(passes), axis=1).reshape(-1)

    def __len__(self) -> int:
        return len(self.order) // BATCH_SIZE

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if index >= len(self):
            raise IndexError(index)
        chosen = self.order[index * BATCH_SIZE : (index + 1) * BATCH_SIZE]
        crops = self.features.crops[np.sort(chosen)].astype("float32")
        return crops, self.features.class_ids[np.sort(chosen)]


def train_tail(
    model: keras.Model, run: Run, train: data.ImageDataset, features: Features
) -> None:
    """Trains what stands behind the frozen layers, up to the last step.

    Args:
        model: The classifier, whose weights change.
        run: What is trained.
        train: The training images.
        features: What its frozen layers compute.
    """
    kind = type(model)  # a method's model has losses
    tail = kind(model.get_layer(run.cut).output, model.outputs[0], name="tail")
    compiled(tail, run, train)
    # Not `fit`: at its end, TensorFlow waits for half a minute.
    for crops, class_ids in Crops(features, run.seed):
        logs = tail.train_on_batch(crops, class_ids, return_dict=True)
        if not np.isfinite(logs["loss"]):
            raise FloatingPointError(f"The loss of {run.key} is {logs['loss']}.")
    print({name: round(float(value), 4) for name, value in logs.items()})


class FromFeatures(models.Localizer):
    """A localizer that takes the features of known images as they were stored."""

    def __init__(self, localizer: models.Localizer, run: Run, stored: Stored) -> None:
        super().__init__(
            localizer.model, localizer.cam_threshold, score_map=localizer.score_map
        )
        self._stored = [stored]  # Keras would track a dictionary
        network = self._split.network
        start = network.get_layer(run.cut).output
        # Keras makes no model one of whose outputs is its input, or another one.
        unique = list({id(each): each for each in network.outputs}.values())
        self._place = [[x is y for y in unique].index(True) for x in network.outputs]
        passed = keras.layers.Identity()
        outputs = [passed(each) if each is start else each for each in unique]
        self._onward = keras.Model(start, outputs)

    def predict_on_batch(self, inputs: Any) -> dict[str, np.ndarray]:
        """Returns logits and score maps; there are no boxes."""
        stored = self._stored[0]
        images = np.asarray(inputs["images"])
        nothing = np.zeros_like(next(iter(stored.values())))  # a batch is filled up
        known = [stored.get(digest(image), nothing) for image in images]
        found = self._onward.predict_on_batch(np.stack(known).astype("float32"))
        features, logits, *around = (found[place] for place in self._place)
        class_ids = np.asarray(inputs["class_ids"]).reshape(len(images), -1)
        evidence = Evidence(
            split=self._split,
            images=keras.ops.convert_to_tensor(images.astype("float32")),
            features=keras.ops.convert_to_tensor(features),
            logits=keras.ops.convert_to_tensor(logits),
            around=[keras.ops.convert_to_tensor(each) for each in around],
        )
        maps = self._maps(evidence, keras.ops.convert_to_tensor(class_ids))
        return {"logits": logits, "score_maps": keras.ops.convert_to_numpy(maps)}
