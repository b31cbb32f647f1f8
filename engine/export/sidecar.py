"""`export.json`, which stands beside an exported program: all that is needed to use it, and the checksums of the files.

It is untrusted data: validated before anything is opened, and it can name files of its own folder only.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from storage.files import not_a_file, parse_json
from storage.partial import kept_aside
from utils.errors import WeightsError

FILE, VERSION = "export.json", 1
PROGRAMS = {
    "paddle": ("model.json", "model.pdmodel"),
    "onnx": ("model.onnx",),
}  # Paddle 3 writes the first, 2.6 the second
PARAMETERS = "model.pdiparams"

FileName = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$")]
Checksum = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Input(BaseModel):
    """One input of the program; a size of None may be any."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    shape: list[Annotated[int, Field(ge=1)] | None]
    dtype: Literal["uint8", "float32", "int64"]


class Sidecar(BaseModel):
    """What export.json holds. The program's outputs: probabilities, then logits, float32 [batch, classes]."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())
    version: Literal[1] = VERSION
    model: str
    format: Literal["paddle", "onnx"]
    interface: Literal["uint8", "float"]
    inputs: Annotated[list[Input], Field(min_length=1)]
    class_names: list[str]
    config: dict[str, dict]
    paddle: str
    clip_seconds: float | None = None  # mean length of the training clips, where the weights told it
    files: dict[FileName, Checksum]
    precision: Literal["fp32", "int8"] = "fp32"

    @property
    def program(self) -> str:
        """Name of the program's file."""
        return next(name for name in PROGRAMS[self.format] if name in self.files)

    @model_validator(mode="after")
    def _complete(self):
        names = PROGRAMS[self.format]
        if not any(name in self.files for name in names) or (self.format == "paddle" and PARAMETERS not in self.files):
            raise ValueError(f"files {sorted(self.files)} do not make a program of format '{self.format}'")
        return self


def write(folder: Path, **content: Any) -> None:
    """Describe the files that lie in `folder`."""
    files = {path.name: checksum(path) for path in sorted(Path(folder).iterdir())}
    text = Sidecar(files=files, **content).model_dump_json(indent=2)
    (Path(folder) / FILE).write_text(text + "\n", encoding="utf-8")


def renew(folder: Path, **content: Any) -> None:
    """Describe anew, with other content, a folder whose files have changed."""
    path = Path(folder) / FILE
    known = Sidecar.model_validate_json(path.read_text(encoding="utf-8")).model_dump(exclude={"files"})
    path.unlink()
    write(folder, **{**known, **content})


def read(folder: str | Path) -> Sidecar:
    """The Sidecar of an exported model, whose files were found to be as they were written. Raises WeightsError."""
    path = Path(folder) / FILE
    again = "export the model again"
    if Path(folder).is_file():
        raise WeightsError(f"exported model '{folder}' is a file; name the folder that it is in")
    if path.exists() and not path.is_file():
        raise WeightsError(f"'{path}' {not_a_file(path)}; {again}")
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.get("version") != VERSION:
            raise WeightsError(
                f"exported model '{folder}' has format version '{content.get('version')}', "
                f"this zoo reads '{VERSION}'; {again}"
            )
        sidecar = Sidecar.model_validate(content)
    except FileNotFoundError as error:
        earlier = kept_aside(Path(folder))
        advice = "name a folder that export.py wrote"
        if earlier:
            advice = (
                f"an export into it was interrupted, and the earlier one is '{earlier}': rename that, or export again"
            )
        raise WeightsError(f"'{folder}' is not an exported model: it holds no '{FILE}'; {advice}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = " ".join(".".join(map(str, first["loc"])).split()) or "content"
        raise WeightsError(f"'{path}' is damaged: {where}: {first['msg']}; {again}") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"'{path}' cannot be read: {error}; {again}") from error
    for name, expected in sidecar.files.items():
        _check(Path(folder) / name, expected, again)
    return sidecar


def _check(path, expected, again):
    if path.exists() and not path.is_file():  # a pipe or a device would be read for ever
        raise WeightsError(f"exported model: '{path}' {not_a_file(path)}; {again}")
    try:
        found = checksum(path)
    except OSError as error:
        raise WeightsError(f"exported model: '{path}' cannot be read ({error.strerror}); {again}") from error
    if found != expected:
        raise WeightsError(f"exported model: '{path}' is not the file that was exported (another checksum); {again}")


def checksum(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
