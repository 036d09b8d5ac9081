"""A server on this machine that speaks TensorFlow Serving's two protocols.

It runs a SavedModel behind the real messages of tensorflow-serving-api (gRPC) and the
JSON of TensorFlow Serving's REST API, so that the clients can be tried where
TensorFlow Serving itself cannot be had.
"""

import base64
import json
import threading
from concurrent import futures
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


class Served:
    """A SavedModel and the signature definitions that a server goes by."""

    def __init__(self, path, name):
        self.name = name
        self.loaded = tf.saved_model.load(str(path))
        saved = saved_model_pb2.SavedModel()
        saved.ParseFromString((path / "saved_model.pb").read_bytes())
        self.definitions = saved.meta_graphs[0].signature_def

    def run(self, signature, inputs, fill_in=True):
        """Runs a signature. gRPC fills in defaults, the REST API does not."""
        definition = self.definitions[signature]
        unknown = set(inputs) - set(definition.inputs)
        if unknown:
            raise ValueError(f"unknown inputs: {sorted(unknown)}")
        complete = {
            name: tf.constant(tf.make_ndarray(value))
            for name, value in definition.defaults.items()
            if fill_in
        }
        for name, value in inputs.items():
            dtype = tf.dtypes.as_dtype(definition.inputs[name].dtype)
            complete[name] = tf.constant(value, dtype)
        missing = set(definition.inputs) - set(complete)
        if missing:
            raise ValueError(f"Missing named input: {sorted(missing)}")
        return self.loaded.signatures[signature](**complete)


class Predictor(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, served):
        self.served = served

    def Predict(self, request, context):
        if request.model_spec.name != self.served.name:
            context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found")
        signature = request.model_spec.signature_name or "serving_default"
        inputs = {name: tf.make_ndarray(v) for name, v in request.inputs.items()}
        try:
            outputs = self.served.run(signature, inputs)
        except (ValueError, tf.errors.OpError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        response = predict_pb2.PredictResponse()
        for name, value in outputs.items():
            if not request.output_filter or name in request.output_filter:
                response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


def decoded(value):
    """JSON with each {"b64": ...} replaced by its bytes."""
    if isinstance(value, dict) and set(value) == {"b64"}:
        return base64.b64decode(value["b64"])
    if isinstance(value, list):
        return [decoded(item) for item in value]
    return value


def encoded(value):
    """An output as JSON: strings as text."""
    array = np.asarray(value)
    if array.dtype == object:
        return np.vectorize(bytes.decode, otypes=[object])(array).tolist()
    return array.tolist()


def handler(served):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != f"/v1/models/{served.name}:predict":
                return self.answer(404, {"error": "Servable not found"})
            inputs = {k: decoded(v) for k, v in body["inputs"].items()}
            try:
                outputs = served.run(
                    body.get("signature_name", "serving_default"),
                    inputs,
                    fill_in=False,
                )
            except (ValueError, tf.errors.OpError) as error:
                return self.answer(400, {"error": str(error)})
            return self.answer(
                200, {"outputs": {k: encoded(v) for k, v in outputs.items()}}
            )

        def answer(self, status, content):
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    return Handler


@contextmanager
def serving(path, name="birds"):
    """Serves a SavedModel on two free ports; gives (REST url, gRPC address)."""
    served = Served(path, name)
    server = grpc.server(futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Predictor(served), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    rest = ThreadingHTTPServer(("127.0.0.1", 0), handler(served))
    thread = threading.Thread(target=rest.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{rest.server_port}", f"127.0.0.1:{port}"
    finally:
        rest.shutdown()
        rest.server_close()
        thread.join()
        server.stop(None).wait()
