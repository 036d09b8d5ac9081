"""The command line: what it says, and what it refuses."""

import argparse
import subprocess
import sys
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

import keras_wsol
from keras_wsol import cli, models
from keras_wsol.commands import COMMANDS, train_arguments
from keras_wsol.commands.argument_types import count, positive, share
from keras_wsol.commands.command import Command
from keras_wsol.commands.expected_errors import message_of
from tests.commands.calling import call


def subparsers():
    actions = cli.build_parser()._actions
    return next(a for a in actions if isinstance(a, argparse._SubParsersAction)).choices


# --- help


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_says_what_it_does_first_and_ends_with_a_call_that_parses(name):
    shown = call(name, "--help")
    usage, description, *_ = shown.out.split("\n\n")
    assert (shown.status, shown.err) == (0, "")
    assert usage.startswith(f"usage: keras-wsol {name} ")
    assert "\n" not in usage
    assert description.startswith(COMMANDS[name].description.split(".")[0])
    ending = shown.out.split("example:\n")[1]
    assert ending.split()[:2] == ["keras-wsol", name]
    known = subparsers()[name]._option_string_actions
    used = [word for word in ending.split() if word.startswith("--")]
    needed = {action.option_strings[0] for action in known.values() if action.required}
    assert needed <= set(used) <= set(known)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_names_each_default(name):
    for action in subparsers()[name]._actions:
        if action.required or action.nargs == 0:
            continue
        if action.default is None:
            assert "(default: " in action.help, action.option_strings
        else:
            assert "(default: %(default)s)" in action.help, action.option_strings


def test_general_help_lists_the_commands_and_version_is_that_of_the_package():
    shown = call("--help").out
    assert all(f"{name} " in shown or f"{name}\n" in shown for name in COMMANDS)
    assert call("--version").out == f"keras-wsol {keras_wsol.__version__}\n"


def test_names_in_the_help_are_those_of_the_tables():
    assert tuple(models.BACKBONES) == train_arguments.BACKBONES
    assert tuple(models.METHODS) == train_arguments.METHODS
    shown = " ".join(call("train", "--help").out.split())
    assert all(name in shown for name in (*models.BACKBONES, *models.METHODS))


# --- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["dream"], "invalid choice: 'dream'"),
        (["train", "--out", "x"], "required: --data"),
        (
            ["train", "--data", "nowhere"],
            "--data: must be a folder. Nothing is at: now",
        ),
        (
            ["train", "--weights", "no.h5"],
            "--weights: must be a file. No file is at: n",
        ),
        (["train", "--epochs", "0"], "--epochs: must be an integer of at least 1. Rec"),
        (["train", "--method", "magic"], "--method: invalid choice: 'magic'"),
        (["localize", "--images", "a.jpg"], "--images: must be a file. No file is at"),
        (
            ["localize", "--cam-threshold", "1"],
            "--cam-threshold: must be a number in [0",
        ),
    ],
)
def test_wrong_arguments(arguments, message):
    shown = call(*arguments)
    assert (shown.status, shown.out) == (2, "")
    assert message in shown.err


@pytest.mark.parametrize("text", ["-1", "1", "nan", "many", ""])
def test_share_takes_numbers_in_0_to_1_alone(text):
    assert (share("0"), share("0.99"), count("3"), positive("1e-4")) == (
        0,
        0.99,
        3,
        1e-4,
    )
    with pytest.raises(argparse.ArgumentTypeError, match=r"in \[0, 1\)"):
        share(text)
    with pytest.raises(argparse.ArgumentTypeError, match="at least 1"):
        count(text.replace("1", "0.5"))
    with pytest.raises(argparse.ArgumentTypeError, match="above 0"):
        positive(text.replace("1", "inf"))


def test_an_error_before_keras_is_needed_comes_at_once_in_one_line(tmp_path):
    (tmp_path / "images").mkdir()
    arguments = ["train", "--data", str(tmp_path / "images"), "--out", "x"]
    code = (
        f"import sys; from keras_wsol.cli import main; status = main({arguments}); "
        "assert 'keras' not in sys.modules; sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"keras-wsol: error: {tmp_path / 'images'} must hold")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def failing(monkeypatch):
    """Puts a command in place that raises what it is given."""

    def put(error):
        def run(_):
            raise error

        words = dict.fromkeys(("summary", "usage", "description", "example"), "")
        command = Command(
            **words,
            interrupted="Go on.",
            add_arguments=lambda parser: parser.add_argument("--min-score"),
            run=run,
        )
        monkeypatch.setitem(COMMANDS, "fail", command)

    return put


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("`min_score` must be\n  small."), "--min-score must be small."),
        (TypeError("`other` is text."), "`other` is text."),
        (
            FileExistsError("x exists, pass `min_score=True`."),
            "x exists, pass --min-score.",
        ),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (RuntimeError(), "RuntimeError"),
        (ImportError("needs tf2onnx"), "needs tf2onnx"),
    ],
)
def test_an_error_of_the_library_is_one_line(failing, error, line):
    failing(error)
    shown = call("fail")
    assert (shown.status, shown.out) == (2, "")
    assert shown.err == f"keras-wsol: error: {line}\n"


def test_memory_that_is_out_is_one_line(failing):
    failing(MemoryError())
    assert call("fail").err == "keras-wsol: error: out of memory (MemoryError)\n"
    with pytest.raises(MemoryError) as raised:
        np.zeros((2**28, 2**28))
    said = message_of(raised.value, argparse.Namespace(batch_size=32))
    assert said.startswith("out of memory (Unable to allocate 512. PiB for an array")
    assert said.endswith("); a smaller --batch-size needs less")


# As TensorFlow 2.21 says it after ten seconds of waiting for memory.
OUT_OF_MEMORY = """Graph execution error:

Detected at node zeros defined at (most recent call last):
  File "/home/me/fit.py", line 8, in <module>

  File "/home/me/fit.py", line 6, in f

OOM when allocating tensor with shape[9,9] and type float by allocator mklcpu
\t [[{{node zeros}}]]
Hint: If you want to see a list of allocated tensors when OOM happens, add this.
 [Op:__inference_f_11]"""


def failed_operations(tf):
    """Name to what raises an error, and how the line begins."""
    unknown = "Unknown image file format. One of JPEG"
    decode = tf.function(lambda file: tf.io.decode_jpeg(file))

    def memory():
        raise tf.errors.ResourceExhaustedError(None, None, OUT_OF_MEMORY)

    return {
        "eager": (lambda: tf.io.decode_image(b"xx"), unknown),
        "graph": (lambda: decode(tf.constant(b"xx")), unknown),
        "file": (lambda: tf.io.read_file("/nope"), "/nope; No such file or directory"),
        "memory": (memory, "out of memory (OOM when allocating tensor with shape[9,9]"),
    }


@pytest.mark.parametrize("name", ["eager", "graph", "file", "memory"])
def test_an_error_of_tensorflow_is_one_short_line(failing, name):
    tf = pytest.importorskip("tensorflow")
    fail, said = failed_operations(tf)[name]
    with pytest.raises(tf.errors.OpError) as raised:
        fail()
    failing(raised.value)
    shown = call("fail")
    assert (shown.status, shown.out) == (2, "")
    assert shown.err.startswith(f"keras-wsol: error: {said}")
    assert shown.err.count("\n") == 1
    assert len(shown.err) < 250
    assert "{" not in shown.err
    assert "[Op" not in shown.err


def test_a_download_that_fails_is_no_bug(failing):
    failed = Exception("URL fetch failure on https://example.org")
    failed.__context__ = URLError("no network")
    failing(failed)
    assert call("fail").err.startswith("keras-wsol: error: URL fetch failure")


@pytest.mark.parametrize("error", [KeyError("x"), AssertionError(), Exception("what?")])
def test_a_bug_keeps_its_traceback(failing, error):
    failing(error)
    with pytest.raises(type(error)):
        call("fail")


def test_debug_keeps_every_traceback(failing, monkeypatch):
    failing(ValueError("wrong"))
    for arguments in (["--debug", "fail"], ["fail", "--debug"]):
        with pytest.raises(ValueError, match="wrong"):
            call(*arguments)
    monkeypatch.setenv("KERAS_WSOL_DEBUG", "1")
    with pytest.raises(ValueError, match="wrong"):
        call("fail")


def test_interrupted_it_says_how_to_go_on(failing):
    failing(KeyboardInterrupt())
    shown = call("fail")
    assert shown.status == 130
    assert shown.err == "\nkeras-wsol: interrupted. Go on.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "localize --images {d} --out {d}",
            "exists. Choose another --out, or pass --ov",
        ),
        (
            "localize --images {d} --out {d}/x.json",
            "--out must end in .csv for --format",
        ),
        ("evaluate --data {d} --out {d}", "has no boxes: pass --boxes CSV."),
        (
            "evaluate --dataset cub --only-val --data {d} --out {d}",
            "for --dataset folder",
        ),
        ("export --out {d}", "exists. Choose another --out, or pass --overwrite"),
        (
            "export --out {d} --overwrite",
            "is no saved_model model, so it is not replaced",
        ),
        (
            "export --out {d} --format onnx --overwrite",
            "is no onnx model, so it is not",
        ),
        ("export --out {d}/x --report {d}/model.keras", "must be a report.json"),
        (
            "export --out {d}/x --format onnx --features",
            "--max-pixels are for --format saved_model. Received: --format onnx.",
        ),
    ],
)
def test_what_can_be_told_without_a_model(tmp_path, arguments, message):
    model = tmp_path / "model.keras"
    model.touch()
    words = arguments.format(d=tmp_path).split()
    shown = call(*words, "--model", model)
    assert shown.status == 2
    assert message in shown.err
    assert "Loading" not in shown.err
    assert model.exists()


def test_a_file_that_is_no_model(tmp_path):
    Image.new("RGB", (5, 4)).save(tmp_path / "a.png")
    (tmp_path / "model.keras").write_text("not a model")
    shown = call(
        *("localize", "--model", tmp_path / "model.keras"),
        *("--images", tmp_path / "a.png", "--out", tmp_path / "x.csv"),
    )
    assert shown.status == 2
    loading, error, end = shown.err.split("\n")
    assert (loading, end) == ("Loading Keras ...", "")
    assert error.startswith("keras-wsol: error: ")
    assert "model.keras" in error
    assert not (tmp_path / "x.csv").exists()
