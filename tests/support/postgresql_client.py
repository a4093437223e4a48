"""A client of PostgreSQL, by psycopg: every kind of conversation, or a connection that stays open.

postgresql_client.py all PORT
postgresql_client.py held PORT FOLDER: prepares a statement and writes FOLDER/prepared; once FOLDER/go is there sends a
thousand updates, a hundred at a time, executes it 20 times, and asks 10 times in text.
postgresql_client.py phases PORT FOLDER: four connections, the last by asyncpg, on tables that have the phase for a name.
"""
import asyncio
import sys
import time
from pathlib import Path

import asyncpg
import psycopg

from phases import Phases, run


def connect(port):
    return psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="bench", autocommit=True)


def fails(state, act):
    try:
        act()
    except psycopg.Error as error:
        assert error.sqlstate == state, error
        return
    raise AssertionError("it is refused")


def everything(port):
    with connect(port) as client:
        client.execute("CREATE TABLE items (id int PRIMARY KEY, name text)")
        for n in range(30):
            client.execute("INSERT INTO items VALUES (%s, %s)", (n, "n" * n), prepare=n % 2 == 0)
        for n in range(40):
            assert client.execute("SELECT name FROM items WHERE id = %s", (n % 30,)).fetchone()
        assert len(client.execute("SELECT id, repeat('x', 10000) FROM items", prepare=False).fetchall()) == 30
        fails("23505", lambda: client.execute("INSERT INTO items VALUES (%s, %s)", (1, "again")))
        fails("42P01", lambda: client.execute("SELECT * FROM nowhere"))
        fails("22012", lambda: client.execute("SELECT 1 / %s::int", (0,), prepare=True))
        with client.cursor() as cursor:
            with cursor.copy("COPY items FROM STDIN") as copy:
                for n in range(100, 1100):
                    copy.write_row((n, f"item {n}"))
            with cursor.copy("COPY items TO STDOUT") as copy:
                assert sum(1 for _ in copy.rows()) == 1030
            cursor.executemany("UPDATE items SET name = %s WHERE id = %s", [(f"new {n}", n) for n in range(50)])
        with client.pipeline():
            for n in range(1000):
                client.execute("DELETE FROM items WHERE id = %s", (n,))
        with client.transaction():
            client.execute("SELECT count(*) FROM items")
            with client.cursor(name="some") as cursor:
                cursor.execute("SELECT id FROM items ORDER BY id")
                assert len(cursor.fetchmany(10)) == 10
        client.execute("DROP TABLE items")


async def by_asyncpg(port):
    client = await asyncpg.connect(host="127.0.0.1", port=port, user="postgres", database="bench")
    await client.execute("CREATE TABLE items (id int PRIMARY KEY, name text)")
    await client.executemany("INSERT INTO items VALUES ($1, $2)", [(n, "n" * n) for n in range(30)])
    for n in range(40):
        assert await client.fetchrow("SELECT name FROM items WHERE id = $1", n % 30)
    statement = await client.prepare("UPDATE items SET name = $1 WHERE id = $2")
    for n in range(20):
        await statement.fetch("new", n)
    for state, text in (("42P01", "SELECT * FROM nowhere"), ("23505", "INSERT INTO items VALUES (1, 'again')")):
        try:
            await client.execute(text)
        except asyncpg.PostgresError as error:
            assert error.sqlstate == state, error
        else:
            raise AssertionError("it is refused")
    async with client.transaction():
        assert len(await client.fetch("SELECT count(*) FROM items")) == 1
    await client.execute("DROP TABLE items")
    await client.close()


def held(port, folder):
    with connect(port) as client:
        question = "SELECT abalance FROM pgbench_accounts WHERE aid = %s"
        client.execute(question, (1,), prepare=True)
        (folder / "prepared").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)
        with client.pipeline() as pipeline:
            for n in range(1000):
                client.execute("UPDATE pgbench_branches SET bbalance = %s WHERE bid = 1", (n,), prepare=False)
                if n % 100 == 99:
                    pipeline.sync()
        for n in range(20):
            client.execute(question, (1 + n,))
        for _ in range(10):
            client.execute("SELECT count(*) FROM pgbench_branches")


def in_text(client, phases):
    for n, phase in enumerate(phases):
        client.execute(f"SELECT name FROM {phase}_{n % 3} WHERE id = {n % 5}", prepare=False)
        client.execute(f"UPDATE {phase}_{n % 3} SET name = 'new' WHERE id = {n % 5}", prepare=False)


def extended(client, phases):
    for n, phase in enumerate(phases):
        # What is prepared in one of the others has no name in those that are compared.
        is_prepared = phase in ("first", "second", "third") and n % 2 == 0
        client.execute(f"SELECT name FROM {phase}_{n % 3} WHERE id = %s", (n % 5,), prepare=is_prepared)
        client.execute(f"SELECT id, name FROM {phase}_{n % 3} LIMIT %s", (n % 5,), prepare=is_prepared)


def pipelined(client, phases):
    for n, phase in enumerate(phases):
        with client.pipeline():
            for at in range(10):
                client.execute(f"SELECT name FROM {phase}_{n % 3} WHERE id = %s", (at,), prepare=False)


async def prepared(port, phases):
    """What it executes by statements that were prepared first of all: nobody knows their texts who came later."""
    client = await asyncpg.connect(host="127.0.0.1", port=port, user="postgres", database="bench")
    kept = {phase: await client.prepare(f"SELECT name FROM {phase}_kept WHERE id = $1") for phase in ("first", "second")}
    for n, phase in enumerate(phases):
        await client.execute(f"SELECT name FROM {phase}_{n % 3} WHERE id = {n % 5}")
        if phase in kept:
            await kept[phase].fetch(n % 5)
        if phase in ("first", "second", "third"):
            # Named and prepared the first time.
            await client.fetch(f"SELECT name FROM {phase}_{n % 3} WHERE id = $1", n % 5)
    connections.append(client)


port = int(sys.argv[2])
if sys.argv[1] == "all":
    everything(port)
    asyncio.run(by_asyncpg(port))
elif sys.argv[1] == "held":
    held(port, Path(sys.argv[3]))
else:
    phases, connections = Phases(Path(sys.argv[3]), workers=4), [connect(port) for _ in range(3)]
    workers = [lambda at=at: at[0](at[1], phases) for at in zip((in_text, extended, pipelined), connections)]
    run([*workers, lambda: asyncio.run(prepared(port, phases))])
    phases.stay()
