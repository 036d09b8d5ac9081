"""One classifier with DGDM, exported once: its signatures against the Python model."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.export import export_saved_model
from keras_wsol.models import Localizer
from tests.contracts.saved_graph import operations, random_operations
from tests.export.encoded import broken, encode, jpegs, lossless
from tests.models.painted import blob_images
from tests.models.small import draw_weights, random_images, small_classifier

pytestmark = [
    pytest.mark.export,
    pytest.mark.skipif(
        keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's"
    ),
]

SIZE = (64, 96)
TOP_K, MAX_BOXES = 2, 3
NAMES = ("wren", "tern", "kite", "ibis", "auk")
DTYPES = {
    "boxes": "float32",
    "class_ids": "int32",
    "class_names": "string",
    "component_boxes": "float32",
    "component_scores": "float32",
    "num_components": "int32",
    "score_maps": "float32",
    "scores": "float32",
    "valid": "bool",
}
SHAPES = {
    "boxes": (TOP_K, 4),
    "class_ids": (TOP_K,),
    "class_names": (TOP_K,),
    "component_boxes": (TOP_K, MAX_BOXES, 4),
    "component_scores": (TOP_K, MAX_BOXES),
    "num_components": (TOP_K,),
    "score_maps": (TOP_K, *SIZE),
    "scores": (TOP_K,),
    "valid": (TOP_K,),
}
SIGNATURES = ("serve_bytes", "serve_uint8", "serving_default")


@pytest.fixture(scope="module")
def localizer():
    model = small_classifier("mobilenet", "dgdm", class_names=NAMES)
    draw_weights(model)
    return Localizer(model, cam_threshold=0.4, top_k=TOP_K, max_boxes=MAX_BOXES)


@pytest.fixture(scope="module")
def saved(localizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "birds" / "1"
    assert export_saved_model(localizer, path) == path
    return path


@pytest.fixture(scope="module")
def signatures(saved):
    import tensorflow as tf

    return tf.saved_model.load(saved).signatures


def to_numpy(outputs):
    return {name: ops.convert_to_numpy(value) for name, value in outputs.items()}


def python_outputs(localizer, images):
    """What the Python model says, and the names of the classes."""
    found = to_numpy(localizer(images))
    found["class_names"] = np.array(NAMES, "S")[found["class_ids"]]
    return found


def check(found, expected):
    assert sorted(found) == sorted(DTYPES) == sorted(expected)
    for name, value in found.items():
        if value.dtype.kind == "f":
            # Graph and eager kernels add up in different orders.
            tolerance = 2e-2 if "boxes" in name else 1e-4
            np.testing.assert_allclose(
                value, expected[name], atol=tolerance, rtol=1e-4, err_msg=name
            )
        else:
            np.testing.assert_array_equal(
                value.astype(expected[name].dtype), expected[name], err_msg=name
            )


def from_bytes(signatures, files):
    import tensorflow as tf

    return {
        name: value.numpy()
        for name, value in signatures["serve_bytes"](
            image_bytes=tf.constant(files, tf.string, (len(files),))
        ).items()
    }


# Batches of each signature; file names of the formats are only for the messages.
FLOATS = {
    "at the input size": random_images(3, SIZE),
    "larger": blob_images(2, (100, 130)).astype("float32"),
    "smaller and higher": blob_images(1, (50, 30)).astype("float32"),
}
BYTES = {name: images.astype("uint8") for name, images in FLOATS.items()}
PICTURE = blob_images(1, (75, 110), seed=5)[0]
LOSSLESS = lossless(PICTURE)


@pytest.fixture(scope="module")
def fresh(saved, tmp_path_factory):
    """Everything that is asked of a process without our package, in one process."""
    folder = tmp_path_factory.mktemp("fresh")
    inputs = {f"serving_default/{case}": value for case, value in FLOATS.items()}
    inputs |= {f"serve_uint8/{case}": value for case, value in BYTES.items()}
    for number, (file, _) in enumerate(LOSSLESS.values()):
        inputs[f"serve_bytes/formats/{number:02}"] = np.frombuffer(file, "uint8")
    np.savez(folder / "in.npz", **inputs)
    script = Path(__file__).with_name("fresh_process.py")
    subprocess.run(
        [sys.executable, "-P", script, saved, folder / "in.npz", folder / "out.npz"],
        check=True,
        cwd=folder,
        capture_output=True,
        timeout=300,
    )
    with np.load(folder / "out.npz") as arrays:
        return dict(arrays)


def outputs_of(fresh, signature, case):
    start = f"{signature}/{case}/"
    return {
        key.removeprefix(start): value
        for key, value in fresh.items()
        if key.startswith(start)
    }


@pytest.mark.parametrize("case", list(FLOATS))
def test_float_images_in_a_fresh_process(case, fresh, localizer):
    found = outputs_of(fresh, "serving_default", case)
    check(found, python_outputs(localizer, FLOATS[case]))


@pytest.mark.parametrize("case", list(BYTES))
def test_uint8_images_in_a_fresh_process(case, fresh, localizer):
    found = outputs_of(fresh, "serve_uint8", case)
    check(found, python_outputs(localizer, BYTES[case]))


def test_files_of_every_format_and_size_in_one_batch(fresh, localizer):
    found = outputs_of(fresh, "serve_bytes", "formats")
    each = [python_outputs(localizer, image[None]) for _, image in LOSSLESS.values()]
    assert len({image.shape for _, image in LOSSLESS.values()}) > 2
    expected = {name: np.concatenate([x[name] for x in each]) for name in DTYPES}
    assert expected["valid"].all()
    check(found, expected)


def test_jpegs(signatures, localizer):
    import tensorflow as tf

    files = jpegs(PICTURE)
    found = from_bytes(signatures, list(files.values()))
    # A decoder may differ by a rounding: TensorFlow's own is the reference.
    images = [tf.io.decode_jpeg(file, channels=3).numpy() for file in files.values()]
    each = [python_outputs(localizer, image[None]) for image in images]
    check(found, {name: np.concatenate([x[name] for x in each]) for name in DTYPES})


def test_signatures_of_the_contract(signatures):
    threshold = {"cam_threshold": ("float32", ())}
    taken = {
        name: {
            key: (spec.dtype.name, tuple(spec.shape))
            for key, spec in signatures[name].structured_input_signature[1].items()
        }
        for name in signatures
    }
    assert taken == {
        "serving_default": {"images": ("float32", (None, None, None, 3))},
        "serve_uint8": {"images": ("uint8", (None, None, None, 3))},
        "serve_bytes": {"image_bytes": ("string", (None,))},
        "localize": {"images": ("float32", (None, None, None, 3)), **threshold},
        "localize_bytes": {"image_bytes": ("string", (None,)), **threshold},
    }
    for name in signatures:
        given = signatures[name].structured_outputs
        assert {k: v.dtype.name for k, v in given.items()} == DTYPES
        for key, spec in given.items():
            assert spec.shape.rank == 1 + len(SHAPES[key])


@pytest.mark.parametrize("kind", list(broken(PICTURE)))
def test_an_unreadable_file_leaves_the_others_untouched(kind, signatures):
    good = [encode(image, "PNG") for image in blob_images(3, (40, 70), seed=6)]
    bad = broken(PICTURE)[kind]
    expected = from_bytes(signatures, good)
    found = from_bytes(signatures, [good[0], bad, *good[1:], bad])
    for name, values in found.items():
        np.testing.assert_array_equal(values[[0, 2, 3]], expected[name], err_msg=name)
        nothing = b"" if name == "class_names" else 0
        assert (values[[1, 4]] == nothing).all(), name
    assert found["valid"].any(axis=1).tolist() == [True, False, True, True, False]


def test_files_of_which_none_can_be_read(signatures):
    found = from_bytes(signatures, [b"", b"?"])
    assert found["score_maps"].shape == (2, *SHAPES["score_maps"])
    assert not found["score_maps"].any()
    assert not found["valid"].any()


@pytest.mark.parametrize("signature", SIGNATURES)
def test_an_empty_batch_gives_empty_outputs(signature, signatures):
    import tensorflow as tf

    empty = {
        "serve_bytes": tf.zeros((0,), tf.string),
        "serve_uint8": tf.zeros((0, 50, 70, 3), tf.uint8),
        "serving_default": tf.zeros((0, *SIZE, 3)),
    }[signature]
    name = "image_bytes" if signature == "serve_bytes" else "images"
    found = signatures[signature](**{name: empty})
    assert {k: tuple(v.shape) for k, v in found.items()} == {
        k: (0, *shape) for k, shape in SHAPES.items()
    }


def test_the_batch_does_not_matter(signatures):
    images = blob_images(5, (50, 70), seed=7)
    import tensorflow as tf

    together = signatures["serve_uint8"](images=tf.constant(images))
    alone = signatures["serve_uint8"](images=tf.constant(images[3:4]))
    for name in ("class_ids", "class_names"):
        np.testing.assert_array_equal(together[name][3:4], alone[name])
    np.testing.assert_allclose(together["scores"][3:4], alone["scores"], rtol=1e-4)


def test_nothing_calls_python_or_draws(saved):
    found = operations(saved)
    # Else the listing would have missed the functions that do the work.
    assert {"DepthwiseConv2dNative", "DecodeImage", "ScaleAndTranslate"} <= found
    assert not {name for name in found if "PyFunc" in name}
    assert random_operations(saved) == set()


def test_it_holds_every_weight_once(saved, localizer):
    # `keras.export.ExportArchive` writes each twice; `tf.saved_model.save` does not.
    weights = 4 * sum(int(np.prod(w.shape)) for w in localizer.model.weights)
    files = [x for x in (saved / "variables").iterdir() if ".data-" in x.name]
    size = sum(file.stat().st_size for file in files)
    assert weights <= size < 1.2 * weights
