// SPDX-License-Identifier: Apache-2.0
// From a text to the rows of every encoder: what `encoding_stacked_emotion.py` and `alignment_stacked_emotion.py` do.
import { Tokenizer } from "./tokenizer.js";
import { cleanSurrogates, isBlank, normalize, splitWords } from "./words.js";

const CHARACTERS_PER_TOKEN = 100;

/** Tokenises a text for all encoders and says which word each token belongs to. */
export class TextEncoder {
  /**
   * `settings` are those of the model's `tokenizer_config.json`; `tokenizers` the `tokenizer.json` of each encoder, by
   * its name; `tables` the character `classes` of tokenizers and the `entities` of HTML, as the Space has them.
   */
  constructor(settings, tokenizers, { classes, entities }) {
    this.settings = settings;
    this.entities = entities;
    this.tokenizers = Object.fromEntries(
      settings.encoders.map((name) => [name, new Tokenizer(tokenizers[name], classes)]),
    );
  }

  /**
   * The characters of the text, the spans of its words, whether its end was cut off, and of each encoder `ids` and
   * `wordIds`, which count from 1; 0 belongs to no word.
   */
  encode(text) {
    const { max_words: maxWords, max_tokens: maxTokens } = this.settings;
    const chars = Array.from(cleanSurrogates(text));
    let { kept, words } = cutToWords(chars, maxWords, CHARACTERS_PER_TOKEN * maxTokens);
    let rows = this.#rows(kept, words);
    if (Object.values(rows).some(({ ids }) => ids.length > maxTokens)) {
      ({ kept, words } = this.#cutToTokens(kept, words, maxTokens));
      rows = this.#rows(kept, words);
    }
    return { chars, words, isCut: kept.length < chars.length, rows };
  }

  #rows(chars, words) {
    return Object.fromEntries(Object.keys(this.tokenizers).map((name) => [name, this.#align(name, chars, words)]));
  }

  #normalize(name, chars) {
    return normalize(chars.join(""), this.settings.normalizations[name] ?? "none", this.entities);
  }

  #align(name, chars, words) {
    const normalized = this.#normalize(name, chars);
    const tokens = this.tokenizers[name].encode(normalized.chars).map((token) => originalOffsets(token, normalized));
    return { ids: tokens.map(({ id }) => id), wordIds: findWordIds(tokens, words) };
  }

  #cutToTokens(chars, words, maxTokens) {
    let [kept, spans] = [chars, words];
    while (kept.length) {
      const overflow = Object.keys(this.tokenizers)
        .map((name) => this.#overflow(name, kept, maxTokens))
        .filter((start) => start !== null);
      if (!overflow.length) break;
      let cut = Math.min(...overflow, kept.length - 1);
      const whole = spans.filter(([, end]) => end <= cut);
      if (whole.length) cut = whole.at(-1)[1];
      spans = whole.length ? whole : spans.slice(0, 1).flatMap(([start]) => (start < cut ? [[start, cut]] : []));
      kept = kept.slice(0, cut);
    }
    return { kept, words: spans };
  }

  /** The place of the first token beyond the limit, or `null`. */
  #overflow(name, chars, maxTokens) {
    const normalized = this.#normalize(name, chars);
    const tokenizer = this.tokenizers[name];
    const tokens = tokenizer.encode(normalized.chars);
    if (tokens.length <= maxTokens) return null;
    let { start, end } = tokens.filter((token) => !token.isSpecial)[maxTokens - tokenizer.numSpecial];
    const visible = normalized.chars.slice(start, end).findIndex((char) => !isBlank(char));
    if (visible > 0) start += visible;
    if (start >= normalized.chars.length) return chars.length;
    return normalized.origin ? normalized.origin[start] : start;
  }
}

/** The text up to the end of its last word within both limits, and the spans of the words kept. */
function cutToWords(chars, maxWords, maxCharacters) {
  let isCut = chars.length > maxCharacters;
  const head = isCut ? chars.slice(0, maxCharacters) : chars;
  const words = splitWords(head.join(""), maxWords + 1);
  const goesOn = isCut && words.length > 1 && words.at(-1)[1] >= head.length - 1 && !isBlank(head.at(-1));
  if (goesOn || words.length > maxWords) {
    isCut = true;
    words.pop();
  }
  return { kept: isCut ? chars.slice(0, words.at(-1)?.[1] ?? 0) : chars, words };
}

/** A token with its place in the original text: it starts where its first visible character came from. */
function originalOffsets(token, { chars, origin }) {
  if (!origin) return token;
  let first = token.start;
  while (first < token.end && isBlank(chars[first])) first += 1;
  if (first >= token.end) {
    const start = origin[token.start] ?? 0;
    return { ...token, start, end: start };
  }
  return { ...token, start: origin[first], end: origin[token.end - 1] + 1 };
}

/** The word of each token: that which it starts in, or the next one if that begins before the token's end. */
function findWordIds(tokens, words) {
  let word = 0;
  return tokens.map(({ start, end }) => {
    if (start >= end) return 0;
    // Tokens hardly ever go back.
    while (word > 0 && words[word - 1][1] > start) word -= 1;
    while (word < words.length && words[word][1] <= start) word += 1;
    return word < words.length && words[word][0] < end ? word + 1 : 0;
  });
}
