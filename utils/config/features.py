"""Configuration of the models that read features of frames: what AttentionCluster, AttentionLSTM and NEXTVLAD share.

Keys of one model stand in that model's file.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from utils.config.schema import Config, ModelSection, ReadSection, Section, TrainSection

DERIVED = ("centred", "difference")  # inputs that are computed from rgb


class FeatureModelSection(ModelSection):
    retired: ClassVar[dict] = {**ModelSection.retired, "format": "what a file holds is told by its content"}
    num_classes: int = Field(3862, ge=1, le=10**6, description="number of classes")
    topk: int = Field(
        20, ge=1, description="scores per video that enter the epoch's GAP, and classes listed per video in the log"
    )
    drop_rate: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="dropout rate before the classifier; at test time, activations are multiplied by 1 - rate",
    )
    max_frames: int = Field(
        300, ge=1, le=10**6, description="largest number of frames of a video that are used, from its start"
    )
    feature_names: list[Literal["rgb", "audio"]] = Field(
        ["rgb", "audio"], min_length=1, description="features, in order: rgb, audio"
    )
    feature_type: Literal["uint8", "float"] = Field(
        "uint8", description="uint8 as YouTube-8M stores features, or float, where files may hold either"
    )
    inputs: list[Literal["rgb", "audio", "centred", "difference"]] | None = Field(
        None,
        min_length=1,
        description="what the network sees: features, centred (rgb minus its mean over the video), "
        "difference (between neighbours of rgb); none: feature_names",
    )

    @model_validator(mode="after")
    def _inputs_exist(self):
        if len(set(self.inputs or ())) != len(self.inputs or ()):
            raise ValueError(f"inputs {self.inputs} names an input twice; keep one")
        missing = sorted({"rgb" if name in DERIVED else name for name in self.inputs or ()} - set(self.feature_names))
        if missing:
            raise ValueError(
                f"inputs {self.inputs} need '{missing[0]}', which feature_names {self.feature_names} lacks"
            )
        return self

    @property
    def features(self) -> dict[str, int]:
        """{name: dimensions} of the features that the model reads, in order."""
        raise NotImplementedError

    @property
    def streams(self) -> dict[str, int]:
        """{name: dimensions} of the inputs of the network, in order."""
        sizes = self.features
        return {name: sizes["rgb" if name in DERIVED else name] for name in self.inputs or sizes}


class FeatureListSection(FeatureModelSection):
    """A model whose features are given as lists."""

    feature_num: int | None = Field(
        None, ge=1, description="number of features; must agree with feature_names where it is given"
    )
    feature_dims: list[int] = Field([1024, 128], description="dimensions of each feature")

    @model_validator(mode="after")
    def _features_agree(self):
        names, dims, count = self.feature_names, self.feature_dims, self.feature_num
        if len(set(names)) != len(names) or len(dims) != len(names) or count not in (None, len(names)):
            raise ValueError(
                f"feature_num {count}, feature_names {names} and feature_dims {dims} do not agree; "
                "give each feature once, with one dimension"
            )
        return self

    @property
    def features(self) -> dict[str, int]:
        return dict(zip(self.feature_names, self.feature_dims, strict=True))


class FeatureTrainSection(ReadSection, TrainSection):
    learning_rate: float = Field(0.001, gt=0, description="base learning rate")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay (AdamW); 0: none")


class FeatureEvalSection(ReadSection):
    batch_size: int = Field(1, ge=1, le=10**5, description="samples per step")
    filelist: str | None = Field(None, description="list of feature files")


class ExtractorSection(Section):
    """What makes features of clips. Where `model` is set, lists may name clips with their labels."""

    model: str | None = Field(None, description="clip model whose pooled features are used; none: lists name shards")
    weights: str | None = Field(None, description="its checkpoint or weights; none: its released ones")
    sha256: str | None = Field(None, description="hash of its weights")
    every: float = Field(1.0, gt=0, le=10**6, description="seconds between two rows of features")
    rows: int | None = Field(None, ge=1, le=10**5, description="rows a clip, evenly spread, instead of every")
    least: int | None = Field(
        None, ge=1, le=10**5, description="rows a short clip has at least; none: 16 of single frames, 4 of windows"
    )
    whitening: str | None = Field(None, description="matrices that whiten its features before they are quantised")
    cache: str | None = Field(None, description="folder that keeps extracted features; none: they are not kept")
    settings: dict[str, Any] = Field({}, description="its configuration, {SECTION.key: value}")


class FeatureConfig(Config):
    MODEL: FeatureModelSection = Field(default_factory=FeatureModelSection)
    TRAIN: FeatureTrainSection = Field(default_factory=FeatureTrainSection)
    VALID: FeatureEvalSection = Field(default_factory=FeatureEvalSection)
    TEST: FeatureEvalSection = Field(default_factory=FeatureEvalSection)
    INFER: FeatureEvalSection = Field(default_factory=FeatureEvalSection)
    EXTRACTOR: ExtractorSection = Field(default_factory=ExtractorSection)
