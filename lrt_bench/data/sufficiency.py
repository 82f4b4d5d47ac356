"""Whether a corpus has text enough for a fit and a validation, told before the first forward."""

from __future__ import annotations

from collections.abc import Iterator

from lrt_bench.data.corpus import Budget, Corpus, PairedTokens
from lrt_bench.errors import UserError

FIT_FLOOR, VALIDATION_FLOOR = 200, 20  # tokens: fewer make no fit, and no validation
ALIGNED_FLOOR = 0.05  # of the tokens of the side that is paired better: fewer and two tokenizers do not fit


def check_floors(corpus: Corpus, fit: int, validation: int, budget: Budget | None = None) -> None:
    """Raise UserError where so many tokens make no fit, or no validation; say where a budget is not met."""
    if fit < FIT_FLOOR or validation < VALIDATION_FLOOR:
        raise UserError(
            f"{corpus.source}: too little text for a fit ({fit} tokens) and a validation ({validation} "
            "tokens) that share no document; give more documents (blank lines part them in a .txt file)"
        )
    if budget is not None and fit < budget.fit_tokens:
        corpus.data.say(f"{corpus.source}: the text ends after {fit} of {budget.fit_tokens} fit tokens")


def enough_first(corpus: Corpus, blocks: Iterator[list[PairedTokens]]) -> Iterator[list[PairedTokens]]:
    """Hold blocks back until they are known to make a fit; then give them all, in order.

    Whoever runs models on the blocks is told of too little text before the first forward.

    Raises
    ------
    UserError
        Where the corpus ends before both splits have tokens enough, or hardly any token of the two
        tokenizers ends where one of the other does.
    """
    held, tokens = [], {"fit": 0, "validation": 0}
    for block in blocks:
        held.append(block)
        for text in block:
            tokens[text.split] += len(text.source_at)
        if tokens["fit"] >= FIT_FLOOR and tokens["validation"] >= VALIDATION_FLOOR:
            break
    coverage = corpus.coverage
    if max(coverage.source_share, coverage.target_share) < ALIGNED_FLOOR and coverage.source_tokens:
        raise UserError(
            f"{corpus.source}: {coverage.kept} pairs of {coverage.source_tokens} source tokens and "
            f"{coverage.target_tokens} target tokens: the two tokenizers hardly end on the same characters: "
            "take a text in a language that both know"
        )
    check_floors(corpus, tokens["fit"], tokens["validation"])
    while held:
        yield held.pop(0)
    yield from blocks


def enough_for_draws(
    corpus: Corpus, blocks: Iterator[list[PairedTokens]], budget: Budget
) -> Iterator[list[PairedTokens]]:
    """Hold blocks back until every draw of the budget has its tokens; then give them all, in order.

    So much text is in memory at once, in tokens. A single draw may be short of text: nothing is held then.

    Raises
    ------
    UserError
        Where the corpus ends before: draws of unlike sizes would not be draws of one budget.
    """
    if budget.draws == 1:
        yield from blocks
        return
    held = []
    fit, validation = [0] * budget.draws, [0] * budget.draws
    for block in blocks:
        held.append(block)
        for text in block:
            counts = fit if text.split == "fit" else validation
            if counts is fit or sum(validation) < budget.validation_tokens:
                counts[text.document % budget.draws] += len(text.source_at)
        if min(fit) >= budget.fit_tokens and sum(validation) >= budget.validation_tokens:
            break
    if min(fit) < budget.fit_tokens:
        raise UserError(
            f"{corpus.source}: too little text for {budget.draws} draws of {budget.fit_tokens} fit tokens: "
            f"the smallest gets {min(fit)}; give fewer draws or fit_tokens, or more documents"
        )
    if min(validation) < VALIDATION_FLOOR:
        raise UserError(
            f"{corpus.source}: too little validation text for {budget.draws} draws: one gets "
            f"{min(validation)} tokens of {sum(validation)}; give more validation_tokens, or more documents"
        )
    while held:
        yield held.pop(0)
    yield from blocks
