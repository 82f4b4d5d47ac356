"""Concepts of topic: dogs and the sea against other things."""

from __future__ import annotations

from scripts.everyday.frames import Concept, frame

DOGS = Concept(
    "dogs",
    "dogs against other things, by the noun that follows",
    ((" dog", " car"), (" dogs", " books"), (" puppy", " weather"), (" puppies", " money")),
    telling=(
        frame(
            "{who} {did} and {turned} the",
            who="She / He / Anna / The boy / My aunt / Our neighbor / The woman / Mr. Brown",
            did="""visited the vet|visited the bank / filled the water bowl|filled the bookshelf /
            picked up the leash|picked up the keys / bought a leash and a collar|bought a hammer and nails /
            read about sheepdogs|read about gardens / saw a wagging tail|saw a shiny window /
            owned a dog|owned a guitar / trained young dogs|trained young singers /
            heard the puppies|heard the children / loved puppies|loved books / loved dogs|loved cars /
            bought dog food|bought fresh bread / came from the vet|came from the office /
            read a book about dogs|read a book about cars""",
            turned="looked at / talked about / worried about / took care of",
        ),
    ),
    open_ended=(
        frame(
            "{who} {did} and {turned} the",
            who="She / He / Anna / The boy / My aunt / Our neighbor / The woman / Mr. Brown",
            did="""came home late / sat on the porch / put on a coat / waited outside / opened the door /
            smiled / got up early / stopped for a moment""",
            turned="looked at / talked about / worried about / took care of",
        ),
    ),
)

SEA = Concept(
    "sea",
    "the sea against the land, by the noun that follows",
    ((" sea", " city"), (" ocean", " town"), (" waves", " streets"), (" ship", " train")),
    telling=(
        frame(
            "{who} {did} and {turned} the",
            who="She / He / My uncle / The old man / Her father / The girl / Peter / We",
            did="""stood on the deck|stood on the corner / walked along the shore|walked along the road /
            raised the anchor|raised the curtain / heard the gulls cry|heard the horns blow /
            lowered the sails|lowered the blinds / pulled in the nets|pulled out the weeds /
            left the harbor|left the station / smelled the salt|smelled the smoke /
            stood by the lighthouse|stood by the town hall / rowed past the reef|drove past the farm""",
            turned="looked at / thought about / listened to / watched",
        ),
    ),
    open_ended=(
        frame(
            "{who} {did} and {turned} the",
            who="She / He / My uncle / The old man / Her father / The girl / Peter / We",
            did="""opened the window / stood still / turned around / sat down / went outside /
            took a deep breath / finished the coffee / stayed for an hour""",
            turned="looked at / thought about / listened to / watched",
        ),
    ),
)

CONCEPTS = (DOGS, SEA)
