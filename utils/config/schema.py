"""Every configuration key: type, default, one-line meaning. Shipped YAML files give each model's recipe on top.

Sections are MODEL, TRAIN, VALID, TEST and INFER, as in the first-generation zoo. A model's configuration class is what
its `settings` names; a model with keys of its own subclasses the section that gains them.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

MODES = ("train", "valid", "test", "infer")


class Section(BaseModel):
    """A section rejects unknown keys.

    retired: {old key: why it has no effect}; such keys are accepted with a notice
    renamed: {old key: its present name}
    """

    model_config = ConfigDict(extra="forbid", validate_default=True, protected_namespaces=(), allow_inf_nan=False)
    retired: ClassVar[dict] = {
        "use_gpu": "the device comes from --use_gpu and from what the installed Paddle can use",
        "num_gpus": "the number of devices comes from the launcher",
        "buf_size": "read-ahead is bounded in bytes: buffer_mb",
        "pretrain_base": "use --pretrain",
        "use_dali": "decoding is done on the CPU, sparsely",
        "num_trainers": "the number of processes comes from the launcher",
        "trainer_id": "the process's number comes from the launcher",
    }
    renamed: ClassVar[dict] = {}

    @field_validator("*", mode="before")
    @classmethod
    def _no_nul(cls, value: Any) -> Any:
        """The operating system does not accept paths with a NUL character."""
        inside = value if isinstance(value, list | dict) else [value]
        if any(isinstance(each, str) and "\0" in each for each in inside):
            raise ValueError("it contains a NUL character, which paths and names cannot contain; remove it")
        return value


class ModelSection(Section):
    retired: ClassVar[dict] = {
        "dataset": "the data comes from the file lists",
        "bone_network": "it never had an effect",
        "bone_nework": "it never had an effect",
        "UNIQUE": "it never had an effect",
    }

    name: str = Field("", description="model name; must agree with --model_name when both are given")
    num_classes: int = Field(400, ge=1, le=10**6, description="number of classes")
    topk: int = Field(
        5, ge=1, description="classes listed per clip in the log; infer.py's --infer_topk overrides it for results"
    )
    class_names: str | None = Field(
        None, description="text file, one class name a line in index order ('name index' lines work too)"
    )


class TrainSection(Section):
    epoch: int = Field(1, ge=1, le=10**6, description="number of epochs")
    batch_size: int = Field(1, ge=1, le=10**5, description="samples per step, over all devices together")
    accumulate_steps: int = Field(
        1,
        ge=1,
        le=10**5,
        description="number of parts in which a device computes its share of a step; more parts need less memory",
    )
    learning_rate: float = Field(0.01, gt=0, description="base learning rate")
    filelist: str | None = Field(None, description="list of training samples")
    seed: int | None = Field(
        None, ge=0, description="seed of initialisation, order and augmentation; none: a new one is drawn and saved"
    )
    fix_random_seed: bool = Field(False, description="use seed 1000 when `seed` is none, so that runs repeat")


class ReadSection(Section):
    """What every mode says about reading samples."""

    num_reader_threads: int = Field(2, ge=1, le=512, description="worker threads that read and decode")
    buffer_mb: int = Field(512, ge=1, le=10**7, description="upper bound of decoded samples held ready, in MiB")
    sample_timeout: float = Field(
        120.0, gt=0, le=10**6, description="seconds after which one sample is given up as unreadable"
    )
    data_root: str | None = Field(
        None, description="folder that relative paths of the list start from; none: the list's own folder"
    )

    @property
    def views(self) -> int:
        """Rows of the graph per sample: a video may be looked at several times, its scores are averaged."""
        return 1


class Config(BaseModel):
    """The five sections; attribute access as in `config.TRAIN.batch_size`."""

    model_config = ConfigDict(extra="forbid")

    def section(self, mode: str) -> Section:
        """The section of a mode: train, valid, test or infer."""
        return getattr(self, mode.upper())
