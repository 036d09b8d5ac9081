"""A network that learns the embedded data within seconds, under any dtype policy."""

import functools

import keras
import numpy as np

from keras_wsol import data
from keras_wsol.layers import DGDM, SAGD
from keras_wsol.models import build_classifier
from keras_wsol.training import LayerwiseSGD, learning_rate
from tests.models.small import dtype_policy

SIDE, CLASSES = 48, 4
TRAIN_IMAGES, TEST_IMAGES = 300, 200
EPOCHS, BATCH, RATE = 6, 20, 0.1
# On 12x12 maps the default block of 3x3 cells would drop a quarter of the object, as
# on the 6x6 maps of the quickstart.
METHODS = {"sagd": SAGD(block_size="adaptive"), "dgdm": DGDM(block_size="adaptive")}
PLACES = ["relu_3", "relu_4"]


@functools.cache
def drawn(split, count):
    return data.synthetic(split, num_images=count, num_classes=CLASSES, image_size=SIDE)


def backbone():
    inputs = keras.Input((SIDE, SIDE, 3))
    x = inputs
    for number, (filters, stride) in enumerate([(8, 2), (16, 2), (32, 1), (32, 1)], 1):
        x = keras.layers.Conv2D(
            filters, 3, stride, "same", use_bias=False, name=f"conv_{number}"
        )(x)
        # Statistics have to follow within some 100 steps.
        x = keras.layers.BatchNormalization(momentum=0.8, name=f"norm_{number}")(x)
        x = keras.layers.ReLU(name=f"relu_{number}")(x)
    return keras.Model(inputs, x, name="four_convolutions")


def optimizer():
    """With all that a scaled loss could upset: multiplier, decay and velocity."""
    steps = TRAIN_IMAGES // BATCH
    rate = learning_rate("cosine", RATE, epochs=EPOCHS, steps_per_epoch=steps)
    return LayerwiseSGD(
        rate, multipliers={"head_*": 2.0}, l2_decay=5e-4, rate_free_velocity=True
    )


def build(method, policy="float32", jit=False, seed=0):
    """A compiled classifier; `compile` wraps the optimizer under mixed_float16."""
    with dtype_policy(policy):
        model = build_classifier(
            backbone(),
            METHODS.get(method, method),
            CLASSES,
            weights=None,
            drop_after=None if method == "cam" else PLACES,
            backbone_options={"normalization": "tf"},
            seed=seed,
        )
        model.compile(
            optimizer(),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=jit,
        )
    return model


def train(model, seed=0):
    """Trains on the embedded data in an order that the seed fixes; gives the losses."""
    dataset = drawn("train-weaksup", TRAIN_IMAGES)
    order = np.random.default_rng(seed)
    losses = []
    for _ in range(EPOCHS):
        turn = order.permutation(TRAIN_IMAGES)
        history = model.fit(
            dataset.images[turn],
            dataset.class_ids[turn],
            batch_size=BATCH,
            shuffle=False,
            verbose=0,
        )
        losses += history.history["loss"]
    return losses


def measure(model):
    """Top-1 accuracy and GT-known Loc at the threshold 0.2 on the test split."""
    from keras_wsol import evaluation

    report = evaluation.evaluate(model, drawn("test", TEST_IMAGES), batch_size=100)
    return report.top1_cls, report.fixed.gt_known_loc
