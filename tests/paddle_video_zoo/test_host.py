"""A program that trains Paddle's dynamic layers and uses a Predictor in between is not changed by it."""

import json
import subprocess
import sys

from support.goldens import ROOT

PROGRAM = """
import ctypes, json, os, sys, threading, warnings
import numpy as np
import paddle

paddle.seed(7)
first = paddle.nn.Linear(4, 3)
optimizer = paddle.optimizer.Momentum(0.1, parameters=first.parameters())


def train(layer, optimizer):
    losses = []
    for step in range(3):
        loss = (layer(paddle.randn([5, 4])) ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    return losses


found = {"before": train(first, optimizer)}
environment, filters = dict(os.environ), list(warnings.filters)
flags = paddle.get_flags(["FLAGS_new_executor_serial_run", "FLAGS_use_mkldnn"])
if sys.argv[1] == "with":
    import paddle_video_zoo as zoo

    sys.path.insert(0, "tests")
    from support import networks, tiny, tinynet

    tinynet.register()
    settings = {**tiny.TINY, "MODEL.num_classes": 6}
    predictor = zoo.Predictor("tinynet", weights=networks.weights("TINYNET", settings), overrides=settings)
    frames = np.zeros((1, 2, 32, 32, 3), np.uint8)
    answers = [predictor.run({"frames": frames})["logits"].tolist()]
    thread = threading.Thread(target=lambda: answers.append(predictor.run({"frames": frames})["logits"].tolist()))
    thread.start()
    thread.join()
    assert len(answers) == 2 and answers[0] == answers[1]
    assert paddle.in_dynamic_mode()
    assert dict(os.environ) == environment, set(os.environ.items()) ^ set(environment.items())
    assert paddle.get_flags(list(flags)) == flags
second = paddle.nn.Linear(4, 3)
found["names"] = [first.weight.name, second.weight.name]
found["after"] = train(first, optimizer)
found["second"] = train(second, paddle.optimizer.Momentum(0.1, parameters=second.parameters()))
print(json.dumps(found))
"""


def test_a_predictor_leaves_the_host_as_it_is():
    found = []
    for word in ("without", "with"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, word], cwd=ROOT, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1]))
    assert found[0] == found[1]
    assert found[0]["names"][0] != found[0]["names"][1]


def test_a_build_that_is_not_editable_says_what_to_do(tmp_path):
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build", f"--build-base={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0 and "pip install -e ." in done.stderr.strip().splitlines()[-1]
    assert not list(tmp_path.rglob("*.py"))
