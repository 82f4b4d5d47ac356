"""Real things, small: random models of every architecture in folders, with the embedded tokenizer."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from architectures import ARCHITECTURES
from small import SMALL_SUITE

from lrt_bench.models.base import LanguageModel
from lrt_bench.models.loading import load_model

# A shell that starts the tests in the background has them ignore Ctrl-C; the commands that they interrupt
# would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def save_random_model(architecture: str, folder: Path, seed: int = 0) -> Path:
    """A random model of the architecture, weights wide enough that its logits differ, with a tokenizer."""
    import transformers
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    from lrt_bench.nano.family import WEIGHTS

    name, arguments = ARCHITECTURES[architecture]
    torch.manual_seed(seed)
    special = {"bos_token_id": 0, "eos_token_id": 1}
    module = AutoModelForCausalLM.from_config(getattr(transformers, name)(**(special | arguments)))
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 2:
                parameter.mul_(4)
    module.save_pretrained(folder)
    PreTrainedTokenizerFast.from_pretrained(WEIGHTS / "tokenizer").save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """random_folder(architecture, seed=0) -> a model folder, made once a session."""
    root = tmp_path_factory.mktemp("models")

    def folder(architecture: str, seed: int = 0) -> Path:
        path = root / f"{architecture}-{seed}"
        return path if path.exists() else save_random_model(architecture, path, seed)

    return folder


@pytest.fixture(scope="session")
def random_model(random_folder: Callable[..., Path]) -> Callable[..., LanguageModel]:
    """random_model(architecture, seed=0) -> it loaded."""
    loaded: dict[tuple[str, int], LanguageModel] = {}

    def model(architecture: str, seed: int = 0) -> LanguageModel:
        if (architecture, seed) not in loaded:
            loaded[architecture, seed] = load_model(str(random_folder(architecture, seed)))
        return loaded[architecture, seed]

    return model


@pytest.fixture(scope="session")
def nano() -> Callable[[str], LanguageModel]:
    """nano("S") -> a member of the embedded family, loaded once."""
    loaded: dict[str, LanguageModel] = {}

    def model(name: str) -> LanguageModel:
        if name not in loaded:
            loaded[name] = load_model(f"nano/{name}")
        return loaded[name]

    return model


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tests run side by side, one a core."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite of seconds: three tasks on a planted pair of the smallest model."""
    path = tmp_path_factory.mktemp("suite") / "small.yaml"
    path.write_text(SMALL_SUITE)
    return path


@pytest.fixture(scope="session")
def small_run(small_suite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of that suite, whole."""
    from lrt_bench.data.suites import find_suite
    from lrt_bench.evaluation.config import RunConfig
    from lrt_bench.evaluation.evaluation import Evaluation

    out = tmp_path_factory.mktemp("results")
    Evaluation(find_suite(str(small_suite)), RunConfig(out=out)).run()
    return out
