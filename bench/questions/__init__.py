"""Sixty questions about tables, as a person would ask them, each with a check of our own making."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

from bench.questions.checks import Check, every, name, number, plot, words
from bench.questions.tables import (
    CATEGORIES,
    CITIES,
    CLUBS,
    CUSTOMERS,
    FORMS,
    MARKS,
    MONTHS,
    PRODUCTS,
    READINGS,
    SALES,
    STAFF,
    SURVEY,
    TARGETS,
    WEATHER,
    Employee,
    Sale,
)

KINDS = ("load", "clean", "group", "join", "dates", "statistics", "plot")


@dataclass(frozen=True, slots=True)
class Asked:
    """One question. `files`: what is attached, by its name in `tables.FILES`."""

    id: str
    kind: str
    files: tuple[str, ...]
    text: str
    check: Check


T = TypeVar("T")
mean = statistics.fmean


def _sums(rows: Iterable[T], key: Callable[[T], str], value: Callable[[T], float]) -> dict[str, float]:
    totals: dict[str, float] = defaultdict(float)
    for row in rows:
        totals[key(row)] += value(row)
    return dict(totals)


def _means(rows: Iterable[T], key: Callable[[T], str], value: Callable[[T], float]) -> dict[str, float]:
    values = defaultdict(list)
    for row in rows:
        values[key(row)].append(value(row))
    return {name: mean(of) for name, of in values.items()}


def _top(values: dict[str, float]) -> str:
    return max(values, key=values.__getitem__)


def _low(values: dict[str, float]) -> str:
    return min(values, key=values.__getitem__)


def _revenue(sale: Sale) -> float:
    return sale.revenue


REGIONS = ["East", "North", "South", "West"]
TOWNS = ["Bremen", "Köln", "München"]
SENSORS = ["attic", "cellar", "hall"]
DEPARTMENTS = ["Design", "Finance", "Logistics", "Support"]
SPENDING = ["food", "fuel", "fun", "rent"]
CLUB_NAMES = ["chess", "choir", "rowing"]
MONTH_NAMES = ["January", "February", "March", "April", "May", "June"]
MONTH_NAMES += ["July", "August", "September", "October", "November", "December"]
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def _month(number: int) -> tuple[str, ...]:
    english = MONTH_NAMES[number - 1]
    return (english, english[:3], f"2025-{number:02}", f"month {number}", f"month is {number}")


_MONTHS = [spelling for n in range(1, 13) for spelling in _month(n)]

revenue = _sums(SALES, lambda s: s.region, _revenue)
by_product = _sums(SALES, lambda s: s.product, lambda s: s.quantity)
by_month = _sums(SALES, lambda s: str(s.day.month), _revenue)
by_customer = _sums(SALES, lambda s: str(s.customer), _revenue)
by_category = _sums(SALES, lambda s: CATEGORIES[s.product], _revenue)
city = {number: city for number, city, _ in CUSTOMERS}
segment = {number: segment for number, _, segment in CUSTOMERS}
known = [s for s in SALES if s.customer in city]
by_city = _sums(known, lambda s: city[s.customer], _revenue)
by_segment = _means(known, lambda s: segment[s.customer], _revenue)
missed = {region: TARGETS[region] - revenue[region] for region in REGIONS}
subject = _means(MARKS, lambda m: m.subject, lambda m: m.points)
form = _means(MARKS, lambda m: m.form, lambda m: m.points)
student = _means(MARKS, lambda m: m.student, lambda m: m.points)
points = {(m.student, m.subject): m.points for m in MARKS}
club = dict(CLUBS)
in_club = _means([m for m in MARKS if m.student in club], lambda m: club[m.student], lambda m: m.points)
warm = [r for r in READINGS if r.temperature is not None]
sensor = _means(warm, lambda r: r.sensor, lambda r: r.temperature or 0.0)
hottest = max(warm, key=lambda r: r.temperature or -999)
dry = [r.humidity for r in READINGS if r.humidity is not None]
hour = _means([r for r in warm if r.sensor == "hall"], lambda r: str(r.at.hour), lambda r: r.temperature or 0.0)
pay = _means(STAFF, lambda e: e.department, lambda e: e.salary)
town = _sums(SURVEY, lambda a: a.town, lambda a: a.spent)
town_mean = _means(SURVEY, lambda a: a.town, lambda a: a.spent)
rated = [a for a in SURVEY if a.content is not None]
rain = _sums(WEATHER, lambda d: str(d.day.month), lambda d: d.rain)
wettest = max(WEATHER, key=lambda d: d.rain)
household = [row for rows in MONTHS.values() for row in rows]
spent = _sums(household, lambda row: row[1], lambda row: row[2])
orders = [s.revenue for s in SALES]
weekday = Counter(WEEKDAYS[s.day.weekday()] for s in SALES)
weekend = [s.revenue for s in SALES if s.day.weekday() >= 5]
line = statistics.linear_regression([a.age for a in SURVEY], [a.spent for a in SURVEY])
heavy = statistics.quantiles(orders, n=4, method="inclusive")
spread = [m.points for m in MARKS if m.subject == "Maths"]


def _longest_dry() -> int:
    longest = run = 0
    for day in WEATHER:
        run = run + 1 if day.rain == 0 else 0
        longest = max(longest, run)
    return longest


def _oldest(staff: Iterable[Employee]) -> Employee:
    return min(staff, key=lambda e: e.hired)


def _of(kind: str, *questions: tuple[tuple[str, ...], str, Check]) -> list[Asked]:
    return [Asked(f"{kind}-{n}", kind, files, text, check) for n, (files, text, check) in enumerate(questions, 1)]


S, C, P, T_, M = ("sales.csv",), ("customers.csv",), ("products.json",), ("targets.csv",), ("marks.xlsx",)
N, E, U, W = ("sensors.csv",), ("staff.csv",), ("umfrage.csv",), ("weather.tsv",)
H = tuple(f"{month}.csv" for month in MONTHS)

QUESTIONS: list[Asked] = [
    *_of(
        "load",
        (S, "How many orders are in this file?", number(len(SALES))),
        (S, "What products do we sell? Just list their names.", words(*PRODUCTS)),
        (M, "Which sheets does this workbook have?", words("Marks", "Clubs")),
        (M, "How many different students are there?", number(len(student))),
        (W, "What was the highest temperature of the whole year?", number(max(d.high for d in WEATHER), within=0.0001)),
        (U, "Wie viele Personen haben an der Umfrage teilgenommen?", number(len(SURVEY))),
        (P, "Which of these belong to the kitchen category?", every(words("kettle", "mug"), lambda g: "desk" not in g.text)),
        (H, "How many purchases are in these three files together?", number(len(household))),
    ),
    *_of(
        "clean",
        (E, "Some people are in here twice. How many different employees do we have?", number(len(STAFF))),
        (E, "What is our average salary? Count everybody once.", number(mean(e.salary for e in STAFF))),
        (
            E,
            "Who earns the most, and how much?",
            every(words(max(STAFF, key=lambda e: e.salary).name), number(max(e.salary for e in STAFF))),
        ),
        (
            E,
            "How many people work in Support? Mind that the spelling is uneven and some rows are repeated.",
            number(sum(e.department == "Support" for e in STAFF)),
        ),
        (
            N,
            "-999 means that the thermometer failed. What is the mean temperature without those?",
            number(mean(r.temperature or 0.0 for r in warm)),
        ),
        (N, "How many humidity values are missing?", number(sum(r.humidity is None for r in READINGS))),
        (N, "How often did the temperature reading fail (-999)?", number(sum(r.temperature is None for r in READINGS))),
        (U, "Wie hoch sind die durchschnittlichen Ausgaben?", number(mean(a.spent for a in SURVEY))),
        (U, "How many people gave no answer on satisfaction (Zufriedenheit)?", number(len(SURVEY) - len(rated))),
    ),
    *_of(
        "group",
        (
            S,
            "Which region brings in the most money? Revenue is quantity times unit price. Tell me the amount too.",
            every(name(_top(revenue), REGIONS), number(revenue[_top(revenue)])),
        ),
        (S, "How many units of each product did we sell?", number(*(int(v) for v in by_product.values()))),
        (S, "¿Cuántos pedidos hay en cada región?", number(*Counter(s.region for s in SALES).values())),
        (
            S,
            "What share of all orders came from the West, in percent?",
            number(100 * sum(s.region == "West" for s in SALES) / len(SALES), percent=True),
        ),
        (M, "What is the average number of points in each subject?", number(*subject.values())),
        (M, "Which class does best on average?", name(_top(form), FORMS)),
        (M, "Who has the best average over all subjects?", name(_top(student), student)),
        (
            N,
            "Leave out the -999 values: which sensor is the coldest on average, and how cold?",
            every(name(_low(sensor), SENSORS), number(sensor[_low(sensor)])),
        ),
        (U, "In welchem Ort geben die Leute im Durchschnitt am meisten aus?", name(_top(town_mean), TOWNS)),
        (
            S,
            "Who are our three best customers by revenue? Their numbers please.",
            number(*map(int, sorted(by_customer, key=by_customer.__getitem__)[-3:])),
        ),
    ),
    *_of(
        "join",
        (S + C, "Which city's customers brought us the most revenue (quantity * unit price)?", name(_top(by_city), CITIES)),
        (S + C, "How many orders come from customers that are not in the customer list?", number(len(SALES) - len(known))),
        (S + C, "How many customers on the list never ordered anything?", number(len(set(city) - {s.customer for s in SALES}))),
        (S + C, "What is the average order value for business and for private customers?", number(*by_segment.values())),
        (
            S + P,
            "What's the total revenue per product category? Revenue is quantity * unit_price.",
            number(*by_category.values()),
        ),
        (
            S + T_,
            "Which region missed its target by the widest margin, and by how much?",
            every(name(_top(missed), REGIONS), number(missed[_top(missed)])),
        ),
        (
            M,
            "The second sheet says who is in which club. Which club's members have the best average points?",
            name(_top(in_club), CLUB_NAMES),
        ),
        (H, "Put the three months together: what did we spend on food in total?", number(spent["food"])),
    ),
    *_of(
        "dates",
        (S, "In which month was our revenue highest?", name(_month(int(_top(by_month))), _MONTHS)),
        (S, "How much revenue did we make in March 2025?", number(by_month["3"])),
        (S, "On which day of the week do we get the most orders?", name(weekday.most_common(1)[0][0], WEEKDAYS)),
        (S, "What were total sales in the fourth quarter?", number(sum(s.revenue for s in SALES if s.day.month >= 10))),
        (W, "How many days had frost, that is, a minimum below zero?", number(sum(d.low < 0 for d in WEATHER))),
        (
            W,
            "Which month was the wettest, and how much rain fell in it?",
            every(name(_month(int(_top(rain))), _MONTHS), number(rain[_top(rain)])),
        ),
        (W, "What was the longest run of days without any rain?", number(_longest_dry())),
        (E, "Who has been with us the longest?", words(_oldest(STAFF).name)),
        (E, "How many different people were hired in 2020 or later?", number(sum(e.hired >= date(2020, 1, 1) for e in STAFF))),
    ),
    *_of(
        "statistics",
        (S, "What's the median order value (quantity * unit price)?", number(statistics.median(orders))),
        (S, "What is the upper quartile of the order values, quantity times price?", number(heavy[2])),
        (
            M,
            "What is the standard deviation of the Maths points?",
            lambda g: any(number(d(spread))(g) for d in (statistics.stdev, statistics.pstdev)),
        ),
        (
            M,
            "How strongly do Maths and Biology points correlate?",
            number(
                statistics.correlation([points[s, "Maths"] for s in student], [points[s, "Biology"] for s in student]),
                within=0.01,
            ),
        ),
        (
            U,
            "Is there a correlation between age (Alter) and spending (Ausgaben)? Give me the coefficient.",
            number(statistics.correlation([a.age for a in SURVEY], [a.spent for a in SURVEY]), within=0.01),
        ),
        (U, "By how much does spending rise per year of age, going by a straight-line fit?", number(line.slope, within=0.01)),
        (W, "Quelle est la température maximale moyenne (tmax) sur l'année ?", number(mean(d.high for d in WEATHER))),
        (N, "What is the range of the humidity, lowest and highest?", number(min(dry), max(dry), within=0.0001)),
    ),
    *_of(
        "plot",
        (S, "Draw the revenue of each region as bars.", plot("Bar", "revenue|sales", "region")),
        (S, "Show me how revenue developed over the months of the year.", plot("Line|Bar", "revenue|sales", "month|date")),
        (
            W,
            "Please chart the daily minimum and maximum temperature over the year, both in one diagram.",
            plot("Line", "temp|°c"),
        ),
        (W, "A bar chart of the rain in each month, please.", plot("Bar", "rain", "month|date")),
        (M, "Make a histogram of all the points.", plot("Bar", "point|mark|score")),
        (U, "Zeichne ein Streudiagramm von Alter und Ausgaben.", plot("Scatter|Line", "alter|age", "ausgaben|spend")),
        (
            N,
            "Plot each sensor's temperature in a single chart, with a legend. Drop the -999s.",
            plot("Line", "temp", series=SENSORS),
        ),
        (S, "Pie chart of units sold by product.", plot("Pie")),
    ),
]
