"""The clients of `examples/serving` against a server on this machine."""

import importlib.util
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tests.extras.loopback_serving import Served, serving
from tests.extras.saved_birds import encoded_images, expected, exported

EXAMPLES = Path(__file__).parents[2] / "examples" / "serving"


def client(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("serving"))[1]


@pytest.fixture(scope="module")
def addresses(saved):
    with serving(saved) as served:
        yield served


FILES = encoded_images()


def test_rest_client(saved, addresses):
    found = client("client_rest").localize(addresses[0], "birds", list(FILES.values()))
    reference = expected(saved, FILES)
    assert np.array(found["valid"]).tolist() == [[True], [True], [True], [False]]
    for name in ("class_ids", "scores", "boxes", "score_maps"):
        np.testing.assert_allclose(found[name], reference[name], rtol=1e-6)
    assert found["class_names"][3] == [""]


def test_rest_wants_every_input(addresses):
    body = {"signature_name": "localize_bytes", "inputs": {"image_bytes": []}}
    request = urllib.request.Request(
        f"{addresses[0]}/v1/models/birds:predict", data=json.dumps(body).encode()
    )
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request, timeout=60)


def test_rest_client_repeats_the_words_of_the_server(addresses):
    with pytest.raises(RuntimeError, match=r"404.*Servable not found"):
        client("client_rest").localize(addresses[0], "cats", list(FILES.values()))


def test_grpc_client_gets_no_score_maps(saved, addresses):
    with grpc.insecure_channel(addresses[1]) as channel:
        found = client("client_grpc").localize(channel, "birds", list(FILES.values()))
    assert sorted(found) == ["boxes", "class_ids", "scores", "valid"]
    reference = expected(saved, FILES)
    for name, value in found.items():
        np.testing.assert_array_equal(value, reference[name])


def test_grpc_client_may_set_the_threshold(saved, addresses):
    contents = list(FILES.values())
    with grpc.insecure_channel(addresses[1]) as channel:
        low, high, own = (
            client("client_grpc").localize(channel, "birds", contents, threshold)
            for threshold in (0.05, 0.9, None)
        )
    reference = expected(saved, FILES, "localize_bytes", cam_threshold=tf.constant(0.9))
    np.testing.assert_array_equal(high["boxes"], reference["boxes"])
    assert not np.array_equal(high["boxes"], low["boxes"])
    np.testing.assert_array_equal(own["boxes"], expected(saved, FILES)["boxes"])


def test_the_threshold_may_be_left_out_by_a_server(saved):
    served = Served(saved, "birds")
    contents = np.array(list(FILES.values()), object)
    found = served.run("localize_bytes", {"image_bytes": contents})
    np.testing.assert_array_equal(found["boxes"], expected(saved, FILES)["boxes"])


@pytest.mark.parametrize("name", ["client_rest", "client_grpc"])
def test_command_lines(name, addresses, tmp_path, monkeypatch, capsys):
    paths = []
    for file, content in FILES.items():
        paths.append(tmp_path / file)
        paths[-1].write_bytes(content)
    flag = "--url" if name == "client_rest" else "--address"
    address = addresses[0] if name == "client_rest" else addresses[1]
    monkeypatch.setattr(sys, "argv", [name, flag, address, *map(str, paths)])
    client(name).main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[3] == f"{paths[3]}\tunreadable"
    assert all(len(line.split("\t")) == 7 for line in lines[:3])


def test_warm_up_requests_are_those_of_tensorflow_serving(saved):
    served = Served(saved, "birds")
    path = client("warm_up").write_warm_up(saved)
    assert path == saved / "assets.extra" / "tf_serving_warmup_requests"
    records = tf.data.TFRecordDataset(str(path))
    signatures = set()
    for record in records:
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        inputs = {name: tf.make_ndarray(v) for name, v in request.inputs.items()}
        outputs = served.run(request.model_spec.signature_name, inputs)
        assert outputs["boxes"].shape == (1, 1, 4)
        signatures.add(request.model_spec.signature_name)
    assert signatures == {"serving_default", "serve_uint8", "serve_bytes"}
