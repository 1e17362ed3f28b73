// SPDX-License-Identifier: Apache-2.0
// Files of texts in, files of results out: the rules are those of the demo's `text_files.py`.

const TEXT_COLUMNS = ["text", "tweet", "sentence", "comment", "content"];
const MAX_BYTES = 5_000_000;

/** The texts of a .csv file (its column of texts) or a .txt file (a text a line); blank ones are "". */
export async function readTexts(file) {
  const name = `“${file.name}”`;
  if (!/\.(csv|txt)$/i.test(file.name)) throw new Error(`Expected a .csv or .txt file, got ${name}.`);
  if (file.size > MAX_BYTES) throw new Error(`${name} has more than 5 MB: divide it.`);
  let content;
  try {
    content = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    throw new Error(`${name} is not UTF-8 text: save it as “CSV UTF-8” or as plain UTF-8 text.`);
  }
  if (content.includes("\0")) throw new Error(`${name} is not a text file: it holds zero bytes.`);
  const texts = /\.txt$/i.test(file.name) ? content.replace(/\n$/, "").split("\n") : column(content, name);
  const trimmed = texts.map((text) => (text.trim() ? text.replace(/\r$/, "") : ""));
  if (!trimmed.some((text) => text)) throw new Error(`${name} holds no text.`);
  return trimmed;
}

function column(content, name) {
  const widths = [",", ";", "\t"].map((delimiter) => [delimiter, parse(content, delimiter, name, 1)[0]?.length ?? 0]);
  const [delimiter] = widths.reduce((best, other) => (other[1] > best[1] ? other : best));
  const [header, ...rows] = parse(content, delimiter, name);
  if (!rows.length) throw new Error(`${name} holds no text: expected a header row and a row per text.`);
  rows.forEach((row, index) => {
    if (row.length > header.length) {
      throw new Error(
        `${name}, text ${index + 1} has ${row.length} cells, the header has ${header.length}: ` +
          "put texts that hold the separator in double quotes.",
      );
    }
  });
  const names = header.map((cell) => cell.trim().toLowerCase());
  const found = TEXT_COLUMNS.map((wanted) => names.indexOf(wanted)).find((place) => place >= 0);
  const place = header.length === 1 ? 0 : found;
  if (place === undefined) {
    throw new Error(`${name} has no column of texts: call it ${TEXT_COLUMNS.join(" or ")} (columns: ${header.join(", ")}).`);
  }
  return rows.map((row) => row[place] ?? "");
}

/** The rows of a table that are not empty, at most `maxRows` of them (RFC 4180). */
function parse(content, delimiter, name, maxRows = Infinity) {
  const cell = new RegExp(`(?:"((?:[^"]|"")*)"|([^"${delimiter}\\r\\n][^${delimiter}\\r\\n]*|))(${delimiter}|\\r\\n|\\n|\\r|$)`, "y");
  const rows = [];
  let row = [];
  while (cell.lastIndex < content.length || row.length) {
    const place = cell.lastIndex;
    const match = cell.exec(content);
    if (!match) {
      const line = content.slice(0, place).split("\n").length;
      throw new Error(`${name}, line ${line} is no valid CSV: a double quote is not closed, or stands within a cell.`);
    }
    const [, quoted, plain, end] = match;
    row.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === delimiter) continue;
    if (row.length > 1 || row[0] || quoted !== undefined) rows.push(row);
    if (rows.length === maxRows) break;
    row = [];
  }
  return rows;
}

/** The text, behind an apostrophe if a spreadsheet would run it as a formula. */
const safe = (text) => (/^\s*[=+\-@＝＋－＠]|^[\t\r\n]/u.test(text) ? `'${text}` : text);
const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);

/** A row per text: the text, its predicted labels, best first, and the score of each label; a blank one stays empty. */
export function resultsCsv(texts, answers, labels) {
  const rows = texts.map((text, index) => {
    const emotions = answers[index]?.emotions;
    if (!emotions) return [safe(text), "", ...labels.map(() => "")];
    const names = emotions.filter((emotion) => emotion.isPredicted).sort((left, right) => right.score - left.score);
    const predicted = safe(names.map(({ label }) => label).join("|"));
    return [safe(text), predicted, ...emotions.map(({ score }) => score.toFixed(6))];
  });
  const table = [["text", "predicted_labels", ...labels.map(safe)], ...rows];
  // With a byte order mark, or spreadsheets garble all but ASCII.
  return `\uFEFF${table.map((row) => `${row.map(quoted).join(",")}\r\n`).join("")}`;
}
