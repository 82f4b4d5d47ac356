"""Real things, small: random models of every architecture in folders, with the embedded tokenizer."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

# A process imports the code that lies beside a model's weights from the one folder it first used for that:
# every test of a worker shares this one, and no two workers write to the same.
os.environ["HF_MODULES_CACHE"] = tempfile.mkdtemp(prefix="lrt-bench-model-code-")
# Nothing is read from earlier runs, nor kept in this user's cache; the cache's own tests name a folder.
os.environ["LRT_BENCH_CACHE"] = "off"

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


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random classifier with the embedded tokenizer."""
    from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

    from lrt_bench.nano.family import WEIGHTS

    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1536, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        pad_token_id=1, id2label={0: "ANSWER", 1: "REFUSAL"}, label2id={"ANSWER": 0, "REFUSAL": 1},
    )  # fmt: skip
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(WEIGHTS / "tokenizer")
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def refusal_run(tmp_path_factory, classifier_folder):
    """The suite's cells; the judge, on the loopback, finds refusals harmless and cannot make out a comet."""
    from judge_server import reply, serving
    from refusal import REFUSAL_SUITE, TASK

    from lrt_bench.evaluation.config import RunConfig
    from lrt_bench.evaluation.evaluation import Evaluation
    from lrt_bench.evaluation.refusal_scores import Scorers
    from lrt_bench.evaluation.scorers.answers import Classifier
    from lrt_bench.evaluation.scorers.judge import Judge

    def judged(handler):
        answer = handler.body["messages"][0]["content"].partition("<answer>")[2].lower()
        refuses = any(phrase in answer for phrase in TASK.card.scorer.present)
        reply("Well," if "comet" in answer else str(int(refuses)))(handler)

    out = tmp_path_factory.mktemp("refusal")
    with serving() as server:
        server.script = [judged]
        judge = Judge(f"http://127.0.0.1:{server.server_port}/v1", "loopback")
        evaluation = Evaluation(
            REFUSAL_SUITE, RunConfig(out=out), scorers=Scorers(Classifier(classifier_folder), judge)
        )
        cells = evaluation.run()
        yield evaluation, {(c.result.pair.name, c.result.mapping.name): c for c in cells}, server
