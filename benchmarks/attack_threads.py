"""Predictors shared by threads and built in threads; benchmarks/attack.py starts this and counts what happens.

Prints a JSON line for each answer: "read" if it is the one that a single thread gets, else "changed".
"""

import argparse
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # their small network
import numpy as np

import utils.main_program  # noqa: F401  (process settings, before Paddle is imported)
from engine import Predictor
from engine.export import write as exporter
from support import networks, tiny, tinynet

SETTINGS = {**tiny.TINY, "MODEL.num_classes": 6}
BATCHES = 8


def batch(number: int) -> dict[str, np.ndarray]:
    return {"frames": np.random.default_rng(number % BATCHES).integers(0, 256, (2, 2, 32, 32, 3), np.uint8)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=400)
    parser.add_argument("--threads", type=int, default=4)
    args = parser.parse_args()
    tinynet.register()
    weights = networks.weights("TINYNET", SETTINGS)

    def build(number: int) -> Predictor:
        if number % 2:
            return Predictor(exported=folder)
        return Predictor("TINYNET", weights=weights, overrides=SETTINGS, use_gpu=False)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "tiny"
        exporter.export(build(0).network, folder)
        shared = [build(0), build(1)]
        expected = [shared[0].run(batch(number))["logits"] for number in range(BATCHES)]

        def answer(number: int) -> str:
            predictor = build(number) if number % 50 < 2 else shared[number % 2]
            found = predictor.run(batch(number))["logits"]
            return "read" if np.allclose(found, expected[number % BATCHES], rtol=1e-4, atol=1e-5) else "changed"

        with ThreadPoolExecutor(args.threads) as pool:
            for number, outcome in enumerate(pool.map(answer, range(args.answers))):
                # One call of write a line: Paddle's own threads write to standard output, too.
                sys.stdout.write(json.dumps({"input": number, "kind": "answer"}) + "\n")
                sys.stdout.write(json.dumps({"outcome": outcome}) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
