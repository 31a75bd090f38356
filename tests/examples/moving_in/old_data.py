"""A file as years of use leave it: 1,000 reminders, and a few rows that nobody expects."""

import sys

sys.path.insert(0, "before")

from reminders import Reminders

old = Reminders("reminders.db")
for number in range(20):
    old.give(f"user{number}")
with old.db:
    old.db.executemany(
        "INSERT INTO reminders (user, text, due) VALUES (?, ?, ?)",
        [(f"user{n % 20}", f"Water plant {n}", 1_700_000_000 + n) for n in range(997)],
    )
    # Three that SQLite took without a word: a due time in words, an empty one, a user without karma.
    old.db.executemany(
        "INSERT INTO reminders (user, text, due) VALUES (?, ?, ?)",
        [("user1", "Call back", "tomorrow"), ("user2", "Pay", ""), ("nobody", "Lost", 1_700_000_000)],
    )
