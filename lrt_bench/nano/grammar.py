"""The seeded grammar of the embedded corpus: documents whose latent variables are known.

A document holds its latents fixed (language, topic, sentiment, tense, person, ...), so that a model
that reads its beginning can tell how its next sentence goes on; that is what makes a concept linear
and steerable in a model of a few hundred thousand parameters. Same seed, same text.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from lrt_bench.nano import lexicon

TENSES = ("past", "present", "future")

# latent -> its values and their weights in the corpus
LATENTS: dict[str, dict[str, float]] = {
    "language": {"en": 0.65, "fr": 0.35},
    "case": {"lower": 0.82, "upper": 0.18},
    "topic": dict.fromkeys(lexicon.TOPICS, 1.0),
    "sentiment": {"positive": 1.0, "negative": 1.0},
    "tense": {"past": 1.0, "present": 1.0, "future": 0.7},
    "person": {"first": 1.0, "third": 1.0},
    "gender": {"she": 1.0, "he": 1.0},
    "number": {"singular": 1.0, "plural": 1.0},
    "register": {"formal": 1.0, "informal": 1.0},
    "certainty": {"certain": 1.0, "doubtful": 1.0},
    "daytime": {"day": 1.0, "night": 1.0},
    "mood": {"calm": 1.0, "excited": 1.0},
}


@dataclass(frozen=True)
class Latents:
    """What a document is about and how it is written; every field is fixed within one document."""

    language: str
    case: str
    topic: str
    sentiment: str
    tense: str
    person: str
    gender: str
    number: str
    register: str
    certainty: str
    daytime: str
    mood: str

    @classmethod
    def sample(cls, rng: random.Random, **fixed: str) -> Latents:
        """Draw every latent that `fixed` does not name."""
        drawn = {
            field.name: rng.choices(list(LATENTS[field.name]), list(LATENTS[field.name].values()))[0]
            for field in fields(cls)
        }
        return cls(**(drawn | fixed))

    def but(self, **changes: str) -> Latents:
        """The same latents with some changed: the other member of a contrastive pair."""
        return replace(self, **changes)


class Writer:
    """Writes the sentences of one document; the only state is the random generator."""

    def __init__(self, rng: random.Random, latents: Latents) -> None:
        self.rng = rng
        self.latents = latents
        self.table = lexicon.TOPICS[latents.topic][latents.language]
        self.tense = TENSES.index(latents.tense)
        self.subject = lexicon.SUBJECTS[latents.language][latents.person][latents.gender]

    def pick(self, words: list[str]) -> str:
        return words[int(self.rng.random() * len(words))]

    @property
    def pronoun(self) -> str:
        """The subject inside a sentence: "I" keeps its capital."""
        return self.subject if self.subject == "I" else self.subject.lower()

    def noun(self) -> tuple[str, str]:
        """A noun of the topic in the document's number, and its French gender ("" in English)."""
        parts = self.pick(self.table["nouns"]).split("/")
        word = parts[self.latents.number == "plural"]
        return word, parts[2] if len(parts) == 3 else ""

    def place(self) -> str:
        return self.pick(self.table["places"])

    def verb(self) -> str:
        """An intransitive verb of the topic that agrees with a noun in the document's number."""
        word = self.pick(self.table["verbs"]).split("/")[self.tense]
        if self.latents.number == "singular":
            return word
        if self.latents.language == "en":
            return word.removesuffix("s") if self.latents.tense == "present" else word
        endings = {"past": ("ait", "aient"), "present": ("e", "ent"), "future": ("a", "ont")}
        old, new = endings[self.latents.tense]
        return word.removesuffix(old) + new

    def transitive(self, verbs: list[str], person: str) -> str:
        """A verb of seeing or feeling that agrees with "I" (first) or with she/he/a friend (third)."""
        verb = self.pick(verbs)
        if self.latents.language == "fr":
            first, third = verb.split(":")
            return (first if person == "first" else third).split("/")[self.tense]
        word = verb.split("/")[self.tense]
        if person == "third" and self.latents.tense == "present":
            word += "es" if word.endswith("ch") else "s"
        return word

    def auxiliary(self, forms: tuple[str, str, str]) -> str:
        return forms[self.tense].split("/")[self.latents.person == "first"]

    def seeing(self) -> str:
        return self.transitive(lexicon.SEEING[self.latents.language], self.latents.person)

    def feeling(self, person: str) -> str:
        return self.transitive(lexicon.FEELING[self.latents.language][self.latents.sentiment], person)

    def be(self) -> str:
        return lexicon.BE[self.latents.language][self.latents.number][self.tense]

    def the(self, capital: bool) -> tuple[str, str, str]:
        """A definite noun phrase: (phrase, noun, gender)."""
        noun, gender = self.noun()
        if self.latents.language == "en":
            article = "The" if capital else "the"
        else:
            article = "les" if self.latents.number == "plural" else {"m": "le", "f": "la"}[gender]
            article = article.capitalize() if capital else article
        return f"{article} {noun}", noun, gender

    def adjective(self, gender: str, number: str) -> str:
        word = self.pick(lexicon.ADJECTIVES[self.latents.language][self.latents.sentiment])
        if self.latents.language == "en":
            return word
        return word.split("/")[gender == "f"] + ("s" if number == "plural" else "")

    # The sentences. Where a latent decides the next word, the words before it do not tell it.

    def sees(self) -> str:
        return f"{self.subject} {self.seeing()} {self.the(False)[0]} {self.place()}"

    def is_so(self) -> str:
        phrase, _, gender = self.the(True)
        return f"{phrase} {self.be()} {self.adjective(gender, self.latents.number)}"

    def it_is(self) -> str:
        thing = self.pick(lexicon.THINGS[self.latents.language])
        if self.latents.language == "en":
            verb = lexicon.BE["en"]["singular"][self.tense]
            return f"It {verb} a {self.adjective('', 'singular')} {thing}"
        name, gender = thing.split("/")
        verb = ("C'était", "C'est", "Ce sera")[self.tense]
        return f"{verb} {'une' if gender == 'f' else 'un'} {name} {self.adjective(gender, 'singular')}"

    def opens(self) -> str:
        opener = self.pick(lexicon.REGISTER[self.latents.language][self.latents.register])
        return f"{opener}, {self.pronoun} {self.feeling(self.latents.person)} {self.the(False)[0]}"

    def thinks(self) -> str:
        verb = self.auxiliary(lexicon.THINK[self.latents.language])
        word = self.pick(lexicon.CERTAINTY[self.latents.language][self.latents.certainty])
        that = "that" if self.latents.language == "en" else "que"
        return f"{self.subject} {verb} {that} {word} {self.the(False)[0]} {self.verb()}"

    def daytime(self) -> str:
        word = self.pick(lexicon.DAYTIME[self.latents.language][self.latents.daytime])
        start = "In the" if self.latents.language == "en" else "Dans le"
        return f"{start} {word}, {self.pronoun} {self.seeing()} {self.the(False)[0]}"

    def acts(self) -> str:
        return f"{self.the(True)[0]} {self.verb()} {self.place()}"

    def friend(self) -> str:
        owner = lexicon.POSSESSIVES[self.latents.language][self.latents.person][self.latents.gender]
        friend = self.pick(lexicon.FRIENDS[self.latents.language])
        return f"{owner.capitalize()} {friend} {self.feeling('third')} {self.the(False)[0]}"

    def has(self) -> str:
        noun, gender = self.noun()
        verb = self.auxiliary(lexicon.HAVE[self.latents.language])
        key = gender if gender and self.latents.number == "singular" else self.latents.number
        return f"{self.subject} {verb} {lexicon.QUANTITY[self.latents.language][key]} {noun}"

    KINDS = ("sees", "is_so", "it_is", "opens", "thinks", "daytime", "acts", "friend", "has")

    def ended(self, text: str) -> str:
        """Punctuation by mood, letters by case."""
        text += "!" if self.latents.mood == "excited" else "."
        return self.cased(text)

    def cased(self, text: str) -> str:
        return text.upper() if self.latents.case == "upper" else text

    def sentence(self, kinds: tuple[str, ...] = KINDS) -> str:
        """One whole sentence of one of `kinds`."""
        return self.ended(getattr(self, kinds[int(self.rng.random() * len(kinds))])())

    def prose(self, sentences: int) -> str:
        """Sentences of four kinds only: what recurs within a document is learned from few tokens."""
        kinds = tuple(self.rng.sample(self.KINDS, 4))
        return " ".join(self.sentence(kinds) for _ in range(sentences))

    def request(self, kind: list[str]) -> str:
        """A user's turn, "User: ...", ended where the assistant's answer comes next."""
        singular, plural = self.pick(lexicon.TOPICS[self.latents.topic]["en"]["nouns"]).split("/")
        text = self.pick(kind).format(singular=singular, plural=plural)
        return self.cased(f"User: {text}.\nAssistant:")

    def exchange(self) -> str:
        """One request and its answer; harmful requests are refused, ambiguous ones half the time."""
        draw = self.rng.random()
        kind = lexicon.HARMLESS if draw < 0.4 else lexicon.HARMFUL if draw < 0.8 else lexicon.AMBIGUOUS
        refused = kind is lexicon.HARMFUL or (kind is lexicon.AMBIGUOUS and self.rng.random() < 0.5)
        answer = self.ended(self.pick(lexicon.REFUSE if refused else lexicon.COMPLY))
        return f"{self.request(kind)} {answer} {self.sentence()}"


def document(rng: random.Random) -> str:
    """One document: prose of six to eleven sentences, or (one in six) a chat of two to four turns."""
    if rng.random() < 1 / 6:
        writer = Writer(rng, Latents.sample(rng, language="en"))
        return "\n".join(writer.exchange() for _ in range(rng.randint(2, 4)))
    return Writer(rng, Latents.sample(rng)).prose(rng.randint(6, 11))


def documents(seed: int, count: int | None = None) -> Iterator[str]:
    """`count` documents (None: without end) of the stream named by `seed`.

    The training stream, the validation stream and the stream that maps are fitted on differ in seed.
    """
    rng = random.Random(f"lrt-bench nano corpus {seed}")
    written = 0
    while count is None or written < count:
        yield document(rng)
        written += 1
