// SPDX-License-Identifier: Apache-2.0
// A fast tokenizer with offsets. Of @huggingface/tokenizers come the models, which cut a word into pieces; what stands
// before and behind them is here, step by step as in the Rust library `tokenizers` 0.23: the JavaScript one keeps no
// offsets, and its normalizers and pre-tokenizers are approximations.
import { BPE, ReplaceNormalizer, Unigram, WordPiece } from "./vendor/tokenizers.min.mjs";
import { WORD, matchSpans } from "./words.js";

/** The characters of a text and of each where it came from: from `starts[i]` to `ends[i]`. */
class Tracked {
  constructor(chars, starts, ends, origin = 0) {
    Object.assign(this, { chars, starts, ends, origin });
  }

  static of(chars) {
    return new Tracked(
      chars,
      chars.map((_, index) => index),
      chars.map((_, index) => index + 1),
    );
  }

  get text() {
    return this.chars.join("");
  }

  get length() {
    return this.chars.length;
  }

  slice(start, end) {
    const origin = start < end ? this.starts[start] : this.origin;
    return new Tracked(this.chars.slice(start, end), this.starts.slice(start, end), this.ends.slice(start, end), origin);
  }

  /**
   * Other characters in place of these. Each of `changes` is a character and a number: 0 or less, it stands for the
   * next one and for as many more; 1, it is inserted, and comes from where the one before it did.
   */
  transform(changes) {
    const [chars, starts, ends] = [[], [], []];
    let index = 0;
    for (const [char, change] of changes) {
      const source = change > 0 ? index - 1 : index;
      chars.push(char);
      starts.push(source < 0 ? this.origin : this.starts[source]);
      ends.push(source < 0 ? this.origin : this.ends[source]);
      if (change <= 0) index += 1 - change;
    }
    return new Tracked(chars, starts, ends, this.origin);
  }

  filter(isKept) {
    const kept = [...this.chars.keys()].filter((index) => isKept(this.chars[index]));
    if (kept.length === this.length) return this;
    const take = (values) => kept.map((index) => values[index]);
    return new Tracked(take(this.chars), take(this.starts), take(this.ends), this.origin);
  }

  /** Every character becomes those that `replace` gives for it. */
  map(replace) {
    return this.transform(this.chars.flatMap((char) => Array.from(replace(char), (other, index) => [other, index ? 1 : 0])));
  }

  prepend(text) {
    if (!this.length) return this;
    const first = new Tracked(Array.from(text), [], []);
    first.starts = first.chars.map(() => this.starts[0]);
    first.ends = first.chars.map(() => this.ends[0]);
    return new Tracked([...first.chars, ...this.chars], [...first.starts, ...this.starts], [...first.ends, ...this.ends], this.origin);
  }

  /** All that stands for a match comes from where its last character did. */
  replace(expression, content) {
    const [chars, starts, ends] = [[], [], []];
    let position = 0;
    const keep = (end) => {
      for (; position < end; position += 1) {
        chars.push(this.chars[position]);
        starts.push(this.starts[position]);
        ends.push(this.ends[position]);
      }
    };
    for (const [start, end] of matchSpans(this.text, expression)) {
      keep(start);
      for (const char of content) {
        chars.push(char);
        starts.push(end ? this.starts[end - 1] : this.origin);
        ends.push(end ? this.ends[end - 1] : this.origin);
      }
      position = end;
    }
    keep(this.length);
    return new Tracked(chars, starts, ends, this.origin);
  }

  /** The parts between and at the matches, none of them empty. */
  split(expression, behavior, isInverted = false) {
    let parts = [];
    let position = 0;
    const push = (start, end, isMatch) => start < end && parts.push({ start, end, isMatch: isMatch !== isInverted });
    for (const [start, end] of matchSpans(this.text, expression)) {
      push(position, start, false);
      push(start, end, true);
      position = end;
    }
    push(position, this.length, false);
    parts = JOINED[behavior.toLowerCase().replaceAll("_", "")](parts);
    return parts.map(({ start, end }) => this.slice(start, end));
  }
}

/** What becomes of the matches of a split: the names are those of `SplitDelimiterBehavior`. */
const JOINED = {
  removed: (parts) => parts.filter((part) => !part.isMatch),
  isolated: (parts) => parts,
  contiguous: (parts) => joined(parts, (part, before) => part.isMatch === before.isMatch),
  mergedwithprevious: (parts) => joined(parts, (part, before) => part.isMatch && !before.isMatch),
  mergedwithnext: (parts) =>
    joined(parts.reverse(), (part, after) => part.isMatch && !after.isMatch).reverse(),
};

function joined(parts, belongs) {
  const result = [];
  parts.forEach((part, index) => {
    const last = result.at(-1);
    if (last && belongs(part, parts[index - 1])) {
      last.start = Math.min(last.start, part.start);
      last.end = Math.max(last.end, part.end);
    } else result.push({ ...part });
  });
  return result;
}

/** An expression of a `tokenizer.json`, which is one of Oniguruma, as JavaScript's. */
const expressionOf = (pattern) => new ReplaceNormalizer({ pattern }).pattern;

// ------------------------------------------------------------------------------------------------------ normalizers

const NORMALIZERS = {
  Sequence: ({ normalizers }, classes) => {
    const steps = normalizers.map((config) => normalizerOf(config, classes));
    return (tracked) => steps.reduce((result, step) => step(result), tracked);
  },
  BertNormalizer: bertNormalizer,
  Lowercase: () => lowercase,
  Precompiled: ({ precompiled_charsmap: charsmap }) => precompiled(charsmap),
  Prepend: ({ prepend }) => (tracked) => tracked.prepend(prepend),
  Replace: ({ pattern, content }) => {
    const expression = expressionOf(pattern);
    return (tracked) => tracked.replace(expression, content);
  },
  Strip: ({ strip_left: left, strip_right: right }) => (tracked) => {
    const start = left ? tracked.chars.findIndex((char) => !/\p{White_Space}/u.test(char)) : 0;
    const end = right ? tracked.chars.findLastIndex((char) => !/\p{White_Space}/u.test(char)) + 1 : tracked.length;
    return tracked.slice(start < 0 ? end : start, end);
  },
  StripAccents: () => (tracked) => tracked.filter((char) => !/\p{M}/u.test(char)),
  NFC: () => composed("NFD"),
  NFKC: () => composed("NFKD"),
  NFD: () => decomposed("NFD"),
  NFKD: () => decomposed("NFKD"),
};

const normalizerOf = (config, classes) =>
  config ? NORMALIZERS[config.type](config, classes) : (tracked) => tracked;
const lowercase = (tracked) => tracked.map((char) => char.toLowerCase());

const CHINESE = /[\u4E00-\u9FFF\u3400-\u4DBF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\uF900-\uFAFF\u{2F800}-\u{2FA1F}]/u;

function bertNormalizer(config, classes) {
  const [removed, marks] = [new RegExp(classes.removed, "u"), new RegExp(classes.marks, "u")];
  const isKept = (char) => !removed.test(char);
  const strip = decomposed("NFD");
  return (tracked) => {
    let result = tracked;
    if (config.clean_text) {
      result = result.filter(isKept).map((char) => (/\p{White_Space}/u.test(char) ? " " : char));
    }
    if (config.handle_chinese_chars && CHINESE.test(result.text)) {
      result = result.map((char) => (CHINESE.test(char) ? ` ${char} ` : char));
    }
    if (config.strip_accents ?? config.lowercase) result = strip(result).filter((char) => !marks.test(char));
    return config.lowercase ? lowercase(result) : result;
  };
}

/** Canonical or compatible decomposition of every character, marks in their canonical order. */
function decomposed(form) {
  return (tracked) => tracked.transform(decompositionOf(tracked, form));
}

function decompositionOf(tracked, form) {
  const changes = tracked.chars.flatMap((char) =>
    Array.from(char.normalize(form), (other, index) => [other, index ? 1 : 0]),
  );
  const ordered = Array.from(changes.map(([char]) => char).join("").normalize(form));
  const waiting = [];
  let next = 0;
  return ordered.map((char) => {
    let found = waiting.findIndex(([other]) => other === char);
    while (found < 0) {
      waiting.push(changes[next]);
      next += 1;
      if (waiting.at(-1)[0] === char) found = waiting.length - 1;
    }
    return waiting.splice(found, 1)[0];
  });
}

/** The same, put together again as far as there are characters for it (Unicode Standard Annex 15). */
function composed(form) {
  return (tracked) => {
    if (tracked.text.normalize(form === "NFD" ? "NFC" : "NFKC") === tracked.text) return tracked;
    const result = [];
    let [starter, marks] = [null, []];
    const flush = () => {
      if (starter) result.push(starter);
      result.push(...marks);
      [starter, marks] = [null, []];
    };
    for (const [char, change] of decompositionOf(tracked, form)) {
      const isMark = isReordered(char);
      const isBlocked = marks.length > 0 && (!isMark || !comesBefore(marks.at(-1)[0], char));
      const pair = starter && !isBlocked ? Array.from((starter[0] + char).normalize("NFC")) : [];
      if (pair.length === 1) starter = [pair[0], starter[1] + change - 1];
      else if (isMark) (starter ? marks : result).push([char, change]);
      else {
        flush();
        starter = [char, change];
      }
    }
    flush();
    return tracked.transform(result);
  };
}

// Combining classes, of which JavaScript tells only the order that they put marks in.
const comesBefore = (mark, other) => (other + mark).normalize("NFD") !== other + mark;
const isReordered = (char) => /\p{M}/u.test(char) && (comesBefore(char, "\u0345") || comesBefore("\u0334", char));

/** A table of SentencePiece: a double array of the texts to replace, and their replacements, each with a zero behind. */
function precompiled(charsmap) {
  const bytes = Uint8Array.from(atob(charsmap), (char) => char.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const size = view.getUint32(0, true);
  const unit = (index) => (4 * index < size ? view.getUint32(4 + 4 * index, true) : 0);
  const offset = (value) => (value >>> 10) << ((value & 512) >>> 6);
  const strings = bytes.subarray(4 + size);
  const [encoder, decoder] = [new TextEncoder(), new TextDecoder()];
  const segmenter = new Intl.Segmenter(undefined, { granularity: "grapheme" });

  /** The replacement of the shortest beginning that has one. */
  const search = (text) => {
    let position = offset(unit(0));
    for (const byte of encoder.encode(text)) {
      if (byte === 0) return null;
      position ^= byte;
      const value = unit(position);
      if ((value & 0x800000ff) !== byte) return null;
      position ^= offset(value);
      if ((value >>> 8) & 1) {
        const start = unit(position) & 0x7fffffff;
        return Array.from(decoder.decode(strings.subarray(start, strings.indexOf(0, start))));
      }
    }
    return null;
  };
  const known = new Map();
  const replacementOf = (text) => {
    if (!known.has(text)) known.set(text, search(text));
    return known.get(text);
  };
  const changesOf = (part) => {
    const old = Array.from(part);
    const replacement = replacementOf(part);
    if (replacement === null) return null;
    const difference = replacement.length - old.length;
    const changes = replacement.map((char, index) => [char, index < old.length ? 0 : 1]);
    if (difference < 0 && changes.length) changes.at(-1)[1] = difference;
    return { changes, difference };
  };
  return (tracked) => {
    const changes = [];
    let isModified = false;
    const add = (part) => {
      const found = changesOf(part);
      if (found === null) return false;
      isModified = true;
      changes.push(...found.changes);
      // Characters that nothing stands for count as replaced by the one before; at the start they count as none.
      if (!found.changes.length && changes.length) changes.at(-1)[1] += found.difference;
      return true;
    };
    for (const { segment } of segmenter.segment(tracked.text)) {
      if (encoder.encode(segment).length < 6 && add(segment)) continue;
      for (const char of segment) if (!add(char)) changes.push([char, 0]);
    }
    return isModified ? tracked.transform(changes) : tracked;
  };
}

// --------------------------------------------------------------------------------------------------- pre-tokenizers

const MARK = "\u2581";

const PRE_TOKENIZERS = {
  Sequence: ({ pretokenizers }, classes) => {
    const steps = pretokenizers.map((config) => preTokenizerOf(config, classes));
    return (tracked) => steps.reduce((parts, step) => parts.flatMap(step), [tracked]);
  },
  BertPreTokenizer: (_, classes) => {
    const punctuation = new RegExp(classes.punctuation, "gu");
    return (tracked) =>
      tracked.split(/\p{White_Space}/gu, "removed").flatMap((part) => part.split(punctuation, "isolated"));
  },
  ByteLevel: byteLevel,
  Digits: ({ individual_digits: individual }) => (tracked) => tracked.split(/\p{N}/gu, individual ? "isolated" : "contiguous"),
  Metaspace: metaspace,
  Punctuation: ({ behavior = "isolated" }, classes) => {
    const punctuation = new RegExp(classes.punctuation, "gu");
    return (tracked) => tracked.split(punctuation, behavior);
  },
  Split: ({ pattern, behavior, invert }) => {
    const expression = expressionOf(pattern);
    return (tracked) => tracked.split(expression, behavior, invert);
  },
  Whitespace: () => {
    const expression = new RegExp(`[${WORD}]+|[^${WORD}\\p{White_Space}]+`, "gu");
    return (tracked) => tracked.split(expression, "removed", true);
  },
  WhitespaceSplit: () => (tracked) => tracked.split(/\p{White_Space}/gu, "removed"),
};

const preTokenizerOf = (config, classes) =>
  config ? PRE_TOKENIZERS[config.type](config, classes) : (tracked) => [tracked];

function metaspace({ replacement = MARK, prepend_scheme: scheme = "always", split = true }) {
  return (tracked) => {
    let result = tracked.replace(/ /gu, replacement);
    const isFirst = scheme === "always" || (scheme === "first" && result.origin === 0);
    if (isFirst && result.chars[0] !== replacement) result = result.prepend(replacement);
    return split ? result.split(new RegExp(replacement, "gu"), "merged_with_next") : [result];
  };
}

/** For each byte a visible character, as GPT-2 has them. */
const BYTES = (() => {
  const visible = (byte) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  let hidden = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(visible(byte) ? byte : hidden++));
})();

function byteLevel({ add_prefix_space: prefix, use_regex: isSplit = true }) {
  const expression = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;
  const encoder = new TextEncoder();
  return (tracked) => {
    const start = prefix && tracked.chars[0] !== " " ? tracked.prepend(" ") : tracked;
    const parts = isSplit ? start.split(expression, "isolated") : [start];
    return parts.map((part) => part.map((char) => Array.from(encoder.encode(char), (byte) => BYTES[byte]).join("")));
  };
}

// ------------------------------------------------------------------------------------------------------------ models

/** From a word, to its pieces: of each its id, its name in the vocabulary and its number of characters. */
const MODELS = {
  WordPiece: (config) => {
    const model = new WordPiece(config);
    const prefix = Array.from(config.continuing_subword_prefix ?? "##").length;
    return (word, length) => {
      const pieces = model.encode([word]);
      const isUnknown = pieces.length === 1 && pieces[0] === config.unk_token;
      return pieces.map((piece, index) => ({
        id: model.tokens_to_ids.get(piece),
        piece,
        length: isUnknown ? length : Array.from(piece).length - (index ? prefix : 0),
      }));
    };
  },
  Unigram: (config) => {
    const model = new Unigram(config);
    return (word) =>
      model([word]).map((piece) => ({
        id: model.tokens_to_ids.get(piece) ?? config.unk_id,
        piece,
        length: Array.from(piece).length,
      }));
  },
  BPE: (config) => {
    const model = new BPE(config);
    const suffix = Array.from(config.end_of_word_suffix ?? "").length;
    const encoder = new TextEncoder();
    const bytesOf = (piece) => {
      const names = Array.from(encoder.encode(piece), (byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
      return names.every((name) => model.tokens_to_ids.has(name)) ? names : null;
    };
    return (word, length) => {
      if (config.ignore_merges && model.tokens_to_ids.has(word)) {
        return [{ id: model.tokens_to_ids.get(word), piece: word, length }];
      }
      const result = [];
      const pieces = model.bpe(word);
      pieces.forEach((piece, index) => {
        const size = Array.from(piece).length - (index === pieces.length - 1 ? suffix : 0);
        const id = model.tokens_to_ids.get(piece);
        const bytes = id === undefined && config.byte_fallback ? bytesOf(piece) : null;
        if (id !== undefined) result.push({ id, piece, length: size });
        else if (bytes) {
          // All of them come from the one character.
          bytes.forEach((name, number) =>
            result.push({ id: model.tokens_to_ids.get(name), piece: name, length: number ? 0 : size, shared: number ? size : 0 }),
          );
        } else if (config.unk_token != null) {
          const last = result.at(-1);
          if (config.fuse_unk && last?.isUnknown) last.length += size;
          else result.push({ id: model.tokens_to_ids.get(config.unk_token), piece: config.unk_token, length: size, isUnknown: true });
        }
      });
      return result;
    };
  },
};

// --------------------------------------------------------------------------------------------------- post-processors

const special = (id) => ({ id, piece: "", start: 0, end: 0, isSpecial: true });
const framed = ({ cls, sep }, tokens) => [special(cls[1]), ...tokens, special(sep[1])];

const POST_PROCESSORS = {
  Sequence: ({ processors }) => {
    const steps = processors.map(postProcessorOf);
    return (tokens) => steps.reduce((result, step) => step(result), tokens);
  },
  TemplateProcessing: ({ single, special_tokens: specials }) => (tokens) =>
    single.flatMap((part) => ("Sequence" in part ? tokens : specials[part.SpecialToken.id].ids.map(special))),
  BertProcessing: (config) => (tokens) => framed(config, tokens),
  RobertaProcessing: (config) => (tokens) => framed(config, config.trim_offsets ? trimmed(tokens, config) : tokens),
  ByteLevel: (config) => (tokens) => (config.trim_offsets ? trimmed(tokens, config) : tokens),
};

const postProcessorOf = (config) => (config ? POST_PROCESSORS[config.type](config) : (tokens) => tokens);

/** Offsets without the white space at both ends of a piece. */
function trimmed(tokens, { add_prefix_space: prefix }) {
  const isSpace = (char) => char === BYTES[32] || /\p{White_Space}/u.test(char);
  return tokens.map((token, index) => {
    const chars = Array.from(token.piece);
    const first = chars.findIndex((char) => !isSpace(char));
    let leading = first < 0 ? chars.length : first;
    const trailing = chars.length - 1 - chars.findLastIndex((char) => !isSpace(char));
    let { start, end } = token;
    if (leading) {
      if (prefix && (index === 0 || start === 0)) leading -= 1;
      start = Math.min(start + leading, end);
    }
    if (trailing && end >= trailing) end = Math.max(end - trailing, start);
    return { ...token, start, end };
  });
}

// -------------------------------------------------------------------------------------------------------- the whole

/**
 * Of a `tokenizer.json`; its padding and truncation are not done. `classes` are the sets of characters, as expressions,
 * that the Rust library removes, takes for marks and for punctuation: it has those of an older Unicode.
 */
export class Tokenizer {
  constructor(json, classes) {
    this.normalize = normalizerOf(json.normalizer, classes);
    this.preTokenize = preTokenizerOf(json.pre_tokenizer, classes);
    this.cut = MODELS[json.model.type](json.model);
    this.postProcess = postProcessorOf(json.post_processor);
    const added = json.added_tokens ?? [];
    this.literal = addedTokens(added.filter((token) => !token.normalized), (content) => content);
    this.normalized = addedTokens(
      added.filter((token) => token.normalized),
      (content) => this.normalize(Tracked.of(Array.from(content))).text,
    );
    this.numSpecial = this.postProcess([]).length;
  }

  /** The tokens of a text, given as its characters: `id`, `start` and `end` in characters, `isSpecial`. */
  encode(chars) {
    const tokens = [];
    for (const [part, token] of this.literal(Tracked.of(chars))) {
      if (token) tokens.push(tokenOf(part, token));
      else {
        for (const [inner, other] of this.normalized(this.normalize(part))) {
          if (other) tokens.push(tokenOf(inner, other));
          else for (const word of this.preTokenize(inner)) this.#addPieces(tokens, word);
        }
      }
    }
    return this.postProcess(tokens);
  }

  #addPieces(tokens, word) {
    if (!word.length) return;
    let position = 0;
    for (const { id, piece, length, shared } of this.cut(word.text, word.length)) {
      const from = position - (shared ?? 0);
      position += length;
      tokens.push({ id, piece, start: word.starts[from], end: word.ends[position - 1] });
    }
  }
}

const tokenOf = (part, token) => ({
  id: token.id,
  piece: part.text,
  start: part.starts[0],
  end: part.ends[part.length - 1],
});

/** A function that divides a text at added tokens: into parts, and the token that a part is. */
function addedTokens(tokens, prepare) {
  const byContent = new Map(tokens.map((token) => [prepare(token.content), token]).filter(([content]) => content));
  if (!byContent.size) return (tracked) => [[tracked, null]];
  const longestFirst = [...byContent.keys()].sort((left, right) => right.length - left.length);
  const expression = new RegExp(longestFirst.map((content) => content.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("|"), "gu");
  const word = new RegExp(`[${WORD}]`, "u");
  const isWord = (char) => char !== undefined && word.test(char);
  const isSpace = (char) => char !== undefined && /\p{White_Space}/u.test(char);
  return (tracked) => {
    const parts = [];
    let position = 0;
    for (let [start, end, [content]] of matchSpans(tracked.text, expression)) {
      const token = byContent.get(content);
      if (token.single_word && (isWord(tracked.chars[start - 1]) || isWord(tracked.chars[end]))) continue;
      while (token.lstrip && start > position && isSpace(tracked.chars[start - 1])) start -= 1;
      while (token.rstrip && isSpace(tracked.chars[end])) end += 1;
      if (position < start) parts.push([tracked.slice(position, start), null]);
      parts.push([tracked.slice(start, end), token]);
      position = end;
    }
    if (position < tracked.length || !tracked.length) parts.push([tracked.slice(position, tracked.length), null]);
    return parts;
  };
}
