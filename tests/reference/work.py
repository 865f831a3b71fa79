"""Work for processes, which import it by this name: a test module has another one there."""

import os
import signal


def squares(rows):
    return [row * row for row in rows]


def process_numbers(rows):
    return os.getpid()


def die(rows):
    os.kill(os.getpid(), signal.SIGKILL)


def stumble(rows):
    raise OSError(28, "No space left on device")
