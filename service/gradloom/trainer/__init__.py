"""The data plane: trains one attempt of one job in one process; the only place, with `components`, that imports TensorFlow."""
