# %% [markdown]
# # ADL, DFM and DGDM in your own model
#
# A classifier looks at the part of an object that tells its class best: the head of a
# bird. Three published modules hide that part during training, so that the network
# has to learn from the rest of the object, too. Here each is a Keras layer without
# weights. It acts in training only: at inference it returns its input.
#
# This notebook puts them into a model written in plain Keras, and draws what they
# hide, as the figures of the papers do: [ADL](https://arxiv.org/abs/1908.10028),
# [DFM](https://arxiv.org/abs/1909.04813), [DGDM](https://arxiv.org/abs/2003.04719).

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
import numpy as np
import tensorflow as tf

import keras_wsol as wsol

SMALL = os.environ.get("KERAS_WSOL_SMALL") == "1"  # for tests: few images
COUNT, EPOCHS, SIDE = (48, 1, 96) if SMALL else (800, 6, 96)
tf.get_logger().setLevel("ERROR")  # no notes on its inner workings
if tf.config.list_physical_devices("GPU"):
    keras.config.set_dtype_policy("mixed_float16")  # faster, and half the memory
keras.utils.set_random_seed(0)

# %% [markdown]
# ## The images
# Drawn creatures of six classes. The class shows in the head. **To use your images**,
# put `wsol.data.image_folder("birds", "train")` in place of the first line, and in
# place of the second the same with `"val"`.

# %%
train = wsol.data.synthetic(num_images=COUNT, image_size=SIDE)  # <- your folder
test = wsol.data.synthetic("test", num_images=200, image_size=SIDE)  # <- your folder
train

# %% [markdown]
# ## A model with a layer that hides
# One line is new in this network: `x = hide()(x)`, behind an activation. It stands
# there three times, at maps of 48, 24 and 12 cells a side.


# %%
def build(hide):
    x = images = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    for filters in (16, 32, 64):
        x = keras.layers.Conv2D(filters, 4, strides=2, padding="same")(x)
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.ReLU()(x)
        x = hide()(x)  # <- the new line
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    logits = keras.layers.Dense(train.num_classes, dtype="float32")(x)
    return keras.Model(images, logits)


def trained(hide):
    model = build(hide)
    model.compile(
        optimizer=keras.optimizers.Adam(2e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    batches = train.batches(16, training=True, image_size=(SIDE, SIDE))
    model.fit(batches, epochs=EPOCHS, shuffle=False, verbose=2)
    return model


models = {}
for hide in (keras.layers.Identity, wsol.ADL, wsol.DFM, wsol.DGDM):
    print(hide.__name__)
    models[hide.__name__] = trained(hide)

# %% [markdown]
# `describe` shows where the layers stand, and that they cost nothing at inference.

# %%
wsol.models.describe(models["ADL"])

# %% [markdown]
# ## What a layer sees
# `layer.maps(x)` gives the maps that a layer computes, without drawing anything at
# random. `x` is what the layer is given: a second model of the same layers reads it.

# %%
images = next(iter(test.batches(64, image_size=(SIDE, SIDE))))[0].numpy()
image = images[1].astype("uint8")


def layers_and_inputs(model):
    layers = wsol.models.inserted_layers(model)
    given = keras.Model(model.input, [layer.input for layer in layers])(image[None])
    return zip(layers, given, strict=True)


def arrays(maps):
    return {name: np.array(value)[0] for name, value in maps.items()}


def heat(cells):
    """The colours of a map over the image: blue for 0, red for its largest value."""
    return wsol.viz.overlay(image, cells.mean(-1) / cells.mean(-1).max())


def dark(mask):
    """The image, dark where a mask drops it."""
    kept = np.kron(mask[..., 0] > 0, np.ones((SIDE // len(mask),) * 2))
    return (image * (0.2 + 0.8 * kept[..., None])).astype("uint8")


def draw(rows):
    """Draws a row for each dictionary of titles and pictures, or values by channel."""
    size = (1.35 * len(rows[0]), 1.6 * len(rows))
    figure, axes = plt.subplots(len(rows), len(rows[0]), figsize=size, dpi=72)
    for row, places in zip(rows, np.atleast_2d(axes), strict=True):
        for (title, values), place in zip(row.items(), places, strict=True):
            if values.ndim == 3:
                place.imshow(values)
            else:
                place.bar(range(len(values)), values, width=1.0)
                place.set_box_aspect(1)
            place.set(xticks=[], yticks=[])
            place.set_title(title, fontsize=8)
    figure.tight_layout()
    plt.show()


# %% [markdown]
# ## ADL: hide the part that says most
# As in Figure 2 of the paper: above the *attention* of each layer, the mean over the
# channels, and below it the *drop mask*, which hides the cells that reach 0.8 times
# the maximum. A training step multiplies by the mask in three of four cases, and
# otherwise by the *importance map*, the sigmoid of the attention, which raises what
# the mask hides.

# %%
attention, mask = {}, {}
for layer, x in layers_and_inputs(models["ADL"]):
    maps = arrays(layer.maps(x))
    size = f"{x.shape[1]} x {x.shape[2]}"
    attention[f"attention, {size}"] = heat(maps["attention"])
    mask[f"drop mask, {size}"] = dark(maps["drop_mask"])
draw([attention, mask])

# %% [markdown]
# ## DFM: what one branch hides, the other hints at
# As in Figures 2 to 4 of the paper, of the last layer. One attention is over
# positions, the mean over channels; the other is over channels, the mean over
# positions. Of each come an *enhancement*, its tanh, and a *mask*, zero from 0.95
# (positions) or 0.85 (channels) of the maximum on. Kept cells beside dropped ones are
# raised by the *focus*.

# %%
layer, x = list(layers_and_inputs(models["DFM"]))[-1]
maps = arrays(layer.maps(x))
draw(
    [
        {
            "position enhancement": heat(maps["position_enhancement"]),
            "position mask": dark(maps["position_mask"]),
            "with focus": heat(maps["position_mask"]),
        },
        {
            "channel enhancement": maps["channel_enhancement"][0, 0],
            "channel mask": maps["channel_mask"][0, 0],
            "sorted enhancement": np.sort(maps["channel_enhancement"][0, 0])[::-1],
        },
    ]
)

# %% [markdown]
# Fusion crosses the branches: the *position map* is the position mask plus 0.4 times
# the channel enhancement, the *channel map* is the channel mask plus 0.6 times the
# position enhancement. A training step draws one of the two, M, and the features F
# become the mean of F and F times M. Here are the means of the maps over channels.

# %%
draw(
    [
        {
            "position map": heat(maps["position_map"]),
            "channel map": heat(maps["channel_map"]),
        }
    ]
)

# %% [markdown]
# ## DGDM: drop blocks, and weak channels
# As in Figure 4 of the paper: (a) drops single cells, as ADL does with another
# threshold, and (b) drops a
# block of 3 x 3 cells around each of them, so that the neighbours do not give the
# part away. The last picture is what the layer does: it drops the background, too,
# below 0.1 times the maximum. As in Figure 3: the weak channels, here orange, are
# dropped at random.

# %%
layer, x = list(layers_and_inputs(models["DGDM"]))[-1]
maps = arrays(layer.maps(x))
cells = arrays(wsol.SAGD(block_size=1, low_threshold=None).maps(x))
blocks = arrays(wsol.SAGD(block_size=3, low_threshold=None).maps(x))
draw(
    [
        {
            "attention": heat(maps["attention"]),
            "(a) cells": dark(cells["drop_mask"]),
            "(b) blocks": dark(blocks["drop_mask"]),
            "and background": dark(maps["drop_mask"]),
        }
    ]
)

# %%
strength = maps["channel_attention"][0, 0]
weak = maps["eligible"][0, 0]
plt.figure(figsize=(5, 1.6), dpi=72)
plt.bar(range(len(strength)), strength, color=np.where(weak, "#e66101", "#6a7a96"))
plt.title(f"channels: {weak.sum()} of {len(weak)} may be dropped", fontsize=9)
plt.tight_layout()
plt.show()

# %% [markdown]
# ## How much is dropped
# `drop_shares` measures the share of cells and channels over many images. With the
# papers' thresholds, as here, ADL and DFM drop the few cells of the peak; DGDM drops
# the background, too, so most cells. These thresholds were chosen for other networks:
# where a layer drops nothing, or all, give it another, such as
# `wsol.ADL(drop_threshold=0.6)`.

# %%
for name in ("ADL", "DFM", "DGDM"):
    print(name)
    for place, share in wsol.models.drop_shares(models[name], images).items():
        print("  ", place, {kind: f"{value:.0%}" for kind, value in share.items()})

# %% [markdown]
# ## What each model looks at
# `Localizer` reads the class activation map of any model that ends in pooling and one
# `Dense` layer. Red is the true box, green the box that was found. All maps are cut at
# 0.2, as published for class activation maps. Where the box is the whole image, that is
# too low for this map. One image does not tell which layer is better: the notebook
# `fair_comparison` gives each its own threshold, and measures.

# %%
localizers = {name: wsol.Localizer(model) for name, model in models.items()}
wsol.viz.compare_models(localizers, test, [1], cell_size=90)

# %% [markdown]
# ## In a model that is there already
# `insert_after` copies a functional model, with its weights, and puts a layer behind
# the layers that you name. `build_classifier` knows the places in the networks of
# `models.BACKBONES`, and takes your model, too.

# %%
network = keras.applications.MobileNet((96, 96, 3), alpha=0.25, weights=None)
hiding = wsol.models.insert_after(network, {"conv_pw_11_relu": wsol.DGDM})
wsol.models.describe(hiding)
