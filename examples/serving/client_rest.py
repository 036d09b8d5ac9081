"""Asks TensorFlow Serving for the boxes in image files, over REST.

    python client_rest.py bird.jpg other.png
    python client_rest.py --url http://localhost:8501 --model birds bird.jpg

Needs nothing but Python. The answer holds the score maps too, about 1 MB of JSON an
image at 224x224; the gRPC client asks for the boxes alone.
"""

import argparse
import base64
import json
import urllib.error
import urllib.request
from pathlib import Path


def localize(url: str, model: str, contents: list[bytes]) -> dict[str, list]:
    """Sends encoded images and returns the model's outputs by name.

    Args:
        url: Address of the server, such as `http://localhost:8501`.
        model: Name under which the server knows the model.
        contents: Encoded images.

    Returns:
        Output name to one entry an image.

    Raises:
        RuntimeError: The server refused the request; with its own words.
    """
    # Bytes travel as base64 in an object with the single key "b64".
    images = [{"b64": base64.b64encode(content).decode()} for content in contents]
    body = {"signature_name": "serve_bytes", "inputs": {"image_bytes": images}}
    request = urllib.request.Request(
        f"{url}/v1/models/{model}:predict",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)["outputs"]
    except urllib.error.HTTPError as error:
        answer = error.read().decode()
        raise RuntimeError(f"{url} answered {error.code}: {answer}") from error


def main() -> None:
    """Reads the command line and prints a line for each file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--url", default="http://localhost:8501")
    parser.add_argument("--model", default="birds")
    options = parser.parse_args()
    found = localize(
        options.url, options.model, [path.read_bytes() for path in options.images]
    )
    for index, path in enumerate(options.images):
        if not found["valid"][index][0]:
            print(f"{path}\tunreadable")
            continue
        box = "\t".join(f"{edge:.3f}" for edge in found["boxes"][index][0])
        score = found["scores"][index][0]
        print(f"{path}\t{found['class_ids'][index][0]}\t{score:.6f}\t{box}")


if __name__ == "__main__":
    main()
