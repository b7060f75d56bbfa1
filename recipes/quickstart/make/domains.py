"""Commands to other assistants than the one at home: what the student learns the manner of the task from.

Same template language as `phrases`. The kinds of `phrases.VALUES` can be used beside the ones here.
"""

from __future__ import annotations

DOMAINS: dict[str, str] = {
    "book_flight": """
book [me|] a flight [from {origin:place_name}|] to {city:place_name} {date}
[find|get] [a|] flights to {city:place_name}
~i [need|want] to fly to {city:place_name} {date}
""",
    "book_taxi": """
[call|order|get] [me|] a [taxi|cab] [for|at] {time}
[order|book] a [cab|taxi] to [the|] {target:spot}
~i need a [ride|taxi] to [the|] {target:spot} {date}
""",
    "train_query": """
~when [does|is] the [next|] train to {city:place_name} [leave|]
[show|check] trains to {city:place_name} {date}
""",
    "traffic_query": """
~how is [the|] traffic [on the way|] to [the|] {target:spot}
[check|show] traffic [near|in] {city:place_name}
""",
    "send_email": """
[send|write] an email to {recipient:person} [about|on] {subject}
[email|mail] {recipient:person} [that|about] {subject}
""",
    "read_email": """
[read|check|open] my [email|mail|inbox]
[any|do i have] new [mail|emails] from {sender:person}
[show|read] [me|] emails from {sender:person}
""",
    "call_person": """
[call|phone|ring|dial] {recipient:person}
~i want to [call|speak to|talk to] {recipient:person}
give {recipient:person} a call [at|] {time}
""",
    "send_text": """
[text|message] {recipient:person} {subject}
send [a|] [text|message] to {recipient:person} [about|on] {subject}
""",
    "calendar_add": """
[add|put|schedule] [a|my] {event:event_name} [on|to my calendar|] {date} [at|] {time}
[plan|set up] [a|my] {event:event_name} with {guest:person} {date}
""",
    "calendar_query": """
~what is on my calendar {date}
~when is my {event:event_name}
[show|read] my [calendar|schedule] for {date}
""",
    "calendar_remove": """
[delete|cancel|remove] my {event:event_name} [on|] {date}
[cancel|clear] my [calendar|schedule] for {date}
""",
    "recipe_query": """
[find|show] [me|] a recipe for {dish}
~how do i [cook|make|prepare] {dish}
~how long [do i|should i] [cook|boil] {dish}
""",
    "order_food": """
[order|get] [me|] [some|a] {dish} [from|at] {shop}
~i [want|would like] {dish} from {shop} [at|] {time}
[order|get] {dish}
""",
    "book_table": """
[book|reserve] a table [at|in] {shop} [for|at] {time}
~i [need|want] a table at {shop} {date}
""",
    "news_query": """
[read|tell me|show] the [news|latest news] [about|on] {topic}
~what is new in {topic}
[give me|get] {topic} news
""",
    "sports_query": """
~did {team} [win|lose] {date}
~when does {team} play
~what is the score of the {team} game
""",
    "stock_query": """
~what is the price of {company} [stock|shares]
[check|show] {company} stock
~how is {company} doing {date}
""",
    "translate": """
[translate|say] {phrase} [in|to|into] {language}
~how do you say {phrase} in {language}
""",
    "define_word": """
~what does {word:topic} mean
[define|explain] {word:topic}
[look up|tell me] the meaning of {word:topic}
""",
    "timer_start": """
[start|set] a [timer|countdown] [for|of] {length:in_time}
[count down|time] {length:in_time}
""",
    "open_door": """
[open|unlock] the {door}
[let|make] the {door} open
~can you [open|unlock] the {door}
""",
    "close_door": """
[close|lock|shut] the {door}
[make sure|check that] the {door} is [locked|closed]
""",
    "heat_up": """
[turn up|raise] the [heat|heating|thermostat] [in the {room:house_place}|]
~it is [too|so|very] cold in the {room:house_place}
set the [heating|heat] {degree}
""",
    "heat_down": """
[turn down|lower] the [heat|heating|thermostat] [in the {room:house_place}|]
~it is [too|so|very] hot in the {room:house_place}
""",
    "play_game": """
[play|start|open] {game}
~let us play {game}
~i want to play {game} with {guest:person}
""",
    "tell_joke": """
[tell|give] me a [joke|funny story]
[make me laugh|say something funny]
~do you know a joke about {topic}
""",
    "play_podcast": """
[play|start|resume] the {show} podcast
~i want to [hear|listen to] the podcast {show}
""",
    "pay_bill": """
[pay|settle] [the|my] {bill} bill
~i need to pay [the|my] {bill} bill {date}
""",
    "find_place": """
~where is the [nearest|closest] {target:spot}
[find|show] [a|the] {target:spot} [near me|nearby|in {city:place_name}]
""",
    "take_note": """
[take|make|write] a note [about|on|that says] {subject}
note down {subject}
""",
}

DOMAIN_VALUES: dict[str, str] = {
    "spot": "airport, station, hotel, supermarket, pharmacy, hospital, school, library, museum, beach, bank, "
    "post office, gas station, city center, mall, zoo, bakery, theater, stadium, park, town hall, bus stop, "
    "book store, dentist",
    "subject": "the meeting, my holiday, lunch, the report, i am late, the budget, the party, happy birthday, "
    "see you soon, the bill, the new plan, see you tomorrow, thank you, the keys, i am on my way, dinner, "
    "the trip, the car, our project, the rent",
    "dish": "pizza, sushi, lasagna, chicken soup, pancakes, rice, curry, fried eggs, tacos, noodles, salad, "
    "burgers, apple pie, roast beef, tomato soup, mashed potatoes, fish and chips, risotto, omelette, dumplings, "
    "chili, steak, waffles",
    "shop": "luigi's, the corner cafe, burger barn, green garden, the blue door, tasty thai, mama mia, "
    "noodle house, sushi bar, golden dragon, the grill, pizza palace, olive tree, red lantern, taco town",
    "topic": "politics, science, football, economy, space, music, health, technology, art, climate, gravity, "
    "history, energy, cooking, travel, fashion, nature, cars, elections, robots, medicine, education",
    "team": "the lakers, arsenal, the yankees, the bulls, chelsea, the giants, the bears, united, the sharks, "
    "the hawks, the kings",
    "company": "apple, google, amazon, tesla, microsoft, ford, nike, intel, sony, boeing, shell, toyota, ibm, siemens",
    "phrase": "good morning, thank you, where is the station, hello, good night, i am hungry, how are you, "
    "see you later, one beer please, what is your name, i am lost, excuse me",
    "language": "french, spanish, german, italian, japanese, chinese, russian, korean, dutch, polish, greek, "
    "turkish, hindi, arabic",
    "door": "front door, garage door, back door, window, gate, blinds, curtains, side door, shutters, "
    "garden gate, safe, car",
    "degree": "to twenty degrees, to nineteen degrees, by two degrees, to seventy degrees, "
    "to sixty five degrees, to warm, to high",
    "game": "chess, hangman, trivia, twenty questions, tic tac toe, solitaire, checkers, word chain, bingo, "
    "memory, sudoku",
    "show": "daily tech, true stories, history hour, science now, the long walk, morning brew, sports talk, "
    "money minds, wild world",
    "bill": "phone, water, electricity, internet, gas, rent, heating, insurance, credit card, garbage, cable",
}
