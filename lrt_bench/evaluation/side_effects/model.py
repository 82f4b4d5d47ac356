"""A model of ours as lm-eval sees it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch import Tensor

from lrt_bench.data.corpus import encode
from lrt_bench.errors import UserError
from lrt_bench.models.batching import by_length, pad
from lrt_bench.models.checks.probes import check_finite
from lrt_bench.models.decoding import Decoding
from lrt_bench.models.sites import Site
from lrt_bench.steering.resume import Steered

NEW_TOKENS = 256  # lm-eval's default for tasks that don't say how much is written
PART = 1024  # tokens whose whole vocabulary is looked at at once

Query = tuple[tuple[int, ...], int]  # a text's tokens, and how many of the last are scored
Writing = tuple[tuple[int, ...], tuple[str, ...], int]  # a prompt's tokens, stop sequences, tokens at most


class SteeredLM(TemplateLM):  # type: ignore[misc]  # lm-eval is untyped
    """A model as lm-eval sees it, steered at a site: h' = h + offset at every token.

    All offsets [v, d] are answered for when a request is first met, so that the layers up to the site run
    once; `chosen` says which offset the answers given are for. Tokens are as in `corpus.encode`: BOS
    exactly once (lm-eval's own class has it twice in a rolling log-likelihood where the tokenizer adds it).
    """

    def __init__(self, site: Site, offsets: Tensor, batch_size: int = 64) -> None:
        super().__init__()
        self.site, self.offsets, self.batch_size = site, offsets.float(), batch_size
        self.tokenizer = site.model.tokenizer
        self.max_length = site.model.context
        self.chosen = 0
        self._scores: dict[Query, list[tuple[float, bool]]] = {}
        self._texts: dict[Writing, list[str]] = {}

    @property
    def eot_token_id(self) -> int | None:
        """The tokenizer's end of text, if it has one."""
        eos: int | None = self.tokenizer.eos_token_id
        return eos

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that has no context: BOS, else EOS."""
        bos = self.tokenizer.bos_token_id
        prefix: int | None = self.eot_token_id if bos is None else bos
        if prefix is None:
            raise UserError(
                f"{self.site.model.name}: its tokenizer has neither BOS nor EOS, lm-eval wants one"
            )
        return prefix

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids with BOS once where there is one; without it where `add_special_tokens` is False."""
        ids = encode(self.tokenizer, [string], empty=True)[0].ids
        bare = add_special_tokens is False and ids[:1] == [self.tokenizer.bos_token_id]
        return ids[1:] if bare else ids

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """(log-likelihood in nats, whether greedy decoding gives it) of each continuation."""
        answers: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return answers

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
        """Log-likelihood of each whole text, in lm-eval's own disjoint windows where it is long."""
        windows = []
        for request in requests:
            tokens = self.tok_encode(request.args[0], add_special_tokens=False)
            pairs = get_rolling_token_windows(tokens, self.prefix_token_id, self.max_length, 1)
            windows.append([(None, *make_disjoint_window(pair)) for pair in pairs])
        answers = iter(self._loglikelihood_tokens([window for text in windows for window in text]))
        return [sum(next(answers)[0] for _ in text) for text in windows]

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        """Return what is written greedily on from each prompt, up to its stop sequences."""
        writings = [self._writing(*request.args) for request in requests]
        self._write([writing for writing in dict.fromkeys(writings) if writing not in self._texts])
        return [self._texts[writing][self.chosen] for writing in writings]

    def _loglikelihood_tokens(self, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:
        queries = []
        for _strings, context, continuation in requests:
            if len(continuation) > self.max_length:
                raise UserError(
                    f"{self.site.model.name}: a continuation of {len(continuation)} tokens: it reads "
                    f"{self.max_length}; leave that lm-eval task out"
                )
            whole = (context or [self.prefix_token_id]) + continuation
            queries.append((tuple(whole[-(self.max_length + 1) :]), len(continuation)))
        self._score([query for query in dict.fromkeys(queries) if query not in self._scores])
        return [self._scores[query][self.chosen] for query in queries]

    @torch.inference_mode()
    def _score(self, queries: list[Query]) -> None:
        """Score the queries under every offset; those that share what is read share the forward."""
        grouped: dict[tuple[int, ...], list[Query]] = {}
        for query in queries:
            grouped.setdefault(query[0][:-1], []).append(query)
        model, layer = self.site.model, self.site.layer
        read = list(grouped)
        for batch in by_length([len(ids) for ids in read], self.batch_size, model):
            states = model.states(pad([list(read[i]) for i in batch]), [layer])[layer]
            steered = Steered(self.site, states)
            scored = [(row, query) for row, i in enumerate(batch) for query in grouped[read[i]]]
            for offset in self.offsets:
                final = model.finish(steered.run(offset[None]))
                for (_, query), answer in zip(scored, self._likelihoods(final, scored), strict=True):
                    self._scores.setdefault(query, []).append(answer)

    def _likelihoods(self, final: Tensor, scored: list[tuple[int, Query]]) -> Iterator[tuple[float, bool]]:
        """Return the answer to each (row, query) from final states [b, t, d]."""
        sizes = [size for _, (_, size) in scored]
        rows = torch.tensor([row for row, (_, size) in scored for _ in range(size)], dtype=torch.long)
        ends = [place for _, (ids, size) in scored for place in range(len(ids) - 1 - size, len(ids) - 1)]
        tokens = [token for _, (ids, size) in scored for token in ids[len(ids) - size :]]
        places, targets = torch.tensor(ends, dtype=torch.long), torch.tensor(tokens, dtype=torch.long)
        likelihoods, greedy = [torch.empty(0)], [torch.empty(0, dtype=torch.bool)]
        for part in torch.arange(len(targets)).split(PART):
            logits = self.site.model.head.all(
                final[rows[part].to(final.device), places[part].to(final.device)]
            )
            wanted = targets[part].to(logits.device)
            likelihoods.append(logits.log_softmax(1).gather(1, wanted[:, None])[:, 0].cpu())
            greedy.append((logits.argmax(1) == wanted).cpu())
        scores, hits = torch.cat(likelihoods).double().split(sizes), torch.cat(greedy).split(sizes)
        for score, hit in zip(scores, hits, strict=True):
            yield float(score.sum()), bool(hit.all())

    def _writing(self, prompt: str, settings: dict[str, Any]) -> Writing:
        """Return a request to write, in tokens; a prompt that leaves too little room is cut on the left."""
        kwargs = normalize_gen_kwargs(settings, NEW_TOKENS)
        eos = self.tokenizer.eos_token
        until = tuple(stop for stop in handle_stop_sequences(kwargs["until"], eos=eos) if stop)
        most = kwargs["max_gen_toks"]
        room = self.max_length - most if most < self.max_length else self.max_length // 2
        ids = tuple(self.tok_encode(prompt)[-room:]) or (self.prefix_token_id,)
        return ids, until, min(most, self.max_length - len(ids))

    def _write(self, writings: list[Writing]) -> None:
        """Write under every offset; rows of one forward have prompts of one length, so nothing is masked."""
        grouped: dict[tuple[int, tuple[str, ...], int], list[Writing]] = {}
        for writing in writings:
            grouped.setdefault((len(writing[0]), *writing[1:]), []).append(writing)
        count = len(self.offsets)
        for (_, until, new), same in grouped.items():
            step = max(1, self.batch_size // count)
            for start in range(0, len(same), step):
                chunk = same[start : start + step]
                ids = torch.tensor([writing[0] for writing in chunk]).repeat_interleave(count, 0)
                texts = self._greedy(ids, self.offsets.repeat(len(chunk), 1), until, new)
                for index, writing in enumerate(chunk):
                    self._texts[writing] = texts[index * count : (index + 1) * count]

    @torch.inference_mode()
    def _greedy(self, ids: Tensor, offsets: Tensor, until: tuple[str, ...], new: int) -> list[str]:
        """Continue equal-length rows until each has met a stop sequence or a token that ends a text."""
        model = self.site.model

        def changed(states: Tensor, layer: int) -> Tensor:
            if layer != self.site.layer:
                return states
            return (states.float() + offsets[:, None].to(states.device)).to(states.dtype)

        decoding, step_ids = Decoding(model, changed), ids
        texts, done = [""] * len(ids), [False] * len(ids)
        written: list[list[int]] = [[] for _ in texts]
        for _ in range(new):
            logits = model.head.all(decoding.next(step_ids)).cpu()
            check_finite(model, logits, "its logits under steering")
            step_ids = logits.argmax(1)[:, None]
            for row, token in enumerate(step_ids[:, 0].tolist()):
                ended = token in model.ends
                if not done[row] and not ended:
                    written[row].append(token)
                    texts[row] = self.tokenizer.decode(written[row], skip_special_tokens=True)
                done[row] |= ended or any(stop in texts[row] for stop in until)
            if all(done):
                break
        return [postprocess_generated_text(text, list(until), None) for text in texts]
