"""The travel phrases as data: what can be said, and the words for it. `grammar` reads both tables.

A new phrase is a new entry of TEMPLATES, a new word is an item of a list of WORDS. Every addition changes the sentences
that a seed gives.
"""

TEMPLATES = """
6: who city modal action thing={action.things} time={action.times}
    {who} {modal} {action} {thing.a} in {city} {time}.
    {who} {modal} {time} in {city} {thing.a} {action}.
3: who city future modal sight
    {who} {modal} visit {sight.the} in {city} {future}.
    {who} {modal} {future} in {city} {sight.the} besuchen.
4: who city future negation sight
    {who} {negation} visit {sight.the} in {city} {future}.
    {who} {negation} {future} {sight.the} in {city} nicht besuchen.
4: who=speaker city action thing={action.things} time={action.times}
    1:
        where can {who} {action} {thing.a} in {city} {time}?
        wo {who.can} {who} {time} in {city} {thing.a} {action}?
    1:
        can you tell me where {who} can {action} {thing.a} in {city}?
        können Sie mir sagen, wo {who} in {city} {thing.a} {action} {who.can}?
6: who city past
    2: incident belonging
        {who} {incident} {who.my} {belonging} in {city} {past}.
        {who} {who.have} {past} in {city} {who.my}{belonging.ending} {belonging} {incident}.
    1: purchase thing={purchase.things}
        {who} {purchase} {thing.a} in {city} {past}.
        {who} {who.have} {past} in {city} {thing.a} {purchase}.
2: who city past failure belonging
    {who} did not {failure} {who.my} {belonging} in {city} {past}.
    {who} {who.have} {past} in {city} {who.my}{belonging.ending} {belonging} nicht {failure}.
3: who city mishap belonging
    {who} cannot come because {who.he} {mishap} {who.my} {belonging} in {city}.
    {who} {who.can} nicht kommen, weil {who.he} in {city} {who.my}{belonging.ending} {belonging} {mishap} {who.have}.
5: city when
    2: platform
        the train to {city} leaves from platform {platform} {when}.
        der Zug nach {city} fährt {when} von Gleis {platform} ab.
    1: vehicle hour day
        the {vehicle} to {city} leaves {hour} {day}.
        der {vehicle} nach {city} fährt {day} {hour} ab.
4: vehicle origin=city city hour any_day
    the {vehicle} from {origin} arrives in {city} {hour} {any_day}.
    der {vehicle} aus {origin} kommt {any_day} {hour} in {city} an.
4: who city date
    {who} {who.arrive} in {city} {date}.
    {who} {who.arrive} {date} in {city} an.
3: vehicle city minutes=large tonight
    the {vehicle} from {city} is {minutes} minutes late {tonight}.
    der {vehicle} aus {city} hat {tonight} {minutes} Minuten Verspätung.
3: who city late
    1:
        {who} will take {late.instead} if the {late} from {city} is late.
        {who} {who.take} {late.instead}, wenn der {late} aus {city} Verspätung hat.
    1:
        if the {late} from {city} is late, {who} will take {late.instead}.
        wenn der {late} aus {city} Verspätung hat, {who.take} {who} {late.instead}.
4: vehicle city future question move
    {question} the {vehicle} {move} {city} {move.leaves} {future}?
    {question} der {vehicle} {move} {city} {future} {move.leaves}?
3: vehicle city hour opinion move
    {opinion} the {vehicle} {move} {city} {move.leaves} {hour}.
    {opinion} der {vehicle} {move} {city} {hour} {move.leaves}.
3: amount=large with room
    1:
        {room.subject} costs {amount} euros {with} breakfast.
        {room.subject} kostet {with} Frühstück {amount} Euro.
    1: city day
        the ticket to {city} costs {amount} euros {day}.
        die Fahrkarte nach {city} kostet {day} {amount} Euro.
1: city future
    how much does a ticket to {city} cost {future}?
    wie viel kostet {future} eine Fahrkarte nach {city}?
2: who nights=small room
    {who} {who.have} booked {room.a} for {nights} nights.
    {who} {who.have} für {nights} Nächte {room.a} gebucht.
2: me=wake_me hour day=wake_day
    could you wake {me} {hour} {day}, please?
    könnten Sie {me} bitte {day} {hour} wecken?
1: need room=large
    {need} need the key for room {room}, please.
    {need} bitte den Schlüssel für Zimmer {room}.
2: who=speaker dish side polite drink
    {who} {polite} order {dish.the} with {side} and {drink.vessel.a} {drink}.
    {who} {polite} {dish.the} mit {side} und {drink.vessel.a} {drink} bestellen.
2: me=bring_me few drink extra
    could you bring {me} {few} {drink.vessels} {drink} and {extra.the}, please?
    könnten Sie {me} bitte {few} {drink.vessels} {drink} und {extra.the} bringen?
3: people soon
    do you have a table for {people} people {soon}?
    haben Sie {soon} einen Tisch für {people} Personen?
2: shop place city
    is there {shop.a} near the {place} in {city}?
    gibt es in {city} {place.beim} {shop.a}?
3: turn place goal=place
    1:
        please get off at the {place} and then turn {turn}.
        steigen Sie bitte {place.am} aus und biegen Sie dann {turn} ab.
    1:
        please turn {turn} at the {place} and then walk to the {goal}.
        biegen Sie bitte {place.am} {turn} ab und gehen Sie dann {goal.zum}.
2: origin=place goal=place get means
    how do {get} get from the {origin} to the {goal} {means}?
    wie {get} {means} {origin.vom} {goal.zum}?
4: attraction city day hour
    1: state
        {attraction.subject} in {city} is {state} {day}.
        {attraction.subject} in {city} ist {day} {state}.
    1: opens
        {attraction.subject} in {city} {opens} {hour} {day}.
        {attraction.subject} in {city} macht {day} {hour} {opens}.
"""
"""Each entry is `WEIGHT: DRAWS`, below it the English and the German sentence. How often an entry is used is its weight
relative to its neighbours'. It draws a word from each list in turn; `thing=room` draws from the list room and is called
thing, `thing={action.things}` from the list that the word drawn before names. No word of a list is drawn twice. In
place of its sentences an entry may have entries of its own, of which one is used and goes on drawing.

German puts the time before the place, infinitives, participles and separated prefixes last, and the unit before the
ten: a translator that waits knows more, and one that has heard the whole sentence has nothing left to guess."""

WORDS = """
speaker he my have do want must would can arrive take:
    I = ich; I = ich; my = mein; have = habe; do; want = will; = muss; = möchte; = kann; arrive = komme; = nehme
    | we = wir; we = wir; our = unser; have = haben; do; want = wollen; = müssen; = möchten; = können;
        arrive = kommen; = nehmen
who he my have do want must would can arrive take: {speaker}
    | my wife = meine Frau; she = sie; her = ihr; has = hat; does; wants = will; = muss; = möchte;
        = kann; arrives = kommt; = nimmt
    | my friend = mein Freund; he = er; his = sein; has = hat; does; wants = will; = muss; = möchte;
        = kann; arrives = kommt; = nimmt
modal: would like to = {who.would} | {who.have} to = {who.must} | {who.want} to = {who.want}
polite: would like to = {who.would} | {who.want} to = {who.want}
negation: cannot = {who.can} | {who.do} not want to = {who.want} | {who.do} not have to = {who.must}
need: I = ich brauche | we = wir brauchen
get: I = komme ich | we = kommen wir
wake_me: me = mich | us = uns
bring_me: me = mir | us = uns

city: Berlin | Hamburg | Munich = München | Cologne = Köln | Vienna = Wien | Zurich = Zürich | Salzburg | Dresden
    | Frankfurt | Bonn
weekday: Monday = Montag | Tuesday = Dienstag | Wednesday = Mittwoch | Thursday = Donnerstag | Friday = Freitag
    | Saturday = Samstag | Sunday = Sonntag
tonight: today = heute | this evening = heute Abend
day: on {weekday} = am {weekday}
any_day: {day} | =
wake_day: {day} | tomorrow = morgen
soon: {day} | today = heute | tomorrow = morgen | this evening = heute Abend
future: {soon} | next week = nächste Woche
for_future: for {weekday} = für {weekday} | for today = für heute | for tomorrow = für morgen
    | for this evening = für heute Abend | for next week = für nächste Woche
past: {day} | yesterday = gestern | last week = letzte Woche

few: two = zwei | three = drei | four = vier | five = fünf | six = sechs
more: seven = sieben | eight = acht | nine = neun
unit: one = ein | {few} | {more}
small: {few} | {more} | ten = zehn | eleven = elf | twelve = zwölf
large: twenty = zwanzig | twenty {unit} = {unit}undzwanzig | thirty = dreißig | thirty {unit} = {unit}unddreißig
    | forty = vierzig | forty {unit} = {unit}undvierzig
people: {small} | {large}
platform: {large} | {small}
hour: at {small} o'clock = um {small} Uhr
when: {hour} | {day}
ordinal: second = zweiten | third = dritten | fourth = vierten | fifth = fünften | sixth = sechsten
    | twentieth = zwanzigsten | twenty second = zweiundzwanzigsten | twenty third = dreiundzwanzigsten
    | twenty fourth = vierundzwanzigsten | twenty fifth = fünfundzwanzigsten | twenty sixth = sechsundzwanzigsten
month: March = März | May = Mai | July = Juli | August | October = Oktober
date: on the {ordinal} of {month} = am {ordinal} {month}

room: room = das Zimmer | single room = das Einzelzimmer | double room = das Doppelzimmer
reservable: table = der Tisch | room = das Zimmer
rentable: car = das Auto | bike = das Fahrrad | apartment = die Wohnung
buyable: ticket = die Fahrkarte | map = der Stadtplan | car = das Auto
portable: ticket = die Fahrkarte | map = der Stadtplan | bike = das Fahrrad
action things times: book = buchen; room; for_future | reserve = reservieren; reservable; for_future
    | rent = mieten; rentable; future | buy = kaufen; buyable; future
purchase things: bought = gekauft; portable | rented = gemietet; rentable
mishap: lost = verloren | forgot = vergessen
incident: {mishap} | found = gefunden
failure: find = gefunden | forget = vergessen
belonging: passport = der Pass | key = der Schlüssel | suitcase = der Koffer | bag = die Tasche
    | ticket = die Fahrkarte | phone = das Handy

vehicle: train = Zug | bus = Bus
late instead: train = Zug; the bus = den Bus | train = Zug; a taxi = ein Taxi | bus = Bus; a taxi = ein Taxi
question: do you know when = wissen Sie, wann | can you tell me when = können Sie mir sagen, wann
opinion: I think that = ich glaube, dass | I know that = ich weiß, dass
move leaves: to = nach; leaves = abfährt | from = aus; arrives = ankommt
turn: left = links | right = rechts
means: by bus = mit dem Bus | by taxi = mit dem Taxi | on foot = zu Fuß
place: station = der Bahnhof | market = der Markt | hotel = das Hotel | museum = das Museum | castle = das Schloss
    | church = die Kirche
sight: museum = das Museum | castle = das Schloss | zoo = der Zoo | church = die Kirche
shop: pharmacy = die Apotheke | bank = die Bank | supermarket = der Supermarkt | restaurant = das Restaurant
attraction: {sight} | {shop}
state: closed = geschlossen | open = geöffnet
opens: opens = auf | closes = zu

with: with = mit | without = ohne
dish: fish = der Fisch | soup = die Suppe | chicken = das Hähnchen
side: rice = Reis | potatoes = Kartoffeln | salad = Salat
extra: bill = die Rechnung | soup = die Suppe | fish = der Fisch
drink vessel vessels: water = Wasser; glass of = das Glas; glasses of = Gläser
    | wine = Wein; glass of = das Glas; glasses of = Gläser | coffee = Kaffee; cup of = die Tasse; cups of = Tassen
    | tea = Tee; cup of = die Tasse; cups of = Tassen
"""
"""Each entry is `LIST FORMS: ITEM | ITEM ...`, an item `ENGLISH = GERMAN` (or one word for both), and behind semicolons
its further forms in the order of FORMS: {who.have} in a template. A German noun stands with its article, from which
`grammar` makes the cases: {room.a}, {room.the}, {place.am}. {city} in an item stands for each word of that list; a form
of something drawn before, such as {who.have}, is filled in with the sentence."""
