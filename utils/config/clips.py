"""Configuration of the models that read clips: keys of the first-generation zoo, and what they lacked."""

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from utils.config.schema import MODES, Config, ModelSection, ReadSection, Section, TrainSection


class ClipReadSection(ReadSection):
    retired: ClassVar[dict] = {**Section.retired, "total_videos": "steps per epoch are counted from the list"}
    short_size: int = Field(256, ge=1, le=8192, description="frames are scaled to this short side, in pixels")
    target_size: int = Field(224, ge=1, le=8192, description="side of the square crop, in pixels")
    seg_num: int | None = Field(
        None, ge=1, le=10**4, description="segments per video in this mode; none: MODEL.seg_num"
    )


class ClipModelSection(ModelSection):
    # The mp4 reader centres the first frame of a clip, the pickle reader the clip; released scores were made so (old
    # zoo, all versions). They differ when seglen > 1.
    mp4_centre: ClassVar[str] = "frame"

    format: Literal["pkl", "mp4"] = Field(
        "pkl", description="what a listed file is when its ending is not telling: pkl or mp4"
    )
    max_pixels: int = Field(1 << 26, ge=1, le=1 << 31, description="pixels a frame may have; larger ones are refused")
    max_packets: int = Field(
        2_000_000, ge=1, le=10**9, description="packets (about frames) a video may have, by its header or in the file"
    )
    max_seconds: float = Field(86_400.0, gt=0, le=10**9, description="duration a video may have by its header")
    seg_num: int = Field(3, ge=1, le=10**4, description="segments per video")
    seglen: int = Field(1, ge=1, le=10**4, description="frames taken from each segment")
    frame_interval: int = Field(
        1, ge=1, le=10**6, description="distance of those frames, in frames of the video; 1: neighbours"
    )
    num_layers: Literal[50, 101, 152] = Field(50, description="depth of the ResNet: 50, 101 or 152")
    image_mean: list[float] = Field(
        [0.485, 0.456, 0.406], min_length=3, max_length=3, description="RGB mean on a 0..1 scale"
    )
    image_std: list[Annotated[float, Field(gt=0)]] = Field(
        [0.229, 0.224, 0.225], min_length=3, max_length=3, description="RGB deviation on a 0..1 scale"
    )
    resize: Literal["4:3", "keep_ratio", "squash"] = Field(
        "4:3", description="4:3 as released weights were trained, keep_ratio, or squash: all of the frame, as a square"
    )
    resize_kernel: Literal["linear", "pil"] = Field(
        "linear", description="linear (OpenCV, smoothed where it shrinks), or pil for the old zoo's exact pixels"
    )


class ClipTrainSection(ClipReadSection, TrainSection):
    learning_rate_decay: float = Field(0.1, gt=0, description="factor on the rate after each third of the epochs")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum")
    l2_weight_decay: float = Field(
        1e-4, ge=0, description="L2 on everything trainable, batch norms and biases included"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target that other classes get")
    smoothing_over: Literal["all", "others"] = Field(
        "all", description="classes that share label_smoothing: all, or the others (MindSpore's CrossEntropySmooth)"
    )
    crop: Literal["random", "resized"] = Field(
        "random", description="random: target_size of the scaled frame; resized: 8 to 100 % of the raw one, 3:4 to 4:3"
    )
    colour_jitter: bool = Field(
        False, description="vary brightness, contrast, saturation, hue and lighting of each clip"
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="none, or balanced: rare classes of the list weigh more"
    )
    freeze: Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)] = Field(
        [], description="prefixes of parameter names that stay as they are, batch norms' statistics too; or backbone"
    )
    freeze_bn: bool = Field(
        False, description="all batch norms use their running statistics in training, and leave them"
    )
    lr_multipliers: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {}, description="factors on the learning rate by prefix of parameter names, e.g. {backbone: 0.1}"
    )


class ClipEvalSection(ClipReadSection):
    batch_size: int = Field(1, ge=1, le=10**5, description="samples per step, every view of a video being one")
    filelist: str | None = Field(None, description="list of samples")
    num_clips: int = Field(
        1, ge=1, le=1000, description="clips per video, evenly spread; 1: the centre of each segment"
    )
    num_crops: Literal[1, 3, 10] = Field(
        1, description="crops per clip: 1 centre, 3 along the long side, 10 corners, centre and mirrored"
    )
    average: Literal["prob", "logits"] = Field(
        "prob", description="what is averaged over the num_clips x num_crops views of a video"
    )

    @property
    def views(self):
        return self.num_clips * self.num_crops


class ClipInferSection(ClipEvalSection):
    video_path: str | None = Field(None, description="a clip or a folder of clips to classify instead of the list")
    kinetics_labels: str | None = Field(
        None, description="JSON list of class names (the old zoo's kinetics_labels.json)"
    )


class ClipConfig(Config):
    MODEL: ClipModelSection = Field(default_factory=ClipModelSection)
    TRAIN: ClipTrainSection = Field(default_factory=ClipTrainSection)
    VALID: ClipEvalSection = Field(default_factory=ClipEvalSection)
    TEST: ClipEvalSection = Field(default_factory=ClipEvalSection)
    INFER: ClipInferSection = Field(default_factory=ClipInferSection)

    @model_validator(mode="after")
    def _crop_fits(self):
        for mode in MODES:
            section = self.section(mode)
            if section.target_size > section.short_size:
                raise ValueError(
                    f"{mode.upper()}.target_size {section.target_size} does not fit into "
                    f"{mode.upper()}.short_size {section.short_size}; lower the one or raise the other"
                )
        return self

    def segments(self, mode):
        """Segments per video: the mode's own seg_num, else MODEL.seg_num."""
        return self.section(mode).seg_num or self.MODEL.seg_num
