"""Concepts of attitude: sentiment, formality, certainty."""

from __future__ import annotations

from scripts.everyday.frames import Concept, frame

SENTIMENT = Concept(
    "sentiment",
    "praise against blame, by the adjective that follows",
    ((" great", " terrible"), (" wonderful", " awful"), (" good", " bad"), (" excellent", " horrible")),
    telling=(
        frame(
            "{who} {felt} the {thing}. It was",
            who="I / We / My parents / My sister / Our friends / Everyone",
            felt="loved|hated / enjoyed|disliked / praised|criticized / adored|despised",
            thing="""film / book / hotel / dinner / concert / trip / party / show / game / play / museum /
            restaurant / speech / picnic / music / new song""",
        ),
        frame(
            "What a {kind} {scene} was",
            kind="lovely|miserable / beautiful|dreadful / perfect|disastrous / delightful|disappointing",
            scene="""vacation! The weather / dinner! The soup / concert! The singer / hotel! Our room /
            wedding! The food / evening! The music / restaurant! The service / trip! The guide /
            party! The band / film! The ending / meal! The fish / school! The teacher""",
        ),
        frame(
            "The {thing} {effect}. I thought it was",
            thing="film / book / play / show / concert / album / musical / novel / documentary",
            effect="""made us smile|made us angry / was worth every penny|was a waste of money /
            won a prize|put us to sleep / was better than I hoped|was worse than I feared""",
        ),
        frame(
            "{who} left the {place} {mood}. It was",
            who="He / She / My aunt / The guest / Our friend / Her father",
            place="theater / cinema / restaurant / hotel / museum / party / concert / club",
            mood="with a smile|in tears / happy|angry / full of joy|full of anger / delighted|disgusted",
        ),
    ),
    open_ended=(
        frame(
            "{who} went to the {place} {when}. It was",
            who="I / We / My parents / My sister / Our friends / He",
            place="theater / cinema / museum / new restaurant / concert / market / beach / zoo",
            when="last night / on Sunday / yesterday / after work",
        ),
        frame(
            "{who} told me about the {thing}. It was",
            who="My aunt / He / She / Anna / The teacher",
            thing="film / book / hotel / trip / party / game / play / speech / concert / new song",
        ),
        frame(
            "I finished the {thing} {when}. I thought it was",
            thing="book / novel / course / soup / article / game / story",
            when="today / last night / this morning",
        ),
    ),
)

FORMALITY = Concept(
    "formality",
    "formal against colloquial words, by the verb that follows",
    ((" purchase", " buy"), (" obtain", " get"), (" inform", " tell"), (" assist", " help")),
    telling=(
        frame(
            "{greeting}, {wish} to",
            greeting="""Dear Sir|Hey man / Dear Madam|Hey girl / Dear Professor|Hi buddy /
            Dear Colleagues|Hey guys / Dear Dr. Brown|Yo Mike / Dear Mr. Wilson|Hi Joe /
            Dear Mrs. Taylor|Hey Sue / Honorable Members|Hey folks / Ladies and Gentlemen|Hey everybody /
            Dear Customer|Hey there""",
            wish="""I would be honored|I'd be super happy / it is our intention|we're totally ready /
            we respectfully request permission|we just wanna be able / I hereby agree|I promise you /
            I am writing in order|I'm just trying / we would be delighted|we'd love""",
        ),
        frame(
            "{who} {wished} to",
            who="""The distinguished ambassador|My crazy buddy / The honorable judge|That funny guy /
            The board of directors|The guys at the bar / The royal family|The whole gang /
            The chief executive|My silly roommate / The esteemed professor|That cool kid /
            The minister of finance|Some dude downtown / The archbishop|My goofy little brother""",
            wished="""subsequently resolved|then just decided / sincerely wished|really wanted /
            respectfully declined|totally forgot / expressed a strong desire|kept on begging /
            made the necessary arrangements|came up with a crazy plan""",
        ),
        frame(
            "{message} {who} to",
            message="""We regret the inconvenience.|Sorry about the mess, man. /
            Thank you for your correspondence.|Thanks for the text, dude. /
            Your application has been received.|Got your note, cool. /
            We appreciate your cooperation.|You guys are awesome. /
            The meeting has been postponed.|The party got moved, bummer. /
            Please find the documents enclosed.|Here's the stuff, buddy. /
            We are grateful for your patience.|Thanks a bunch for waiting. /
            The matter is under consideration.|Yeah, whatever, no idea. /
            Your attendance is requested.|You gotta come, man. /
            The report has been completed.|Wow, the thing is done. /
            We remain at your disposal.|Call me anytime, okay? /
            The committee has approved it.|The guys are cool with it.""",
            who="""I want / We need / He hopes / They plan / She wants / We hope / It is time / You have /
            She has / They want""",
        ),
    ),
    open_ended=(
        frame(
            "{who} went to the {place} to",
            who="""She / He / The woman / My neighbor / A young man / They / The driver / His aunt /
            The student / The family""",
            place="""office / bank / library / station / market / hospital / school / airport / town hall /
            store""",
        ),
        frame(
            "{who} called the {person} to",
            who="She / He / My mother / The tenant / A customer / The teacher / They / Her son",
            person="doctor / manager / school / landlord / plumber / police / company / hotel",
        ),
    ),
)

CERTAINTY = Concept(
    "certainty",
    "certain against doubtful, by the adverb that follows",
    (
        (" definitely", " probably"),
        (" certainly", " perhaps"),
        (" clearly", " possibly"),
        (" surely", " maybe"),
    ),
    telling=(
        frame(
            "{claim} {Subject} {be}",
            claim="""I am sure about it.|I am not sure about it. / There is no doubt.|There is some doubt. /
            Everyone knows it.|Nobody knows for sure. / The proof is clear.|There is no proof. /
            I saw it myself.|I only heard rumors. / It is a fact.|It is just a guess. /
            We know the answer.|We can only guess. / The evidence is strong.|The evidence is weak. /
            I can promise you that.|I cannot promise anything. / I checked it twice.|I never checked it.""",
            subject="""the train / the shop / the winner / the thief / her brother / the letter / the dog /
            the museum / the painting / the road / the old man / the answer / the new teacher /
            the house""",
            be="is / was",
        ),
        frame(
            "{claim} {subject} {be}",
            claim="""I know for certain that|I am not sure whether /
            I am absolutely sure that|I suspect that / It has been proven that|It has been suggested that /
            Everyone agrees that|Some people think that / We all know that|We can only guess that /
            I can guarantee that|I vaguely remember that / She is convinced that|She has a feeling that""",
            subject="""the train / the shop / the winner / the thief / her brother / the letter / the dog /
            the museum / the painting / the road / the old man / the answer / the new teacher /
            the house""",
            be="is / was",
        ),
    ),
    open_ended=(
        frame(
            "{opening} {Subject} {be}",
            opening="""Look over there. / Listen to me. / Wait a minute. / Here is the news. /
            Ask the driver. / Call me tonight. / Come with me. / Tell your sister. / Think about it.""",
            subject="""the train / the shop / the winner / the thief / her brother / the letter / the dog /
            the museum / the painting / the road / the old man / the answer / the new teacher /
            the house""",
            be="is / was",
        ),
    ),
)

CONCEPTS = (SENTIMENT, FORMALITY, CERTAINTY)
