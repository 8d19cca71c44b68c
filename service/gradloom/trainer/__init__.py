"""The data plane: trains one attempt of one job in one process. With `components` alone, it imports TensorFlow."""
