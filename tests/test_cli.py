"""The command line: what it says, and what it refuses."""

import argparse
import dataclasses
from urllib.error import URLError

import pytest
from PIL import Image

import keras_wsol
from keras_wsol import data, models, training
from keras_wsol.cli import command_line
from keras_wsol.cli.command_line import COMMANDS, INTERRUPTED, build_parser
from keras_wsol.cli.shared_arguments import (
    count,
    positive,
    probability,
    say_left_out,
    share,
)
from tests.cli.calling import call


def subparsers():
    actions = build_parser()._actions
    return next(a for a in actions if isinstance(a, argparse._SubParsersAction)).choices


# --- help


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_says_what_it_does_and_a_call_that_parses(name):
    shown = call(name, "--help")
    assert (shown.status, shown.err) == (0, "")
    assert shown.out.startswith(f"usage: keras-wsol {name} ")
    assert COMMANDS[name][0].__doc__.splitlines()[0] in shown.out
    example = shown.out.split("Example:\n")[1].split("\n\n")[0]
    assert example.split()[:2] == ["keras-wsol", name]
    known = subparsers()[name]._option_string_actions
    used = [word for word in example.split() if word.startswith("--")]
    needed = {action.option_strings[0] for action in known.values() if action.required}
    assert needed <= set(used) <= set(known)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_names_each_default(name):
    for action in subparsers()[name]._actions:
        if action.required or action.nargs == 0:
            continue
        told = action.help.split("(default: ")[1]
        has_one = action.default not in (None, argparse.SUPPRESS)
        assert (told == "%(default)s)") is has_one, action.option_strings


def test_general_help_lists_the_commands_and_version_is_that_of_the_package():
    shown = call("--help").out
    assert all(f"{name} " in shown or f"{name}\n" in shown for name in COMMANDS)
    assert call("--version").out == f"keras-wsol {keras_wsol.__version__}\n"
    names = "train boxes evaluate localize compare export"
    assert list(COMMANDS) == names.split()


def test_help_names_the_argument_in_python():
    for name in ("train", "boxes"):
        shown = " ".join(call(name, "--help").out.split())
        assert 'in Python, backbone_options={"alpha": ...}' in shown
    assert "`--alpha`" in models.build_classifier.__doc__


@pytest.mark.parametrize(("count", "said"), [(1, "1 file"), (2, "2 files")])
def test_one_file_is_no_files(count, said, capsys):
    left_out = tuple((f"{n}.jpg", "broken") for n in range(count))
    images = data.synthetic(num_images=2, num_classes=2, image_size=32)
    say_left_out("list", dataclasses.replace(images, left_out=left_out))
    assert (
        capsys.readouterr().err == f"Left out {said} that cannot be read; see list.\n"
    )


def test_names_in_the_help_are_those_of_the_tables():
    choices = {a.dest: a.choices for a in subparsers()["train"]._actions}
    assert choices["backbone"] == list(models.BACKBONES)
    assert choices["method"] == list(models.METHODS)
    assert choices["recipe"] == list(training.RECIPES)


# --- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "required: COMMAND"),
        ("dream", "invalid choice: 'dream'"),
        ("train --out x", "required: --data"),
        ("train --data nowhere", "--data: must exist. Nothing is at: nowhere"),
        ("train --weights no.h5", "--weights: must exist. Nothing is at: no.h5"),
        ("train --epochs 0", "--epochs: must be an integer of at least 1. Rec"),
        ("train --method magic", "--method: invalid choice: 'magic' (choose"),
        (
            "train --recipe adl-vgg16",
            "choice: 'adl-vgg16'. Did you mean 'adl-vgg16-cub",
        ),
        ("localize --images a.jpg", "--images: must exist. Nothing is at: a.jpg"),
        ("localize --cam-threshold 1", "--cam-threshold: must be a number in [0, 1)."),
    ],
)
def test_wrong_arguments(arguments, message):
    shown = call(*arguments.split())
    assert (shown.status, shown.out) == (2, "")
    assert message in shown.err


@pytest.mark.parametrize("text", ["-1", "1", "nan", "many", ""])
def test_numbers_out_of_range(text):
    assert (probability("0"), probability("1")) == (0, 1)
    with pytest.raises(argparse.ArgumentTypeError, match=r"in \[0, 1\]\."):
        probability(text.replace("1", "1.0001"))
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


@pytest.fixture
def failing(monkeypatch):
    """Puts a command in place that raises what it is given."""

    def put(error):
        def run(_):
            raise error

        run.__doc__ = "Fails."
        monkeypatch.setitem(COMMANDS, "fail", (run, lambda add: None))

    return put


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("`min_score` must be\n  small."), "`min_score` must be small."),
        (FileNotFoundError(2, "No such file", "x"), "[Errno 2] No such file: 'x'"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (RuntimeError(), "RuntimeError"),
        (ImportError("needs tf2onnx"), "needs tf2onnx"),
        (
            MemoryError("Unable to allocate 512. PiB"),
            "out of memory (Unable to allocate 512. PiB); a smaller --batch-size needs "
            "less",
        ),
    ],
)
def test_an_error_of_the_library_is_one_line(failing, error, line):
    failing(error)
    shown = call("fail")
    assert (shown.status, shown.out) == (2, "")
    assert shown.err == f"keras-wsol: error: {line}\n"


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


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            "`map_size` must be 14. Received: map_size=15.",
            "--map-size must be 14. Rece",
        ),
        ("Received: map_size=15.", "Received: --map-size 15."),
        ("Pass `overwrite=True`.", "Pass --overwrite."),
        ("`path` must end in x", "--out must end in x"),
        ("For `class_ids='known'`,", "For --class-ids known,"),
        ("for format='coco'.", "for --format coco."),
        ("Received: class_ids=('a',).", "Received: class_ids=('a',)."),
        ("in `paths` x=3 `overwriting`", "in `paths` x=3 `overwriting`"),
        ("Received: [PosixPath('/a b'), 3].", "Received: ['/a b', 3]."),
    ],
)
def test_an_error_speaks_of_options(message, said):
    names = {"map_size", "overwrite", "out", "class_ids", "format"}
    assert command_line._in_options(message, names).startswith(said)


def test_an_error_speaks_of_the_options_of_its_command(tmp_path):
    Image.new("RGB", (5, 4)).save(tmp_path / "a.png")
    words = ("--images", tmp_path / "a.png", "--out", tmp_path / "b.csv")
    shown = call("boxes", *words)
    assert f"--out must end in '.json' for --format coco. Received: {words[3]}" in (
        shown.err
    )


@pytest.mark.parametrize("error", [KeyError("x"), AssertionError(), Exception("what?")])
def test_a_bug_keeps_its_traceback(failing, error):
    failing(error)
    with pytest.raises(type(error)):
        call("fail")


@pytest.mark.parametrize("arguments", [["--debug", "fail"], ["fail", "--debug"]])
def test_debug_keeps_every_traceback(failing, arguments):
    failing(ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        call(*arguments)


def test_interrupted_it_says_how_to_go_on(failing):
    failing(KeyboardInterrupt())
    shown = call("fail")
    assert shown.status == 130
    assert shown.err == f"{INTERRUPTED}\n"
    assert "goes on where it was (train, localize)" in shown.err.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evaluate --data {d} --out {d}", "A folder needs --boxes; CUB has its own"),
        (
            "evaluate --dataset cub --only-val --data {d} --out {d}",
            "and no --only-val.",
        ),
        ("export --out {d}", "exists: choose another --out, or --overwrite"),
        (
            "export --out {d} --format onnx --overwrite",
            "is a folder, so it is not replaced",
        ),
        ("export --out {d}/x --report {d}/model.keras", "must be a report.json"),
        ("export --out {d}/x", "model.keras"),
        ("localize --images {d}/a.png --out {d}/x.csv", "model.keras"),
        ("localize --images {d}/a.png --out {d}/x.json", "must end in '.csv'"),
        ("localize --images {d}/a.png --out {d}/x.csv --overwrite", "model.keras"),
        (
            "localize --images {d}/a.png --out {d} --format yolo --overwrite",
            "does not hold our labels",
        ),
    ],
)
def test_what_is_refused_in_one_line(tmp_path, arguments, message):
    Image.new("RGB", (5, 4)).save(tmp_path / "a.png")
    model = tmp_path / "model.keras"
    model.write_text("not a model")
    shown = call(*arguments.format(d=tmp_path).split(), "--model", model)
    assert shown.status == 2
    assert shown.err.startswith("keras-wsol: error: ")
    assert shown.err.count("\n") == 1
    assert message in shown.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "model.keras"]
