"""What a SavedModel consists of."""

from pathlib import Path

RANDOM_OPERATIONS = ("Random", "Multinomial", "Bernoulli", "Rng")


def operations(saved_model):
    """Names of the operations of all graphs and of all nested functions."""
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel()
    message.ParseFromString((Path(saved_model) / "saved_model.pb").read_bytes())
    names = []
    for meta_graph in message.meta_graphs:
        names.extend(node.op for node in meta_graph.graph_def.node)
        for function in meta_graph.graph_def.library.function:
            names.extend(node.op for node in function.node_def)
    return names


def random_operations(saved_model):
    """Those operations that draw random numbers."""
    return [
        name
        for name in operations(saved_model)
        if any(word in name for word in RANDOM_OPERATIONS)
    ]
