"""Configuration of the models that read YouTube-8M features: what AttentionCluster, AttentionLSTM and NEXTVLAD share.

Keys of one model stand in that model's file.
"""

from typing import Literal

from pydantic import Field, model_validator

from utils.config.schema import Config, ModelSection, ReadSection, TrainSection


class FeatureModelSection(ModelSection):
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

    @property
    def features(self) -> dict[str, int]:
        """{name: dimensions} of the features that the model reads, in order."""
        raise NotImplementedError


class FeatureListSection(FeatureModelSection):
    """A model whose features are given as lists."""

    feature_num: int | None = Field(
        None, ge=1, description="number of features; must agree with feature_names where it is given"
    )
    feature_names: list[Literal["rgb", "audio"]] = Field(
        ["rgb", "audio"], min_length=1, description="features in order: rgb, audio"
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


class FeatureEvalSection(ReadSection):
    batch_size: int = Field(1, ge=1, le=10**5, description="samples per step")
    filelist: str | None = Field(None, description="list of feature files")


class FeatureConfig(Config):
    MODEL: FeatureModelSection = Field(default_factory=FeatureModelSection)
    TRAIN: FeatureTrainSection = Field(default_factory=FeatureTrainSection)
    VALID: FeatureEvalSection = Field(default_factory=FeatureEvalSection)
    TEST: FeatureEvalSection = Field(default_factory=FeatureEvalSection)
    INFER: FeatureEvalSection = Field(default_factory=FeatureEvalSection)
