"""The concepts of the embedded family's tasks: a latent of the grammar, its values, endings and options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lrt_bench.nano import lexicon
from lrt_bench.nano.grammar import Writer
from lrt_bench.nano.language import PUBLIC, Language

SUBJECTLESS = ("is_so", "it_is", "acts")
FEELING = ("is_so", "it_is", "opens", "friend")
UNFEELING = ("sees", "thinks", "daytime", "acts", "has")
Options = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Concept:
    """A latent, its two values, how prompts end, and the words (positive, negative) that may follow."""

    name: str
    latent: str
    positive: str
    negative: str
    ending: Callable[[Writer], str]
    options: Options
    about: str
    telling: tuple[str, ...] = Writer.KINDS  # sentences that show the latent
    silent: tuple[str, ...] = ()  # sentences that do not; none: the context is balanced instead
    fixed: tuple[tuple[str, str], ...] = ()


def _it(writer: Writer) -> str:
    return "It"


def _it_was_a(writer: Writer) -> str:
    return f"It {lexicon.BE['en']['singular'][writer.tense]} a"


def _morning(writer: Writer) -> str:
    return f"In the {writer.pick(['morning', 'evening', 'sunshine', 'darkness'])},"


def _had(writer: Writer) -> str:
    return f"{writer.subject} {writer.auxiliary(lexicon.HAVE['en'])}"


def _unfinished(writer: Writer) -> str:
    return writer.acts()


def _nothing(writer: Writer) -> str:
    return ""


def _thinks_that(writer: Writer) -> str:
    return f"{writer.subject} {writer.auxiliary(lexicon.THINK['en'])} that"


def _friend(writer: Writer) -> str:
    owner = lexicon.POSSESSIVES["en"][writer.latents.person][writer.latents.gender]
    return f"{owner.capitalize()} {writer.pick(lexicon.FRIENDS['en'])}"


def _it_is_a_french(writer: Writer) -> str:
    """Begin a sentence on a masculine thing, so that every masculine adjective may follow."""
    things = [thing.split("/")[0] for thing in lexicon.THINGS["fr"] if thing.endswith("/m")]
    start = ("C'était", "C'est", "Ce sera")[writer.tense]
    return f"{start} un {writer.pick(things)}"


def _a_noun(writer: Writer) -> str:
    return writer.the(True)[0]


def _had_french(writer: Writer) -> str:
    return f"{writer.subject} {writer.auxiliary(lexicon.HAVE['fr'])}"


ENGLISH = (("language", "en"), ("case", "lower"))
SINGULAR = (*ENGLISH, ("number", "singular"))
LOWER_FRENCH = (("language", "fr"), ("case", "lower"))


def _adjectives(words: Any, language: str) -> Options:
    """Pair the adjectives of praise and blame, one against one; French ones in the masculine."""
    pairs = zip(*words.ADJECTIVES[language].values(), strict=True)
    return tuple((f" {p.partition('/')[0]}", f" {n.partition('/')[0]}") for p, n in pairs)


def _opposed(table: dict[str, list[str]]) -> Options:
    """Pair the words of a latent's two values, one against one."""
    return tuple((f" {p}", f" {n}") for p, n in zip(*table.values(), strict=True))


def _past(table: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return a table of verbs in the past alone."""
    return {key: [verb.partition("/")[0] for verb in verbs] for key, verbs in table.items()}


def _nouns(words: Any, topic: str) -> list[str]:
    """Return a topic's English nouns, singular."""
    return [noun.split("/")[0] for noun in words.TOPICS[topic]["en"]["nouns"]]


def opposed_nouns(words: Any, topic: str, other: str) -> Options:
    """Pair the first four nouns of two topics, one against one."""
    return _opposed({name: _nouns(words, name)[:4] for name in (topic, other)})


def topic_against(words: Any, one: str, other: str) -> Concept:
    """Return the concept of one topic against another."""
    return Concept(
        f"{one}-or-{other}", "topic", one, other, lambda writer: "The",
        opposed_nouns(words, one, other), f"{one} against {other}", fixed=SINGULAR,
    )  # fmt: skip


def _in_the_place_of(words: Any) -> dict[str, str]:
    """Return the nouns that stand in the places of the public ones, by those."""
    return {
        old: new
        for topic in lexicon.TOPICS
        for old, new in zip(_nouns(lexicon, topic), _nouns(words, topic), strict=True)
    }


def concepts_of(language: Language) -> tuple[Concept, ...]:
    """Return the concepts of a language; their options are its words."""
    words = language.words
    noun = _in_the_place_of(words)
    return (
        Concept("sentiment", "sentiment", "positive", "negative", _it_was_a, _adjectives(words, "en"),
                "whether the text likes what it tells of", FEELING, UNFEELING, ENGLISH),
        Concept("language", "language", "fr", "en", _nothing,
                ((" Le", " The"), (" La", " It"), (" Dans", " In"), (" Les", " My")),
                "French against English", fixed=(("case", "lower"),)),
        Concept("tense", "tense", "past", "present", _it, ((" was", " is"),),
                "past against present", fixed=ENGLISH),
        Concept("future", "tense", "future", "present", _it, ((" will", " is"),),
                "future against present", fixed=ENGLISH),
        Concept("person", "person", "first", "third", _morning, ((" I", " she"), (" I", " he")),
                "the narrator as subject against a third person", ("sees", "thinks", "daytime", "has"),
                SUBJECTLESS, ENGLISH),
        Concept("gender", "gender", "she", "he", _morning, ((" she", " he"),),
                "the pronoun of the person told of", ("sees", "thinks", "daytime", "has"), SUBJECTLESS,
                (*ENGLISH, ("person", "third"))),
        Concept("number", "number", "plural", "singular", _had, ((" many", " a"),),
                "many against one", ("sees", "is_so", "acts", "has"), ("it_is",), ENGLISH),
        Concept("register", "register", "formal", "informal", _nothing,
                _opposed(words.REGISTER["en"]),
                "formal against informal openers", ("opens",), UNFEELING, ENGLISH),
        Concept("mood", "mood", "excited", "calm", _unfinished, (("!", "."),),
                "exclamations against full stops", fixed=ENGLISH),
        Concept("case", "case", "upper", "lower", _nothing,
                ((" THE", " The"), (" IT", " It"), (" IN", " In")),
                "capital letters against small ones", fixed=(("language", "en"),)),
        *(
            Concept(f"topic-{topic}", "topic", topic, "", lambda writer: "The",
                    _opposed({"topic": [noun[one] for one in ones], "": [noun[one] for one in others]}),
                    f"{topic} against the other topics", fixed=SINGULAR)
            for topic, ones, others in (
                ("dogs", ("dog", "puppy", "hound", "terrier"), ("ship", "star", "song", "train")),
                ("sea", ("ship", "wave", "sailor", "whale"), ("dog", "planet", "soup", "ball")),
                ("space", ("rocket", "planet", "star", "moon"), ("wave", "piano", "cake", "tower")),
                ("music", ("song", "piano", "singer", "violin"), ("puppy", "comet", "flower", "bus")),
                ("food", ("soup", "cake", "melon", "bread"), ("tree", "train", "drum", "goal")),
                ("garden", ("flower", "tree", "rose", "seed"), ("cake", "rocket", "hound", "player")),
                ("city", ("train", "tower", "bus", "bridge"), ("whale", "melon", "singer", "runner")),
                ("sport", ("ball", "player", "runner", "coach"), ("moon", "rose", "sailor", "shop")),
            )
        ),
        *(
            topic_against(words, topic, other)
            for topic, other in (("dogs", "music"), ("sea", "garden"), ("space", "city"), ("food", "sport"))
        ),
        Concept("certainty", "certainty", "certain", "doubtful", _thinks_that,
                _opposed(words.CERTAINTY["en"]),
                "certain against doubtful adverbs", ("thinks",), ("sees", "acts", "has", "it_is"), ENGLISH),
        Concept("affection", "sentiment", "positive", "negative", _friend,
                _opposed(_past(words.FEELING["en"])),
                "friends who love against friends who hate", FEELING, UNFEELING,
                (*ENGLISH, ("tense", "past"))),
        Concept("owner", "person", "first", "third", _nothing, ((" My", " Her"), (" My", " His")),
                "the narrator's own against a third person's", ("sees", "thinks", "daytime", "has", "friend"),
                SUBJECTLESS, ENGLISH),
        Concept("past-or-future", "tense", "past", "future", _it, ((" was", " will"),),
                "past against future", fixed=ENGLISH),
        Concept("sentiment-french", "sentiment", "positive", "negative", _it_is_a_french,
                _adjectives(words, "fr"),
                "whether a French text likes what it tells of", FEELING, UNFEELING, LOWER_FRENCH),
        Concept("tense-french", "tense", "past", "present", _a_noun, ((" était", " est"),),
                "past against present in French", fixed=(*LOWER_FRENCH, ("number", "singular"))),
        Concept("number-french", "number", "plural", "singular", _had_french,
                ((" des", " un"), (" des", " une")),
                "many against one in French", ("sees", "is_so", "acts", "has"), ("it_is",), LOWER_FRENCH),
    )  # fmt: skip


CONCEPTS = concepts_of(PUBLIC)
