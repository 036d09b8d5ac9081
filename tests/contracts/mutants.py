"""Deliberate bugs in the package, each with a test that has to fail.

    python -m tests.contracts.mutants

copies package and tests into a temporary folder and, one bug at a time, runs the
named test there in a new process. It prints a table and exits with 1 if the test
passes for a bug, or fails without one. Seconds for each bug, so that it is no part of
the test command; `test_mutants.py` keeps the list from going stale.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]
NUMERICS = "tests/contracts/test_numerics_contract.py"
REFERENCE = (
    "tests/contracts/test_reference_contract.py::test_output_equals_the_reference"
)
SHAPES = "tests/layers/test_random_shapes.py::test_equals_the_reference"


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One bug.

    Attributes:
        bug: What it simulates.
        file: Path in the package.
        old: Text that occurs once in the file.
        new: What takes its place.
        test: The node that has to fail, parameters included where there are any.
    """

    bug: str
    file: str
    old: str
    new: str
    test: str


MUTANTS = (
    Mutant(
        bug="the spatial attention is the mean over height, not over channels",
        file="masks.py",
        old="axes=(3,))",
        new="axes=(1,))",
        test="tests/masks/test_attention.py"
        "::test_spatial_attention_is_the_mean_over_channels",
    ),
    Mutant(
        bug="means are taken in the type of the features: float16 overflows",
        file="masks.py",
        old='    features = ops.cast(features, "float32")\n    shape',
        new="    features = ops.convert_to_tensor(features)\n    shape",
        test="tests/masks/test_attention.py::test_means_are_taken_in_float32",
    ),
    Mutant(
        bug="no gradient flows through the importance map",
        file="masks.py",
        old="return ops.sigmoid(attention)",
        new="return ops.sigmoid(ops.stop_gradient(attention))",
        test=f"{NUMERICS}::test_gradient_equals_finite_differences[ADL-0]",
    ),
    Mutant(
        bug="the drop mask keeps what equals the cut",
        file="masks.py",
        old="attention < threshold * maximum",
        new="attention <= threshold * maximum",
        test="tests/layers/test_adl.py"
        "::test_the_cut_itself_is_dropped_and_the_maximum_is_that_of_the_image",
    ),
    Mutant(
        bug="the maximum is that of the batch, not of each image",
        file="masks.py",
        old="    axes = tuple(range(1, len(attention.shape)))",
        new="    axes = tuple(range(len(attention.shape)))",
        test=f"{SHAPES}[ADL]",
    ),
    Mutant(
        bug="a dead map is erased whole",
        file="masks.py",
        old="ops.logical_or(attention < threshold * maximum, maximum <= 0)",
        new="attention < threshold * maximum",
        test="tests/layers/test_adl.py::test_a_dead_or_negative_map_loses_nothing",
    ),
    Mutant(
        bug="gradient flows through the mask: a sigmoid stands for its step",
        file="masks.py",
        old="""    kept = ops.logical_or(attention < threshold * maximum, maximum <= 0)
    return ops.cast(kept, "float32")""",
        new="""    kept = ops.logical_or(attention < threshold * maximum, maximum <= 0)
    soft = ops.sigmoid(threshold * maximum - attention)
    return ops.cast(kept, "float32") + soft - ops.stop_gradient(soft)""",
        test=f"{NUMERICS}::test_gradient_equals_finite_differences[ADL-1]",
    ),
    Mutant(
        bug="an even block lies one cell further down and right",
        file="masks.py",
        old="    before, after = (size - 1) // 2, size // 2",
        new="    before, after = size // 2, (size - 1) // 2",
        test="tests/masks/test_blocks.py::test_one_block_by_hand",
    ),
    Mutant(
        bug="DFM's focus raises dropped cells, too",
        file="masks.py",
        old="    return mask * (1.0 + focus * dropped_near)",
        new="    return mask + focus * dropped_near",
        test="tests/layers/test_dfm.py::test_focused_matrix_by_hand",
    ),
    Mutant(
        bug="CAGD's smallest channel may be a dead one",
        file="masks.py",
        old="ops.min(ops.where(live, magnitude, infinity), axis=-1, keepdims=True)",
        new="ops.min(magnitude, axis=-1, keepdims=True)",
        test="tests/layers/test_cagd.py"
        "::test_dead_channels_do_not_switch_the_layer_off",
    ),
    Mutant(
        bug="DFM's draw picks the other branch",
        file="layers/dfm.py",
        old="ops.where(use_position, p, c)",
        new="ops.where(use_position, c, p)",
        test=f"{SHAPES}[DFM]",
    ),
    Mutant(
        bug="DFM's branches keep their own enhancement",
        file="masks.py",
        old='    if branches == "fused":',
        new='    if branches == "unfused":',
        test="tests/layers/test_dfm.py::test_fusion_crosses_the_branches_by_hand",
    ),
    Mutant(
        bug="DGDM's spatial half looks at what its channel half has left",
        file="layers/attention_dropout.py",
        old="""        return self.cagd.factor(features) * self.sagd.factor(features)
""",
        new="""        factor = self.cagd.factor(features)
        return factor * self.sagd.factor(features * factor)
""",
        test="tests/layers/test_dgdm.py"
        "::test_attention_is_that_of_the_input_not_of_the_kept_channels",
    ),
    Mutant(
        bug="DropBlock takes the height for the width",
        file="masks.py",
        old="ops.reshape(_block_fits(width, columns), (1, 1, -1, 1))",
        new="ops.reshape(_block_fits(height, columns), (1, 1, -1, 1))[:, :, :width]",
        test=f"{REFERENCE}[DropBlock2D-4]",
    ),
    Mutant(
        bug="DropBlock ignores `rescale`",
        file="layers/dropout_relatives.py",
        old="return masks.rescale(mask) if self.rescale else mask",
        new="return masks.rescale(mask)",
        test="tests/layers/test_drop_block.py::test_equals_the_reference",
    ),
    Mutant(
        bug="DropBlock ignores `per_channel`",
        file="layers/dropout_relatives.py",
        old="channels if self.per_channel else 1",
        new="channels",
        test=f"{REFERENCE}[DropBlock2D-0]",
    ),
    Mutant(
        bug='"batch" draws for each sample, "sample" for the batch',
        file="layers/attention_mask.py",
        old='if draw == "sample" else 1',
        new='if draw == "batch" else 1',
        test=f"{REFERENCE}[ADL-0]",
    ),
    Mutant(
        bug="an integer seed in `call`: the same draw for ever",
        file="layers/attention_mask.py",
        old='(shape, dtype="float32", seed=self.seed_generator)',
        new='(shape, dtype="float32", seed=7)',
        test=f"{NUMERICS}::test_each_call_of_a_traced_function_draws_anew[ADL]",
    ),
    Mutant(
        bug="Cutout hands an integer on: its generator stands still in `fit`",
        file="layers/hidden_parts.py",
        old="self.uniform(batch, 2)",
        new="keras.random.uniform((batch, 2), seed=self.seed or 1)",
        test="tests/contracts/test_training_contract.py"
        "::test_fit_moves_every_weight_and_every_generator",
    ),
    Mutant(
        bug="in float16 MaxDrop drops what it would keep in float32",
        file="layers/dropout_relatives.py",
        old="uniform < self.rate)",
        new='(uniform < self.rate) ^ (self.compute_dtype == "float16"))',
        test=f"{NUMERICS}::test_low_precision_equals_float32[MaxDrop-random]",
    ),
    Mutant(
        bug="the factor is rounded before the output is: two roundings",
        file="layers/attention_mask.py",
        old="ops.cast(features * self.factor(features), inputs.dtype)",
        new="inputs * ops.cast(self.factor(features), inputs.dtype)",
        test=f"{NUMERICS}::test_low_precision_equals_float32[SAGD-0]",
    ),
    Mutant(
        bug="of two contacts of a run of cells with the row above the second is lost",
        file="boxes/components_runs.py",
        old="below = _touching(runs, -runs.columns)",
        new="below = _touching(runs, runs.columns)",
        test="tests/boxes/test_components.py::test_every_mask_of_three_by_four",
    ),
    Mutant(
        bug="the union of two boxes counts their intersection twice",
        file="boxes/iou.py",
        old="area(near_b, far_b) - intersection",
        new="area(near_b, far_b)",
        test="tests/boxes/test_iou.py::test_equals_counting_cells",
    ),
    Mutant(
        bug="the sweep cuts at thresholds, not at shares of the maximum",
        file="boxes/sweep.py",
        old="cuts = thresholds * score_map.max()",
        new="cuts = thresholds * 1.0",
        test="tests/boxes/test_sweep.py::test_maps_of_any_scale",
    ),
    Mutant(
        bug="an IoU at the threshold is wrong",
        file="metrics/functional.py",
        old="(overlap >= iou_threshold)",
        new="(overlap > iou_threshold)",
        test="tests/metrics/test_localization.py"
        "::test_an_overlap_at_the_threshold_is_right",
    ),
    Mutant(
        bug="of equal logits the last class stands first",
        file="metrics/functional.py",
        old="lower = xp.arange(count)[None] < place",
        new="lower = xp.arange(count)[None] > place",
        test="tests/evaluation/test_evaluate.py"
        "::test_class_ranks_are_places_in_a_stable_order",
    ),
    Mutant(
        bug="boxes are scaled to pixels by the other side of the image",
        file="models/localizer.py",
        old='x = ops.cast(width, "float32") / size[1]',
        new='x = ops.cast(height, "float32") / size[1]',
        test="tests/models/test_localizer.py"
        "::test_boxes_are_in_pixels_of_the_given_images",
    ),
    Mutant(
        bug="boxes move into a view by the other side of the image",
        file="data/images.py",
        old="[columns, rows, columns, rows]",
        new="[rows, columns, rows, columns]",
        test="tests/data/test_views.py::test_boxes_move_with_the_image",
    ),
    Mutant(
        bug="training begins anew instead of at `start_step`",
        file="data/tf_pipeline.py",
        old="tf.Variable(start_step, dtype=tf.int64",
        new="tf.Variable(start_step * 0, dtype=tf.int64",
        test="tests/data/test_training_batches.py"
        "::test_start_step_goes_on_where_another_run_was",
    ),
    Mutant(
        bug="a restored checkpoint is of the epoch before",
        file="training/checkpoint.py",
        old="self._resumed = Progress(epochs, steps)\n        return",
        new="self._resumed = Progress(epochs - 1, steps)\n        return",
        test="tests/training/test_checkpoint.py::test_resumed_is_uninterrupted",
    ),
    Mutant(
        bug="class activation maps keep the weights that are to be left out",
        file="cam/class_activation.py",
        old="weights if negative_weights else ops.relu(weights)",
        new="weights",
        test="tests/cam/test_class_activation.py::test_without_negative_weights",
    ),
)


def copy_project(folder):
    """Package and tests, without caches and measurements."""
    ignored = shutil.ignore_patterns("__pycache__", "results")
    for name in ("keras_wsol", "tests"):
        shutil.copytree(PROJECT / name, folder / name, ignore=ignored)
    shutil.copy(PROJECT / "pyproject.toml", folder)


def run_tests(folder, nodes):
    """Exit status of pytest and its last line, on the package in the folder."""
    options = ("-q", "-x", "-W", "ignore", "-p", "no:cacheprovider")
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *nodes],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = finished.stdout.strip().splitlines()
    return finished.returncode, lines[-1] if lines else finished.stderr[-200:]


def is_caught(folder, mutant):
    """Whether the mutant's test runs and fails: an exit status of 1, no other."""
    file = folder / "keras_wsol" / mutant.file
    original = file.read_text()
    file.write_text(original.replace(mutant.old, mutant.new))
    try:
        status, _ = run_tests(folder, [mutant.test])
    finally:
        file.write_text(original)
    return status == 1


def main():
    """Prints one row a mutant; returns the exit status."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_project(folder)
        nodes = sorted({mutant.test for mutant in MUTANTS})
        status, summary = run_tests(folder, nodes)
        print(f"without a bug: {summary}", flush=True)
        if status != 0:
            return 1
        survivors = 0
        for number, mutant in enumerate(MUTANTS, start=1):
            caught = is_caught(folder, mutant)
            survivors += not caught
            outcome = "caught" if caught else "SURVIVES"
            print(f"{number:2} {outcome:8} {mutant.file:22} {mutant.bug}", flush=True)
    print(f"{len(MUTANTS) - survivors} of {len(MUTANTS)} bugs are caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
