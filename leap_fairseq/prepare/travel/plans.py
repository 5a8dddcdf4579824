"""What people want, can, did and did not do: infinitives and participles that German puts last."""

from typing import Tuple

from leap_fairseq.prepare.choices import Choices

from leap_fairseq.prepare.travel import lexicon as lex
from leap_fairseq.prepare.travel.lexicon import Pair, Person

# Verb (infinitives), what it can be done to, and the times that fit it.
_ACTIONS = (
    (("book", "buchen"), (lex.ROOM, lex.SINGLE_ROOM, lex.DOUBLE_ROOM), lex.FOR_FUTURE),
    (("reserve", "reservieren"), (lex.TABLE, lex.ROOM), lex.FOR_FUTURE),
    (("rent", "mieten"), (lex.CAR, lex.BIKE, lex.APARTMENT), lex.FUTURE),
    (("buy", "kaufen"), (lex.TICKET, lex.MAP, lex.CAR), lex.FUTURE),
)
_MISHAPS: Tuple[Pair, ...] = (("lost", "verloren"), ("forgot", "vergessen"))
# Verb (past, participle) and what it can be done to.
_PURCHASES = (
    (("bought", "gekauft"), (lex.TICKET, lex.MAP, lex.BIKE)),
    (("rented", "gemietet"), (lex.CAR, lex.BIKE, lex.APARTMENT)),
)


def _action(c: Choices) -> Tuple[Pair, Pair, Pair]:
    verb, objects, times = c.pick(_ACTIONS)
    return verb, c.pick(objects).indefinite(), c.pick(times)


def wish(c: Choices) -> Pair:
    """I want to rent a car in Vienna tomorrow. - Ich will morgen in Wien ein Auto mieten."""
    who, city = c.pick(lex.PERSONS), c.pick(lex.CITIES)
    modal, (verb, thing, time) = c.pick(who.modals), _action(c)
    return lex.sentence(
        f"{who.subject[0]} {modal[0]} {verb[0]} {thing[0]} in {city[0]} {time[0]}",
        f"{who.subject[1]} {modal[1]} {time[1]} in {city[1]} {thing[1]} {verb[1]}",
    )


def visit(c: Choices) -> Pair:
    """We would like to visit the castle in Bonn on Friday. - Wir möchten am Freitag in Bonn das Schloss besuchen."""
    who, city, time = c.pick(lex.PERSONS), c.pick(lex.CITIES), c.pick(lex.FUTURE)
    modal, sight = c.pick(who.modals), c.pick(lex.SIGHTS).definite()
    return lex.sentence(
        f"{who.subject[0]} {modal[0]} visit {sight[0]} in {city[0]} {time[0]}",
        f"{who.subject[1]} {modal[1]} {time[1]} in {city[1]} {sight[1]} besuchen",
    )


def visit_not(c: Choices) -> Pair:
    """We cannot visit the zoo in Bonn today. - Wir können heute den Zoo in Bonn nicht besuchen."""
    who, city, time = c.pick(lex.PERSONS), c.pick(lex.CITIES), c.pick(lex.FUTURE)
    modal, sight = c.pick(who.negated_modals), c.pick(lex.SIGHTS).definite()
    return lex.sentence(
        f"{who.subject[0]} {modal[0]} visit {sight[0]} in {city[0]} {time[0]}",
        f"{who.subject[1]} {modal[1]} {time[1]} {sight[1]} in {city[1]} nicht besuchen",
    )


def where_can(c: Choices) -> Pair:
    """Where can we rent a bike in Bonn today? - Wo können wir heute in Bonn ein Fahrrad mieten?"""
    who, city, (verb, thing, time) = c.pick((lex.I, lex.WE)), c.pick(lex.CITIES), _action(c)
    can = who.cannot[1]
    if c.pick((True, False)):
        return lex.sentence(
            f"where can {who.subject[0]} {verb[0]} {thing[0]} in {city[0]} {time[0]}",
            f"wo {can} {who.subject[1]} {time[1]} in {city[1]} {thing[1]} {verb[1]}",
            "?",
        )
    return lex.sentence(
        f"can you tell me where {who.subject[0]} can {verb[0]} {thing[0]} in {city[0]}",
        f"können Sie mir sagen, wo {who.subject[1]} in {city[1]} {thing[1]} {verb[1]} {can}",
        "?",
    )


def _past(c: Choices, who: Person) -> Tuple[Pair, Pair]:
    if c.pick((True, True, False)):
        return c.pick(_MISHAPS + (("found", "gefunden"),)), c.pick(lex.BELONGINGS).of(who)
    verb, objects = c.pick(_PURCHASES)
    return verb, c.pick(objects).indefinite()


def past(c: Choices) -> Pair:
    """My wife lost her bag in Bonn on Friday. - Meine Frau hat am Freitag in Bonn ihre Tasche verloren."""
    who, city, time = c.pick(lex.PERSONS), c.pick(lex.CITIES), c.pick(lex.PAST)
    verb, thing = _past(c, who)
    return lex.sentence(
        f"{who.subject[0]} {verb[0]} {thing[0]} in {city[0]} {time[0]}",
        f"{who.subject[1]} {who.have[1]} {time[1]} in {city[1]} {thing[1]} {verb[1]}",
    )


def past_not(c: Choices) -> Pair:
    """I did not find my key in Bonn yesterday. - Ich habe gestern in Bonn meinen Schlüssel nicht gefunden."""
    who, city, time = c.pick(lex.PERSONS), c.pick(lex.CITIES), c.pick(lex.PAST)
    verb, thing = c.pick((("find", "gefunden"), ("forget", "vergessen"))), c.pick(lex.BELONGINGS).of(who)
    return lex.sentence(
        f"{who.subject[0]} did not {verb[0]} {thing[0]} in {city[0]} {time[0]}",
        f"{who.subject[1]} {who.have[1]} {time[1]} in {city[1]} {thing[1]} nicht {verb[1]}",
    )


def because(c: Choices) -> Pair:
    """He cannot come because he lost his key in Bonn. - ..., weil er in Bonn seinen Schlüssel verloren hat."""
    who, city = c.pick(lex.PERSONS), c.pick(lex.CITIES)
    verb, thing = c.pick(_MISHAPS), c.pick(lex.BELONGINGS).of(who)
    return lex.sentence(
        f"{who.subject[0]} {who.cannot[0]} come because {who.pronoun[0]} {verb[0]} {thing[0]} in {city[0]}",
        f"{who.subject[1]} {who.cannot[1]} nicht kommen,"
        f" weil {who.pronoun[1]} in {city[1]} {thing[1]} {verb[1]} {who.have[1]}",
    )
