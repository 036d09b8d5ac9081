# %% [markdown]
# # Boxes without training
#
# You have a folder of images that all show one kind of object: birds, say. You have
# no classes and no boxes. What the images have in common is taken for the object, as
# a network that knows ImageNet sees it. Nothing is trained.
#
# Several kinds of objects in one folder? Sort the images by class and open the
# notebook `folder_to_boxes`.

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
import json
import os
from pathlib import Path

import keras
import tensorflow as tf
from PIL import Image

import keras_wsol as wsol

SMALL = os.environ.get("KERAS_WSOL_SMALL") == "1"  # for tests: few and tiny images
COUNT, SIDE = (48, 64) if SMALL else (300, 224)
if tf.config.list_physical_devices("GPU"):
    keras.config.set_dtype_policy("mixed_float16")  # faster, and half the memory

# %% [markdown]
# ## The images
# So that there is something to find, this cell draws creatures into the folder
# `some_creatures`.

# %%
drawn = wsol.data.synthetic(num_images=COUNT, image_size=SIDE)
Path("some_creatures").mkdir(exist_ok=True)
for number, image in enumerate(drawn.images):
    Image.fromarray(image).save(f"some_creatures/{number:04d}.jpg")

# %% [markdown]
# **To use your images, change the next line.** It names a folder with images of one
# kind of object, at any depth.

# %%
root = Path("some_creatures")  # <- your folder
images = wsol.data.image_files(root)
images

# %% [markdown]
# ## Find boxes
# The name of a backbone is enough; its ImageNet weights are downloaded the first
# time, some 10 MB. A *score map*, from 0 to 1, says of each pixel how much it looks
# like what the images have in common. What to read it from, and the *threshold* from
# which on a pixel belongs to the object, are chosen by the images. Four lines say
# what was chosen and why.

# %%
backbone = "mobilenet_v2"
if SMALL:  # random weights: nothing is downloaded, and nothing useful is found
    backbone = keras.applications.MobileNetV2(
        (SIDE, SIDE, 3), alpha=0.35, include_top=False, weights=None
    )
localizer = wsol.fit_localizer(backbone, images)

# %% [markdown]
# ## Look
# Green is the box that was found. Red in the map is a score of 1, blue of 0. Look at
# your images here: the method cannot know that you meant the bird and not its branch.
# Below stands the class, which is unknown here, and called "object" by the localizer.

# %%
picked = range(0, len(images), -(-len(images) // 2))  # two images; more, if you like
wsol.viz.compare_models({"found": localizer}, images, picked, cell_size=104)

# %% [markdown]
# Are the boxes too small or too large? Here are the same images, cut at a lower
# threshold, at the one in use, which has a star, and at a higher one.

# %%
own = localizer.cam_threshold
thresholds = [own / 2, own, (1 + own) / 2]
wsol.viz.show_thresholds(localizer, images, picked, thresholds, cell_size=88)

# %% [markdown]
# `localizer.cam_threshold = 0.3` sets another one by eye.
#
# ## How many are right?
# The creatures' boxes are known, so they can be counted. With your images, leave this
# section out. GT-known Loc is the share of images whose box overlaps the true one by
# at least a half (IoU 0.5). Whoever knows nothing draws a box in the middle: beside it
# stands what that gets, of the size that is best on these very images.

# %%
report = wsol.evaluate(localizer, drawn, verbose=False)
print(f"boxes right: {report.fixed.gt_known_loc:.1%}")
print(f"the best centred box: {report.centre['oracle']:.1%}")

# %% [markdown]
# ## Use it
# Boxes of the whole folder in one file: COCO here; CSV, YOLO and VOC as well.

# %%
done = wsol.write_pseudo_labels(localizer, images, "found.json", overwrite=True)
print(done.num_boxes, "boxes in", done.num_images, "images:", done.path)
json.loads(Path("found.json").read_text())["annotations"][:2]

# %% [markdown]
# The model itself, for other photos of the same kind:

# %%
localizer.save("creature_finder.keras")
again = keras.saving.load_model("creature_finder.keras")
photo = keras.utils.img_to_array(keras.utils.load_img(images.paths[0]))[None]
again(photo)["boxes"][0, 0].numpy().round(1)

# %% [markdown]
# ## Next
# - The same in a terminal: `keras-wsol boxes --images some_creatures --out
#   found.json`.
# - A few boxes drawn by hand choose better: `boxes=` of `fit_localizer`.
# - Several objects in an image: set `localizer.max_boxes = 5` before you write boxes.
#   Then each connected part of the map that is large enough has one.
# - Export and serving are shown in the notebook `serving`.
