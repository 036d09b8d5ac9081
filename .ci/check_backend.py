"""Runs the package where TensorFlow is not installed. Called by `.ci/backends`."""

import importlib.util
import sys

import keras
import numpy as np

import keras_wsol
from keras_wsol import data, evaluation, layers, models, training, viz

assert importlib.util.find_spec("tensorflow") is None
train = data.synthetic(num_images=24, num_classes=3, image_size=64)
model = models.build_classifier(
    "mobilenet",
    "dgdm",
    3,
    weights=None,
    input_shape=(64, 64, 3),
    backbone_options={"alpha": 0.25},
    class_names=train.class_names,
)
model.compile(
    optimizer=training.LayerwiseSGD(0.01, multipliers={"head_*": 10.0}),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
before = [np.array(keras.ops.convert_to_numpy(w)) for w in model.trainable_weights]
model.fit(train.images.astype("float32"), train.class_ids, batch_size=8, verbose=0)
after = [keras.ops.convert_to_numpy(w) for w in model.trainable_weights]
assert all(np.isfinite(w).all() for w in after)
assert any((a != b).any() for a, b in zip(after, before, strict=True))

test = data.synthetic("test", num_images=12, num_classes=3, image_size=64)
held_out = data.synthetic("train-fullsup", num_images=12, num_classes=3, image_size=64)
report = evaluation.evaluate(model, test, tune_on=held_out, num_thresholds=50)
assert 0 < report.max_box_acc_v2 <= 1, report
localizer = models.Localizer(model, top_k=2, max_boxes=2)
found = localizer(test.images[:2])
assert keras.ops.convert_to_numpy(found["boxes"]).shape == (2, 2, 4)
figure = viz.compare_models({"DGDM": localizer}, test, [0])
assert figure.axes
assert "tensorflow" not in sys.modules
print(
    f"keras_wsol {keras_wsol.__version__} on {keras.backend.backend()} without "
    f"TensorFlow: trained, evaluated, drew; {len(layers.__all__)} layers"
)
