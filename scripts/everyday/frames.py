"""Sentence frames: how the everyday concepts are written down, and how frames become texts.

A frame is a sentence with slots; a slot's fillers are separated by " / ". A filler of two parts, ``a|b``, is
the place where a contrastive pair differs: its first part shows the concept, its second the opposite. Every
combination of fillers is one text, so only fillers that make sense together share a frame.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

Options = tuple[tuple[str, str], ...]
Sides = tuple[str, str]  # a text with the concept, and the same text with its opposite


@dataclass(frozen=True)
class Frame:
    """A sentence and the fillers of its slots; ``{Slot}`` is the slot's filler with a capital."""

    template: str
    slots: tuple[tuple[str, tuple[str, ...]], ...]

    def texts(self) -> list[Sides]:
        """Fill the slots in every way; both sides are equal where no filler has two parts."""
        names = [name for name, _ in self.slots]
        texts = []
        for fillers in itertools.product(*(fillers for _, fillers in self.slots)):
            sides = []
            for side in (0, -1):
                words = {name: filler.split("|")[side] for name, filler in zip(names, fillers, strict=True)}
                capital = {name.capitalize(): word[:1].upper() + word[1:] for name, word in words.items()}
                sides.append(self.template.format(**words, **capital))
            texts.append(self.contrast(sides[0], sides[1]))
        return texts

    def contrast(self, positive: str, negative: str) -> Sides:
        """Make the two sides of a text of two fillings: of a plain frame, as they are."""
        return positive, negative


class Shouted(Frame):
    """A frame whose first side is in capital letters."""

    def contrast(self, positive: str, negative: str) -> Sides:
        """Put the first side in capital letters."""
        return positive.upper(), negative


def _slots(slots: dict[str, str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((name, tuple(" ".join(text.split()).split(" / "))) for name, text in slots.items())


def frame(template: str, **slots: str) -> Frame:
    """Make a frame, each slot's fillers parted by slashes: ``frame("The {noun} is", noun="cat / dog")``."""
    return Frame(template, _slots(slots))


def shouted(template: str, **slots: str) -> Shouted:
    """Make a `Shouted` frame as `frame` makes a plain one."""
    return Shouted(template, _slots(slots))


@dataclass(frozen=True)
class Concept:
    """A contrast concept: what makes its vector, what is scored, and the words that may follow.

    Attributes
    ----------
    options : (shows the concept, does not); each begins with a space where a word follows.
    telling : frames of the contrastive pairs. They end where the choice comes next.
    open_ended : frames of the scored prompts, which end in the same way and say nothing of the concept. Where
        no sentence can (a sentence has one language), both sides stand there equally often.
    """

    name: str
    about: str
    options: Options
    telling: tuple[Frame, ...]
    open_ended: tuple[Frame, ...]
