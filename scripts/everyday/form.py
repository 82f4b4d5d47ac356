"""Concepts of form: tense, number, person, capitals."""

from __future__ import annotations

from scripts.everyday.frames import Concept, frame, shouted

SOMEBODY = """the baker / my uncle / the old farmer / our teacher / the mayor / the doctor / her brother /
the captain / the queen / my neighbor / the gardener / the young painter / his wife / the young nurse /
our family / the cook"""

TENSE = Concept(
    "tense",
    "past against present, by the verb that follows",
    ((" was", " is"), (" had", " has"), (" took", " takes"), (" made", " makes")),
    telling=(
        frame(
            "{when}, {subject}",
            when="""Last night|Right now / Yesterday|Today / In 1950|These days / Last year|This year /
            Long ago|Nowadays / Two weeks ago|At the moment / Last summer|This week / Back then|At present /
            In those days|As of today""",
            subject=SOMEBODY,
        ),
        frame(
            "{scene} {Subject}",
            scene="""The sun was shining.|The sun is shining. / It rained every day.|It rains every day. /
            The shop was full.|The shop is full. / The children played outside.|The children play outside. /
            Everybody looked tired.|Everybody looks tired. / The street was empty.|The street is empty. /
            Snow fell on the hills.|Snow falls on the hills. /
            The bells rang at noon.|The bells ring at noon. /
            Nobody knew the answer.|Nobody knows the answer. / Times were hard.|Times are hard.""",
            subject=SOMEBODY,
        ),
    ),
    open_ended=(
        frame(
            "{where}, {subject}",
            where="""At the market / In the kitchen / On the train / Near the river / In the office /
            Behind the church / At the station / In the garden / Down the road / On the bridge / In town /
            Outside the city""",
            subject=SOMEBODY,
        ),
    ),
)

NUMBER = Concept(
    "number",
    "several against one, by the verb that agrees",
    ((" are", " is"), (" were", " was"), (" have", " has"), (" do", " does")),
    telling=(
        frame(
            "The {noun} {place}",
            noun="""dogs|dog / cats|cat / horses|horse / boys|boy / girls|girl / farmers|farmer / birds|bird /
            cows|cow / ducks|duck / goats|goat / students|student / soldiers|soldier / monkeys|monkey""",
            place="""in the garden / on the hill / by the river / behind the house / across the street /
            near the bridge / in the picture / at the gate""",
        ),
        frame(
            "The {noun} {place}",
            noun="""cars|car / trucks|truck / trees|tree / benches|bench / houses|house / signs|sign /
            statues|statue / buildings|building""",
            place="""near the station / in front of the school / on the corner / beside the road /
            in the park / behind the church""",
        ),
        frame(
            "{det} {noun} {place}",
            det="My / Your / Her",
            noun="""brothers|brother / sisters|sister / cousins|cousin / uncles|uncle / friends|friend /
            neighbors|neighbor / teachers|teacher""",
            place="from Boston / in the photo / at the door / with red hair",
        ),
    ),
    open_ended=(
        frame(
            "{det} {noun} {place}",
            det="The / The big / The wild / The young",
            noun="sheep / deer / moose / bison / elk",
            place="""in the valley / by the river / behind the fence / on the hill / near the forest /
            across the road / in the picture / under the trees""",
        ),
        frame(
            "{det} {noun} {place}",
            det="The / The big / The fresh / The small",
            noun="fish / salmon / trout / squid / shrimp / cod",
            place="in the net / in the bucket / on the boat / at the market / in the water / in the photo",
        ),
        frame(
            "{det} aircraft {place}",
            det="The / The old / The new / The military",
            place="on the runway / in the hangar / above the clouds / near the border",
        ),
    ),
)

WHEN = """In the evening / After lunch / Later that day / At night / On the way home / The next day /
In the end / Before dinner"""

PERSON = Concept(
    "person",
    "the first person against the third, by the pronoun that follows",
    ((" I", " he"), (" my", " her"), (" we", " they"), (" our", " their")),
    telling=(
        frame(
            "{who} {did}. {when},",
            who="I|He / I|She / We|They / I|Tom / I|Anna / We|The boys / We|The neighbors",
            did="""woke up early / missed the bus / bought some bread / walked home / lost the keys /
            sat by the fire / called a friend / cleaned the kitchen / forgot the tickets / went for a swim /
            read the news / fed the horses""",
            when=WHEN,
        ),
        frame(
            "{whose} {state}. {when},",
            whose="My|His / My|Her / Our|Their / My|Tom's / Our|The girls'",
            state="""car was dirty / room was cold / phone was dead / dinner was late / house was quiet /
            coffee was too hot / garden was full of weeds / boat was too small / bus never came /
            window was broken""",
            when=WHEN,
        ),
    ),
    open_ended=(
        frame(
            "{scene} {when},",
            scene="""It rained all day. / The shop was closed. / The train was late. / The bread was gone. /
            It was a long week. / The music stopped. / The lights went out. / The weather was warm. /
            The street was quiet. / The phone rang twice. / Breakfast was ready. / There was no hot water. /
            The snow was deep. / The film was long. / The door was open. / The birds sang. /
            The road was empty. / The wind was strong. / The store had no milk. / It was Sunday.""",
            when=WHEN,
        ),
    ),
)

CAPITALS = Concept(
    "capitals",
    "capital letters against ordinary ones, by the word that follows",
    ((" THE", " The"), (" WE", " We"), (" YOU", " You"), (" IT", " It")),
    telling=(
        shouted(
            "{Subject} {does}.",
            subject=SOMEBODY,
            does="""lives near the sea / works every day / likes warm bread / wants more time /
            needs a new roof / never sleeps / sings very well / has a big garden / sells good cheese /
            knows the answer / is on the way / is waiting for the bus / will come tomorrow /
            must pay the bill / stayed at home / won the game""",
        ),
    ),
    open_ended=(
        shouted(
            "The {place} is {state} {when}.",
            place="library / shop / bank / park / museum / pool / office / market / station / school",
            state="open / closed / empty / very busy",
            when="today / on Monday / in the morning / this week / tonight",
        ),
    ),
)

CONCEPTS = (TENSE, NUMBER, PERSON, CAPITALS)
