# %% [markdown]
# # Your folder of images to boxes
#
# You have images, sorted into one folder for each class. You have no boxes. At the
# end of this notebook you have a box in each image, a model that finds boxes in new
# photos, and files to serve it with.
#
# A classifier learns the classes. A *score map* shows which pixels it looks at, from
# 0 to 1. The pixels above a *threshold* make up the object, and the box is drawn
# around the largest connected part of them.
#
# Run the cells from top to bottom. A GPU is used where there is one, but not needed.

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
import csv
import os
from pathlib import Path

import keras
import tensorflow as tf
from PIL import Image

import keras_wsol as wsol

SMALL = os.environ.get("KERAS_WSOL_SMALL") == "1"  # for tests: few and tiny images
COUNT, SIDE, EPOCHS = (72, 64, 1) if SMALL else (600, 224, 4)
tf.get_logger().setLevel("ERROR")  # no notes on its inner workings
# In float16 what frozen random weights make, those of SMALL, would vanish.
if tf.config.list_physical_devices("GPU") and not SMALL:
    keras.config.set_dtype_policy("mixed_float16")  # faster, and half the memory
keras.utils.set_random_seed(0)

# %% [markdown]
# ## The images
# So that there is something to learn from, this cell draws creatures of six classes
# and writes them into the folder `creatures`, with a folder inside for each class.

# %%
drawn = wsol.data.synthetic(num_images=COUNT, image_size=SIDE)
for number, image in enumerate(drawn.images):
    folder = Path("creatures") / drawn.class_names[drawn.class_ids[number]]
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folder / f"{number:04d}.jpg")

# %% [markdown]
# **To use your images, change the next line.** It names a folder that holds a folder
# of images for each class: `birds/cardinal/1.jpg`, `birds/crow/a.png`, and so on. In
# Colab, upload a zip file in the panel on the left and unpack it by `!unzip -q
# birds.zip`.

# %%
root = Path("creatures")  # <- your folder

# %% [markdown]
# Four fifths of the images are to train on, the others (`val`) to look at. Every file
# is opened once, here: those that cannot be read are left out and counted.

# %%
train = wsol.data.image_folder(root, "train")
val = wsol.data.image_folder(root, "val")
train

# %% [markdown]
# Copies of an image in both parts, or in two classes, would spoil what follows.
# `check` lists them.

# %%
print(wsol.data.check(train, val).to_markdown(max_rows=5))

# %% [markdown]
# ## Train
# The classifier is a MobileNet that knows ImageNet, so few images and epochs are
# enough. The first time, its weights are downloaded, some 10 MB. Layers up to
# `conv_pw_11_relu` stay as they are. `"dgdm"` adds layers that hide parts of the
# object during training, so that the network learns to look at the rest of it, too.

# %%
model = wsol.build_classifier(
    "mobilenet",
    "dgdm",
    train.num_classes,
    weights=None if SMALL else "imagenet",
    input_shape=(SIDE, SIDE, 3),
    backbone_options={"alpha": 0.25 if SMALL else 0.75},  # its width
    class_names=train.class_names,
    freeze="conv_pw_11_relu",
    batch_norm_momentum=0.9,  # its statistics have to follow within few steps
)
wsol.models.describe(model)

# %%
model.compile(
    optimizer=keras.optimizers.Adam(1e-3),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
history = model.fit(
    train.batches(16, training=True, image_size=(SIDE, SIDE)),
    validation_data=val.batches(16, image_size=(SIDE, SIDE)),
    epochs=EPOCHS,
    class_weight=train.class_weights(),  # rare classes count as much as common ones
    shuffle=False,  # `batches` has shuffled already
    verbose=2,
)

# %% [markdown]
# `val_accuracy` is the share of images of `val` whose class is right. If it is hardly
# better than chance, train longer before you look at boxes.
#
# ## Find boxes
# `fit_localizer` chooses the score map, and where to cut it, by the images and their
# classes alone. It prints what it chose and why.

# %%
localizer = wsol.fit_localizer(model, train)

# %% [markdown]
# ## Look
# Green is the box that was found. Red in the map is a score of 1, blue of 0.

# %%
picked = range(0, len(val), -(-len(val) // 2))  # two images; more, if you like
wsol.viz.compare_models({"found": localizer}, val, picked, cell_size=104)

# %% [markdown]
# Are the boxes too small or too large? Here are the same images, cut at a lower
# threshold, at the one in use, which has a star, and at a higher one.

# %%
own = localizer.cam_threshold
thresholds = [own / 2, own, (1 + own) / 2]
wsol.viz.show_thresholds(localizer, val, picked, thresholds, cell_size=88)

# %% [markdown]
# `localizer.cam_threshold = 0.3` sets another one by eye.
#
# ## Tune on a few boxes
# A few boxes drawn by hand tell better than the eye. About thirty are a beginning:
# `hold_out` picks five images of each class, here thirty of six classes. With other
# numbers of classes, change `per_class`. The images are of `val`, which the network was
# not trained on. Draw a box in each of them with any tool, and write a file named after
# your folder, such as `birds.csv`, with the columns `path,x0,y0,x1,y1`: left, top,
# right and bottom edge in pixels. Where the file is missing, the cell after the next
# does nothing. COCO and VOC files are read by `boxes_from_coco` and `boxes_from_voc`.

# %%
_, few = val.hold_out(per_class=5)
boxes_file = root.with_suffix(".csv")
if root == Path("creatures"):  # their boxes are known
    with boxes_file.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "x0", "y0", "x1", "y1"])
        for path in few.paths:
            writer.writerow([path, *drawn.boxes[int(Path(path).stem), 0]])
print(*few.paths[:3], "...", sep="\n")

# %%
if boxes_file.exists():
    boxed = wsol.data.boxes_from_csv(val, boxes_file)
    tuned = localizer.tune(boxed, verbose=False)
    low, high = tuned.interval
    print(f"threshold {tuned.cam_threshold:.2f} (interval {low:.2f} to {high:.2f})")
    print(f"boxes right: {tuned.gt_known_loc:.0%} of these images")
    print(f"on others, by estimate: {tuned.held_out_gt_known_loc:.0%}")

# %% [markdown]
# Had other images been picked, another threshold of the interval might have come. A
# box is right if it overlaps the true one by at least a half (IoU 0.5). The threshold
# was chosen on these very images, so the estimate for others is the one to believe.
#
# With boxes, the score map can be chosen anew as well, which sometimes gains more
# than the threshold: `wsol.fit_localizer(model, train, boxes=boxed)`.

# %%
wsol.viz.compare_models({"tuned": localizer}, val, picked, cell_size=104)

# %% [markdown]
# ## Use it
# One photo, as an array in [0, 255], gives class, score and box in pixels of the
# photo:

# %%
photo = keras.utils.img_to_array(keras.utils.load_img(val.paths[0]))[None]
found = localizer(photo)
print(train.class_names[int(found["class_ids"][0, 0])], float(found["scores"][0, 0]))
print(found["boxes"][0, 0].numpy().round(1))

# %% [markdown]
# Boxes of the whole folder, to train a detector on: COCO here; CSV, YOLO and VOC as
# well. Images without a box are listed in `found.json.left_out.csv`.

# %%
done = wsol.write_pseudo_labels(
    localizer,
    wsol.data.image_folder(root),
    "found.json",
    class_ids="known",  # the folders name the classes
    overwrite=True,
)
print(done.num_boxes, "boxes in", done.num_images, "images:", done.path)

# %% [markdown]
# The model itself: a `.keras` file to go on with in Python, and a SavedModel, which
# needs TensorFlow alone. The notebook `serving` uses the second.

# %%
localizer.save("creatures.keras")
again = keras.saving.load_model("creatures.keras")
wsol.export_saved_model(localizer, "saved_models/creatures/1", overwrite=True)

# %% [markdown]
# ## Next
# - The same in a terminal: `keras-wsol train --data creatures --out runs/creatures`,
#   then `keras-wsol localize --model runs/creatures/localizer.keras --images photos
#   --format coco --out found.json`.
# - How good are the boxes? The notebook `fair_comparison` measures.
# - All images show one kind of object? The notebook `boxes_without_training` is
#   shorter.
