"""Packaging of leap-fairseq. `scripts/setup.sh` is the usual way in: it makes a virtual environment and calls pip."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

README = Path(__file__).with_name("README.md")

REQUIREMENTS = [
    # fairseq 0.12.2 cannot be imported on Python 3.11; this is the same code with that repaired, under the same name.
    # It has no build for Python 3.13, where the rooms that need torch alone can be used.
    've-fairseq==0.12.3; python_version < "3.13"',
    # Older ones read a checkpoint by running it.
    "torch>=2.6",
    "numpy",
    "PyYAML",
    "sentencepiece",
    "sacrebleu",
    "jiwer>=4",
    "simuleval==1.1.4",
    "kaldi-native-fbank",
    "soundfile",
    "soxr",
]

EXTRAS = {
    "plots": ["matplotlib"],
    # For --tensorboard-logdir and --wandb-project of fairseq-train.
    "tracking": ["tensorboard", "wandb"],
    "data": ["py-nanotts"],
    "serve": ["aiohttp>=3.11"],
    # The ways of others to split long recordings; scores need none of them.
    "scoring": ["OmniSTEval>=0.1.10", "mweralign>=1.4.1"],
    # torchmetrics 0.10, which it needs, imports the pkg_resources of older setuptools.
    "comet": ["unbabel-comet>=2.2", "setuptools<81"],
    # Its speech processor runs our translators; it brings librosa, and with it 210 MB of numba and LLVM.
    "simulstream": ["simulstream>=1.0"],
    # Sweeps whose trainings are jobs of SLURM; fairseq brings hydra.
    "cluster": ["hydra-submitit-launcher>=1.2"],
    # The release whose models name their cache "cache"; protobuf reads the models of SentencePiece.
    "hf": ["transformers>=5.24", "protobuf"],
    # simuleval brings pytest-flake8, which stops every run of pytest 9. setuptools 70.1 builds a wheel without help.
    "dev": [
        *("sacrebleu[ja]", "transformers>=5.24", "protobuf"),
        *("pytest<9", "pytest-xdist", "pytest-timeout", "hypothesis", "ruff", "setuptools>=70.1"),
    ],
    "gpu": ["flash-linear-attention"],
}

NATIVE = "leap_fairseq/attention/native"

# As compiled_library.py reads them, where they lie beside the library.
SOURCES = sorted(path for path in Path(NATIVE).glob("*") if path.suffix in (".cpp", ".h"))

# No module of Python: a library that leap_fairseq/attention/compiled_library.py loads. Without it, torch computes.
COMPILED = Extension(
    "leap_fairseq.attention._native",
    sources=[f"{NATIVE}/{name}.cpp" for name in ("main", "anywhere", "avx2", "avx512")],
    depends=sorted(map(str, Path(NATIVE).glob("*.h"))),
    define_macros=[("LEAP_SOURCES", f'"{hashlib.sha256(b"".join(map(Path.read_bytes, SOURCES))).hexdigest()}"')],
    # Sums may be taken in any order, as in every product of matrices; inf and nan stay what they are. Python's flags
    # ask for indices that wrap (-fwrapv), which costs the products a quarter of their speed.
    extra_compile_args=[
        *("-O3", "-std=c++17", "-pthread", "-fno-wrapv", "-fno-math-errno", "-fno-trapping-math"),
        *("-fassociative-math", "-fno-signed-zeros", "-freciprocal-math"),
        # Nobody debugs it; what a debugger reads takes a sixth of the time and most of the library.
        "-g0",
    ],
    extra_link_args=["-pthread"],
    language="c++",
    optional=True,
)


class BuildSideBySide(build_ext):
    """Compiles the files of a library at the same time: each takes a compiler ten seconds."""

    def build_extensions(self):
        compile_files = self.compiler.compile

        def side_by_side(sources, **options):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                compiled = list(pool.map(lambda source: compile_files([source], **options), sources))
            return [path for paths in compiled for path in paths]

        self.compiler.compile = side_by_side
        super().build_extensions()


setup(
    name="leap-fairseq",
    version="0.2.0",
    description="LeaPformer for fairseq: linear attention with learned proportions, simultaneous speech translation",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    author="The leap_fairseq authors",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["leap_fairseq", "leap_fairseq.*"]),
    entry_points={"console_scripts": ["leap-fairseq = leap_fairseq.cli:main"]},
    package_data={
        "leap_fairseq": ["**/*.yaml", "*.yaml"],
        "leap_fairseq.serve": ["page/*"],
        "leap_fairseq.example": ["README.md", "*.flac", "model/*"],
    },
    ext_modules=[COMPILED],
    cmdclass={"build_ext": BuildSideBySide},
    install_requires=REQUIREMENTS,
    extras_require=EXTRAS,
    classifiers=[
        "License :: OSI Approved :: MIT License",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
