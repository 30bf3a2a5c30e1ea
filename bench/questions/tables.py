"""The files that the questions are about, and the clean records they were written from.

Everything is drawn from seeded generators of the standard library, so each run has the same files; the mess (decimal commas,
duplicates, gaps, several forms of a date) is added while writing. What is right is computed from the records, never read back.
"""

import csv
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import openpyxl


@dataclass(frozen=True)
class Sale:
    order: int
    day: date
    region: str
    product: str
    quantity: int
    price: float
    customer: int

    @property
    def revenue(self) -> float:
        return self.quantity * self.price


@dataclass(frozen=True)
class Mark:
    student: str
    form: str
    subject: str
    points: int


@dataclass(frozen=True)
class Reading:
    at: datetime
    sensor: str
    temperature: float | None
    humidity: float | None


@dataclass(frozen=True)
class Employee:
    number: int
    name: str
    department: str
    salary: int
    hired: date


@dataclass(frozen=True)
class Answer:
    """One person's answers in the survey."""

    person: int
    town: str
    age: int
    spent: float
    content: int | None


@dataclass(frozen=True)
class Day:
    day: date
    low: float
    high: float
    rain: float


PRODUCTS = {"kettle": 34.5, "lamp": 21.9, "mug": 7.25, "chair": 89.0, "desk": 249.0}
CATEGORIES = {"kettle": "kitchen", "mug": "kitchen", "lamp": "office", "chair": "furniture", "desk": "furniture"}
CITIES = ["Lisbon", "Vienna", "Oslo", "Cork", "Gdansk"]
FORMS, SUBJECTS = ["7a", "7b", "8a"], ["Art", "Biology", "History", "Maths"]


def _sales() -> list[Sale]:
    r = random.Random(11)
    made = []
    for number in range(320):
        day = date(2025, 1, 1) + timedelta(days=r.randrange(365))
        region = r.choices(["East", "North", "South", "West"], [3, 2, 5, 4])[0]
        product = r.choices(list(PRODUCTS), [4, 5, 9, 3, 1])[0]
        made.append(Sale(1001 + number, day, region, product, r.randint(1, 9), PRODUCTS[product], r.randint(1, 40)))
    return made


def _customers() -> list[tuple[int, str, str]]:
    """Number, city, kind. Numbers 37 to 40 buy and are not among them; 41 to 45 are and do not buy."""
    r = random.Random(12)
    numbers = [*range(1, 37), *range(41, 46)]
    return [(n, r.choices(CITIES, [3, 6, 2, 4, 3])[0], r.choices(["private", "business"], [3, 2])[0]) for n in numbers]


def _marks() -> list[Mark]:
    r = random.Random(13)
    names = ["Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gita", "Hugo", "Ines", "Jan", "Kaya", "Leo", "Mona", "Nils", "Olga"]
    level = {"Art": 74, "Biology": 61, "History": 68, "Maths": 57}
    made = []
    for index, name in enumerate(names):
        able = r.gauss(0, 9)
        for subject in SUBJECTS:
            points = round(level[subject] + able + r.gauss(0, 8))
            made.append(Mark(name, FORMS[index % 3], subject, max(0, min(100, points))))
    return made


def _readings() -> list[Reading]:
    r = random.Random(14)
    made = []
    for hour in range(24 * 14):
        at = datetime(2026, 3, 2) + timedelta(hours=hour)  # noqa: DTZ001 - a clock on a wall
        for sensor, base in (("attic", 19.0), ("cellar", 11.0), ("hall", 16.0)):
            warm = base + 4 * (1 if 9 <= at.hour <= 18 else 0) + r.gauss(0, 1.2) + hour / 200
            made.append(
                Reading(
                    at,
                    sensor,
                    None if r.random() < 0.04 else round(warm, 1),
                    None if r.random() < 0.07 else round(48 + r.gauss(0, 6), 1),
                )
            )
    return made


def _staff() -> list[Employee]:
    r = random.Random(15)
    first = ["Ana", "Bo", "Cy", "Dee", "Eli", "Fay", "Gus", "Hal", "Ivy", "Jo"]
    last = ["Ames", "Bell", "Cole", "Dunn", "Ebers", "Ford"]
    pay = {"Design": 52_000, "Finance": 61_000, "Logistics": 43_000, "Support": 39_000}
    made = []
    for number in range(60):
        department = r.choices(list(pay), [2, 3, 4, 5])[0]
        salary = round(r.gauss(pay[department], 5_500) / 100) * 100
        hired = date(2012, 1, 1) + timedelta(days=r.randrange(365 * 13))
        made.append(Employee(number + 1, f"{first[number % 10]} {last[number // 10]}", department, salary, hired))
    return made


def _survey() -> list[Answer]:
    r = random.Random(16)
    made = []
    for person in range(140):
        town = r.choices(["Bremen", "Köln", "München"], [3, 4, 2])[0]
        age = r.randint(18, 79)
        spent = round(max(4.0, r.gauss(38 + age * 0.6, 14)), 2)
        made.append(Answer(person + 1, town, age, spent, None if r.random() < 0.09 else r.randint(1, 5)))
    return made


def _weather() -> list[Day]:
    r = random.Random(17)
    made = []
    for n in range(365):
        day = date(2025, 1, 1) + timedelta(days=n)
        season = -abs(day.timetuple().tm_yday - 200) / 12 + 12
        low = round(season + r.gauss(0, 2.5), 1)
        rain = round(r.expovariate(1 / 5.5), 1) if r.random() < 0.42 else 0.0
        made.append(Day(day, low, round(low + abs(r.gauss(8, 2)), 1), rain))
    return made


def _months() -> dict[str, list[tuple[date, str, float]]]:
    """Day, heading and amount of a household's spending, a month a file."""
    r = random.Random(18)
    made = {}
    for number, name in ((4, "april"), (5, "may"), (6, "june")):
        made[name] = [
            (date(2026, number, r.randint(1, 30)), r.choice(["food", "fuel", "rent", "fun"]), round(r.uniform(3, 190), 2))
            for _ in range(30 + number)
        ]
    return made


SALES, CUSTOMERS, MARKS, READINGS = _sales(), _customers(), _marks(), _readings()
STAFF, SURVEY, WEATHER, MONTHS = _staff(), _survey(), _weather(), _months()
TARGETS = {"East": 16_000, "North": 9_500, "South": 24_000, "West": 22_000}
CLUBS = [(name, random.Random(name).choice(["chess", "choir", "rowing"])) for name in sorted({m.student for m in MARKS})[:11]]


# --- Writing them --------------------------------------------------------------------------------------------------------


def _rows(path: Path, rows: Iterable[Sequence[Any]], encoding: str = "utf-8", delimiter: str = ",") -> None:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)


def _write_sales(path: Path) -> None:
    head = ("order_id", "date", "region", "product", "quantity", "unit_price", "customer_id")
    _rows(path, [head, *((s.order, s.day, s.region, s.product, s.quantity, s.price, s.customer) for s in SALES)])


def _write_customers(path: Path) -> None:
    _rows(path, [("customer_id", "city", "segment"), *CUSTOMERS])


def _write_products(path: Path) -> None:
    path.write_text(json.dumps([{"name": name, "category": kind} for name, kind in CATEGORIES.items()], indent=1))


def _write_targets(path: Path) -> None:
    """Spelt otherwise than in the sales: capitals, and another name for the column."""
    _rows(path, [("Area", "target"), *((name.upper(), amount) for name, amount in TARGETS.items())])


def _write_marks(path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Marks"
    sheet.append(("student", "class", "subject", "points"))
    for mark in MARKS:
        sheet.append((mark.student, mark.form, mark.subject, mark.points))
    clubs = book.create_sheet("Clubs")
    for pair in [("student", "club"), *CLUBS]:
        clubs.append(pair)
    book.save(path)


def _write_readings(path: Path) -> None:
    """A gap is an empty field; the thermometer writes -999 for one."""
    rows = [
        (f"{x.at:%Y-%m-%d %H:%M}", x.sensor, -999 if x.temperature is None else x.temperature, x.humidity) for x in READINGS
    ]
    _rows(path, [("timestamp", "sensor", "temperature", "humidity"), *rows])


def _write_staff(path: Path) -> None:
    """Untidy headers, money as text, every seventh row twice, departments in uneven spelling, American dates."""
    r = random.Random(21)
    rows: list[tuple[str, ...]] = [("Emp No", " Employee Name", "Dept. ", "Salary ($)", "Hire Date")]
    for one in STAFF:
        department = r.choice([one.department, one.department.lower(), f" {one.department}", one.department.upper()])
        row = (str(one.number), one.name, department, f"${one.salary:,}", f"{one.hired:%m/%d/%Y}")
        rows.extend([row] * (2 if one.number % 7 == 0 else 1))
    _rows(path, rows)


def _write_survey(path: Path) -> None:
    """As a German spreadsheet saves it: semicolons, decimal commas, Windows-1252."""
    head = ("Nr", "Ort", "Alter", "Ausgaben (€)", "Zufriedenheit")
    rows = [(a.person, a.town, a.age, f"{a.spent:.2f}".replace(".", ","), a.content) for a in SURVEY]
    _rows(path, [head, *rows], "cp1252", ";")


def _write_weather(path: Path) -> None:
    """Days first, with full stops."""
    rows = [(f"{d.day:%d.%m.%Y}", d.low, d.high, d.rain) for d in WEATHER]
    _rows(path, [("date", "tmin", "tmax", "rain_mm"), *rows], delimiter="\t")


def _write_month(path: Path) -> None:
    _rows(path, [("day", "category", "amount"), *MONTHS[path.stem]])


FILES: dict[str, Callable[[Path], None]] = {
    "sales.csv": _write_sales,
    "customers.csv": _write_customers,
    "products.json": _write_products,
    "targets.csv": _write_targets,
    "marks.xlsx": _write_marks,
    "sensors.csv": _write_readings,
    "staff.csv": _write_staff,
    "umfrage.csv": _write_survey,
    "weather.tsv": _write_weather,
    **{f"{name}.csv": _write_month for name in MONTHS},
}


def write(folder: Path) -> None:
    """Every file, into an existing folder."""
    for name, writer in FILES.items():
        writer(folder / name)
