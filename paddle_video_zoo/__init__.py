"""Video classification on PaddlePaddle's static graph, for Python programs: docs/python.md.

    Predictor               classify clips with trained or exported weights
    train, evaluate, export what train.py, test.py and export.py do
    list_models             names of the models

Importing and using the package leaves Paddle's mode, its random numbers and the process's environment as they are.
Errors are ZooErrors (utils/errors.py), which speak of the functions' arguments.
"""

from paddle_video_zoo.predictor import Predictor
from paddle_video_zoo.verbs import Evaluation, Export, Training, evaluate, export, list_models, train
from paddle_video_zoo.version import __version__
from utils.errors import ConfigError, DataError, RemoteError, TrainingError, WeightsError, ZooError

__all__ = [
    "ConfigError",
    "DataError",
    "Evaluation",
    "Export",
    "Predictor",
    "RemoteError",
    "Training",
    "TrainingError",
    "WeightsError",
    "ZooError",
    "__version__",
    "evaluate",
    "export",
    "list_models",
    "train",
]
