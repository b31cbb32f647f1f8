"""The contact sheet of an inference: of each clip the frames that the model saw, and its best classes with bars."""

from pathlib import Path
from typing import Any

import numpy as np

from reports.pages import page
from reports.pictures import data_uri, strip
from storage import addresses

UNASKED = 200  # clips up to which a page is made without being asked for
MOST = 1000  # clips that a page shows; more would be too large to open
SHOWN = 5  # classes of each clip
FRAMES = 6


class Sheet:
    """Keeps small pictures of the clips while they are classified, about 8 kB each; features have no frames."""

    def __init__(self, views: int = 1, most: int = MOST):
        self.views, self.most, self.pictures = views, most, {}

    def add(self, batch: Any, probabilities: np.ndarray) -> None:
        """Keep the frames of a batch (`indices`, `feed` with frames uint8 [B*views, T, H, W, 3])."""
        frames = batch.feed.get("frames")
        if frames is None:
            return
        for place, index in enumerate(batch.indices):
            if index < self.most:
                shown = frames[place * self.views + self.views // 2]
                self.pictures[int(index)] = strip(shown, FRAMES)


def write(folder: str | Path, model: str, results: list[dict], sheet: Sheet, facts: page.Facts) -> list:
    """Write `<model>_infer_report.html` of results as `Predictor.predict` gives them, in its order.

    Returns its path in a list."""
    clips = [
        {
            "id": result["id"],
            "picture": data_uri(sheet.pictures[index]) if index in sheet.pictures else None,
            "guesses": list(zip(result["names"], result["probabilities"], strict=True))[:SHOWN],
        }
        for index, result in enumerate(results[: sheet.most])
        if "error" not in result
    ]
    done = sum("error" not in result for result in results)
    target = addresses.join(folder, f"{model}_infer_report.html")
    values = {"clips": clips, "facts": facts, "done": done, "views": sheet.views, "versions": page.versions()}
    return [page.write(target, "inference.html", title=f"{model}: {len(results):,} samples", **values)]
