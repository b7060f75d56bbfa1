"""What a model without a task is asked as golden cases: plain prompts of many kinds, so that much of a vocabulary and
of a template is seen. Ours.
"""

from __future__ import annotations

PROMPTS = (
    "Hello!",
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "Once upon a time there was a small fox",
    "Translate to German: Good morning, how are you?",
    "What is 17 * 23 - 4? Answer with a number.",
    "List three fruits, one per line.",
    "Write a Python function that returns the larger of two numbers.",
    'Return JSON with the keys "name" and "age" for Ada, 36.',
    "Is it true that all squares are rectangles? Answer yes or no.",
    "Summarize: The meeting was moved from Tuesday 9:30 to Thursday 14:15, because the room was taken.",
    "Turn off the light in the kitchen and set the heating to 21.5 degrees.",
    "Correct the spelling: I recieved teh leter yesturday.",
    "Which comes next: 2, 4, 8, 16, ...?",
    "Explain in simple words why the sky is blue.",
    "Qui a écrit Les Misérables ?",
    "¿Cuántos días tiene una semana?",
    "Nenne drei Städte in Österreich.",
    "用一句话介绍北京。",
    "Сколько будет дважды два?",
    "SELECT name FROM users WHERE age > 30; -- what does this query do?",
    "Reply with exactly this text: <b>ok</b> & done #1",
    "The price rose from $1,299.00 to $1,449.50. By how much?",
    "Give me a haiku about winter.",
    "What does the abbreviation HTTP stand for?",
    "Sort these words: pear, apple, fig, banana.",
    "Continue: One day, a dog named Max",
    "Who are you?",
    "Write an email that declines an invitation, in two sentences.",
    "My name is Tom. What is my name?",
    "Convert 5 miles to kilometers.",
    "Name the opposite of: hot, early, generous.",
)
