"""One repository on the Hub: reading it, and making it hold given files in one commit.

What is published, and what stands on its card, belongs to the room that publishes it: `leaderboard` or
`vectors`.
"""
