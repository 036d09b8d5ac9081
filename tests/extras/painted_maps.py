"""Arguments of a localizer of `painted_classifier`: the maps beside "cam" to export."""

from keras_wsol.cam import Discriminant, PrincipalComponent

# Of the three channels of its features, whose mean is some 40 of 255.
MAPS_BESIDE_CAM = (
    {"score_map": "channel_mean"},
    {
        "score_map": "ddt",
        "map_options": {
            "component": PrincipalComponent(
                mean=(40.0, 50.0, 60.0), vector=(0.8, 0.0, 0.6), share=0.5
            )
        },
    },
    {
        "score_map": "foreground",
        "map_options": {
            "discriminant": Discriminant(
                weights=(0.02, -0.01, 0.03), bias=-2.0, share=0.25
            )
        },
    },
)
