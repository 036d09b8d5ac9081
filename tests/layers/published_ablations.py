"""Every row of the papers' ablation tables, as arguments of the layers.

ADL's Table 1 and DGDM's Table 1 (VGG-GAP on CUB-200-2011), DFM's Table 1 (ResNet50).
`reference` gives what the row computes in training for a forced draw; it is written
out with the reference's own arguments, so that a row and its layer agree only if the
arguments mean the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_wsol.layers import ADL, DFM, DGDM, SAGD
from tests.reference.adl_numpy import adl
from tests.reference.dfm_numpy import dfm
from tests.reference.dgdm_numpy import dgdm
from tests.reference.sagd_numpy import sagd


@dataclass(frozen=True, kw_only=True, eq=False)
class Ablation:
    """One row of a published table.

    Attributes:
        table: The paper's table.
        row: The row's label there.
        published: Figures of the row, in per cent, in the order of the table.
        layer: The layer, or `None` where the row is the plain network.
        arguments: What the row sets.
        reference: `(features, use_first) -> output` of the first or second map of the
            draw; channels that may fall all do.
        rate: Share of calls that use the first map; `None` where nothing is drawn.
        rate_name: Argument that forces the draw.
        all_fall: Arguments that make all channels fall that may.
    """

    table: str
    row: str
    published: tuple[float, ...]
    layer: type | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    reference: Callable[[np.ndarray, bool], np.ndarray] | None = None
    rate: float | None = 0.75
    rate_name: str = "drop_rate"
    all_fall: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self):
        return f"{self.table}: {self.row}"


def _adl(row, published, arguments, rate=0.75, **switches):
    def reference(features, use_mask):
        return adl(features, use_mask, 0.8, **switches)

    return Ablation(
        table="ADL 1",
        row=row,
        published=published,
        layer=ADL,
        arguments={"drop_rate": rate, "drop_threshold": 0.8, **arguments},
        reference=reference,
        rate=rate,
    )


# GT-known Acc, Top-1 Clas, Top-1 Loc
ADL_TABLE_1 = (
    _adl("drop mask 100, importance map 0", (72.43, 57.37, 44.11), {}, rate=1.0),
    _adl("drop mask 75, importance map 25", (74.78, 62.25, 49.69), {}),
    _adl("drop mask 50, importance map 50", (71.51, 64.93, 49.33), {}, rate=0.5),
    _adl("drop mask 25, importance map 75", (67.29, 68.99, 47.98), {}, rate=0.25),
    _adl("drop mask 0, importance map 100", (47.51, 67.78, 32.24), {}, rate=0.0),
    Ablation(table="ADL 1", row="N/A, N/A", published=(51.09, 67.55, 34.41)),
    _adl(
        "drop mask 75, importance map N/A",
        (73.23, 61.55, 47.67),
        {"use_importance_map": False},
        with_importance_map=False,
    ),
    _adl(
        "drop mask N/A, importance map 25",
        (50.62, 68.50, 33.91),
        {"use_drop_mask": False},
        with_drop_mask=False,
    ),
)


def _dfm(row, published, arguments, rate=0.7, **options):
    def reference(features, use_position):
        return dfm(features, use_position, **options)

    return Ablation(
        table="DFM 1",
        row=row,
        published=published,
        layer=DFM,
        arguments=arguments,
        reference=reference,
        rate=rate,
        rate_name="position_rate",
    )


# ILSVRC Top-1 Clas, Top-1 Loc; CUB Top-1 Clas, Top-1 Loc
DFM_TABLE_1 = (
    Ablation(table="DFM 1", row="CAM", published=(76.06, 45.35, 78.49, 41.17)),
    _dfm(
        "channel",
        (76.94, 45.92, 80.53, 46.73),
        {"branches": "channel"},
        rate=None,
        branches="channel",
    ),
    _dfm(
        "position",
        (75.61, 47.37, 77.97, 50.04),
        {"branches": "position"},
        rate=None,
        branches="position",
    ),
    _dfm(
        "channel, position",
        (76.22, 46.09, 78.67, 48.50),
        {"branches": "unfused"},
        branches="unfused",
    ),
    _dfm(
        "channel, position, fusion",
        (77.13, 48.82, 81.22, 55.42),
        {"focus": 0.0},
        focus=0.0,
    ),
    _dfm(
        "channel, position, fusion, focused matrix",
        (77.76, 49.61, 81.06, 56.14),
        {},
    ),
)


def _stage_1(block_size, published):
    def reference(features, use_mask):
        return sagd(features, use_mask, low_threshold=None, block_size=block_size)

    return Ablation(
        table="DGDM 1",
        row=f"stage 1, block {block_size}",
        published=published,
        layer=SAGD,
        arguments={"low_threshold": None, "block_size": block_size},
        reference=reference,
    )


def _both_stages(block_size, published):
    def reference(features, use_mask):
        return sagd(features, use_mask, low_threshold=0.1, block_size=block_size)

    return Ablation(
        table="DGDM 1",
        row=f"stage 1 + stage 2, block {block_size}",
        published=published,
        layer=SAGD,
        arguments={"block_size": block_size},
        reference=reference,
    )


def _with_channels(min_multiple, published):
    def reference(features, use_mask):
        return dgdm(
            features,
            np.zeros((len(features), features.shape[-1])),
            use_mask,
            channel={"drop_probability": 1.0, "min_multiple": min_multiple},
            spatial={"block_size": 3},
        )

    return Ablation(
        table="DGDM 1",
        row=f"stage 1 + stage 2 + M_drop1, beta {min_multiple}",
        published=published,
        layer=DGDM,
        arguments={"min_multiple": min_multiple},
        reference=reference,
        all_fall={"drop_probability": 1.0},
    )


# GT Acc, Top-1 Clas, Top-1 Loc
DGDM_TABLE_1 = (
    _stage_1(1, (62.70, 71.99, 45.20)),
    _stage_1(2, (73.48, 68.30, 52.57)),
    _stage_1(3, (69.53, 55.56, 43.10)),
    _stage_1("adaptive", (73.52, 65.83, 50.46)),
    _both_stages(1, (73.48, 69.11, 52.11)),
    _both_stages(2, (73.94, 69.68, 53.27)),
    _both_stages(3, (74.23, 69.00, 53.79)),
    _both_stages(4, (73.48, 69.11, 52.11)),
    _both_stages("adaptive", (72.02, 69.21, 51.42)),
    _with_channels(2, (73.44, 69.19, 52.56)),
    _with_channels(2.5, (74.88, 69.50, 54.31)),
    _with_channels(3, (75.02, 69.89, 54.34)),
    _with_channels(3.5, (72.65, 69.68, 52.67)),
)

TABLES = (ADL_TABLE_1, DFM_TABLE_1, DGDM_TABLE_1)
