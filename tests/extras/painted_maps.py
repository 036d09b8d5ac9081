"""Score maps of `painted_classifier` beside "cam" that every runtime takes."""

import numpy as np

from keras_wsol.cam import (
    C2AM,
    DDT,
    ByClass,
    ChannelMean,
    Foreground,
    Guided,
    Mean,
    Smoothed,
)

# Of the three channels of its features, whose mean is some 40 of 255.
MAPS_BESIDE_CAM = (
    ChannelMean(),
    DDT(mean=(40.0, 50.0, 60.0), direction=(0.8, 0.0, 0.6)),
    Foreground(weights=(0.2, -0.1, 0.3), bias=-2.0),
    C2AM(np.linspace(-0.01, 0.01, 27).reshape(3, 3, 3), bias=-0.5),
    Guided("cam"),
    Smoothed("cam", noise=0.1),
    ByClass([Foreground((0.2, -0.1, k / 10), -2.0) for k in range(7)]),
    Mean((Foreground((0.2, -0.1, 0.3), -2.0), "cam")),
)
