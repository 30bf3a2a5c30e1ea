"""The child process that serves a model's weights: `python -m bot.models.llama_server WEIGHTS PORT THREADS`.

It ends with its parent, whose end of standard input closes however that dies.
"""

import os
import sys

import xllamacpp


def main(weights: str, port: int, threads: int) -> None:
    """Serve on 127.0.0.1 until standard input ends. `/health` answers 200 once the weights are loaded."""
    params = xllamacpp.CommonParams()
    params.model.path = weights
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = 8192
    params.n_parallel = 1  # one slot keeps its cache: of a turn's growing conversation only what is new is read
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.use_jinja = True
    params.sampling.temp = 0.0  # a small model strays as soon as it may
    params.n_predict = 640  # and does not always find an end
    server = xllamacpp.Server(params)
    sys.stdin.buffer.read()
    del server
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
