"""An export written before the rooms moved runs, and gives the numbers that it gave then."""

import json

import numpy as np

from engine import Predictor
from support import networks
from support.goldens import ROOT

OLD = ROOT / "tests" / "data" / "old_export"


def test_an_export_of_an_earlier_version_gives_the_same_numbers():
    predictor = Predictor(exported=OLD / "AttentionLSTM")
    expected = json.loads((OLD / "expected.json").read_text(encoding="utf-8"))
    found = predictor.run(networks.inputs(predictor.model, raw=True))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6)
