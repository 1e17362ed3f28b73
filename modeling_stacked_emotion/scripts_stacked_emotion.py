# SPDX-License-Identifier: Apache-2.0
"""The scripts of texts, as Unicode names them: which ones a model was trained on, and which texts are in another."""

from collections import Counter
from collections.abc import Collection, Mapping

import regex

# Those in everyday use today (UAX #31, tables 5 and 7), the most frequent first; the rest is `Other`.
SCRIPT_NAMES = (
    *("Latin", "Arabic", "Cyrillic", "Han", "Hangul", "Hiragana", "Katakana", "Devanagari", "Bengali", "Ethiopic"),
    *("Greek", "Hebrew", "Thai", "Tamil", "Telugu", "Gujarati", "Gurmukhi", "Kannada", "Malayalam", "Oriya"),
    *("Sinhala", "Khmer", "Lao", "Myanmar", "Tibetan", "Armenian", "Georgian", "Thaana", "Bopomofo", "Adlam"),
    *("Nko", "Tifinagh", "Vai", "Bamum", "Cherokee", "Canadian_Aboriginal", "Syriac", "Mongolian", "Yi", "Lisu"),
    *("Javanese", "Balinese", "Sundanese", "Buginese", "Batak", "Cham", "Tai_Le", "New_Tai_Lue", "Tai_Tham"),
    *("Tai_Viet", "Limbu", "Lepcha", "Meetei_Mayek", "Newa", "Ol_Chiki", "Saurashtra", "Kayah_Li", "Chakma"),
    *("Hanifi_Rohingya", "Miao", "Mandaic", "Osage", "Nyiakeng_Puachue_Hmong", "Wancho", "Syloti_Nagri"),
)
OTHER = "Other"
# European digits, punctuation, emoji and most combining marks are of no script of their own.
_SHARED = r"\p{Script=Common}\p{Script=Inherited}\p{Script=Unknown}"
_SCRIPTS = "|".join([*(rf"(?P<{name}>\p{{Script={name}}}+)" for name in SCRIPT_NAMES), rf"(?P<{OTHER}>[^{_SHARED}])"])
# With the end of the text, which shared characters may come before: no search begins anew at each of them.
_RUN = regex.compile(rf"[{_SHARED}]*+(?:{_SCRIPTS}|\Z)", regex.VERSION1)
_MIN_SHARE = 0.01


def count_scripts(text: str) -> Counter[str]:
    """
    How many characters of a text are of which script.

    Args:
        text (`str`): Any text.

    Returns:
        `Counter[str]`: Script to number of characters. Characters that several scripts share are not counted: European
        digits, punctuation, emoji.
    """
    counts: Counter[str] = Counter()
    if text.isascii():
        if letters := sum(map(str.isalpha, text)):
            counts["Latin"] = letters
        return counts
    for match in _RUN.finditer(text):
        if script := match.lastgroup:
            counts[script] += match.end() - match.start(script)
    return counts


def frequent_scripts(counts: Mapping[str, int]) -> list[str]:
    """
    The scripts of many texts, without those of a few quoted words.

    Args:
        counts (`Mapping[str, int]`): As [`count_scripts`] gives them, summed over the texts.

    Returns:
        `list[str]`: Those with at least 1 % of the characters, in the order of the alphabet.
    """
    total = sum(counts.values())
    return sorted(script for script, count in counts.items() if count and count >= _MIN_SHARE * total)


def unfamiliar_script(text: str, scripts: Collection[str] | None) -> str | None:
    """
    The script of a text that a model cannot be expected to read.

    Args:
        text (`str`): Any text.
        scripts (`Collection[str]`, *optional*): Those that the model was trained on; `None` if they are not known.

    Returns:
        `str`, *optional*: The most frequent one of the other scripts if more than half of the text's characters are
        of those; `None` for every other text, such as one without letters.
    """
    if scripts is None or (text.isascii() and "Latin" in scripts):
        return None
    counts = count_scripts(text)
    others = Counter({script: count for script, count in counts.items() if script not in scripts})
    return others.most_common(1)[0][0] if 2 * others.total() > counts.total() else None
