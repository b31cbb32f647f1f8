"""Configuration of the models that read clips: the keys of the old zoo, and newer ones."""

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from utils.config.schema import MODES, Config, ModelSection, ReadSection, Section, TrainSection


class ClipReadSection(ReadSection):
    retired: ClassVar[dict] = {**Section.retired, "total_videos": "the number of steps per epoch follows from the list"}
    short_size: int = Field(256, ge=1, le=8192, description="frames are scaled to this short side, in pixels")
    target_size: int = Field(224, ge=1, le=8192, description="side of the square crop, in pixels")
    seg_num: int | None = Field(
        None, ge=1, le=10**4, description="segments per video in this mode; none means MODEL.seg_num"
    )


class ClipModelSection(ModelSection):
    format: Literal["pkl", "mp4"] = Field(
        "pkl", description="format assumed for files with an unrecognised extension: pkl or mp4"
    )
    max_pixels: int = Field(
        1 << 26, ge=1, le=1 << 31, description="largest number of pixels of a frame; larger frames are refused"
    )
    max_packets: int = Field(
        2_000_000,
        ge=1,
        le=10**9,
        description="largest number of packets (about one per frame) of a video, by its header or in the file",
    )
    max_seconds: float = Field(
        86_400.0, gt=0, le=10**9, description="longest duration, in seconds, that a video's header may claim"
    )
    seg_num: int = Field(3, ge=1, le=10**4, description="segments per video")
    seglen: int = Field(1, ge=1, le=10**4, description="frames taken from each segment")
    frame_interval: int = Field(
        1, ge=1, le=10**6, description="distance of those frames, in frames of the video; 1: neighbours"
    )
    num_layers: Literal[18, 34, 50, 101, 152] = Field(50, description="depth of the ResNet: 18, 34, 50, 101 or 152")
    image_mean: list[float] = Field(
        [0.485, 0.456, 0.406], min_length=3, max_length=3, description="RGB mean on a 0..1 scale"
    )
    image_std: list[Annotated[float, Field(gt=0)]] = Field(
        [0.229, 0.224, 0.225], min_length=3, max_length=3, description="RGB deviation on a 0..1 scale"
    )
    resize: Literal["4:3", "keep_ratio", "squash"] = Field(
        "4:3", description="4:3 (as for the released weights), keep_ratio, or squash (the whole frame becomes a square)"
    )
    resize_kernel: Literal["linear", "pil"] = Field(
        "linear", description="linear (OpenCV, smoothed before shrinking), or pil (the old zoo's exact pixels)"
    )

    @property
    def mp4_centre(self) -> str:
        """What of a clip the mp4 reader centres; see `segment_starts`.

        The first frame, as for the released scores (old zoo, all versions). Frames that lie apart would then run past
        the end of the video and wrap around, which turns motion round: of them the whole clip is centred.
        """
        return "frame" if self.frame_interval == 1 else "clip"


class ClipTrainSection(ClipReadSection, TrainSection):
    learning_rate_decay: float = Field(0.1, gt=0, description="factor on the rate after each third of the epochs")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum")
    schedule: Literal["piecewise", "cosine"] = Field(
        "piecewise", description="how the rate falls: piecewise, by learning_rate_decay, or cosine, to zero at the end"
    )
    warmup_epochs: float = Field(0.0, ge=0, description="epochs in which the rate rises from near zero, in a line")
    clip_norm: float = Field(0.0, ge=0, description="bound of the gradients' global norm, before L2 is added; 0: none")
    precise_bn: int = Field(
        0,
        ge=0,
        le=10**4,
        description="batches over which the statistics of batch norms are computed anew after each epoch; 0: none",
    )
    flip: bool | dict[str, str] = Field(
        True,
        description="mirror half of the clips; or {class: class of its mirrored clips}, e.g. {left turn: right turn}",
    )
    l2_weight_decay: float = Field(
        1e-4, ge=0, description="L2 on all trainable parameters, including batch norms and biases"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of the target that is given to the other classes"
    )
    smoothing_over: Literal["all", "others"] = Field(
        "all", description="classes that share label_smoothing: all, or the others (MindSpore's CrossEntropySmooth)"
    )
    crop: Literal["random", "resized"] = Field(
        "random",
        description="random: a square of the scaled frame; resized: 8 to 100 % of the original frame, 3:4 to 4:3",
    )
    colour_jitter: bool = Field(
        False, description="vary brightness, contrast, saturation, hue and lighting of each clip"
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="none, or balanced: classes that are rare in the list weigh more"
    )
    freeze: Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)] = Field(
        [], description="prefixes of parameter names that stay as they are, batch norms' statistics too; or backbone"
    )
    cache_backbone: int | None = Field(
        None,
        ge=0,
        le=10**4,
        description="augmented views of each clip whose features are computed once where only the classifier is "
        "trained; none: 8; 0: compute them in every epoch",
    )
    freeze_bn: bool = Field(
        False, description="in training, all batch norms use their running statistics and do not update them"
    )
    lr_multipliers: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {}, description="factors on the learning rate by prefix of parameter names, e.g. {backbone: 0.1}"
    )


class ClipEvalSection(ClipReadSection):
    batch_size: int = Field(1, ge=1, le=10**5, description="samples per step; each view of a video counts as one")
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
    def views(self) -> int:
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
                    f"{mode.upper()}.short_size {section.short_size}; lower target_size or raise short_size"
                )
        return self

    def segments(self, mode: str) -> int:
        """Segments per video: the mode's own seg_num, else MODEL.seg_num."""
        return self.section(mode).seg_num or self.MODEL.seg_num
