"""What turns generated text into a number between 0 and 1."""

from __future__ import annotations

import re

from lrt_bench.data.tasks import ScorerCard

WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


def score_text(scorer: ScorerCard, text: str) -> float:
    """Return the text's score under a task's scorer.

    words : share of the known words that are `present` ones, among `present` and `absent`.
    keywords : 1 where any of `present` occurs as a word, else 0.
    uppercase : share of letters that are capitals, among those that have case.
    phrases : 1 where any of `present` occurs as a phrase, else 0.
    """
    words = [word.lower() for word in WORD.findall(text)]
    if scorer.name == "words":
        present = sum(word in scorer.present for word in words)
        absent = sum(word in scorer.absent for word in words)
        return present / (present + absent) if present + absent else 0.0
    if scorer.name == "keywords":
        return float(any(word in scorer.present for word in words))
    if scorer.name == "phrases":
        return float(any(phrase.lower() in text.lower() for phrase in scorer.present))
    letters = [letter for letter in text if letter.isupper() or letter.islower()]
    return sum(letter.isupper() for letter in letters) / len(letters) if letters else 0.0
