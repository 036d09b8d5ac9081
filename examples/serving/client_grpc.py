"""Asks TensorFlow Serving for the boxes in image files, over gRPC.

    pip install "../..[serving]"
    python client_grpc.py bird.jpg other.png
    python client_grpc.py --address localhost:8500 --cam-threshold 0.3 bird.jpg

Asks for the outputs that it prints, so that no score map travels.
"""

import argparse
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

OUTPUTS = ("class_ids", "scores", "boxes", "valid")


def localize(
    channel: grpc.Channel,
    model: str,
    contents: list[bytes],
    cam_threshold: float | None = None,
) -> dict[str, Any]:
    """Sends encoded images and returns the model's outputs by name.

    Args:
        channel: An open channel to the server.
        model: Name under which the server knows the model.
        contents: Encoded images.
        cam_threshold: Where to cut the score maps; `None` for the model's own.

    Returns:
        Output name to an array with one entry an image.

    Raises:
        grpc.RpcError: The server refused the request.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = (
        "serve_bytes" if cam_threshold is None else "localize_bytes"
    )
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(contents))
    if cam_threshold is not None:
        request.inputs["cam_threshold"].CopyFrom(
            tf.make_tensor_proto(np.float32(cam_threshold))
        )
    request.output_filter.extend(OUTPUTS)
    service = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    response = service.Predict(request, timeout=60)
    return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}


def main() -> None:
    """Reads the command line and prints a line for each file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--address", default="localhost:8500")
    parser.add_argument("--model", default="birds")
    parser.add_argument("--cam-threshold", type=float)
    options = parser.parse_args()
    contents = [path.read_bytes() for path in options.images]
    with grpc.insecure_channel(options.address) as channel:
        found = localize(channel, options.model, contents, options.cam_threshold)
    for index, path in enumerate(options.images):
        if not found["valid"][index, 0]:
            print(f"{path}\tunreadable")
            continue
        box = "\t".join(f"{edge:.3f}" for edge in found["boxes"][index, 0])
        score = found["scores"][index, 0]
        print(f"{path}\t{found['class_ids'][index, 0]}\t{score:.6f}\t{box}")


if __name__ == "__main__":
    main()
