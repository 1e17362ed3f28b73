// SPDX-License-Identifier: Apache-2.0
// Text as the model sees it: what `text_stacked_emotion.py` does, in the same order and with the same names.
// Offsets count characters (code points), as Python counts them.

const SPACE = String.raw`\p{White_Space}`;
/** The \w of Python's `regex`, to stand in a class. */
export const WORD = String.raw`\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u200C\u200D`;
const CJK = String.raw`[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]`;
const EMOJI = String.raw`\p{Extended_Pictographic}[\uFE0F\u200D\p{Emoji_Modifier}\u{E0020}-\u{E007F}]*`;
const WORDS = new RegExp(
  [
    String.raw`(?:https?:\/\/|www\.)[^${SPACE}<>"]+`,
    String.raw`[@#][\p{L}\p{M}\p{N}_]+`,
    String.raw`[0-9#*]\uFE0F?\u20E3`,
    String.raw`\p{Regional_Indicator}{1,2}`,
    String.raw`${EMOJI}(?:(?<=\u200D)${EMOJI})*`,
    String.raw`${CJK}\p{M}*`,
    String.raw`[[\p{L}\p{M}\p{N}_]--${CJK}]+(?:['’\u00AD\u200C][[\p{L}\p{M}\p{N}]--${CJK}]+)*`,
    String.raw`([^${SPACE}\p{C}])\1*`,
  ].join("|"),
  "gv",
);

/** `text` with U+FFFD for every lone surrogate. */
export const cleanSurrogates = (text) => text.replace(/\p{Surrogate}/gu, "\uFFFD");

// White space as Python's `str.isspace` has it.
const BLANK = /^[\p{White_Space}\x1C-\x1F]$/u;
export const isBlank = (char) => BLANK.test(char);

/** A function from an index into the string to the number of characters before it. */
export function characterIndex(text) {
  if (!/[\u{10000}-\u{10FFFF}]/u.test(text)) return (index) => index;
  const before = new Uint32Array(text.length + 1);
  let number = 0;
  for (let index = 0; index < text.length; index += 1) {
    before[index] = number;
    const isFirstHalf = text.codePointAt(index) > 0xffff;
    if (!isFirstHalf) number += 1;
  }
  before[text.length] = number;
  return (index) => before[index];
}

/** Start and end of each match of a global expression, in characters. */
export function* matchSpans(text, expression) {
  const index = characterIndex(text);
  for (const match of text.matchAll(expression)) yield [index(match.index), index(match.index + match[0].length), match];
}

/** Start and end of each of the first `maxWords` words. */
export function splitWords(text, maxWords) {
  const spans = [];
  for (const [start, end] of matchSpans(text, WORDS)) {
    if (spans.length === maxWords) break;
    spans.push([start, end]);
  }
  return spans;
}

/** A normalised text and, unless nothing has changed, where each of its characters came from. */
class NormalizedText {
  constructor(chars, origin = null) {
    this.chars = chars;
    this.origin = origin;
  }

  get text() {
    return this.chars.join("");
  }

  /** Replace every match; each new character takes the origin of the one it stands for. */
  sub(expression, replacement) {
    const matches = [...matchSpans(this.text, expression)];
    if (!matches.length) return this;
    const origin = this.origin ?? this.chars.map((_, index) => index);
    const [chars, origins] = [[], []];
    const last = origin.length - 1;
    let position = 0;
    const keep = (end) => {
      for (; position < end; position += 1) {
        chars.push(this.chars[position]);
        origins.push(origin[position]);
      }
    };
    for (const [start, end, match] of matches) {
      const text = typeof replacement === "string" ? replacement : replacement(match);
      keep(start);
      const final = Math.min(Math.max(end - 1, start), last);
      Array.from(text).forEach((char, index) => {
        chars.push(char);
        origins.push(origin[Math.min(start + index, final)]);
      });
      position = end;
    }
    keep(this.chars.length);
    return new NormalizedText(chars, origins);
  }
}

const twice = (match) => match[1].repeat(2);
const TWEET_RULES = [
  [/(?:https?:\/\/|www\.)\P{White_Space}+/gu, "http"],
  [new RegExp(`(?<![${WORD}@])@[${WORD}]+`, "gu"), "@user"],
  [/(\P{Nd})\1{2,}/gu, twice],
];

const LETTERS = String.raw`\u0621-\u063A\u0641-\u064A`;
const KEPT = String.raw`0-9\u0621-\u063A\u0640-\u066C\u0671-\u0674a-zA-Z\[\]!"#$%'()*+,.:;\-<=·>?@\\\^_ـ\x60\{\|\}~—٪’،؟୍“؛”ۚ»${SPACE}«–…‘\p{Extended_Pictographic}\p{Emoji_Modifier}\p{Regional_Indicator}\u200D\u20E3`;
const spaced = (match) => ` ${match[0]} `;
const arabertRules = (entities) => [
  [
    new RegExp(String.raw`&(?:#\p{Nd}{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][${WORD}]{1,30});`, "gu"),
    (match) => unescape(match[0], entities),
  ],
  [/[\u064B-\u0652\u0640]+/gu, ""],
  [new RegExp(String.raw`(?<![${WORD}.+\-])[${WORD}.+\-]+@[${WORD}\-]+(?:\.[${WORD}\-]+)+`, "gu"), " [بريد] "],
  [
    new RegExp(
      String.raw`(?:https?:\/\/|www\.)\P{White_Space}+|(?<![a-zA-Z0-9\-]|[a-zA-Z0-9\-]\.)[a-zA-Z0-9\-]+(?:\.[a-zA-Z0-9\-]+)*\.[a-z]{2,6}(?![${WORD}])(?:\/\P{White_Space}*)?`,
      "gu",
    ),
    " [رابط] ",
  ],
  [new RegExp(`@[${WORD}]+`, "gu"), " [مستخدم] "],
  [/<\/?[A-Za-z][^<>]*>/gu, " "],
  [/(\P{Nd})\1{2,}/gu, twice],
  [new RegExp(String.raw`[^0-9${SPACE}${LETTERS}\u0660-\u0669a-zA-Z\[\]]`, "gu"), spaced],
  [new RegExp(String.raw`(?<=\p{Nd})(?=[${LETTERS}])|(?<=[${LETTERS}])(?=\p{Nd})`, "gu"), " "],
  [new RegExp(`[^${KEPT}]`, "gu"), " "],
  [/\p{White_Space}{2,}|[^\P{White_Space} ]/gu, " "],
  [/^\p{White_Space}+|\p{White_Space}+$/gu, ""],
];

/** As Python's `html.unescape` does it: with its table of names, and of the numbers that stand for others or none. */
function unescape(text, { names, numbers }) {
  const character = (number) => {
    if (number in numbers) return numbers[number];
    if ((number >= 0xd800 && number <= 0xdfff) || number > 0x10ffff) return "\uFFFD";
    return String.fromCodePoint(number);
  };
  return text.replace(/&(#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)/gu, (whole, body) => {
    if (body[0] === "#") return character(/[xX]/.test(body[1]) ? parseInt(body.slice(2), 16) : parseInt(body.slice(1), 10));
    const name = [...Array(body.length - 1).keys()].map((cut) => body.slice(0, body.length - cut)).find((part) => Object.hasOwn(names, part));
    return name === undefined ? whole : names[name] + body.slice(name.length);
  });
}

/**
 * Normalise a text for one encoder: "none", "tweet" or "arabert"; the last needs the `entities` of HTML.
 */
export function normalize(text, normalization, entities) {
  const rules = { none: [], tweet: TWEET_RULES, arabert: entities ? arabertRules(entities) : null }[normalization];
  let normalized = new NormalizedText(Array.from(text));
  for (const [expression, replacement] of rules) normalized = normalized.sub(expression, replacement);
  return normalized;
}

/**
 * The script of a text that a model cannot be expected to read, as `scripts_stacked_emotion.py` finds it, or `null`:
 * `scripts` are those that it was trained on, if they are known, `names` all that have a name.
 */
export function unfamiliarScript(chars, scripts, names) {
  if (!scripts) return null;
  const letters = chars.filter((char) => !/[\p{Script=Common}\p{Script=Inherited}\p{Script=Unknown}]/u.test(char));
  const isOf = Object.fromEntries(names.map((name) => [name, new RegExp(`\\p{Script=${name}}`, "u")]));
  const counts = new Map();
  for (const char of letters) {
    const script = names.find((name) => isOf[name].test(char)) ?? "Other";
    if (!scripts.includes(script)) counts.set(script, (counts.get(script) ?? 0) + 1);
  }
  const others = [...counts].sort(([, left], [, right]) => right - left);
  const total = others.reduce((sum, [, count]) => sum + count, 0);
  return 2 * total > letters.length ? others[0][0] : null;
}
