"""Mixed precision: what has 16 bits and what keeps 32, loss scaling, and what is refused. No GPU runs these."""

import json
import subprocess
import sys

import numpy as np
import paddle
import pytest

from engine.configuration import configure
from engine.graph.compat import bfloat16_available, check_amp
from engine.graph.program import Graph
from engine.graph.step import Accumulation, LossScale
from support import bf16_steps
from utils.errors import ConfigError

SMALL = {
    "TSN": {"MODEL.num_classes": 3, "MODEL.seg_num": 1, "TRAIN.short_size": 36, "TRAIN.target_size": 32},
    "AttentionCluster": {
        "MODEL.num_classes": 3,
        "MODEL.topk": 3,
        "MODEL.seg_num": 4,
        "MODEL.cluster_nums": [2, 2],
        "MODEL.hidden_sizes": [16, 16],
    },
    "AttentionLSTM": {
        "MODEL.num_classes": 3,
        "MODEL.topk": 3,
        "MODEL.embedding_size": 8,
        "MODEL.lstm_size": 4,
        "MODEL.hidden_sizes": [16, 16],
    },
    "NEXTVLAD": {
        "MODEL.num_classes": 3,
        "MODEL.topk": 3,
        "MODEL.cluster_size": 4,
        "MODEL.hidden_size": 16,
        "MODEL.eigen_file": "none",
    },
}
runs_bf16 = pytest.mark.skipif(not bfloat16_available(), reason="bf16 on a CPU needs AVX-512")


def build(name, **settings):
    model, config = configure(name, None, SMALL[name])
    return Graph(model(config, "train"), training=True, **settings)


def types(graph, *kinds):
    return [op.result(0).dtype for op in graph.program.global_block().ops if op.name().removeprefix("pd_op.") in kinds]


@pytest.mark.parametrize("name", SMALL)
def test_products_have_16_bits_and_the_rest_32(name):
    graph = build(name, amp="bf16")
    products = types(graph, "conv2d", "matmul")
    assert products.count(paddle.bfloat16) >= 0.5 * len(products) > 0
    assert set(types(graph, "batch_norm_", "batch_norm")) <= {paddle.float32}
    assert {graph.logits.dtype, graph.probabilities.dtype, graph.loss.dtype} == {paddle.float32}
    assert {gradient.dtype for gradient in graph.gradients.values()} == {paddle.float32}
    plain = build(name)
    assert graph.parameters == plain.parameters
    assert paddle.bfloat16 not in types(plain, "conv2d", "matmul", "cast")  # nothing stays switched on


CASES = {
    "AttentionCluster": ("AttentionCluster", {}),
    "in two pieces": ("AttentionCluster", {"TRAIN.accumulate_steps": 2}),
    "AttentionLSTM": ("AttentionLSTM", {}),
    "NEXTVLAD": ("NEXTVLAD", {}),
    # Of the classifier's product, only the weights want a gradient, or only the features.
    "frozen backbone": ("TSN", {"TRAIN.freeze": ["conv1", "bn", "res"]}),
    "frozen classifier": ("TSN", {"TRAIN.freeze": ["fc_0"]}),
}


@pytest.fixture(scope="module")
def losses():
    """{case: {precision: losses}}, from a process of its own: oneDNN's 16-bit gradient of a product ended it where one
    factor wants none.
    """
    cases = [(name, {**SMALL[name], **settings}) for name, settings in CASES.values()]
    words = [sys.executable, bf16_steps.__file__, json.dumps(cases)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, cwd=bf16_steps.ROOT)
    printed = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, f"in case {len(printed)} of {list(CASES)}: {done.stderr}"
    return dict(zip(CASES, printed, strict=True))


@runs_bf16
@pytest.mark.parametrize("case", [case for case, (name, _) in CASES.items() if name != "TSN"])
def test_bf16_trains_like_float32(losses, case):
    found = losses[case]
    assert found["bf16"] == pytest.approx(found["float32"], rel=0.02)
    assert found["bf16"][-1] < found["bf16"][0]


@runs_bf16
@pytest.mark.parametrize("case", [case for case, (name, _) in CASES.items() if name == "TSN"])
def test_bf16_trains_with_frozen_parts(losses, case):
    found = losses[case]
    assert len(found["bf16"]) == 5 and np.isfinite(found["bf16"]).all()


@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="says what a CPU cannot")
def test_what_a_cpu_cannot_is_refused():
    with pytest.raises(ConfigError, match="'fp16' needs a GPU"):
        check_amp("fp16", use_gpu=False)
    if not bfloat16_available():
        with pytest.raises(ConfigError, match="'bf16' on a CPU needs one with AVX-512"):
            check_amp("bf16", use_gpu=False)
    check_amp(None, use_gpu=False)


@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="says what a CPU cannot")
def test_a_limit_on_the_instructions_is_seen(monkeypatch):
    """With it Paddle failed with "std::exception"."""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    with pytest.raises(ConfigError, match="ONEDNN_MAX_CPU_ISA must not forbid it"):
        check_amp("bf16", use_gpu=False)


def halves(scope, executor):
    """Two programs: gradients mean(x) of w [2], which starts as ones, of one of two pieces; and the update by their
    mean, at rate 0.5.
    """
    program, startup = paddle.static.Program(), paddle.static.Program()
    scale = LossScale()
    with paddle.static.program_guard(program, startup), paddle.utils.unique_name.guard():
        x = paddle.static.data("x", [None, 2], "float32")
        w = paddle.create_parameter(
            [2], "float32", attr=paddle.ParamAttr(name="w", initializer=paddle.nn.initializer.Constant(1.0))
        )
        optimizer = paddle.optimizer.SGD(0.5)
        pairs = optimizer.backward(scale.scaled((x * w).sum(axis=1).mean()))
        accumulation = Accumulation(pairs, 2)
        with accumulation.building() as pairs:
            optimizer.apply_gradients(scale.unscaled(pairs))
    with paddle.static.scope_guard(scope):
        executor.run(accumulation.startup)
        executor.run(startup)
    return program, accumulation.program


def test_loss_scale_leaves_finite_gradients_alone_and_steps_over_others():
    paddle.enable_static()
    scope, executor = paddle.static.Scope(), paddle.static.Executor(paddle.CPUPlace())
    network, update = halves(scope, executor)

    def step(*rows):
        with paddle.static.scope_guard(scope):
            for row in rows:
                executor.run(network, feed={"x": np.array([row], np.float32)})
            executor.run(update)
        return [np.array(scope.find_var(name).get_tensor()).tolist() for name in ("w", "loss_scale")]

    assert step([1.0, 2.0], [3.0, 0.0]) == [[0.0, 0.5], [2.0**15]]  # w - 0.5 * mean
    assert step([1.0, 2.0], [np.inf, 0.0]) == [[0.0, 0.5], [2.0**14]]
    assert step([1.0, 1.0], [1.0, 1.0]) == [[-0.5, 0.0], [2.0**14]]
