"""`engine.predictor.Predictor` with errors that speak of arguments."""

from engine import predictor
from paddle_video_zoo.arguments import names_arguments


class Predictor(predictor.Predictor):
    __doc__ = predictor.Predictor.__doc__

    __init__ = names_arguments(predictor.Predictor.__init__)
    __call__ = names_arguments(predictor.Predictor.__call__)
    run = names_arguments(predictor.Predictor.run)
    predict = names_arguments(predictor.Predictor.predict)
    stream = names_arguments(predictor.Predictor.stream)
    timeline = names_arguments(predictor.Predictor.timeline)
