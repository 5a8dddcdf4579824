"""Hotel, restaurant and the way through the town."""

from leap_fairseq.prepare.choices import Choices

from leap_fairseq.prepare.travel import lexicon as lex
from leap_fairseq.prepare.travel.lexicon import Pair


def price(c: Choices) -> Pair:
    """The single room costs forty two euros with breakfast. - Das Einzelzimmer kostet mit Frühstück ... Euro."""
    amount, breakfast = c.pick(lex.LARGE_NUMBERS), c.pick((("with", "mit"), ("without", "ohne")))
    thing = c.pick((lex.ROOM, lex.SINGLE_ROOM, lex.DOUBLE_ROOM)).definite("nominative")
    if c.pick((True, False)):
        return lex.sentence(
            f"{thing[0]} costs {amount[0]} euros {breakfast[0]} breakfast",
            f"{thing[1]} kostet {breakfast[1]} Frühstück {amount[1]} Euro",
        )
    city, day = c.pick(lex.CITIES), c.pick(lex.DAYS)
    return lex.sentence(
        f"the ticket to {city[0]} costs {amount[0]} euros {day[0]}",
        f"die Fahrkarte nach {city[1]} kostet {day[1]} {amount[1]} Euro",
    )


def price_question(c: Choices) -> Pair:
    """How much does a ticket to Bonn cost on Friday? - Wie viel kostet am Freitag eine Fahrkarte nach Bonn?"""
    city, day = c.pick(lex.CITIES), c.pick(lex.FUTURE)
    return lex.sentence(
        f"how much does a ticket to {city[0]} cost {day[0]}",
        f"wie viel kostet {day[1]} eine Fahrkarte nach {city[1]}",
        "?",
    )


def booked(c: Choices) -> Pair:
    """We have booked a double room for three nights. - Wir haben für drei Nächte ein Doppelzimmer gebucht."""
    who, nights = c.pick(lex.PERSONS), c.pick(lex.SMALL_NUMBERS)
    thing = c.pick((lex.ROOM, lex.SINGLE_ROOM, lex.DOUBLE_ROOM)).indefinite()
    return lex.sentence(
        f"{who.subject[0]} {who.have[0]} booked {thing[0]} for {nights[0]} nights",
        f"{who.subject[1]} {who.have[1]} für {nights[1]} Nächte {thing[1]} gebucht",
    )


def wake(c: Choices) -> Pair:
    """Could you wake us at six o'clock tomorrow, please? - Könnten Sie uns bitte morgen um sechs Uhr wecken?"""
    whom, hour = c.pick((("me", "mich"), ("us", "uns"))), c.pick(lex.HOURS)
    day = c.pick(lex.DAYS + (("tomorrow", "morgen"),))
    return lex.sentence(
        f"could you wake {whom[0]} {hour[0]} {day[0]}, please",
        f"könnten Sie {whom[1]} bitte {day[1]} {hour[1]} wecken",
        "?",
    )


def room_key(c: Choices) -> Pair:
    """We need the key for room forty two, please. - Wir brauchen bitte den Schlüssel für Zimmer zweiundvierzig."""
    who, room = c.pick((("I", "ich brauche"), ("we", "wir brauchen"))), c.pick(lex.LARGE_NUMBERS)
    return lex.sentence(
        f"{who[0]} need the key for room {room[0]}, please",
        f"{who[1]} bitte den Schlüssel für Zimmer {room[1]}",
    )


def order(c: Choices) -> Pair:
    """I want to order the fish with rice and a cup of tea. - Ich will den Fisch mit Reis und ... Tee bestellen."""
    who, dish, side = c.pick((lex.I, lex.WE)), c.pick(lex.DISHES).definite(), c.pick(lex.SIDES)
    modal, (vessel, _, drink) = c.pick(who.modals[::2]), c.pick(lex.DRINKS)
    vessel_en, vessel_de = vessel.indefinite()
    return lex.sentence(
        f"{who.subject[0]} {modal[0]} order {dish[0]} with {side[0]} and {vessel_en} {drink[0]}",
        f"{who.subject[1]} {modal[1]} {dish[1]} mit {side[1]} und {vessel_de} {drink[1]} bestellen",
    )


def bring(c: Choices) -> Pair:
    """Could you bring us two cups of tea and the bill? - Könnten Sie uns zwei Tassen Tee und die Rechnung bringen?"""
    whom, count = c.pick((("me", "mir"), ("us", "uns"))), c.pick(lex.SMALL_NUMBERS[:5])
    _, plural, drink = c.pick(lex.DRINKS)
    extra = c.pick((("the bill", "die Rechnung"), ("the soup", "die Suppe"), ("the fish", "den Fisch")))
    return lex.sentence(
        f"could you bring {whom[0]} {count[0]} {plural[0]} {drink[0]} and {extra[0]}, please",
        f"könnten Sie {whom[1]} bitte {count[1]} {plural[1]} {drink[1]} und {extra[1]} bringen",
        "?",
    )


def table(c: Choices) -> Pair:
    """Do you have a table for six people today? - Haben Sie heute einen Tisch für sechs Personen?"""
    people, time = c.pick(lex.SMALL_NUMBERS + lex.LARGE_NUMBERS), c.pick(lex.FUTURE[:-1])
    return lex.sentence(
        f"do you have a table for {people[0]} people {time[0]}",
        f"haben Sie {time[1]} einen Tisch für {people[1]} Personen",
        "?",
    )


def near(c: Choices) -> Pair:
    """Is there a bank near the station in Bonn? - Gibt es in Bonn beim Bahnhof eine Bank?"""
    shop, place, city = c.pick(lex.SHOPS).indefinite(), c.pick(lex.PLACES), c.pick(lex.CITIES)
    return lex.sentence(
        f"is there {shop[0]} near the {place.english} in {city[0]}",
        f"gibt es in {city[1]} {place.contracted('bei')} {shop[1]}",
        "?",
    )


def turn(c: Choices) -> Pair:
    """Please turn left at the church and then walk to the hotel. - Biegen Sie bitte an der Kirche links ab ..."""
    side, (place, goal) = c.pick((("left", "links"), ("right", "rechts"))), c.two(lex.PLACES)
    if c.pick((True, False)):
        return lex.sentence(
            f"please get off at the {place.english} and then turn {side[0]}",
            f"steigen Sie bitte {place.contracted('an')} aus und biegen Sie dann {side[1]} ab",
        )
    return lex.sentence(
        f"please turn {side[0]} at the {place.english} and then walk to the {goal.english}",
        f"biegen Sie bitte {place.contracted('an')} {side[1]} ab und gehen Sie dann {goal.contracted('zu')}",
    )


def way(c: Choices) -> Pair:
    """How do we get from the station to the zoo by bus? - Wie kommen wir mit dem Bus vom Bahnhof zum Zoo?"""
    origin, goal = c.two(lex.PLACES)
    who = c.pick((("I", "komme ich"), ("we", "kommen wir")))
    means = c.pick((("by bus", "mit dem Bus"), ("by taxi", "mit dem Taxi"), ("on foot", "zu Fuß")))
    return lex.sentence(
        f"how do {who[0]} get from the {origin.english} to the {goal.english} {means[0]}",
        f"wie {who[1]} {means[1]} {origin.contracted('von')} {goal.contracted('zu')}",
        "?",
    )


def opening_hours(c: Choices) -> Pair:
    """The zoo in Bonn opens at nine o'clock on Sunday. - Der Zoo in Bonn macht am Sonntag um neun Uhr auf."""
    place, city = c.pick(lex.SIGHTS + lex.SHOPS).definite("nominative"), c.pick(lex.CITIES)
    day, hour = c.pick(lex.DAYS), c.pick(lex.HOURS)
    if c.pick((True, False)):
        state = c.pick((("closed", "geschlossen"), ("open", "geöffnet")))
        return lex.sentence(
            f"{place[0]} in {city[0]} is {state[0]} {day[0]}",
            f"{place[1]} in {city[1]} ist {day[1]} {state[1]}",
        )
    verb = c.pick((("opens", "auf"), ("closes", "zu")))
    return lex.sentence(
        f"{place[0]} in {city[0]} {verb[0]} {hour[0]} {day[0]}",
        f"{place[1]} in {city[1]} macht {day[1]} {hour[1]} {verb[1]}",
    )
