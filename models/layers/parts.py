"""A clip model in two parts: `Embedding` (frames -> pooled features) and `Head` (pooled features -> logits).

Both have the parameters of the whole model, by the same names, and are built as graphs like it.
"""

import paddle

from models.base import ClipModel, Model, Tensor

__all__ = ["Embedding", "Head"]


class Embedding(Model):
    """All of a clip model but its classifier, in inference. Its "logits" and "probabilities" are the features."""

    data = "clips"

    def __init__(self, whole: ClipModel):
        super().__init__(whole.config, "infer")
        self.whole, self.name, self.onednn, self.width = whole, whole.name, whole.onednn, whole.width

    def inputs(self, raw: bool, **shape: int) -> dict[str, Tensor]:
        return self.whole.inputs(raw, **shape)

    def prepare(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.whole.prepare(inputs)

    def network(self, inputs: dict[str, Tensor], training: bool) -> Tensor:
        return self.whole.embed(inputs, training)

    def probabilities(self, logits: Tensor) -> Tensor:
        return paddle.assign(logits)  # an exported program cannot give one value twice


class Head(Model):
    """The classifier of a clip model, with its labels, loss, rate and optimizer. Input: `pooled` [B, width]."""

    data = "clips"

    def __init__(self, whole: ClipModel):
        super().__init__(whole.config, whole.mode, whole.devices)
        self.whole, self.name = whole, whole.name
        self.tuning, self.label, self.loss = whole.tuning, whole.label, whole.loss
        self.probabilities, self.rate, self.optimizer = whole.probabilities, whole.rate, whole.optimizer

    def inputs(self, raw: bool, **shape: int) -> dict[str, Tensor]:
        return {"pooled": paddle.static.data("pooled", [None, self.whole.width], paddle.get_default_dtype())}

    def prepare(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return inputs

    def network(self, inputs: dict[str, Tensor], training: bool) -> Tensor:
        return self.whole.classify(inputs["pooled"], training)
