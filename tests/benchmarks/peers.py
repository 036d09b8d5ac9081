"""How long does Grad-CAM take here, and in the libraries that others use?

    KERAS_BACKEND=tensorflow python -m tests.benchmarks.peers --backbone mobilenet \\
        --batches 1 8 --rounds 30 --out results/peers.csv

It needs an environment of its own, with TensorFlow, PyTorch and, beside them, what
`pip install tf-keras-vis grad-cam torchcam torchvision` installs (torchvision of the
build of PyTorch), but for the folder `tests` in its site-packages: that of
tf-keras-vis, which would hide this one.

Everyone has the same network with the same weights, the same images and classes, and
reads the last features. PyTorch's network is built from Keras', layer by layer, and the
logits must agree. Without `--weights`, the weights are random, and batch normalization
has the statistics of the images.

A round is one turn of each, the next round from the second on, and so forth; a turn is
a call that is not timed, for what the turn before left running, and one that is. A
row's ratio is the median over rounds of its time by that of the first row, with the
quartiles beside it. `cpu` is the time of all threads. On a machine that others use, set
OMP_WAIT_POLICY=PASSIVE: PyTorch's threads would spend it waiting for one another. With
`--threads 1`, PyTorch takes a slower way through 1x1 convolutions than with two.
`difference` is the largest one between a map and ours, both scaled to [0, 1], before
they are resized.

What a call returns is not the same. Ours returns class scores, maps of the images' size
and boxes, in a graph or, as tf-keras-vis does its work, without one; or maps alone.
tf-keras-vis, pytorch-grad-cam and the lines by hand return maps of the images' size,
and torch-cam of the size of the features.
"""

import argparse
import csv
import datetime
import os
import shlex
import statistics
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
import pytorch_grad_cam
import tensorflow as tf
import torch
from keras import ops
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.utils.scores import CategoricalScore
from torchcam import methods as torchcam_methods

from keras_wsol.cam import GradCAM
from keras_wsol.cam.score_map import look
from keras_wsol.models import Localizer
from tests.benchmarks.as_torch import AsTorch
from tests.benchmarks.device_steps import device_name
from tests.extras.peer_network import unit

BACKBONES = {
    "mobilenet": (keras.applications.MobileNet, {"alpha": 0.75}),
    "resnet50": (keras.applications.ResNet50, {}),
    "vgg16": (keras.applications.VGG16, {}),
}
CLASSES = 1000
PACKAGES = ("tensorflow", "keras", "torch", "tf-keras-vis", "grad-cam", "torchcam")


def arguments():
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--backbone", choices=BACKBONES, default="mobilenet")
    add("--weights", type=Path, metavar="FILE", help="of the backbone without its top")
    add("--batches", type=int, nargs="+", default=[1, 8], help="images a call")
    add("--size", type=int, default=224, help="side in pixels (%(default)s)")
    add("--rounds", type=int, default=20, help="turns of each (%(default)s)")
    add("--threads", type=int, help="of TensorFlow and of PyTorch; default, their own")
    add("--warm-up", type=int, default=2, help="turns before (%(default)s)")
    add("--out", type=Path, metavar="FILE.csv", help="also write the table here")
    return parser.parse_args()


def classifier(args, images):
    """A flat network: images in [0, 255], features, pooling, logits."""
    keras.utils.set_random_seed(0)
    build, options = BACKBONES[args.backbone]
    inputs = keras.Input((args.size, args.size, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, -1.0)(inputs)
    features = build(
        include_top=False, weights=args.weights, input_tensor=scaled, **options
    ).output
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    model = keras.Model(inputs, keras.layers.Dense(CLASSES, name="logits")(pooled))
    if args.weights is None:
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0
        model(images, training=True)
    return model


def contestants(model, images, class_ids):
    """By name: the call that is timed, and its map before it is resized."""
    layer = model.layers[-3].name
    found = of_keras(model, layer, images, class_ids)
    return found | of_torch(model, layer, images, class_ids)


def of_keras(model, layer, images, class_ids):
    localizer = Localizer(model, score_map=GradCAM())
    shape = tf.TensorSpec((None, *images.shape[1:]), "float32")
    ids = tf.TensorSpec((None,), "int32")

    @tf.function(input_signature=[shape, ids])
    def localize(images, class_ids):
        return localizer(images, class_ids)

    @tf.function(input_signature=[shape, ids])
    def find_maps(images, class_ids):
        return localizer.find_maps(images, class_ids)["score_maps"]

    theirs, score = Gradcam(model), CategoricalScore(class_ids.tolist())
    options = {"penultimate_layer": layer, "seek_penultimate_conv_layer": False}

    def cells():
        evidence = look(localizer.score_map.split(model), images)
        maps = GradCAM().maps(replace(evidence, class_ids=class_ids[:, None]))
        return ops.convert_to_numpy(maps)[:, 0]

    return {
        "keras_wsol, boxes": (
            lambda: {k: v.numpy() for k, v in localize(images, class_ids).items()},
            cells,
        ),
        "keras_wsol, boxes, no graph": (
            lambda: {k: v.numpy() for k, v in localizer(images, class_ids).items()},
            cells,
        ),
        "keras_wsol, maps": (lambda: find_maps(images, class_ids).numpy(), cells),
        "tf-keras-vis": (
            lambda: theirs(score, images, **options),
            lambda: theirs(score, images, expand_cam=False, **options),
        ),
    }


def of_torch(model, layer, images, class_ids):
    inputs = torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1)))
    logits = model.predict_on_batch(images)

    def network():
        """One for each: their hooks stay in it."""
        made = AsTorch(model, layer)
        difference = np.abs(made(inputs).detach().numpy() - logits).max()
        if difference > 1e-4 * np.abs(logits).max():
            raise ValueError(f"The logits are {difference} apart.")
        return made

    last = network().to(memory_format=torch.channels_last)
    return {
        "torch by hand": by_hand(network(), inputs, class_ids),
        "torch by hand, channels last": by_hand(
            last, inputs.contiguous(memory_format=torch.channels_last), class_ids
        ),
        "pytorch-grad-cam": of_grad_cam(network(), layer, inputs, class_ids),
        "torch-cam": of_torchcam(network(), layer, inputs, class_ids),
    }


def by_hand(network, inputs, class_ids):
    chosen = torch.from_numpy(class_ids.astype("int64"))[:, None]

    def call(size=inputs.shape[2:]):
        with torch.no_grad():
            features = network.features(inputs)
        features.requires_grad_(True)
        score = network.logits(features).gather(1, chosen).sum()
        (gradients,) = torch.autograd.grad(score, features)
        with torch.no_grad():
            weights = gradients.mean((2, 3), keepdim=True)
            maps = torch.relu((weights * features).sum(1, keepdim=True))
            maps = torch.nn.functional.interpolate(maps, size, mode="bilinear")
            low, high = maps.amin((2, 3), True), maps.amax((2, 3), True)
            return ((maps - low) / (high - low))[:, 0].numpy()

    return call, lambda: call(network.features(inputs).shape[2:])


def of_grad_cam(network, layer, inputs, class_ids):
    part = network.parts[layer]
    targets = [ClassifierOutputTarget(each) for each in class_ids]
    method = pytorch_grad_cam.GradCAM(network, [part])

    def cells():
        method(inputs, targets)
        held = method.activations_and_grads
        both = (held.activations[0].numpy(), held.gradients[0].numpy())
        return np.maximum(method.get_cam_image(inputs, part, targets, *both), 0)

    return lambda: method(inputs, targets), cells


def of_torchcam(network, layer, inputs, class_ids):
    method = torchcam_methods.GradCAM(network, network.parts[layer])

    def call():
        (maps,) = method(class_ids.tolist(), network(inputs))
        return maps.numpy()

    return call, call


def measure(args, batch):
    """Returns milliseconds an image of each one's turns, and differences, by name."""
    size = (batch, args.size, args.size, 3)
    images = np.random.default_rng(0).uniform(0, 255, size).astype("float32")
    model = classifier(args, images)
    class_ids = model.predict_on_batch(images).argmax(axis=1).astype("int32")
    found = contestants(model, images, class_ids)
    names, times = list(found), {name: [] for name in found}
    maps = {name: unit(cells()) for name, (_, cells) in found.items()}
    differences = {name: np.abs(maps[name] - maps[names[0]]).max() for name in names}
    for turn in range(args.warm_up + args.rounds):
        for shift in range(len(names)):
            name = names[(turn + shift) % len(names)]
            call = found[name][0]
            call()
            start, cpu_start = time.perf_counter(), time.process_time()
            call()
            took = time.perf_counter() - start, time.process_time() - cpu_start
            if turn >= args.warm_up:
                times[name].append([1e3 * each / batch for each in took])
    return times, differences


def rows_of(args, batch):
    before = os.getloadavg()[0]
    times, differences = measure(args, batch)
    command = ["python", "-m", "tests.benchmarks.peers", *sys.argv[1:]]
    if args.weights:
        command = [str(each).replace(str(args.weights), "FILE") for each in command]
    first, *_ = times.values()
    if policy := os.environ.get("OMP_WAIT_POLICY"):
        command.insert(0, f"OMP_WAIT_POLICY={policy}")
    for name, turns in times.items():
        wall, cpu = map(statistics.median, zip(*turns, strict=True))
        ratios = [
            [own / other for own, other in zip(*both, strict=True)]
            for both in zip(turns, first, strict=True)
        ]
        ratio, cpu_ratio = zip(*ratios, strict=True)
        quartiles = statistics.quantiles(ratio, n=4)
        row = {
            "what": name,
            "milliseconds_an_image": round(wall, 2),
            "ratio": round(statistics.median(ratio), 3),
            "ratio_quartiles": f"{quartiles[0]:.3f}-{quartiles[2]:.3f}",
            "cpu_milliseconds_an_image": round(cpu, 2),
            "cpu_ratio": round(statistics.median(cpu_ratio), 3),
            "difference": f"{differences[name]:.1e}",
            "backbone": args.backbone,
            "weights": args.weights.name if args.weights else "random",
            "batch": batch,
            "size": args.size,
            "rounds": args.rounds,
            "threads": args.threads or "default",
            "load_before": round(before, 1),
            "device": device_name(),
            "versions": ", ".join(f"{each} {version(each)}" for each in PACKAGES),
            "date": datetime.date.today().isoformat(),
            "command": shlex.join(command),
        }
        print(*list(row.values())[:7], flush=True)
        yield row


def main():
    args = arguments()
    if args.threads:
        tf.config.threading.set_intra_op_parallelism_threads(args.threads)
        tf.config.threading.set_inter_op_parallelism_threads(args.threads)
        torch.set_num_threads(args.threads)
    rows = [row for batch in args.batches for row in rows_of(args, batch)]
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with args.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
