"""The application's data: a SQLite database made from a seed, and safe queries."""

from __future__ import annotations

import random
import sqlite3
import time
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIRST_DAY = date(2026, 1, 1)
DAYS = 180
MAX_ROWS = 50
"""Largest number of rows of one query: more would fill the model's context window."""
MAX_SECONDS = 2.0
"""Longest time that one query may run."""

CITIES = ("Hamburg", "Rotterdam", "Trieste", "Lyon", "Gdansk", "Porto")
SUPPLIERS = (
    "Nordwerk",
    "Adria Parts",
    "Lumen",
    "Castor",
    "Baltica",
    "Meridian",
    "Orbis",
    "Tessera",
)
PRODUCTS = 60

SCHEMA = """
CREATE TABLE warehouses (id INTEGER PRIMARY KEY, city TEXT NOT NULL);
CREATE TABLE suppliers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL, unit_cost REAL NOT NULL,
    supplier_id INTEGER NOT NULL REFERENCES suppliers, lead_time_days INTEGER NOT NULL);
CREATE TABLE stock_movements (id INTEGER PRIMARY KEY, day TEXT NOT NULL,
    warehouse_id INTEGER NOT NULL REFERENCES warehouses,
    product_id INTEGER NOT NULL REFERENCES products, quantity INTEGER NOT NULL);
CREATE TABLE lanes (origin_id INTEGER NOT NULL REFERENCES warehouses,
    destination_id INTEGER NOT NULL REFERENCES warehouses, hours REAL NOT NULL, cost REAL NOT NULL);
CREATE TABLE shipments (id INTEGER PRIMARY KEY, day TEXT NOT NULL, origin_id INTEGER NOT NULL,
    destination_id INTEGER NOT NULL, pallets INTEGER NOT NULL);
CREATE TABLE purchase_orders (id INTEGER PRIMARY KEY, supplier_id INTEGER NOT NULL,
    product_id INTEGER NOT NULL, promised TEXT NOT NULL, delivered TEXT NOT NULL,
    quantity INTEGER NOT NULL, defects INTEGER NOT NULL);
CREATE INDEX movements_by_product ON stock_movements (product_id, day);
"""

_READING = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
)


class RefusedQueryError(Exception):
    """Raised if a query is refused; the text says why, and what is allowed."""


def generate(path: Path, seed: int = 7) -> None:
    """Write the database: the same for the same seed, some forty thousand rows."""
    dice = random.Random(seed)
    with sqlite3.connect(path) as db:
        db.executescript(SCHEMA)
        db.executemany("INSERT INTO warehouses VALUES (?, ?)", enumerate(CITIES, 1))
        db.executemany("INSERT INTO suppliers VALUES (?, ?)", enumerate(SUPPLIERS, 1))
        for table, rows in (
            ("products", _products(dice)),
            ("lanes", _lanes(dice)),
            ("stock_movements", _movements(dice)),
            ("shipments", _shipments(dice)),
            ("purchase_orders", _orders(dice)),
        ):
            first, *rest = rows
            marks = ", ".join("?" * len(first))
            db.executemany(f"INSERT INTO {table} VALUES ({marks})", [first, *rest])  # noqa: S608
    db.close()


def _products(dice: random.Random) -> Iterator[tuple[Any, ...]]:
    for i in range(1, PRODUCTS + 1):
        cost = round(dice.uniform(2, 80), 2)
        yield i, f"P-{i:03d}", cost, dice.randint(1, len(SUPPLIERS)), dice.randint(3, 21)


def _lanes(dice: random.Random) -> Iterator[tuple[Any, ...]]:
    for origin in range(1, len(CITIES) + 1):
        for destination in range(1, len(CITIES) + 1):
            near = abs(origin - destination) in (1, len(CITIES) - 1)
            if origin != destination and (near or dice.random() < 0.2):
                yield origin, destination, round(dice.uniform(6, 40), 1), dice.randint(200, 900)


def _movements(dice: random.Random) -> Iterator[tuple[Any, ...]]:
    number = 0
    for day in range(DAYS):
        for product in range(1, PRODUCTS + 1):
            for warehouse in dice.sample(range(1, len(CITIES) + 1), 3):
                number += 1
                restocked = day % 14 == product % 14
                quantity = dice.randint(90, 160) if restocked else -dice.randint(0, 12)
                yield number, _day(day), warehouse, product, quantity


def _shipments(dice: random.Random) -> Iterator[tuple[Any, ...]]:
    for number in range(1, 6001):
        origin, destination = dice.sample(range(1, len(CITIES) + 1), 2)
        yield number, _day(dice.randrange(DAYS)), origin, destination, dice.randint(1, 33)


def _orders(dice: random.Random) -> Iterator[tuple[Any, ...]]:
    for number in range(1, 3001):
        supplier = dice.randint(1, len(SUPPLIERS))
        promised = dice.randrange(DAYS)
        # Suppliers differ: the later their number, the later and the worse they deliver.
        late = max(0, round(dice.gauss(supplier / 2 - 2, 2)))
        quantity = dice.randint(20, 400)
        defects = sum(dice.random() < supplier / 400 for _ in range(quantity))
        product = dice.randint(1, PRODUCTS)
        yield number, supplier, product, _day(promised), _day(promised + late), quantity, defects


def _day(offset: int) -> str:
    return (FIRST_DAY + timedelta(days=offset)).isoformat()


def ask(path: Path, query: str, parameters: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
    """Return a query's rows, from a connection that can only read.

    Args:
        path: The database.
        query: One SELECT statement.
        parameters: Values for its question marks.

    Raises:
        RefusedQueryError: It would write, runs too long, returns too much, or is not SQL.
    """
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    db.row_factory = sqlite3.Row
    db.set_authorizer(
        lambda action, *_: sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY
    )
    ends = time.monotonic() + MAX_SECONDS
    db.set_progress_handler(lambda: time.monotonic() > ends, 10_000)
    try:
        rows = [dict(row) for row in db.execute(query, parameters).fetchmany(MAX_ROWS + 1)]
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise RefusedQueryError(
            f"refused: {error}; give one SELECT that ends within {MAX_SECONDS:g} s"
        ) from error
    finally:
        db.close()
    if len(rows) > MAX_ROWS:
        raise RefusedQueryError(f"refused: more than {MAX_ROWS} rows; aggregate, or add LIMIT")
    return rows
