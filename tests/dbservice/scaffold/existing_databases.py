"""Databases as plugins of other bots keep them, for `rosey scaffold`."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path


def game_server(path: Path) -> None:
    """24 tables with composite keys, triggers, views and counters: an economy game."""
    dice = random.Random(7)
    with closing(sqlite3.connect(path)) as db:
        db.executescript(_GAME)
        for number in range(12):
            db.executescript(_game_module(number))
        users = [(n, f"user{n}", f"2026-01-{n % 28 + 1:02}T10:00:00Z") for n in range(1, 401)]
        db.executemany("INSERT INTO users (id, name, joined) VALUES (?, ?, ?)", users)
        db.executemany(
            "INSERT INTO channels (id, name, is_open) VALUES (?, ?, ?)",
            [(n, f"channel {n}", n % 2) for n in range(1, 21)],
        )
        pairs = {(dice.randint(1, 400), dice.randint(1, 20)) for _ in range(1500)}
        db.executemany(
            "INSERT INTO memberships (user_id, channel_id, role) VALUES (?, ?, ?)",
            [(*pair, dice.choice(["owner", "voice", "none"])) for pair in sorted(pairs)],
        )
        db.executemany(
            "INSERT INTO warnings (user_id, channel_id, nth, text) VALUES (?, ?, ?, ?)",
            [(*pair, 1, f'don\'t "{n}"; -- please') for n, pair in enumerate(sorted(pairs)[:200])],
        )
        db.executemany(
            "INSERT INTO accounts (user_id, coins) VALUES (?, ?)",
            [(n, dice.randint(0, 10**9)) for n in range(1, 401)],
        )
        db.executemany(
            "INSERT INTO transfers (giver, taker, coins) VALUES (?, ?, ?)",
            [(dice.randint(1, 400), dice.randint(1, 400), dice.randint(1, 99)) for _ in range(900)],
        )
        for number in range(12):
            db.executemany(
                f"INSERT INTO game{number}_scores VALUES (?, ?, ?, ?)",
                [(u, c, dice.randint(0, 500), dice.random()) for u, c in sorted(pairs)[:150]],
            )
        db.execute("DELETE FROM transfers WHERE id > 800")
        db.commit()


_GAME = """
CREATE TABLE users (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    joined DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE channels (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name VARCHAR(64) NOT NULL, is_open BOOLEAN DEFAULT 1
);
CREATE TABLE memberships (
    user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
    channel_id INTEGER NOT NULL REFERENCES channels (id) ON DELETE CASCADE ON UPDATE CASCADE,
    role TEXT NOT NULL DEFAULT 'none' CHECK (role IN ('owner', 'voice', 'none')),
    PRIMARY KEY (user_id, channel_id)
) WITHOUT ROWID;
CREATE TABLE warnings (
    user_id INTEGER NOT NULL, channel_id INTEGER NOT NULL, nth INTEGER NOT NULL CHECK (nth > 0),
    text TEXT NOT NULL CHECK (length(text) BETWEEN 1 AND 500),
    PRIMARY KEY (user_id, channel_id, nth),
    FOREIGN KEY (user_id, channel_id) REFERENCES memberships (user_id, channel_id)
);
CREATE TABLE accounts (
    user_id INTEGER PRIMARY KEY REFERENCES users (id),
    coins INTEGER NOT NULL DEFAULT 0 CHECK (coins >= 0)
);
CREATE TABLE transfers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    giver INTEGER NOT NULL REFERENCES users (id), taker INTEGER NOT NULL REFERENCES users (id),
    coins INTEGER NOT NULL CHECK (coins > 0),
    UNIQUE (id, giver)
);
CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT NOT NULL, who INTEGER);
CREATE INDEX memberships_role ON memberships (role, channel_id);
CREATE INDEX transfers_big ON transfers (coins DESC) WHERE coins > 50;
CREATE UNIQUE INDEX "channels-by-name" ON channels (lower(name));
CREATE VIEW rich AS SELECT users.name, accounts.coins FROM users
    JOIN accounts ON accounts.user_id = users.id WHERE accounts.coins > 1000000;
CREATE VIEW richest AS SELECT name FROM rich ORDER BY coins DESC LIMIT 3;
CREATE TRIGGER transfers_audit AFTER INSERT ON transfers BEGIN
    INSERT INTO audit (what, who) VALUES ('transfer of ' || NEW.coins, NEW.giver);
END;
CREATE TRIGGER accounts_floor BEFORE UPDATE OF coins ON accounts
WHEN NEW.coins < 0 BEGIN SELECT RAISE(ABORT, 'no debts; please'); END;
"""


def _game_module(number: int) -> str:
    return f"""
    CREATE TABLE game{number}_scores (
        user_id INTEGER NOT NULL, channel_id INTEGER NOT NULL, points INTEGER DEFAULT 0,
        luck REAL, PRIMARY KEY (user_id, channel_id),
        FOREIGN KEY (user_id, channel_id) REFERENCES memberships (user_id, channel_id)
    );
    CREATE TABLE game{number}_rounds (
        id INTEGER PRIMARY KEY, user_id INTEGER, channel_id INTEGER, points INTEGER,
        FOREIGN KEY (user_id, channel_id) REFERENCES game{number}_scores (user_id, channel_id)
    );
    CREATE TRIGGER game{number}_scored AFTER INSERT ON game{number}_scores BEGIN
        INSERT INTO game{number}_rounds (user_id, channel_id, points)
        VALUES (NEW.user_id, NEW.channel_id, NEW.points);
    END;
    """


def music_library(path: Path) -> None:
    """Names in camel case, sized types, a table that refers to itself, decimals."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript("""
        CREATE TABLE [Artist] ([ArtistId] INTEGER NOT NULL PRIMARY KEY, [Name] NVARCHAR(120));
        CREATE TABLE [Album] (
            [AlbumId] INTEGER PRIMARY KEY NOT NULL, [Title] NVARCHAR(160) NOT NULL,
            [ArtistId] INTEGER NOT NULL,
            FOREIGN KEY ([ArtistId]) REFERENCES [Artist] ([ArtistId]) ON DELETE NO ACTION
        );
        CREATE TABLE "Employee" (
            "EmployeeId" INTEGER PRIMARY KEY, "Reports To" INTEGER REFERENCES "Employee",
            "Last Name" VARCHAR(20) NOT NULL, Hired TIMESTAMP, Salary DECIMAL(10, 2) DEFAULT 0.5
        );
        CREATE TABLE Track (
            TrackId INTEGER PRIMARY KEY, AlbumId INT REFERENCES Album (AlbumId),
            Seconds INTEGER GENERATED ALWAYS AS (Milliseconds / 1000) VIRTUAL,
            Milliseconds INTEGER NOT NULL, Price NUMERIC(10,2) NOT NULL CHECK (Price >= 0),
            Meta TEXT DEFAULT '{}' CHECK (json_valid(Meta))
        );
        CREATE INDEX [IFK_AlbumArtistId] ON [Album] ([ArtistId]);
        CREATE VIEW AlbumLengths AS SELECT AlbumId, SUM(Milliseconds) AS total
            FROM Track GROUP BY AlbumId;
        """)
        db.executemany("INSERT INTO Artist VALUES (?, ?)", [(n, f"Ártist {n}") for n in range(60)])
        db.executemany(
            "INSERT INTO Album VALUES (?, ?, ?)", [(n, f"Album '{n}'", n % 60) for n in range(200)]
        )
        # Superiors have higher ids than those who report to them.
        db.executemany(
            'INSERT INTO "Employee" VALUES (?, ?, ?, ?, ?)',
            [(n, n + 1 if n < 40 else None, f"N{n}", f"2020-01-01T0{n % 9}:00:00", n / 4)
             for n in range(1, 41)],
        )  # fmt: skip
        db.executemany(
            "INSERT INTO Track (TrackId, AlbumId, Milliseconds, Price, Meta) VALUES (?,?,?,?,?)",
            [(n, n % 200, n * 997, 0.99, f'{{"n": {n}, "tags": ["a"]}}') for n in range(1500)],
        )
        db.commit()


def grown_wild(path: Path) -> None:
    """Everything that SQLite permits and should not: hostile names, mixed values, broken keys."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript("""
        CREATE TABLE "Order" (id INTEGER PRIMARY KEY, "group" TEXT, "select" INTEGER,
            "Größe in m²" REAL, "x""y; DROP TABLE z" TEXT, anything, "__secret" TEXT,
            payload BLOB, at DATETIME, note TEXT DEFAULT "none");
        CREATE TABLE "order details" (order_id INTEGER REFERENCES "Order" (id),
            line INTEGER, what TEXT, FOREIGN KEY (what) REFERENCES nowhere (id));
        CREATE TABLE "order-details" (a TEXT, b INTEGER DEFAULT (abs(-3)) CHECK (b <> 13));
        CREATE TABLE "2fast" (id TEXT PRIMARY KEY, n INTEGER CHECK (typeof(n) = 'integer'));
        CREATE TABLE hen (id INTEGER PRIMARY KEY, egg_id INTEGER REFERENCES egg (id));
        CREATE TABLE egg (id INTEGER PRIMARY KEY, hen_id INTEGER REFERENCES hen (id));
        CREATE TABLE empty_one (id INTEGER PRIMARY KEY, v TEXT NOT NULL) STRICT;
        CREATE TABLE orphan (id INTEGER PRIMARY KEY, hen_id INTEGER REFERENCES hen (id));
        CREATE VIRTUAL TABLE words USING fts5 (body);
        CREATE INDEX "odd index" ON "order details" (line COLLATE NOCASE, what);
        CREATE TRIGGER "weird trigger" AFTER DELETE ON "Order" BEGIN
            DELETE FROM "order details" WHERE order_id = OLD.id; END;
        CREATE VIEW "Loud Orders" AS SELECT id, upper("group") AS loud FROM "Order"
            WHERE "select" > 1;
        CREATE VIEW secret AS SELECT load_extension('x');
        """)
        db.executemany(
            'INSERT INTO "Order" VALUES (?,?,?,?,?,?,?,?,?,?)',
            [(n, f"g{n}", n, n / 8, "tricky", [n, f"t{n}", n / 2, None][n % 4], "s",
              bytes([n % 256, 0, 255]) if n % 3 else None,
              "2026-01-02 03:04:05" if n % 2 else "yesterday", None) for n in range(300)],
        )  # fmt: skip
        db.executemany(
            'INSERT INTO "order details" VALUES (?, ?, ?)',
            [(n % 300, n, f"part {n}") for n in range(700)],
        )
        db.executemany('INSERT INTO "order-details" VALUES (?, ?)', [("same", 1)] * 1200)
        db.executemany('INSERT INTO "2fast" VALUES (?, ?)', [(f"k{n}", n) for n in range(50)])
        db.executemany("INSERT INTO hen VALUES (?, ?)", [(n, n) for n in range(1, 30)])
        db.executemany("INSERT INTO egg VALUES (?, ?)", [(n, 30 - n) for n in range(1, 30)])
        db.executemany("INSERT INTO orphan VALUES (?, ?)", [(1, 1), (2, 999)])
        db.execute("INSERT INTO words VALUES ('hello')")
        db.commit()


DATABASES: dict[str, Callable[[Path], None]] = {
    "game": game_server,
    "music": music_library,
    "wild": grown_wild,
}
