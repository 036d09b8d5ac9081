"""Rows of transformers, and KerasHub's own, whose weights plain graphs take.

KerasHub's layers cannot be spliced: those of its ViT and DeiT are not copied from their
own configuration, and DINOv2 may lose trained positions when it is saved.
"""

import re
import sys
from collections.abc import Mapping
from functools import partial
from inspect import signature
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.arguments import check_layout
from keras_wsol.cam.split import inner_layers
from keras_wsol.models.backbone_spec import (
    BAS_NARROW,
    NARROW,
    BackboneSpec,
    models_of,
    row_of,
)
from keras_wsol.models.transformers import gelu_tanh, transformer

_KINDS = ("ViTBackbone", "DeiTBackbone", "DINOV2Backbone", "SigLIPVisionEncoder")
# What holds a weight, by KerasHub's name, to our name of the layer; first in a block.
_PARTS: Mapping[str, str] = {
    **dict.fromkeys(("ln_1", "norm1", "layer_norm1"), "norm1"),
    **{name: name for name in ("query", "key", "value")},
    "attention_output": "projection",
    "layer_scale1": "scale1",
    **dict.fromkeys(("ln_2", "norm2", "layer_norm2"), "norm2"),
    **dict.fromkeys(("dense_1", "dense", "fc1"), "mlp1"),
    **dict.fromkeys(("dense_2", "output", "fc2"), "mlp2"),
    "layer_scale2": "scale2",
}
_IN_FRONT = ("class_token", "cls_token", "distillation_token", "register_tokens")
_IN_A_BLOCK = re.compile(r"(transformer_block|layers|encoder_block)_(\d+)/")
# Options of KerasHub's that the graph has no layer for.
_LEFT_OUT = ("dropout_rate", "attention_dropout", "drop_path_rate", "use_swiglu_ffn")


def plain(model: Any) -> Any:
    """A transformer of KerasHub as a graph with its weights; else the model itself."""
    hub = getattr(sys.modules.get("keras_hub"), "models", None)
    kinds = tuple(getattr(hub, each) for each in _KINDS if hasattr(hub, each))
    model = getattr(model, "vision_encoder", model)  # SigLIP's, which reads texts, too
    if not isinstance(model, kinds):
        return model
    check_layout(inner_layers(model))
    config = model.get_config()
    if left_out := {name: config[name] for name in _LEFT_OUT if config.get(name)}:
        raise ValueError(
            "Dropout, stochastic depth and SwiGLU of KerasHub's transformers are not "
            f"taken over: build `backbone` without. Received: {left_out}."
        )
    found: dict[str, list[np.ndarray]] = {}
    for weight in model.weights:
        weights = found.setdefault(_holder(weight.path), [])
        weights.append(ops.convert_to_numpy(weight))
    kernel = found["patches"][0]
    activation = config.get("intermediate_activation", "gelu")
    graph = transformer(
        model.name,
        tuple(model.image_shape),
        patch=kernel.shape[:2],
        blocks=model.num_layers,
        width=kernel.shape[-1],
        heads=model.num_heads,
        hidden=found["block1_mlp1"][0].shape[-1],
        learned=sum(each.shape[1] for each in found.get("front", ())),
        scaled="block1_scale1" in found,
        activation=gelu_tanh if activation == "gelu_approximate" else activation,
        epsilon=config.get("layer_norm_epsilon", 1e-6),
    )
    found["embedding"] = [_added(found, *graph.outputs[0].shape[1:3])]
    for layer in (each for each in graph.layers if each.weights):
        given = found[layer.name]
        # Biases that KerasHub was told to leave out are 0.
        given += [np.zeros(each.shape) for each in layer.weights[len(given) :]]
        pairs = zip(given, layer.weights, strict=True)
        layer.set_weights([value.reshape(each.shape) for value, each in pairs])
    return graph


def _holder(path: str) -> str:
    """Our name of the layer that holds a weight of KerasHub's, or else an empty one."""
    *_, owner, name = path.split("/")
    if block := _IN_A_BLOCK.search(path):
        number = int(block[2]) + (block[1] != "transformer_block")  # some count from 0
        return f"block{number}_{_PARTS[owner]}"
    if owner in ("patch_embedding", "projection"):
        return "patches"
    if name in _IN_FRONT:
        return "front"
    ends = ("position_embedding", "interpolated_position_embeddings")
    return "positions" if owner in ends or name in ends else ""


def _added(found: Mapping[str, list[np.ndarray]], high: int, wide: int) -> np.ndarray:
    """The weight of `TokenEmbedding`; registers have no position of their own."""
    positions = found["positions"][0]
    positions = positions.reshape(-1, positions.shape[-1])
    extra = len(positions) - high * wide
    added = np.concatenate([*(x[0] for x in found.get("front", ())), positions[extra:]])
    added[:extra] += positions[:extra]
    return added


def of_preset(
    *,
    preset: str,
    kind: str,
    include_top: bool,
    weights: str | None = None,
    input_shape: tuple[int, int, int],
    **sizes: Any,
) -> keras.Model:
    """Builds the transformer of a preset of KerasHub, which random weights do without.

    Positions are learned for one size of images, which the preset has, but DINOv2's are
    interpolated to any square.
    """
    if include_top:
        raise ValueError(
            f"{preset!r} is built without top. Received: include_top=True."
        )
    shape = tuple(input_shape)
    graph = transformer(preset, shape, **sizes)  # or an error, before a download
    if weights != "imagenet":
        if weights is not None:
            graph.load_weights(str(weights))
        return graph
    any_square = kind == "DINOV2Backbone"
    if shape[0] != shape[1] or (shape[0] != 224 and not any_square):
        sizes = "squares" if any_square else "224x224 pixels"
        raise ValueError(
            f"The pretrained {preset!r} takes images of {sizes}. For others, pass "
            f"`weights=None`. Received: input_shape={shape}."
        )
    made = getattr(models_of("keras-hub", f"The weights of {preset!r} need"), kind)
    taken = signature(made.__init__).parameters
    options = {name: 0 for name in _LEFT_OUT if name in taken}
    if any_square:
        options["image_shape"] = shape
    return plain(made.from_preset(preset, **options))


def _row(
    preset: str, kind: str, mode: str, width: int, patch: int, **sizes: Any
) -> BackboneSpec:
    sizes = {"patch": (patch, patch), "blocks": 12, "hidden": 4 * width, **sizes}
    sizes |= {"width": width, "heads": width // 64}
    return row_of(
        build=partial(of_preset, preset=preset, kind=kind, **sizes),
        adl=0.9,
        drop_after=("block9", "block12"),
        method_drop_after={
            **dict.fromkeys(("bas", "abn"), ("block12",)),
            **dict.fromkeys(("spg", "danet"), ("block6", "block9")),
        },
        bas=BAS_NARROW,
        presets=NARROW,
        normalization=mode,
        features="block12",
        extra="keras-hub",
        source=f"Weights: KerasHub's {preset!r}. Places [ours, untried].",
    )


# By the presets of KerasHub, for images of 224 pixels.
TRANSFORMERS: Mapping[str, BackboneSpec] = {
    "vit_b16": _row("vit_base_patch16_224_imagenet", "ViTBackbone", "tf", 768, 16),
    "deit_s16": _row(
        "deit_small_distilled_patch16_224_imagenet",
        "DeiTBackbone",
        "torch",
        384,
        16,
        learned=2,
    ),
    "dinov2_s14": _row("dinov2_small", "DINOV2Backbone", "torch", 384, 14, scaled=True),
    "siglip_b16": _row(
        "siglip_base_patch16_224",
        "SigLIPBackbone",
        "tf",
        768,
        16,
        learned=0,
        activation=gelu_tanh,
    ),
}
