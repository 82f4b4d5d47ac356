"""Concepts of language: French and German against English."""

from __future__ import annotations

from scripts.everyday.frames import Concept, frame

FRENCH = Concept(
    "french",
    "French against English, by the first word of the next sentence",
    ((" Le", " The"), (" Il", " He"), (" La", " That"), (" Les", " They")),
    telling=(
        frame(
            "{who} {does}.",
            who="""Le boulanger|The baker / La voisine|The neighbor / Mon frère|My brother /
            Ma sœur|My sister / Le professeur|The teacher / Notre ami|Our friend /
            La vieille dame|The old lady / Le petit garçon|The little boy / Mon oncle|My uncle /
            Le médecin|The doctor / La jeune fille|The young girl / Ma grand-mère|My grandmother""",
            does="""mange une pomme|eats an apple / lit le journal|reads the newspaper /
            attend le train|waits for the train / habite près de la gare|lives near the station /
            travaille dans une banque|works in a bank / aime la musique|likes music /
            prépare le dîner|makes dinner / dort encore|is still asleep /
            cherche les clés|is looking for the keys / regarde la télévision|watches television /
            arrive demain matin|arrives tomorrow morning / boit un café|drinks a coffee /
            écrit une lettre|writes a letter / chante une chanson|sings a song /
            joue dans le jardin|plays in the garden / part en vacances|is going on vacation /
            achète du pain|buys bread / ferme la porte|closes the door""",
        ),
        frame(
            "{weather} {where}.",
            weather="""Il fait froid|It is cold / Il fait chaud|It is hot / Il fait beau|The weather is nice /
            Il pleut|It is raining / Il neige|It is snowing / Il y a du vent|It is windy""",
            where="""ce matin|this morning / aujourd'hui|today / ce soir|this evening / dehors|outside /
            dans le nord|in the north / à Paris|in Paris / ici|here""",
        ),
    ),
    open_ended=(
        frame(
            "{place}{there} {thing}.",
            place="""Dans la cuisine|In the kitchen / Dans le salon|In the living room /
            Dans ma chambre|In my room / Sur la table|On the table / Dans le sac|In the bag /
            Sous le lit|Under the bed / Devant la porte|In front of the door /
            Près de la fenêtre|Near the window / Dans la voiture|In the car / Dans le jardin|In the garden /
            Sur la chaise|On the chair / Dans l'armoire|In the closet""",
            there=", il y a| there is",
            thing="""un livre|a book / une lettre|a letter / un vieux chapeau|an old hat /
            une petite boîte|a small box / une clé|a key / une photo|a photo / un parapluie|an umbrella /
            un journal|a newspaper / une bouteille|a bottle / un stylo|a pen / un manteau rouge|a red coat /
            un jouet|a toy / un couteau|a knife""",
        ),
    ),
)

GERMAN = Concept(
    "german",
    "German against English, by the first word of the next sentence",
    ((" Der", " The"), (" Er", " He"), (" Es", " It"), (" Die", " They")),
    telling=(
        frame(
            "{who} {does}.",
            who="""Der Bäcker|The baker / Die Nachbarin|The neighbor / Mein Bruder|My brother /
            Meine Schwester|My sister / Der Lehrer|The teacher / Unser Freund|Our friend /
            Die alte Frau|The old woman / Der kleine Junge|The little boy / Mein Onkel|My uncle /
            Der Arzt|The doctor / Das Mädchen|The girl / Meine Großmutter|My grandmother""",
            does="""isst einen Apfel|eats an apple / liest die Zeitung|reads the newspaper /
            wartet auf den Zug|waits for the train / wohnt in der Nähe|lives nearby /
            arbeitet in einer Bank|works in a bank / mag Musik|likes music /
            kocht das Abendessen|cooks dinner / schläft noch|is still asleep /
            sucht die Schlüssel|is looking for the keys / sieht gerne fern|likes to watch television /
            kommt morgen früh|is coming tomorrow morning / trinkt einen Kaffee|drinks a coffee /
            schreibt einen Brief|writes a letter / singt ein Lied|sings a song /
            spielt im Garten|plays in the garden / fährt in den Urlaub|is going on vacation /
            kauft Brot|buys bread / schließt die Tür|closes the door""",
        ),
        frame(
            "{where} {weather}.",
            where="""Heute|Today / Heute Abend|This evening / Draußen|Outside / Im Norden|In the north /
            In Berlin|In Berlin / Hier|Here / Jetzt|Now""",
            weather="""ist es kalt|it is cold / ist es warm|it is warm / ist es windig|it is windy /
            regnet es|it is raining / schneit es|it is snowing / scheint die Sonne|the sun is shining""",
        ),
    ),
    open_ended=(
        frame(
            "{place} {there} {thing}.",
            place="""In der Küche|In the kitchen / Im Wohnzimmer|In the living room /
            In meinem Zimmer|In my room / Auf dem Tisch|On the table / In der Tasche|In the bag /
            Unter dem Bett|Under the bed / Vor der Tür|In front of the door /
            Neben dem Fenster|Next to the window / Im Auto|In the car / Im Garten|In the garden /
            Auf dem Stuhl|On the chair / Im Schrank|In the closet""",
            there="liegt|there is",
            thing="""ein Buch|a book / ein Brief|a letter / ein alter Hut|an old hat /
            eine kleine Schachtel|a small box / ein Schlüssel|a key / ein Foto|a photo /
            ein Regenschirm|an umbrella / eine Zeitung|a newspaper / eine Flasche|a bottle / ein Stift|a pen /
            ein roter Mantel|a red coat / ein Spielzeug|a toy / ein Messer|a knife""",
        ),
    ),
)

CONCEPTS = (FRENCH, GERMAN)
