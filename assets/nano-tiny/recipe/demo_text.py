"""Generate what people say first to a recognizer: digits, numbers, dates, times, prices, letters, commands, greetings.

`demo_line(rng)` draws one line as (spoken, text): the form a synthesizer reads, and the words a transcript shows.
"""

import random
import re

DIGITS = "zero one two three four five six seven eight nine".split()
TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth", "twelve": "twelfth"}  # fmt: skip
MONTHS = "January February March April May June July August September October November December".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
LETTERS = ["Ay", *"BCDEFGHIJKLMNOPQRSTUVWXYZ"]  # a lone A would be read as the article
NAMES = """Anna Ben Carlos David Emma Frank Grace Hannah Isaac James Julia Kevin Laura Maria Michael Nina Oliver Peter Rachel
Sarah Thomas Victor William Zoe Alice Bob Charlie Daniel Elizabeth George Henry Jack Kate Lucy Martin Mary Paul Robert Sam Susan
mom dad Amanda Andrew Ashley Brian Chris Christina Diana Edward Emily Eric Eva Fiona Gary Helen Ian Jason Jennifer Jessica John
Jonathan Joseph Karen Linda Lisa Mark Matthew Megan Monica Nancy Natalie Nick Olivia Patricia Patrick Philip Rebecca Richard Rose
Ruth Ryan Simon Sophia Stephen Steve Teresa Tim Tony Vanessa Walter""".split()
CITIES = """London Paris Berlin Tokyo Boston Chicago Dallas Denver Seattle Toronto Sydney Madrid Rome Vienna Dublin Oslo Moscow
Beijing Shanghai Singapore Mumbai Cairo Lisbon Athens Prague Budapest Warsaw Amsterdam Brussels Geneva Houston Miami Atlanta
Phoenix Portland Austin Detroit Philadelphia Baltimore Montreal Vancouver Melbourne Edinburgh Manchester Liverpool""".split()
CITIES += [
    "New York",
    "San Francisco",
    "Los Angeles",
    "Hong Kong",
    "Las Vegas",
    "San Diego",
    "Mexico City",
    "New Orleans",
]
ROOMS = "kitchen,bedroom,living room,bathroom,garage,hallway,office,basement,dining room,garden,attic,nursery".split(
    ","
)
DEVICES = """lights,fan,heater,television,radio,air conditioner,alarm,music,coffee machine,oven,dishwasher,washing machine,speaker,
camera,projector,computer,printer,vacuum cleaner,lamp,sprinkler""".replace("\n", "").split(",")
FOODS = """milk,eggs,bread,butter,cheese,apples,bananas,rice,chicken,coffee,tea,sugar,salt,pepper,tomatoes,potatoes,onions,carrots,
orange juice,ice cream,chocolate,pasta,olive oil,yogurt,cereal,soup,salad,fish,beef,lettuce,garlic,lemons,strawberries,honey,
toothpaste,paper towels,batteries,soap,shampoo,dog food""".replace("\n", "").split(",")
MUSIC = """jazz,rock,classical music,the next song,some music,my favorite playlist,the news,a podcast,the radio,country music,
something relaxing,the blues,hip hop,piano music,the beatles,an audiobook""".replace("\n", "").split(",")
TASKS = """call the doctor,take out the trash,water the plants,pick up the kids,pay the rent,buy a birthday card,feed the cat,
walk the dog,send the report,book a table,renew my passport,clean the kitchen,take my medicine,wash the car,finish my homework,
reply to the email,check the oven,charge my phone,lock the door,go to the gym,return the library books,call my sister,
sign the contract,back up my files,prepare the slides,buy a train ticket""".replace("\n", "").split(",")
EVENTS = "meeting,appointment,lunch,dinner,party,interview,flight,concert,class,game,wedding,phone call,exam,conference".split(
    ","
)
COLORS = "red,green,blue,yellow,orange,purple,white,black,pink,brown,gray,warm white".split(",")
UNITS = "miles,kilometers,meters,feet,inches,pounds,kilograms,grams,ounces,gallons,liters,degrees,cups,acres,tons,watts,volts,seconds".split(",")  # fmt: skip
FIXED = """hello|hello world|hi there|hey there|good morning|good afternoon|good evening|good night|goodbye|bye bye|see you later|
see you tomorrow|thank you|thank you very much|thanks a lot|you're welcome|yes|no|yes please|no thank you|maybe|okay|all right|
stop|go|start|cancel|pause|resume|continue|next|previous|back|help|undo|repeat|louder|quieter|up|down|left|right|on|off|mute|
unmute|please|sorry|excuse me|never mind|of course|sure|wait|wait a minute|just a moment|hold on|how are you|how are you today|
how are you doing|i'm fine thank you|i'm doing well|what's your name|my name is|nice to meet you|what time is it|
what's the weather like today|will it rain tomorrow|is it going to snow|what day is it|what's the date today|tell me a joke|
sing me a song|how old are you|where are you from|who are you|what can you do|can you hear me|can you hear me now|
testing testing one two three|this is a test|testing one two three|one two three|ay b c|is this thing on|does this work|
the quick brown fox jumps over the lazy dog|she sells seashells by the sea shore|
how much wood would a woodchuck chuck if a woodchuck could chuck wood|peter piper picked a peck of pickled peppers|
to be or not to be that is the question|speech recognition|artificial intelligence|machine learning|open the door|
close the window|turn it off|turn it on|turn up the volume|turn down the volume|what is this|i don't know|i don't understand|
i don't think so|that's right|that's wrong|let's go|come here|come on|good job|well done|happy birthday|merry christmas|
happy new year|congratulations|good luck|take care|have a nice day|have a great weekend|what's up|not much|me too|i love you|
i like it|i want to go home|where is the bathroom|where is the train station|how do i get to the airport|how much is it|
how much does it cost|can i help you|may i have the bill please|i would like a cup of coffee|a table for two please|
call me tomorrow|call me back|leave a message after the tone|read my messages|check my email|go to sleep|wake me up|
find my phone|what's on my calendar today|cancel my next appointment|what's in the news|who won the game last night|
how far is the moon|what is the capital of france|how tall is mount everest|who wrote hamlet|translate this to french|
take a picture|take a note|record a video|lock the door|unlock the front door|close the garage door|start the car|
i'm hungry|i'm tired|i'm cold|it's raining|it's sunny today|it's very hot in here|dinner is ready|the phone is ringing|
please speak slowly|could you repeat that please|what does that mean|how do you spell that|one moment please|
press any key to continue|open the file|save the file|close the window please|scroll down|scroll up|go back|new paragraph|
delete that|select all|copy that|paste|search for it|show me the map|zoom in|zoom out|take me home|navigate to work|
avoid the highway|what is the traffic like|how long will it take|skip this song|play it again|shuffle my music""".replace("\n", "").split("|")  # fmt: skip


def cardinal(n: int, use_and: bool = False) -> str:
    """`cardinal(1234)` is "one thousand two hundred thirty four"."""
    if n < 10:
        return DIGITS[n]
    if n < 20:
        return TEENS[n - 10]
    if n < 100:
        return TENS[n // 10] + (f" {DIGITS[n % 10]}" if n % 10 else "")
    for size, name in ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred")):
        if n >= size:
            head, rest = divmod(n, size)
            joint = " and " if use_and and rest and rest < 100 else " "
            return f"{cardinal(head)} {name}" + (joint + cardinal(rest, use_and) if rest else "")
    raise AssertionError


def ordinal(n: int) -> str:
    head, _, last = cardinal(n).rpartition(" ")
    last = ORDINALS.get(last) or (last[:-1] + "ieth" if last.endswith("y") else last + "th")
    return f"{head} {last}".strip()


def year(n: int, rng: random.Random) -> str:
    if 2000 <= n < 2010 or (n < 2020 and n >= 2000 and rng.random() < 0.3):
        return cardinal(n, rng.random() < 0.5)
    century, rest = divmod(n, 100)
    if rest == 0:
        return cardinal(century) + " hundred"
    return f"{cardinal(century)} {'oh ' + DIGITS[rest] if rest < 10 else cardinal(rest)}"


def demo_line(rng: random.Random) -> tuple[str, str]:
    spoken = rng.choices(KINDS, WEIGHTS)[0](rng)
    spoken = spoken[0].upper() + spoken[1:]
    if spoken[-1] not in ".?!":
        spoken += rng.choice([".", ".", ".", "", "!"])
    return spoken, re.sub(r"\b[Aa]y\b", "a", spoken)


def _digits(rng):
    """Generate strings of digits of evenly distributed length, with pauses as a reader may make them."""
    n = rng.choice([1, 2, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6, 7, 8, 9, 10, 11, 12])
    words = [rng.choice(DIGITS) for _ in range(n)]
    style = rng.random()
    if style < 0.35:
        return ", ".join(words)
    if style < 0.7:
        return " ".join(words)
    group = rng.choice([2, 3, 4])
    return ", ".join(" ".join(words[i : i + group]) for i in range(0, n, group))


def _phone(rng):
    zero = rng.choice(["zero", "zero", "oh"])
    say = lambda n: " ".join(rng.choice([zero, *DIGITS[1:]]) for _ in range(n))  # noqa: E731
    groups = rng.choice([(3, 4), (3, 3, 4), (4, 3, 3), (2, 2, 2, 2), (5, 6), (3, 3, 2, 2)])
    lead = rng.choice(
        ["", "", "", "my number is ", "call ", "dial ", "the number is ", "you can reach me at ", "please call "]
    )
    return lead + ", ".join(say(n) for n in groups) + rng.choice(["", "", "", "", f", extension {say(3)}", " please"])


def _number(rng):
    top = rng.choice([10, 20, 100, 100, 100, 1000, 1000, 10000, 100000, 1000000, 10**9])
    n = rng.randrange(top)
    if n > 100000 and rng.random() < 0.5:
        n = round(n, -rng.choice([3, 4, 5]))
    words = cardinal(n, rng.random() < 0.3)
    style = rng.random()
    if style < 0.45:
        return words
    if style < 0.6:
        return ", ".join([words, *(cardinal(rng.randrange(min(top, 1000))) for _ in range(rng.randint(1, 4)))])
    if style < 0.7:
        start, step = rng.randrange(0, 60), rng.choice([1, 1, 1, 2, 5, 10])
        return ", ".join(cardinal(start + step * i) for i in range(rng.randint(3, 8)))
    if style < 0.8:
        return f"{cardinal(rng.randrange(1000))} point {' '.join(rng.choice(DIGITS) for _ in range(rng.randint(1, 4)))}"
    return rng.choice([
        f"{words} {rng.choice(UNITS)}", f"{words} percent", f"minus {words}", f"about {words}", f"number {words}", f"room {words}",
        f"page {words}", f"there are {words} of them", f"channel {words}", f"chapter {words}", f"flight {words}", f"gate {words}",
        f"I counted {words} {rng.choice(['people', 'birds', 'cars', 'books', 'stars', 'houses'])}", f"version {words}",
        f"set it to {words} {rng.choice(UNITS)}", f"it weighs {words} {rng.choice(['pounds', 'kilograms', 'grams'])}",
    ])  # fmt: skip


def _ordinal(rng):
    word = ordinal(rng.choice([rng.randint(1, 31), rng.randint(1, 100), rng.randint(1, 1000)]))
    return rng.choice([
        word, f"the {word}", f"the {word} time", f"on the {word} floor", f"the {word} of {rng.choice(MONTHS)}", f"{word} place",
        f"the {word} street on the {rng.choice(['left', 'right'])}", f"the {word} century", f"her {word} birthday", f"in the {word} row",
    ])  # fmt: skip


def _date(rng):
    day, month, weekday = rng.randint(1, 31), rng.choice(MONTHS), rng.choice(DAYS)
    y = year(rng.choice([rng.randint(1950, 2030), rng.randint(1500, 2050)]), rng)
    date = rng.choice([f"{month} {ordinal(day)}", f"{month} {cardinal(day)}", f"the {ordinal(day)} of {month}"])
    return rng.choice([
        date, date, f"{date}, {y}", f"{date}, {y}", f"{weekday}, {date}", f"{weekday}, {date}, {y}", f"in {y}", f"in the year {y}", y,
        f"in {month} {y}", f"on {weekday}", weekday, month, f"next {weekday}", f"last {weekday}", f"every {weekday}", f"on {date}",
        f"today is {weekday}, {date}", f"{weekday} and {rng.choice(DAYS)}", f"from {month} to {rng.choice(MONTHS)}",
        f"my birthday is {date}", f"I was born on {date}, {y}", f"the {rng.choice(EVENTS)} is on {date}", f"it was built in {y}",
        f"since {y}", f"between {y} and {year(rng.randint(1700, 2030), rng)}", f"the {cardinal(rng.choice([2, 3, 5, 7]) * 10)}s",
        f"by the end of {month}", f"{rng.choice(DAYS)}, {rng.choice(DAYS)} and {rng.choice(DAYS)}", f"{weekday} {rng.choice(['morning', 'afternoon', 'evening', 'night'])}",
    ])  # fmt: skip


def _time_of_day(rng):
    hour, minute = rng.randint(1, 12), rng.choice([rng.randint(0, 59), rng.randrange(0, 60, 5)])
    h = cardinal(hour)
    past = (
        cardinal(minute)
        if minute >= 10
        else f"oh {DIGITS[minute]}"
        if minute
        else rng.choice(["o'clock", "o'clock", "hundred hours"])
    )
    half = rng.choice(["ay m", "p m", "in the morning", "in the afternoon", "in the evening", "at night"])
    return rng.choice([
        f"{h} {past}", f"{h} {past}", f"{h} {past} {half}" if minute else f"{h} {half}", f"half past {h}", f"quarter past {h}",
        f"quarter to {h}", f"{h} o'clock", f"{h} o'clock", f"{cardinal(rng.randrange(5, 30, 5))} past {h}",
        f"{cardinal(rng.randrange(5, 30, 5))} minutes to {h}", "noon", "midnight", f"{h} thirty",
    ])  # fmt: skip


def _time(rng):
    t = _time_of_day(rng)
    return rng.choice([
        t, t, f"at {t}", f"it's {t}", f"the time is {t}", f"wake me up at {t}", f"set an alarm for {t}", f"meet me at {t}",
        f"the train leaves at {t}", f"from {t} to {_time_of_day(rng)}", f"let's meet on {rng.choice(DAYS)} at {t}", f"before {t}",
        f"the {rng.choice(EVENTS)} starts at {t}", f"we open at {t} and close at {_time_of_day(rng)}", f"I'll be there by {t}",
    ])  # fmt: skip


def _price(rng):
    dollars, cents = (
        rng.choice([rng.randint(1, 100), rng.randint(1, 2000), rng.randrange(10, 1000, 10)]),
        rng.choice([99, 95, 50, 25, rng.randint(1, 99)]),
    )
    money = rng.choice([
        f"{cardinal(dollars)} dollars", f"{cardinal(dollars)} dollars and {cardinal(cents)} cents", f"{cardinal(cents)} cents",
        f"{cardinal(rng.randint(1, 99))} {cardinal(max(10, cents))}", f"{cardinal(dollars)} euros", f"{cardinal(dollars)} pounds",
        f"{cardinal(rng.randint(1, 20))} thousand dollars", f"{cardinal(rng.randint(1, 9))} point {rng.choice(DIGITS)} million dollars",
    ])  # fmt: skip
    return rng.choice([
        money, money, f"it costs {money}", f"the total is {money}", f"that will be {money}", f"I paid {money} for it", f"only {money}",
        f"the price went up to {money}", f"can you lend me {money}", f"transfer {money} to {rng.choice(NAMES)}", f"less than {money}",
        f"a {rng.choice(['ticket', 'coffee', 'room', 'book', 'shirt', 'bicycle'])} for {money}", f"{cardinal(rng.randint(1, 99))} percent off",
    ])  # fmt: skip


def _letters(rng):
    style = rng.random()
    if style < 0.45:
        letters = [rng.choice(LETTERS) for _ in range(rng.choice([1, 2, 3, 3, 4, 5, 6, 7]))]
        return rng.choice([", ", " "]).join(letters)
    if style < 0.7:
        name = rng.choice([n for n in NAMES + CITIES if " " not in n])
        return rng.choice(["{0}, {1}", "my name is {0}, {1}", "{1}", "that's {1}", "{0} is spelled {1}"]).format(
            name, rng.choice([", ", " "]).join("Ay" if c == "A" else c for c in name.upper())
        )
    if style < 0.8:
        start = rng.randrange(0, 20)
        return ", ".join(LETTERS[start : start + rng.randint(3, 8)])
    mixed = [rng.choice([*LETTERS, *DIGITS]) for _ in range(rng.randint(2, 7))]
    return rng.choice(
        ["", "", "flight ", "the code is ", "license plate ", "room ", "section ", "my password is "]
    ) + ", ".join(mixed)


def _command(rng):
    pick = rng.choice
    minutes = f"{cardinal(pick([1, 2, 3, 5, 10, 15, 20, 25, 30, 40, 45, 60, 90, rng.randint(2, 99)]))} {pick(['minutes', 'minutes', 'seconds', 'hours'])}"
    on = pick(["on", "off"])
    polite = pick(["", "", "", "", "please ", "could you ", "can you ", "I want you to ", "hey computer, "])
    return polite + pick([
        f"turn {on} the {pick(DEVICES)}", f"turn {on} the {pick(DEVICES)} in the {pick(ROOMS)}", f"turn the {pick(ROOMS)} lights {on}",
        f"switch {on} the {pick(DEVICES)}", f"set a timer for {minutes}", f"set a timer for {minutes}", f"remind me to {pick(TASKS)}",
        f"remind me to {pick(TASKS)} {pick(['tomorrow', 'tonight', 'at ' + _time_of_day(rng), 'on ' + pick(DAYS), 'in ' + minutes])}",
        f"play {pick(MUSIC)}", f"play {pick(MUSIC)} in the {pick(ROOMS)}", f"call {pick(NAMES)}", f"call {pick(NAMES)} on speaker",
        f"send a message to {pick(NAMES)}", f"text {pick(NAMES)} that I'm {pick(['late', 'on my way', 'at home', 'busy', 'at the station'])}",
        f"add {pick(FOODS)} to my shopping list", f"add {pick(FOODS)}, {pick(FOODS)} and {pick(FOODS)} to the list",
        f"set the temperature to {cardinal(rng.randint(10, 90))} degrees", f"set the volume to {cardinal(rng.randint(1, 100))} percent",
        f"dim the {pick(ROOMS)} lights to {cardinal(rng.randint(1, 100))} percent", f"make the lights {pick(COLORS)}",
        f"open the {pick(['window', 'door', 'curtains', 'garage', 'calendar', 'camera', 'settings', 'browser', 'map', 'blinds'])}",
        f"close the {pick(['window', 'door', 'curtains', 'garage', 'app', 'blinds', 'file', 'gate'])}", f"navigate to {pick(CITIES)}",
        f"schedule a {pick(EVENTS)} with {pick(NAMES)} on {pick(DAYS)} at {_time_of_day(rng)}", f"cancel my {pick(EVENTS)} on {pick(DAYS)}",
        f"book a flight from {pick(CITIES)} to {pick(CITIES)}", f"book a table for {cardinal(rng.randint(2, 12))} at {_time_of_day(rng)}",
        f"add {cardinal(rng.randint(1, 500))} and {cardinal(rng.randint(1, 500))}", f"go to page {cardinal(rng.randint(1, 300))}",
        f"show me {pick(['pictures', 'the weather', 'restaurants', 'hotels', 'the news', 'photos'])} {pick(['from', 'in', 'near'])} {pick(CITIES)}",
        f"find a {pick(['restaurant', 'hotel', 'pharmacy', 'gas station', 'coffee shop', 'bank', 'parking space'])} {pick(['nearby', 'near me', 'in ' + pick(CITIES)])}",
        f"increase the {pick(['volume', 'brightness', 'temperature', 'speed'])} by {cardinal(rng.randint(1, 50))} percent",
        f"start the {pick(DEVICES)} in {minutes}", f"delete the alarm for {_time_of_day(rng)}", f"email {pick(NAMES)} about the {pick(EVENTS)}",
    ])  # fmt: skip


def _question(rng):
    pick = rng.choice
    a, b = cardinal(rng.randint(1, 100)), cardinal(rng.randint(1, 100))
    return pick([
        f"what's the weather in {pick(CITIES)}", f"will it rain in {pick(CITIES)} on {pick(DAYS)}", f"what time is it in {pick(CITIES)}",
        f"how do I get to {pick(CITIES)}", f"how far is it from {pick(CITIES)} to {pick(CITIES)}", f"what is {a} plus {b}",
        f"what is {a} times {b}", f"what is {a} minus {b}", f"what is {a} divided by {b}", f"how many {pick(UNITS)} are in {a} {pick(UNITS)}",
        f"what is the capital of {pick(['Spain', 'Italy', 'Japan', 'Canada', 'Brazil', 'Egypt', 'India', 'Norway', 'Kenya', 'Peru'])}",
        f"is {pick(NAMES)} at home", f"when is the {pick(EVENTS)}", f"where is the nearest {pick(['bank', 'hospital', 'station', 'bakery', 'hotel'])}",
        f"do we have any {pick(FOODS)}", f"did {pick(NAMES)} call", f"how do you spell {pick(NAMES)}", f"how much {pick(FOODS)} do I need",
        f"who is {pick(NAMES)}", f"what's on my calendar for {pick(DAYS)}", f"how old is {pick(NAMES)}", f"what does {pick(COLORS)} mean",
        f"what's {a} percent of {b}", f"have you seen {pick(NAMES)}", f"can I have some {pick(FOODS)}", f"is the {pick(DEVICES)} on",
    ]) + "?"  # fmt: skip


def _talk(rng):
    pick = rng.choice
    return pick([
        f"{pick(['hello', 'hi', 'good morning', 'good evening', 'hey'])} {pick(NAMES)}", f"my name is {pick(NAMES)}", f"this is {pick(NAMES)} speaking",
        f"{pick(['hello', 'hi'])}, my name is {pick(NAMES)} and I live in {pick(CITIES)}", f"I'm from {pick(CITIES)}", f"thank you {pick(NAMES)}",
        f"I am {cardinal(rng.randint(5, 99))} years old", f"see you on {pick(DAYS)}", f"I like {pick(FOODS)} and {pick(FOODS)}",
        f"I'd like {pick(FOODS)} and {pick(FOODS)}, please", f"we need {pick(FOODS)}, {pick(FOODS)} and {pick(FOODS)}",
        f"{pick(NAMES)} and {pick(NAMES)} are coming for {pick(['lunch', 'dinner', 'breakfast', 'the weekend'])}", f"I live at {cardinal(rng.randint(1, 999))} {pick(['Main', 'Oak', 'Park', 'Church', 'Mill', 'Lake', 'High', 'Station'])} {pick(['Street', 'Road', 'Avenue'])}",
        f"the {pick(ROOMS)} is {pick(COLORS)}", f"{pick(COLORS)}, {pick(COLORS)} and {pick(COLORS)}", f"my favorite color is {pick(COLORS)}",
        f"have a nice {pick(['day', 'evening', 'weekend', 'trip', *DAYS])}", f"it's {cardinal(rng.randint(1, 100))} degrees in {pick(CITIES)}",
        f"the score is {cardinal(rng.randint(0, 30))} to {cardinal(rng.randint(0, 30))}", f"I don't like {pick(FOODS)}", f"I forgot to {pick(TASKS)}",
        f"I have to {pick(TASKS)} before {_time_of_day(rng)}", f"we moved to {pick(CITIES)} in {year(rng.randint(1950, 2026), rng)}",
    ])  # fmt: skip


def _fixed(rng):
    return rng.choice(FIXED)


KINDS = [_digits, _phone, _number, _ordinal, _date, _time, _price, _letters, _command, _question, _talk, _fixed]
WEIGHTS = [16, 6, 14, 4, 10, 9, 7, 9, 14, 6, 6, 5]
