"""Words of the English-German travel phrases, with just enough grammar to be put into sentences.

Numbers are written as words, because they are spoken: "twenty five" is "fünfundzwanzig", the digits swapped.
"""

from dataclasses import dataclass
from typing import Tuple

Pair = Tuple[str, str]
"""An English phrase and the German one that always translates it."""

_DEFINITE = {"nominative": ("der", "die", "das"), "accusative": ("den", "die", "das")}
_ACCUSATIVE_ENDING = ("en", "e", "")
_GENDERS = "mfn"
_CONTRACTIONS = {"an": ("am", "an der"), "bei": ("beim", "bei der"), "von": ("vom", "von der"), "zu": ("zum", "zur")}


@dataclass(frozen=True)
class Noun:
    """A noun in the singular, with the English article it takes and the German gender (m, f or n)."""

    english: str
    german: str
    gender: str

    def indefinite(self) -> Pair:
        """a room, ein Zimmer (accusative)."""
        article = "an" if self.english[0] in "aeiou" else "a"
        return f"{article} {self.english}", f"ein{self._ending()} {self.german}"

    def definite(self, case: str = "accusative") -> Pair:
        """the room, das Zimmer; case is nominative or accusative."""
        return f"the {self.english}", f"{_DEFINITE[case][_GENDERS.index(self.gender)]} {self.german}"

    def of(self, person: "Person") -> Pair:
        """my room, mein Zimmer (accusative)."""
        return f"{person.possessive[0]} {self.english}", f"{person.possessive[1]}{self._ending()} {self.german}"

    def contracted(self, preposition: str) -> str:
        """am Bahnhof, an der Kirche: German only; preposition is an, bei, von or zu."""
        masculine, feminine = _CONTRACTIONS[preposition]
        return f"{feminine if self.gender == 'f' else masculine} {self.german}"

    def _ending(self) -> str:
        return _ACCUSATIVE_ENDING[_GENDERS.index(self.gender)]


@dataclass(frozen=True)
class Person:
    """A subject: its pronoun, possessive, and the verb forms that agree with it, English and German."""

    subject: Pair
    pronoun: Pair
    possessive: Pair
    have: Pair
    modals: Tuple[Pair, ...]
    negated_modals: Tuple[Pair, ...]
    cannot: Pair
    arrive: Pair
    take: Pair


def _singular_third(subject: Pair, pronoun: Pair, possessive: Pair) -> Person:
    return Person(
        subject=subject,
        pronoun=pronoun,
        possessive=possessive,
        have=("has", "hat"),
        modals=(("would like to", "möchte"), ("has to", "muss"), ("wants to", "will")),
        negated_modals=(("cannot", "kann"), ("does not want to", "will"), ("does not have to", "muss")),
        cannot=("cannot", "kann"),
        arrive=("arrives", "kommt"),
        take=("will take", "nimmt"),
    )


I = Person(  # noqa: E741 (the pronoun)
    subject=("I", "ich"),
    pronoun=("I", "ich"),
    possessive=("my", "mein"),
    have=("have", "habe"),
    modals=(("would like to", "möchte"), ("have to", "muss"), ("want to", "will")),
    negated_modals=(("cannot", "kann"), ("do not want to", "will"), ("do not have to", "muss")),
    cannot=("cannot", "kann"),
    arrive=("arrive", "komme"),
    take=("will take", "nehme"),
)
WE = Person(
    subject=("we", "wir"),
    pronoun=("we", "wir"),
    possessive=("our", "unser"),
    have=("have", "haben"),
    modals=(("would like to", "möchten"), ("have to", "müssen"), ("want to", "wollen")),
    negated_modals=(("cannot", "können"), ("do not want to", "wollen"), ("do not have to", "müssen")),
    cannot=("cannot", "können"),
    arrive=("arrive", "kommen"),
    take=("will take", "nehmen"),
)
WIFE = _singular_third(("my wife", "meine Frau"), ("she", "sie"), ("her", "ihr"))
FRIEND = _singular_third(("my friend", "mein Freund"), ("he", "er"), ("his", "sein"))

PERSONS = (I, WE, WIFE, FRIEND)

CITIES: Tuple[Pair, ...] = (
    ("Berlin", "Berlin"),
    ("Hamburg", "Hamburg"),
    ("Munich", "München"),
    ("Cologne", "Köln"),
    ("Vienna", "Wien"),
    ("Zurich", "Zürich"),
    ("Salzburg", "Salzburg"),
    ("Dresden", "Dresden"),
    ("Frankfurt", "Frankfurt"),
    ("Bonn", "Bonn"),
)

_DAY_NAMES: Tuple[Pair, ...] = (
    ("Monday", "Montag"),
    ("Tuesday", "Dienstag"),
    ("Wednesday", "Mittwoch"),
    ("Thursday", "Donnerstag"),
    ("Friday", "Freitag"),
    ("Saturday", "Samstag"),
    ("Sunday", "Sonntag"),
)
_ADVERBS: Tuple[Pair, ...] = (("today", "heute"), ("tomorrow", "morgen"))

DAYS = tuple((f"on {english}", f"am {german}") for english, german in _DAY_NAMES)
FUTURE = DAYS + _ADVERBS + (("this evening", "heute Abend"), ("next week", "nächste Woche"))
FOR_FUTURE = tuple(
    (f"for {english}", f"für {german}")
    for english, german in _DAY_NAMES + _ADVERBS + (("this evening", "heute Abend"), ("next week", "nächste Woche"))
)
PAST = DAYS + (("yesterday", "gestern"), ("last week", "letzte Woche"))

_UNITS = (None, "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_UNITS_DE = (None, "ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf")
_TENS = {2: ("twenty", "zwanzig"), 3: ("thirty", "dreißig"), 4: ("forty", "vierzig")}


def number(value: int) -> Pair:
    """A number from 2 to 12 or from 20 to 49 in words.

    Raises:
        ValueError: Another number.
    """
    if 2 <= value <= 12:
        return _UNITS[value], _UNITS_DE[value]
    if not 20 <= value <= 49:
        raise ValueError(f"number is {value}, but the grammar has 2 to 12 and 20 to 49 only")
    (english, german), unit = _TENS[value // 10], value % 10
    return (f"{english} {_UNITS[unit]}", f"{_UNITS_DE[unit]}und{german}") if unit else (english, german)


SMALL_NUMBERS = tuple(number(value) for value in range(2, 13))
LARGE_NUMBERS = tuple(number(value) for value in range(20, 50))
HOURS = tuple((f"at {english} o'clock", f"um {german} Uhr") for english, german in SMALL_NUMBERS)

_ORDINALS = (
    ("second", "zweiten"),
    ("third", "dritten"),
    ("fourth", "vierten"),
    ("fifth", "fünften"),
    ("sixth", "sechsten"),
)
_MONTHS: Tuple[Pair, ...] = (
    ("March", "März"),
    ("May", "Mai"),
    ("July", "Juli"),
    ("August", "August"),
    ("October", "Oktober"),
)
DATES = tuple(
    (f"on the {english} of {month}", f"am {german} {monat}")
    for english, german in _ORDINALS
    + (("twentieth", "zwanzigsten"),)
    + tuple((f"twenty {_ORDINALS[unit - 2][0]}", f"{_UNITS_DE[unit]}undzwanzigsten") for unit in range(2, 7))
    for month, monat in _MONTHS
)

CAR = Noun("car", "Auto", "n")
BIKE = Noun("bike", "Fahrrad", "n")
TAXI = Noun("taxi", "Taxi", "n")
TRAIN = Noun("train", "Zug", "m")
BUS = Noun("bus", "Bus", "m")
TICKET = Noun("ticket", "Fahrkarte", "f")
MAP = Noun("map", "Stadtplan", "m")
TABLE = Noun("table", "Tisch", "m")
ROOM = Noun("room", "Zimmer", "n")
SINGLE_ROOM = Noun("single room", "Einzelzimmer", "n")
DOUBLE_ROOM = Noun("double room", "Doppelzimmer", "n")
APARTMENT = Noun("apartment", "Wohnung", "f")

SIGHTS = (
    Noun("museum", "Museum", "n"),
    Noun("castle", "Schloss", "n"),
    Noun("zoo", "Zoo", "m"),
    Noun("church", "Kirche", "f"),
)
PLACES = (
    Noun("station", "Bahnhof", "m"),
    Noun("market", "Markt", "m"),
    Noun("hotel", "Hotel", "n"),
    Noun("museum", "Museum", "n"),
    Noun("castle", "Schloss", "n"),
    Noun("church", "Kirche", "f"),
)
SHOPS = (
    Noun("pharmacy", "Apotheke", "f"),
    Noun("bank", "Bank", "f"),
    Noun("supermarket", "Supermarkt", "m"),
    Noun("restaurant", "Restaurant", "n"),
)
BELONGINGS = (
    Noun("passport", "Pass", "m"),
    Noun("key", "Schlüssel", "m"),
    Noun("suitcase", "Koffer", "m"),
    Noun("bag", "Tasche", "f"),
    Noun("ticket", "Fahrkarte", "f"),
    Noun("phone", "Handy", "n"),
)
DISHES = (Noun("fish", "Fisch", "m"), Noun("soup", "Suppe", "f"), Noun("chicken", "Hähnchen", "n"))
SIDES: Tuple[Pair, ...] = (("rice", "Reis"), ("potatoes", "Kartoffeln"), ("salad", "Salat"))
DRINKS: Tuple[Tuple[Noun, Pair, Pair], ...] = tuple(
    (Noun(vessel, gefaess, gender), plural, drink)
    for vessel, gefaess, gender, plural, drinks in (
        ("glass of", "Glas", "n", ("glasses of", "Gläser"), (("water", "Wasser"), ("wine", "Wein"))),
        ("cup of", "Tasse", "f", ("cups of", "Tassen"), (("coffee", "Kaffee"), ("tea", "Tee"))),
    )
    for drink in drinks
)


def sentence(english: str, german: str, end: str = ".") -> Pair:
    """A pair with capital letters and a final mark."""
    return english[0].upper() + english[1:] + end, german[0].upper() + german[1:] + end
