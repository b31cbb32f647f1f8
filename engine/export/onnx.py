"""Convert an inference program of Paddle to ONNX with paddle2onnx.

    convert(prefix, path)                             # reads <prefix>.json and <prefix>.pdiparams
    python -m engine.export.onnx PREFIX PATH          # the process that `convert` starts

The conversion has a process of its own, since paddle2onnx ends its process at an operator that it does not know.
Its optimisation, which may install packages at run time, is not used: onnxruntime folds constants itself.
"""

import errno
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from utils.errors import ConfigError, WeightsError

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("paddle2onnx", "onnx", "onnxruntime")
OPSET = 17
SECONDS = 900
UNKNOWN = "operators that paddle2onnx may not know: "

# Operators that it converts under another name than its list of supported ones has.
KNOWN = {
    "add",
    "arange",
    "assign_value_",
    "batch_norm_",
    "data",
    "divide",
    "fetch",
    "flatten",
    "floor_divide",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "multiply",
    "nonzero",
    "numel",
    "subtract",
    "unsqueeze",
    "while",
}


def require(*more: str) -> None:
    """ConfigError unless what the conversion needs is installed, and `more`."""
    missing = [name for name in (*NEEDED, *more) if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"--format 'onnx' needs {', '.join(missing)}: pip install -e '.[onnx]'")


def convert(prefix: str | Path, path: str | Path) -> None:
    """Write the program at `prefix` as ONNX to `path`.

    Raises WeightsError, which names the operators that cannot be converted, and OSError where the disk is full.
    """
    words = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "engine.export.onnx",
        str(Path(prefix).absolute()),  # links stay: they stand for names that Paddle cannot open
        str(Path(path).absolute()),
    ]
    # paddle2onnx writes the program once more, into TMPDIR; the caller's folder has the room for it.
    environment = {**os.environ, "TMPDIR": str(Path(prefix).parent.absolute())}
    try:
        done = subprocess.run(
            words, cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace", timeout=SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise WeightsError(
            f"the conversion to ONNX did not end within {SECONDS} s; export with --format=paddle"
        ) from error
    if done.returncode or not Path(path).is_file():
        full = os.strerror(errno.ENOSPC)
        if full in done.stdout + done.stderr:
            raise OSError(errno.ENOSPC, full, str(path))
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
        said = [line for line in lines if line.startswith(UNKNOWN) or "Error" in line or "[ERROR]" in line]
        reason = "; ".join(said[:3]) or "no reason given"
        raise WeightsError(f"the model cannot be converted to ONNX ({reason}); export with --format=paddle")


def unknown_operators(program: Any, supported: set[str]) -> list[str]:
    """Names of a Paddle 3 program's operators that are not among `supported`; its text names an operator `1.<name>`."""
    names = set(re.findall(r'"#":\s*"1\.(\w+)"', program))
    return sorted(name for name in names - supported - KNOWN if not name.startswith(("a_", "t_")))


def main(prefix: str, path: str) -> None:
    import paddle2onnx
    from paddle2onnx.utils import get_all_supported_operators_pir

    program = Path(f"{prefix}.json")
    unknown = unknown_operators(program.read_text(encoding="utf-8"), set(get_all_supported_operators_pir()))
    if unknown:
        print(UNKNOWN + ", ".join(unknown), flush=True)
    content = paddle2onnx.export(str(program), f"{prefix}.pdiparams", opset_version=OPSET, auto_upgrade_opset=True)
    import onnx

    model = tidy(onnx.load_from_string(content))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def tidy(model: Any) -> Any:
    """Give outputs and free sizes names that say something, and drop constants that nothing uses."""
    graph = model.graph
    wanted = dict(zip((output.name for output in graph.output), ("probabilities", "logits"), strict=True))
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [wanted.get(name, name) for name in names]
    for value in (*graph.input, *graph.output):
        value.name = wanted.get(value.name, value.name)
        for name, size in zip(("batch", "frames"), value.type.tensor_type.shape.dim, strict=False):
            if not size.dim_value:
                size.dim_param = name
    used = set(_used(graph))
    kept = [constant for constant in graph.initializer if constant.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return model


def _used(graph):
    """Names that the nodes of a graph take, loops included."""
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from (name for name in _used(attribute.g))
                yield from (output.name for output in attribute.g.output)


if __name__ == "__main__":
    main(*sys.argv[1:])
