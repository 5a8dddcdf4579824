"""Trains and buses: separated prefixes and verbs at the end of subordinate clauses, times before places."""

from leap_fairseq.prepare.choices import Choices

from leap_fairseq.prepare.travel import lexicon as lex
from leap_fairseq.prepare.travel.lexicon import Pair


def depart(c: Choices) -> Pair:
    """The train to Bonn leaves from platform forty two at six o'clock. - ... fährt um sechs Uhr von Gleis ... ab."""
    city, time = c.pick(lex.CITIES), c.pick(lex.HOURS + lex.DAYS)
    if c.pick((True, True, False)):
        platform = c.pick(lex.LARGE_NUMBERS + lex.SMALL_NUMBERS)
        return lex.sentence(
            f"the train to {city[0]} leaves from platform {platform[0]} {time[0]}",
            f"der Zug nach {city[1]} fährt {time[1]} von Gleis {platform[1]} ab",
        )
    vehicle, hour, day = c.pick((lex.TRAIN, lex.BUS)), c.pick(lex.HOURS), c.pick(lex.DAYS)
    return lex.sentence(
        f"the {vehicle.english} to {city[0]} leaves {hour[0]} {day[0]}",
        f"der {vehicle.german} nach {city[1]} fährt {day[1]} {hour[1]} ab",
    )


def arrive(c: Choices) -> Pair:
    """The bus from Bonn arrives in Berlin at six o'clock. - Der Bus aus Bonn kommt um sechs Uhr in Berlin an."""
    vehicle, (origin, city) = c.pick((lex.TRAIN, lex.BUS)), c.two(lex.CITIES)
    hour, day = c.pick(lex.HOURS), c.pick(lex.DAYS + (("", ""),))
    return lex.sentence(
        f"the {vehicle.english} from {origin[0]} arrives in {city[0]} {hour[0]} {day[0]}".strip(),
        " ".join(f"der {vehicle.german} aus {origin[1]} kommt {day[1]} {hour[1]} in {city[1]} an".split()),
    )


def arrive_on_date(c: Choices) -> Pair:
    """We arrive in Bonn on the third of May. - Wir kommen am dritten Mai in Bonn an."""
    who, city, date = c.pick(lex.PERSONS), c.pick(lex.CITIES), c.pick(lex.DATES)
    return lex.sentence(
        f"{who.subject[0]} {who.arrive[0]} in {city[0]} {date[0]}",
        f"{who.subject[1]} {who.arrive[1]} {date[1]} in {city[1]} an",
    )


def late(c: Choices) -> Pair:
    """The bus from Bonn is forty two minutes late today. - Der Bus aus Bonn hat heute ... Minuten Verspätung."""
    vehicle, city, minutes = c.pick((lex.TRAIN, lex.BUS)), c.pick(lex.CITIES), c.pick(lex.LARGE_NUMBERS)
    when = c.pick((("today", "heute"), ("this evening", "heute Abend")))
    return lex.sentence(
        f"the {vehicle.english} from {city[0]} is {minutes[0]} minutes late {when[0]}",
        f"der {vehicle.german} aus {city[1]} hat {when[1]} {minutes[1]} Minuten Verspätung",
    )


def if_late(c: Choices) -> Pair:
    """We will take a taxi if the bus from Bonn is late. - Wir nehmen ein Taxi, wenn der Bus aus Bonn Verspätung hat."""
    who, city = c.pick(lex.PERSONS), c.pick(lex.CITIES)
    the_bus, a_taxi = lex.BUS.definite(), lex.TAXI.indefinite()
    vehicle, instead = c.pick(((lex.TRAIN, the_bus), (lex.TRAIN, a_taxi), (lex.BUS, a_taxi)))
    clause = (
        f"if the {vehicle.english} from {city[0]} is late",
        f"wenn der {vehicle.german} aus {city[1]} Verspätung hat",
    )
    if c.pick((True, False)):
        return lex.sentence(
            f"{who.subject[0]} {who.take[0]} {instead[0]} {clause[0]}",
            f"{who.subject[1]} {who.take[1]} {instead[1]}, {clause[1]}",
        )
    return lex.sentence(
        f"{clause[0]}, {who.subject[0]} {who.take[0]} {instead[0]}",
        f"{clause[1]}, {who.take[1]} {who.subject[1]} {instead[1]}",
    )


def when_question(c: Choices) -> Pair:
    """Do you know when the bus to Bonn leaves on Friday? - Wissen Sie, wann der Bus nach Bonn am Freitag abfährt?"""
    vehicle, city, day = c.pick((lex.TRAIN, lex.BUS)), c.pick(lex.CITIES), c.pick(lex.FUTURE)
    opening = c.pick((("do you know when", "wissen Sie, wann"), ("can you tell me when", "können Sie mir sagen, wann")))
    move = c.pick((("to", "leaves", "nach", "abfährt"), ("from", "arrives", "aus", "ankommt")))
    return lex.sentence(
        f"{opening[0]} the {vehicle.english} {move[0]} {city[0]} {move[1]} {day[0]}",
        f"{opening[1]} der {vehicle.german} {move[2]} {city[1]} {day[1]} {move[3]}",
        "?",
    )


def that_clause(c: Choices) -> Pair:
    """I know that the bus to Bonn leaves at six o'clock. - Ich weiß, dass der Bus nach Bonn um sechs Uhr abfährt."""
    vehicle, city, hour = c.pick((lex.TRAIN, lex.BUS)), c.pick(lex.CITIES), c.pick(lex.HOURS)
    opening = c.pick((("I think that", "ich glaube, dass"), ("I know that", "ich weiß, dass")))
    move = c.pick((("to", "leaves", "nach", "abfährt"), ("from", "arrives", "aus", "ankommt")))
    return lex.sentence(
        f"{opening[0]} the {vehicle.english} {move[0]} {city[0]} {move[1]} {hour[0]}",
        f"{opening[1]} der {vehicle.german} {move[2]} {city[1]} {hour[1]} {move[3]}",
    )
