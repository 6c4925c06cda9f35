"""Write networks as ONNX, with tf2onnx."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tf2onnx

OPSET = 17  # of ONNX, from 2022


def to_onnx(serving: Callable) -> bytes:
    """Convert a function from uint8 (n, 28, 28) to a dictionary of outputs, such as GELU networks.

    Returns:
        The content of a .onnx file with the input `images` and the outputs' names.
    """
    signature = [tf.TensorSpec((None, 28, 28), tf.uint8, name="images")]
    model, _ = tf2onnx.convert.from_function(
        tf.function(serving, input_signature=signature),
        signature,
        opset=OPSET,
        custom_op_handlers={"Erfc": (_erfc, [])},
    )
    return model.SerializeToString()


def _erfc(graph, node, name, arguments):
    """Write erfc(x) as 1 - erf(x): TensorFlow's GELU has the one, ONNX only the other."""
    (x,), (output,) = node.input, node.output
    typed = {"shapes": [graph.get_shape(output)], "dtypes": [graph.get_dtype(output)]}
    graph.remove_node(node.name)
    one = graph.make_const(f"{name}_one", np.array(1, "float32")).output[0]
    erf = graph.make_node("Erf", [x]).output[0]
    graph.make_node("Sub", [one, erf], outputs=[output], name=name, **typed)
