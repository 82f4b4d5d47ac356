"""What the terminal shows: tables, vectors, refusal answers, and the screen that prints data as text."""
