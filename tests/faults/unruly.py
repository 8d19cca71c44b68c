"""The code that an unruly job brings along."""

import os
import signal
import subprocess
import sys
import time

import keras
import tensorflow as tf

LINES = 20_000
MARK = os.environ["GRADLOOM_TEST_HANG"]
SLEEPER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"

signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-S", "-c", SLEEPER, "a child"])
subprocess.Popen([sys.executable, "-S", "-c", SLEEPER, "a child in a session of its own"], start_new_session=True)
for number in range(LINES):
    print(f"{number:07} " + "x" * 100)


def wait():
    while os.path.exists(MARK):
        time.sleep(0.05)


@keras.saving.register_keras_serializable(package="chaos")
class Hanging(keras.layers.Layer):
    """Gives what it gets, when it is let."""

    def call(self, inputs, training=False):
        if not training:
            return inputs
        with tf.control_dependencies([tf.py_function(wait, [], [])]):
            return tf.identity(inputs)
