# %% [markdown]
# # Compare methods fairly
#
# Which method finds better boxes? Three things make a comparison worthless: a
# threshold chosen on the test images, a difference that is noise, and no baseline.
# This notebook compares four methods by the protocol of [Choe et al.,
# 2020](https://arxiv.org/abs/2001.07437) and avoids all three.

# %% [markdown]
# ## Install
# Where `keras_wsol` is installed, this cell does nothing.
#
# The package is not on PyPI yet. Until it is, call `pip wheel --no-deps .` in a
# checkout, and put the file that it makes, `keras_wsol-....whl`, beside this notebook.
# In Colab, upload it in the panel on the left. The cell installs it.

# %%
import importlib.util
from pathlib import Path

if importlib.util.find_spec("keras_wsol") is None:
    wheels = sorted(Path().glob("keras_wsol-*.whl"))
    if not wheels:
        raise FileNotFoundError("There is no keras_wsol-....whl in the current folder.")
    # %pip install -q {wheels[-1]}

# %%
import os

import keras
import matplotlib.pyplot as plt
import tensorflow as tf

import keras_wsol as wsol

SMALL = os.environ.get("KERAS_WSOL_SMALL") == "1"  # for tests: few and tiny images
COUNT, TESTS, EPOCHS, SIDE = (48, 36, 1, 64) if SMALL else (600, 300, 6, 128)
METHODS = ("cam", "dgdm") if SMALL else ("cam", "adl", "dfm", "dgdm")
tf.get_logger().setLevel("ERROR")  # no notes on its inner workings
if tf.config.list_physical_devices("GPU"):
    keras.config.set_dtype_policy("mixed_float16")  # faster, and half the memory

# %% [markdown]
# ## Three splits
# - `train`: images and classes. Boxes are not used.
# - `held_out`: images with boxes, to choose thresholds on.
# - `test`: images with boxes, measured once, at the end.
#
# They share no image: `evaluate` refuses images of `test` in `held_out`. **To use
# your images**, see `wsol.data`: `cub200`, `ilsvrc2012` and others have these three
# splits. Of a folder, `image_folder("birds", "train")` is the first, and the other
# two are parts of the rest with its boxes, `rest = boxes_from_csv(image_folder("birds",
# "val"), "boxes.csv")`: `test, held_out = rest.hold_out(per_class=5)`.

# %%
train = wsol.data.synthetic("train-weaksup", num_images=COUNT, image_size=SIDE)
held_out = wsol.data.synthetic("train-fullsup", num_images=TESTS // 3, image_size=SIDE)
test = wsol.data.synthetic("test", num_images=TESTS, image_size=SIDE)
test

# %% [markdown]
# ## The same training for each method
# Network, first weights, images, order, epochs and learning rate are the same. The
# method is the only difference.


# %%
def trained(method):
    keras.utils.set_random_seed(0)
    model = wsol.build_classifier(
        "mobilenet",
        method,
        train.num_classes,
        weights=None,  # drawn creatures are learned from nothing
        input_shape=(SIDE, SIDE, 3),
        backbone_options={"alpha": 0.25},
        class_names=train.class_names,
        batch_norm_momentum=0.9,  # statistics have to follow within some 100 steps
    )
    model.compile(
        optimizer=keras.optimizers.Adam(3e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    batches = train.batches(16, training=True, image_size=(SIDE, SIDE))
    model.fit(batches, epochs=EPOCHS, shuffle=False, verbose=0)
    return model


models = {}
for method in METHODS:
    models[method.upper()] = trained(method)
    print(method, "is trained")

# %% [markdown]
# ## Measure
# `tune_on` chooses each method's own threshold on `held_out`. A common threshold
# would favour the method that it happens to suit.

# %%
reports = {
    name: wsol.evaluate(model, test, tune_on=held_out, gallery=4, verbose=False)
    for name, model in models.items()
}
for name, report in reports.items():
    print(f"{name:5}", end="")
    for kind in ("fixed", "tuned", "oracle"):
        at = getattr(report, kind)
        print(f" {kind} {at.gt_known_loc:.1%} at {at.cam_threshold:.2f}", end="")
    print()
centre = reports["CAM"].centre
print(f"a centred box, tuned: {centre['tuned']:.1%}")

# %% [markdown]
# These are GT-known Loc: the share of images whose box, of the true class, overlaps
# the true one by at least a half.
#
# - **fixed** is at the localizer's own threshold: of these models 0.2, as published for
#   class activation maps.
# - **tuned** is at the threshold chosen on `held_out`. This is the figure to report.
# - **oracle** is at the best threshold on `test` itself. It is an upper bound and no
#   result. Papers that choose thresholds on the test split report this one.
#
# A method below the centred box has learned nothing about places.
#
# The curves show how much a threshold decides. Dots are the tuned ones.

# %%
plt.figure(figsize=(5, 3), dpi=72)
for name, report in reports.items():
    (line,) = plt.plot(report.thresholds, 100 * report.gt_known_curve, label=name)
    at = report.tuned
    plt.plot(at.cam_threshold, 100 * at.gt_known_loc, "o", color=line.get_color())
plt.xlabel("threshold of the score map")
plt.ylabel("GT-known Loc, %")
plt.legend()
plt.tight_layout()
plt.show()

# %% [markdown]
# ## Which difference is noise?
# All methods see the same images, so their differences are taken image by image. The
# bootstrap draws as many images anew, ten thousand times. A star marks an interval
# that excludes 0.

# %%
comparison = wsol.compare(reports)
comparison

# %% [markdown]
# Another seed would give other weights. A star speaks of other images, not of another
# training: with several runs of each method, `compare({"CAM": [first, second, third],
# "DGDM": [...]})` counts both. Of twenty methods that are no better, one gets a star.
#
# A few epochs from random weights on drawn creatures rank no method. Take the protocol
# from here, and the ranking from your images.
#
# ## The map matters, too
# A method is a way to train and a map to read. `fit_localizer` chooses another map of
# the same network, without a box. Compare maps of the same model before you praise a
# method.

# %%
localizer = wsol.fit_localizer(models["CAM"], train)
chosen = wsol.evaluate(localizer, test, tune_on=held_out, gallery=4, verbose=False)
wsol.compare({"CAM": reports["CAM"], "CAM, chosen map": chosen})

# %% [markdown]
# ## The page of a report
# A report is its own page: figures with intervals and baselines, curves, what went
# wrong, and images to look at. A notebook shows it in a frame of its own.

# %%
chosen

# %% [markdown]
# Files to keep beside a paper: the page, the figures, a row for each image.

# %%
chosen.to_html("report.html")
chosen.to_json("report.json")
chosen.to_csv("images.csv", table="images")
print(chosen.to_markdown())

# %% [markdown]
# ## Next
# - The same in a terminal: `keras-wsol evaluate` and `keras-wsol compare`.
# - What the methods are worth on real birds, with three seeds each:
#   `examples/results/README.md`.
