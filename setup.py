"""Install the rooms and what they need: `pip install -e .[cpu,dev]` (the programs are run from this folder)."""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

VERSION = Path(__file__).resolve().parent / "paddle_video_zoo" / "version.py"


class EditableOnly(build_py):
    """Recipes, class names and the programs lie beside the packages and would be missing from a wheel."""

    def run(self) -> None:
        if not self.editable_mode:
            raise SystemExit("this project is used from its own folder: install it there with `pip install -e .`")
        super().run()


# paddle2onnx imports packaging and does not ask for it; of 2.1 it is known that it installs nothing while it converts.
# onnxruntime's quantisation imports ml_dtypes and does not ask for it either.
ONNX = ["paddle2onnx>=2.1,<2.2", "onnx>=1.16.1", "onnxruntime>=1.17", "packaging", "ml_dtypes"]

# aiohttp fetches clips for --allow_urls; pebble ends a decoding process that hangs, and outlives one that crashes.
SERVE = [
    "aiohttp>=3.12",
    "fastapi>=0.115",
    "pebble>=5.1",
    "prometheus_client>=0.20",
    "python-multipart>=0.0.20",
    "uvicorn>=0.30",
]

ROOMS = [
    "datareader",
    "dataset",
    "engine",
    "metrics",
    "models",
    "paddle_video_zoo",
    "reports",
    "serving",
    "storage",
    "utils",
]

setup(
    name="paddle-video-zoo",
    version=re.search(r'__version__ = "(.*)"', VERSION.read_text(encoding="utf-8"))[1],
    cmdclass={"build_py": EditableOnly},
    description="Video classification on PaddlePaddle's static graph: train, test, infer, by model name",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=[f"{room}*" for room in ROOMS]),
    package_data={"reports.pages": ["templates/*"], "serving": ["page/*"]},
    install_requires=[
        "av>=14",
        "filelock>=3.12",
        "google-crc32c>=1.5",
        "jinja2>=3.1",
        "matplotlib>=3.8",
        "numpy",
        "opencv-python-headless>=4.11",
        "pillow>=10",
        "protobuf>=4.22",  # YouTube-8M's records, and the tensors of Paddle 1.x
        "pydantic>=2.6",
        "pyyaml>=6",
        "safetensors>=0.4",
        "setuptools",  # paddlepaddle 2.6 imports it and does not ask for it
        "tqdm>=4.65",
        "unearth>=0.19",  # finds released weights on the index that pip is set up for
    ],
    extras_require={
        "cpu": ["paddlepaddle>=2.6.2,<4"],  # 3.3.1 is the version developed on
        "gpu": ["paddlepaddle-gpu>=2.6.2"],
        "remote": [
            "aiohttp>=3.9",
            "fsspec>=2024.2",
            "s3fs>=2024.2",
        ],  # s3:// addresses; gs:// needs gcsfs, http(s):// nothing
        "dashboard": ["tensorboardX>=2.6"],  # --log_dir; VisualDL besides where it is installed
        "features": ["scikit-learn>=1.3"],  # extract.py --quantise: its PCA fits lists that are larger than memory
        "onnx": ONNX,
        "serve": SERVE,
        # moto with flask: the S3 server of the tests
        "dev": [
            "pytest>=8",
            "ruff==0.17.6",  # the formatter's output differs between versions
            "aiohttp>=3.9",
            "fsspec>=2024.2",
            "s3fs>=2024.2",
            "moto[s3]>=5",
            "pysubs2>=1.6",  # reads the subtitles of timelines
            "flask>=3",
            "scikit-learn>=1.3",
            "tfrecord>=1.14",  # an independent reader of the shards that we write
            "flask-cors>=5",
            "tensorboard>=2.16",  # reads what --log_dir has written
            "tensorboardX>=2.6",
            "visualdl>=2.5.3",  # the other reader of --log_dir
            "httpx>=0.27",  # clients of the service
            "playwright>=1.45",  # drives Debian's chromium
            *ONNX,
            *SERVE,
        ],
    },
)
