"""`examples/serving/bento_service.py`, started on this machine and asked for boxes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import bentoml
import numpy as np

from tests.extras.saved_birds import encoded_images, expected, exported

EXAMPLES = Path(__file__).parents[2] / "examples" / "serving"


def test_boxes_of_posted_images(tmp_path):
    _, saved = exported(tmp_path, top_k=2)
    files = encoded_images()
    paths = [tmp_path / name for name in files]
    for path in paths:
        path.write_bytes(files[path.name])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "bentoml", "serve", "bento_service:Boxes"]
    own = {"SAVED_MODEL": str(saved), "BENTOML_HOME": str(tmp_path / "bento")}
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", port],
        cwd=EXAMPLES,
        env={**os.environ, **own, "BENTOML_DO_NOT_TRACK": "true"},
    )
    try:
        url = f"http://127.0.0.1:{port}"
        with bentoml.SyncHTTPClient(url, server_ready_timeout=120) as client:
            found = client.localize(images=paths)
    finally:
        server.terminate()
        server.wait(60)
    reference = expected(saved, files)
    assert len(found) == 4
    assert found[3] == {"class_ids": [], "scores": [], "boxes": []}
    for index, each in enumerate(found[:3]):
        for name, value in each.items():
            np.testing.assert_allclose(value, reference[name][index], atol=1e-4)
