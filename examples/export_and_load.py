"""Saving, exporting, and loading without this package.

    python examples/export_and_load.py

Shows the three ways out: a `.keras` file to go on with in Python, a SavedModel for
serving, and what a client sees that has TensorFlow alone.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
from PIL import Image

from keras_wsol import data, export, models

CLIENT = """
import sys
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
images = [open(path, "rb").read() for path in sys.argv[2:]]
out = model.signatures["serve_bytes"](tf.constant(images))
assert "keras_wsol" not in sys.modules
for i in range(len(images)):
    print(
        sys.argv[2 + i].rsplit("/", 1)[-1],
        "valid" if out["valid"][i, 0] else "not readable",
        out["class_names"][i, 0].numpy().decode(),
        [round(float(x), 1) for x in out["boxes"][i, 0]],
    )
"""


def main() -> None:
    """Exports an untrained model and asks it for boxes from another process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="accepted; always small")
    parser.parse_args()
    drawn = data.synthetic("test", num_images=2, num_classes=2, image_size=(80, 120))
    model = models.build_classifier(
        "mobilenet",
        "dfm",
        drawn.num_classes,
        weights=None,
        input_shape=(64, 64, 3),
        backbone_options={"alpha": 0.25},
        class_names=drawn.class_names,
    )
    localizer = models.Localizer(model)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        localizer.save(folder / "localizer.keras")
        again = keras.saving.load_model(folder / "localizer.keras")
        print("class names after loading:", models.class_names_of(again.model))

        saved = export.export_saved_model(again, folder / "creatures" / "1")
        files = [folder / "first.png", folder / "broken.jpg", folder / "second.jpg"]
        Image.fromarray(drawn.images[0]).save(files[0])
        files[1].write_bytes(b"\xff\xd8 not really a JPEG")
        Image.fromarray(drawn.images[1]).save(files[2])
        subprocess.run(
            [sys.executable, "-c", CLIENT, saved, *files], check=True, cwd=folder
        )


if __name__ == "__main__":
    main()
