"""Puts warm-up requests beside an exported model: the first call of a graph is slow.

    pip install "../..[serving]"
    python warm_up.py saved_models/birds/1

TensorFlow Serving replays them before it lets traffic in. They are black images of the
model's input size: one as float32, one as uint8 and one as the bytes of a file.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

# Where TensorFlow Serving looks for them, within the folder of the SavedModel.
WARM_UP_FILE = Path("assets.extra", "tf_serving_warmup_requests")


def write_warm_up(folder: Path) -> Path:
    """Writes a request a signature, and returns the path of the file."""
    card = json.loads((folder / "model_card.json").read_text("utf-8"))
    size = (card["input_size"]["height"], card["input_size"]["width"], 3)
    image = np.zeros((1, *size), "uint8")
    encoded = tf.io.encode_jpeg(image[0]).numpy()
    requests = {
        "serving_default": {"images": image.astype("float32")},
        "serve_uint8": {"images": image},
        "serve_bytes": {"image_bytes": np.array([encoded], object)},
    }
    path = folder / WARM_UP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictLog(request=request)
            entry = prediction_log_pb2.PredictionLog(predict_log=log)
            writer.write(entry.SerializeToString())
    return path


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder that was exported")
    print(f"Wrote {write_warm_up(parser.parse_args().folder)}.")


if __name__ == "__main__":
    main()
