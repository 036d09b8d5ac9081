"""A convolutional classifier of Keras, as the same network in PyTorch."""

import torch
from keras import layers, ops
from torch import nn

from keras_wsol.cam.split import graph_of


class AsTorch(nn.Module):
    """Takes images `(B, 3, H, W)`; `features` ends at a layer, `logits` goes on.

    It knows the layers of VGG, ResNet and MobileNet. No branch may pass by the layer.
    """

    def __init__(self, model, layer):
        super().__init__()
        self.parts, self.steps = nn.ModuleDict(), []
        graph = graph_of(model.output)
        places = {id(node.tensor): place for place, node in enumerate(graph)}
        for node in graph:
            name = node.operation.name
            self.parts[name] = part_of(node.operation)
            parents = [places[id(each)] for each in node.parents]
            self.steps.append((name, parents))
        self.cut = [name for name, _ in self.steps].index(layer)
        self.eval()

    def forward(self, images):
        return self.logits(self.features(images))

    def features(self, images):
        return self._run(0, images, self.cut)

    def logits(self, features):
        return self._run(self.cut, features, len(self.steps) - 1)

    def _run(self, first, value, last):
        values = {first: self.parts[self.steps[0][0]](value) if first == 0 else value}
        for place in range(first + 1, last + 1):
            name, parents = self.steps[place]
            values[place] = self.parts[name](*(values[each] for each in parents))
        return values[last]


class Sum(nn.Module):
    def forward(self, one, other):
        return one + other


class Affine(nn.Module):
    def __init__(self, scale, offset):
        super().__init__()
        self.scale, self.offset = scale, offset

    def forward(self, x):
        return x * self.scale + self.offset


def part_of(layer):
    """The module of a Keras layer."""
    make = PARTS.get(type(layer).__name__)
    if make is None:
        raise ValueError(f"No part for {layer.name!r}, a {type(layer).__name__}.")
    return make(layer)


def convolution(layer):
    kernel, *bias = map(as_tensor, layer.weights)
    depthwise = isinstance(layer, layers.DepthwiseConv2D)
    top, bottom, left, right = pads_of(layer)
    even = (top, left) == (bottom, right)
    part = nn.Conv2d(
        kernel.shape[2],
        kernel.shape[2] if depthwise else kernel.shape[3],
        tuple(kernel.shape[:2]),
        layer.strides,
        (top, left) if even else 0,
        groups=kernel.shape[2] if depthwise else 1,
        bias=bool(bias),
    )
    kernel = kernel.permute(2, 3, 0, 1) if depthwise else kernel.permute(3, 2, 0, 1)
    part = followed(filled(part, weight=kernel, bias=bias), layer.activation)
    return (
        part if even else nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), part)
    )


def pads_of(layer):
    """Top, bottom, left, right: of an odd number, TensorFlow pads the end more."""
    if layer.padding == "valid":
        return 0, 0, 0, 0
    sizes = zip(layer.input.shape[1:3], layer.kernel_size, layer.strides, strict=True)
    totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in sizes]
    return tuple(x for total in totals for x in (total // 2, total - total // 2))


def normalization(layer):
    part = nn.BatchNorm2d(layer.moving_mean.shape[0], eps=layer.epsilon)
    return filled(
        part,
        weight=as_tensor(layer.gamma),
        bias=[as_tensor(layer.beta)],
        running_mean=as_tensor(layer.moving_mean),
        running_var=as_tensor(layer.moving_variance),
    )


def dense(layer):
    kernel, *bias = map(as_tensor, layer.weights)
    part = nn.Linear(*kernel.shape, bias=bool(bias))
    return followed(filled(part, weight=kernel.T, bias=bias), layer.activation)


def filled(part, bias=(), **tensors):
    if bias:
        tensors["bias"] = bias[0]
    with torch.no_grad():
        for name, value in tensors.items():
            getattr(part, name).copy_(value)
    return part


def followed(part, activation):
    if activation.__name__ == "linear":
        return part
    return nn.Sequential(part, activated(activation))


def activated(activation):
    if activation.__name__ != "relu":
        raise ValueError(f"No part for the activation {activation.__name__!r}.")
    return nn.ReLU()


def relu(layer):
    return nn.ReLU() if layer.max_value is None else nn.Hardtanh(0.0, layer.max_value)


def padding(layer):
    (top, bottom), (left, right) = layer.padding
    return nn.ZeroPad2d((left, right, top, bottom))


def as_tensor(weight):
    return torch.tensor(ops.convert_to_numpy(weight))


PARTS = {
    "InputLayer": lambda layer: nn.Identity(),
    "Rescaling": lambda layer: Affine(layer.scale, layer.offset),
    "Conv2D": convolution,
    "DepthwiseConv2D": convolution,
    "BatchNormalization": normalization,
    "ReLU": relu,
    "Activation": lambda layer: activated(layer.activation),
    "ZeroPadding2D": padding,
    "MaxPooling2D": lambda layer: nn.MaxPool2d(layer.pool_size, layer.strides),
    "Add": lambda layer: Sum(),
    "GlobalAveragePooling2D": lambda layer: nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
    "Dense": dense,
}
