"""From values to one HTML file: templates, escaping, and the facts about the run on every page."""

import functools
import logging
import os
import platform
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from storage.files import write_file
from utils.errors import redact_urls
from utils.names import printable

log = logging.getLogger("zoo")

TEMPLATES = Path(__file__).resolve().parent / "templates"
PACKAGES = ("paddlepaddle", "paddlepaddle-gpu", "numpy", "av", "opencv-python-headless")


@dataclass(frozen=True)
class Facts:
    """Facts about a run besides its scores. `bad`: {"id", "error"} of samples that could not be read."""

    listed: int = 0
    bad: list = field(default_factory=list)
    protocol: list = field(default_factory=list)
    command: str = ""
    weights: str = ""
    filelist: str = ""


@functools.cache
def _environment():
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def prepare() -> None:
    """Import jinja2 and compile the templates, which makes the first page as fast as the others."""
    for name in _environment().list_templates(extensions=["html"]):
        _environment().get_template(name)


def _shown(value):
    """Control characters of names are spelt out; what is markup already, such as a picture, stays as it is."""
    return value if hasattr(value, "__html__") or not isinstance(value, str) else printable(value)


def render(template: str, **values: dict[str, np.ndarray]) -> str:
    """The HTML of a template; every value in it is escaped."""
    return _environment().get_template(template).render(**values)


def write(path: str | Path, template: str, **values: dict[str, np.ndarray]) -> str | Path:
    """Write the page of a template; returns the path."""
    html = render(template, **values)
    return write_file(path, lambda file: file.write(html))


def write_png(path: str | Path, data: bytes) -> str | Path:
    """Write a picture beside a page; returns the path."""
    return write_file(path, lambda file: file.write(data), mode="wb")


def attempt(what: str, write: Callable[[], list]) -> list | None:
    """The paths of `write()`, which makes pictures and pages: the last step of a run. None where that failed.

    Nothing that goes wrong with them may cost a result, so every error becomes one line in the log, and none is raised.
    """
    try:
        return write()
    except Exception as error:
        log.warning("no %s was made: %s: %s", what, type(error).__name__, printable(error))
        return None


def command(arguments: list[str] | None = None) -> str:
    """The command line of this process as it can be typed again, without secrets in addresses."""
    words = list(sys.argv if arguments is None else arguments)
    module = getattr(sys.modules["__main__"], "__spec__", None)  # set by `python -m`
    program = ["-m", module.name] if module and arguments is None else [os.path.basename(words[0])]
    return redact_urls(shlex.join(["python", *program, *words[1:]]))


def versions() -> list[tuple[str, str]]:
    """(package, version) of what computed the numbers."""
    found = [("Python", platform.python_version())]
    for name in PACKAGES:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return found


def protocol(config: Any, mode: str) -> list[tuple[str, str]]:
    """(what, value) of how the samples of a mode were read and scored."""
    section, model = config.section(mode), config.MODEL
    facts = [("model", model.name), ("classes", f"{model.num_classes:,}")]
    if hasattr(config, "segments"):
        apart = f", {model.frame_interval} apart" if model.frame_interval > 1 else ""
        plural = "s" if model.seglen > 1 else ""
        facts.append(("frames", f"{config.segments(mode)} segments of {model.seglen} frame{plural}{apart}"))
        facts.append(("size", f"short side {section.short_size}, crop {section.target_size} pixels"))
        if section.views > 1:
            views = f"{section.views} = {section.num_clips} clips x {section.num_crops} crops"
            facts.append(("views of a video", f"{views}, average of {section.average}"))
    else:
        features = ", ".join(f"{name} ({size})" for name, size in model.features.items())
        facts += [("features", features), ("frames", f"at most {model.max_frames}")]
    facts.append(("batch", f"{section.batch_size}"))
    return facts
