# %% [markdown]
# # Serve a localizer
#
# A localizer leaves Python in two forms. A *SavedModel* runs in TensorFlow Serving,
# in C++ and wherever TensorFlow is. A *LiteRT* file (once TensorFlow Lite) runs on
# phones and small boards. Both contain the boxes: a client needs no threshold and no
# Keras.
#
# This notebook makes both, asks a server over REST, and compares the answers.

# %% [markdown]
# ## Install
# Where `keras_wsol` and LiteRT are installed, this cell does nothing.
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
if importlib.util.find_spec("ai_edge_litert") is None:
    print("Installing LiteRT ...")
    # %pip install -q ai-edge-litert

# %%
import base64
import json
import os
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

import keras_wsol as wsol

SMALL = os.environ.get("KERAS_WSOL_SMALL") == "1"  # for tests: few and tiny images
COUNT, SIDE = (48, 64) if SMALL else (300, 224)
tf.get_logger().setLevel("ERROR")  # no notes on its inner workings
# Float32, with a GPU too: that is what is exported, and answers are compared below.

# %% [markdown]
# ## A localizer
# This one needs no training: what drawn creatures have in common is taken for the
# object, as in the notebook `boxes_without_training`. The backbone's ImageNet weights
# are downloaded the first time, some 10 MB. **If you have a localizer, say from the
# notebook `folder_to_boxes`,** write this line in place of the cell: `localizer =
# keras.saving.load_model("creatures.keras")`.

# %%
backbone = "mobilenet_v2"
if SMALL:  # random weights: nothing is downloaded, and nothing useful is found
    backbone = keras.applications.MobileNetV2(
        (SIDE, SIDE, 3), alpha=0.35, include_top=False, weights=None
    )
drawn = wsol.data.synthetic(num_images=COUNT, image_size=SIDE)
localizer = wsol.fit_localizer(backbone, drawn)

# %% [markdown]
# Three photos to ask about, of different sizes, and a file that is no image:

# %%
for number, size in enumerate([(192, 256), (320, 240), (224, 224)]):
    photos = wsol.data.synthetic("test", num_images=3, image_size=size)
    Image.fromarray(photos.images[number]).save(f"photo{number}.jpg")
Path("broken.jpg").write_bytes(b"not an image")
files = [Path(f"photo{number}.jpg") for number in range(3)] + [Path("broken.jpg")]

# %% [markdown]
# ## SavedModel
# The last part of the path is a version: TensorFlow Serving looks for the highest
# number. `model_card.json` beside the graph says what it is.

# %%
path = wsol.export_saved_model(localizer, "saved_models/creatures/1", overwrite=True)
print(sorted(file.name for file in path.iterdir()))
card = json.loads((path / "model_card.json").read_text())
print({name: card[name] for name in ("class_names", "cam_threshold", "score_map")})

# %% [markdown]
# From here on, nothing of `keras_wsol` is needed. `serve_bytes` takes encoded images
# of any sizes in one batch, and gives boxes in pixels of each. A broken file ends
# nothing: it has `valid` false. This localizer knows one class, "object"; that of a
# trained classifier gives the name of its class.

# %%
served = tf.saved_model.load(str(path))
print("signatures:", *served.signatures)
contents = [file.read_bytes() for file in files]
found = served.signatures["serve_bytes"](tf.constant(contents))
for row, file in enumerate(files):
    name = found["class_names"][row, 0].numpy().decode()
    box = found["boxes"][row, 0].numpy().round(1)
    print(file, bool(found["valid"][row, 0]), name, box)

# %% [markdown]
# ## REST
# TensorFlow Serving answers over REST and gRPC. With Docker it takes one command; its
# version is that of the TensorFlow that exported, 2.21, or a later one. The command was
# not tried by the authors:
#
# ```sh
# docker run -p 8501:8501 -e MODEL_NAME=creatures \
#     -v "$PWD/saved_models/creatures:/models/creatures" tensorflow/serving:2.21.0
# ```
#
# A notebook has no Docker, so here is a small server that speaks the same JSON. It
# answers this machine alone: where others ask, use TensorFlow Serving.


# %%
class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        images = request["inputs"]["image_bytes"]
        signature = served.signatures[request["signature_name"]]
        found = signature(tf.constant([base64.b64decode(x["b64"]) for x in images]))
        answer = json.dumps({"outputs": {k: as_json(v) for k, v in found.items()}})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_):
        pass  # else it writes a line for each request


def as_json(tensor):
    values = tensor.numpy()
    if values.dtype == object:  # names of classes
        values = np.vectorize(bytes.decode, otypes=[object])(values)
    return values.tolist()


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)  # 0: any free port
threading.Thread(target=server.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{server.server_port}/v1/models/creatures:predict"
URL

# %% [markdown]
# The client needs Python alone. Images travel as base64 in an object with the key
# `b64`. For TensorFlow Serving, `URL` is
# `http://localhost:8501/v1/models/creatures:predict`.


# %%
def localize(files):
    images = [{"b64": base64.b64encode(x.read_bytes()).decode()} for x in files]
    body = {"signature_name": "serve_bytes", "inputs": {"image_bytes": images}}
    request = urllib.request.Request(
        URL, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["outputs"]


answer = localize(files)
for row, file in enumerate(files):
    print(file, answer["valid"][row], answer["class_names"][row], answer["boxes"][row])
np.testing.assert_allclose(answer["boxes"], found["boxes"], rtol=1e-5)
server.shutdown()
server.server_close()

# %% [markdown]
# The answer holds the score maps, too, most of its bytes. gRPC can ask for the boxes
# alone: `examples/serving/client_grpc.py`.
#
# ## LiteRT
# One image of the localizer's input size in; class, score, map and box out.

# %%
file = wsol.export_litert(localizer, "creatures.tflite", overwrite=True)
print(f"{file.stat().st_size / 1e6:.1f} MB")

# %%
from ai_edge_litert.interpreter import Interpreter

photo = Image.open("photo0.jpg")
height, width = localizer.input_size
image = np.array(photo.resize((width, height)), "float32")[None]
run = Interpreter(str(file)).get_signature_runner()
small = run(images=image)
print({name: value.shape for name, value in small.items()})

# %% [markdown]
# Its box is in pixels of the input size. The localizer in Python says the same.

# %%
expected = localizer(image)["boxes"].numpy()
np.testing.assert_allclose(small["boxes"], expected, atol=0.5)
box = small["boxes"][0, 0] * np.array([photo.width / width, photo.height / height] * 2)
wsol.viz.show([wsol.viz.Cell(image=np.array(photo), boxes=box[None])], 1, cell_size=160)

# %% [markdown]
# ## Next
# - `examples/serving` has clients for REST and gRPC, a program in C++, and what an
#   operator should know.
# - `wsol.export_onnx` writes classes and score maps for ONNX Runtime and OpenVINO.
