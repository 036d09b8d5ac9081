"""The ablation tables of the three papers, in miniature, and the runs that they need.

The papers trained VGG16-GAP (ADL, DGDM) or ResNet50 (DFM) on all of CUB-200-2011; here
it is the recipe, the backbone and the 40 classes of `study_runs.py`, for half as many
epochs, behind frozen layers and with one seed. What can be compared is how the rows of
a table stand to each other. `study_grid.py` runs them.
"""

from dataclasses import dataclass
from typing import Any

from study_runs import TWO_PLACES, Run

EPOCHS = 6
SUFFIX = f"-frozen-epochs-{EPOCHS}"  # cam-epochs-6 is part of CAM's own budget
CUT = "conv_pw_11_relu"
# The strided blocks of MobileNetV1, for the pooling layers of VGG16, and its last map.
PLACES = tuple(f"conv_pw_{number}_relu" for number in (2, 4, 6, 12, 13))
_GAMMAS = (0.9, 0.5, 0.4, 0.1)
# DFM's Table 2: Top-1 Loc by delta, for each gamma.
_FUSION = {
    0.9: (48.77, 52.13, 53.06, 49.11),
    0.7: (52.61, 55.09, 55.75, 50.40),
    0.6: (51.90, 55.26, 56.14, 50.32),
    0.1: (49.45, 51.94, 52.38, 48.76),
}


@dataclass(frozen=True, kw_only=True)
class PaperRow:
    """A row of a paper's table.

    Attributes:
        label: What the row is called.
        run: Name of the run that stands for it.
        paper: The paper's GT-known Loc, Top-1 Cls and Top-1 Loc in per cent; `None`
            where it has none.
    """

    label: str
    run: str
    paper: tuple[float | None, float | None, float | None]


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """One table.

    Attributes:
        title: Title of ours.
        source: Where the paper's figures stand.
        rows: The rows in the paper's order, each once.
    """

    title: str
    source: str
    rows: tuple[PaperRow, ...]


def _adl() -> tuple[Ablation, ...]:
    components = {
        "drop mask 100 %": ("adl-rate-1", 72.43, 57.37, 44.11),
        "drop mask 75 %, importance map 25 %": ("adl", 74.78, 62.25, 49.69),
        "drop mask 50 %, importance map 50 %": ("adl-rate-0.5", 71.51, 64.93, 49.33),
        "drop mask 25 %, importance map 75 %": ("adl-rate-0.25", 67.29, 68.99, 47.98),
        "importance map 100 %": ("adl-rate-0", 47.51, 67.78, 32.24),
        "neither": ("cam", 51.09, 67.55, 34.41),
        "drop mask 75 %, no importance map": ("adl-no-map", 73.23, 61.55, 47.67),
        "no drop mask, importance map 25 %": ("adl-no-mask", 50.62, 68.50, 33.91),
    }
    places = {
        "none": ("cam", 51.09, 67.55, 34.41),
        "conv5-3 (ours: conv_pw_13)": ("adl-last", 57.99, 68.95, 41.73),
        "+ pool4 (conv_pw_12)": ("adl", 68.22, 67.17, 48.02),
        "+ pool3 (conv_pw_6, frozen here)": ("adl-three", 75.41, 65.27, 52.36),
        "+ pool2 (conv_pw_4, frozen here)": ("adl-four", 71.85, 63.76, 48.46),
        "+ pool1 (conv_pw_2, frozen here)": ("adl-five", 74.78, 62.25, 49.69),
    }
    return (
        Ablation(
            title="ADL: how often which map, and each without the other",
            source="Choe and Shim, 2019, Table 1: VGG-GAP, five places, threshold 0.8; "
            "ours two, 0.95",
            rows=_rows(components),
        ),
        Ablation(
            title="ADL: places",
            source="Choe and Shim, 2019, Table 2: VGG-GAP, threshold 0.8; ours 0.95",
            rows=_rows(places),
        ),
    )


def _dfm() -> tuple[Ablation, ...]:
    components = {
        "CAM": ("cam", None, 78.49, 41.17),
        "channel branch": ("dfm-channel", None, 80.53, 46.73),
        "position branch": ("dfm-position", None, 77.97, 50.04),
        "both, not fused": ("dfm-unfused", None, 78.67, 48.50),
        "both, fused": ("dfm-no-focus", None, 81.22, 55.42),
        "both, fused, focused matrix": ("dfm", None, 81.06, 56.14),
    }
    weights = {
        f"position_weight {delta}, channel_weight {gamma}": (
            _fusion(delta, gamma),
            None,
            None,
            loc,
        )
        for delta, column in _FUSION.items()
        for gamma, loc in zip(_GAMMAS, column, strict=True)
    }
    return (
        Ablation(
            title="DFM: components",
            source="Zhou et al., 2019, Table 1: ResNet50; ours with `rescale`",
            rows=_rows(components),
        ),
        Ablation(
            title="DFM: weights of the fusion",
            source="Zhou et al., 2019, Table 2: ResNet50; ours with `rescale`",
            rows=_rows(weights),
        ),
    )


def _fusion(delta: float, gamma: float) -> str:
    """Name of the run of these weights; DFM's defaults have the plain name."""
    return "dfm" if (delta, gamma) == (0.6, 0.4) else f"dfm-weights-{delta}-{gamma}"


def _dgdm() -> tuple[Ablation, ...]:
    rows = {
        "stage 1, block 1": ("sagd-stage-1-block-1", 62.70, 71.99, 45.20),
        "stage 1, block 2": ("sagd-stage-1-block-2", 73.48, 68.30, 52.57),
        "stage 1, block 3": ("sagd-stage-1-block-3", 69.53, 55.56, 43.10),
        "stage 1, block adaptive (ours: 2)": (
            "sagd-stage-1-block-2",
            73.52,
            65.83,
            50.46,
        ),
        "stages 1 + 2, block 1": ("sagd-block-1", 73.48, 69.11, 52.11),
        "stages 1 + 2, block 2": ("sagd-block-2", 73.94, 69.68, 53.27),
        "stages 1 + 2, block 3": ("sagd-block-3", 74.23, 69.00, 53.79),
        "stages 1 + 2, block 4": ("sagd-block-4", 73.48, 69.11, 52.11),
        "stages 1 + 2, block adaptive (ours: 2)": ("sagd-block-2", 72.02, 69.21, 51.42),
        "+ CAGD, beta 2": ("dgdm-multiple-2.0", 73.44, 69.19, 52.56),
        "+ CAGD, beta 2.5": ("dgdm-multiple-2.5", 74.88, 69.50, 54.31),
        "+ CAGD, beta 3": ("dgdm", 75.02, 69.89, 54.34),
        "+ CAGD, beta 3.5": ("dgdm-multiple-3.5", 72.65, 69.68, 52.67),
    }
    return (
        Ablation(
            title="DGDM: stages, blocks, channels",
            source="Yin et al., 2020, Table 1: VGG-GAP, pools and conv5-3; ours two "
            "places, the importance map drawn in turn [ours: the table does not say]",
            rows=_rows(rows),
        ),
    )


def _rows(table: dict[str, tuple[str, Any, Any, Any]]) -> tuple[PaperRow, ...]:
    return tuple(
        PaperRow(label=label, run=run + SUFFIX, paper=tuple(paper))
        for label, (run, *paper) in table.items()
    )


def _runs() -> list[Run]:
    """Those of all rows."""
    adl: dict[str, dict[str, Any]] = {
        "adl": {},
        "adl-rate-1": {"drop_rate": 1.0},
        "adl-rate-0.5": {"drop_rate": 0.5},
        "adl-rate-0.25": {"drop_rate": 0.25},
        "adl-rate-0": {"drop_rate": 0.0},
        "adl-no-map": {"use_importance_map": False},
        "adl-no-mask": {"use_drop_mask": False},
    }
    dfm: dict[str, dict[str, Any]] = {
        f"dfm-{name}": {"branches": name} for name in ("channel", "position", "unfused")
    }
    dfm |= {"dfm-no-focus": {"focus": 0.0}, "dfm": {}}
    dfm |= {
        name: {"position_weight": delta, "channel_weight": gamma}
        for delta in _FUSION
        for gamma in _GAMMAS
        if (name := _fusion(delta, gamma)) != "dfm"
    }
    # "adaptive" is 2, too: maps are 14x14.
    blocks = {"block-1": 1, "block-2": 2, "block-3": 3}
    sagd: dict[str, dict[str, Any]] = {
        f"sagd-stage-1-{name}": {"block_size": size, "low_threshold": None}
        for name, size in blocks.items()
    }
    sagd |= {
        f"sagd-{name}": {"block_size": size}
        for name, size in {**blocks, "block-4": 4}.items()
    }
    dgdm: dict[str, dict[str, Any]] = {
        f"dgdm-multiple-{beta}": {"min_multiple": beta} for beta in (2.0, 2.5, 3.5)
    }
    tables = {
        "cam": {"cam": {}},
        "adl": adl,
        "dfm": dfm,
        "sagd": sagd,
        "dgdm": {"dgdm": {}, **dgdm},
    }
    runs = [
        _run(name, method, options=options)
        for method, table in tables.items()
        for name, options in table.items()
    ]
    counts = {"adl-last": 1, "adl-three": 3, "adl-four": 4, "adl-five": 5}
    return runs + [
        _run(name, "adl", places=PLACES[-count:]) for name, count in counts.items()
    ]


def _run(name: str, method: str, **entries: Any) -> Run:
    name += SUFFIX
    if method == "dgdm":  # its default is the last place alone
        entries["places"] = TWO_PLACES
    return Run(
        name=name,
        group="ablation",
        method=method,
        epochs=EPOCHS,
        freeze=(CUT,),
        cut=CUT,
        **entries,
    )


ABLATIONS: tuple[Ablation, ...] = (*_adl(), *_dfm(), *_dgdm())
ABLATION_RUNS: tuple[Run, ...] = tuple(_runs())
