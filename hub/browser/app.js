// SPDX-License-Identifier: Apache-2.0
// The page. All that comes from texts, files and the model is put in as text, never as HTML.
import { readTexts, resultsCsv } from "./files.js";

const NUM_SHOWN = 8;
const PAUSE = 150;
const element = (id) => document.getElementById(id);
const percent = (share) => (share > 0 && share < 0.01 ? "<1%" : `${Math.round(100 * share)}%`);

function make(name, className, ...content) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

// ------------------------------------------------------------------------------------------------------- the model

/** The model in its worker: answers come in the order of the questions. */
class Model {
  constructor(space, onProgress) {
    this.worker = new Worker("worker.js", { type: "module" });
    this.waiting = new Map();
    this.next = 0;
    this.ready = new Promise((resolve, reject) => {
      this.worker.onerror = (event) => reject(new Error(event.message || "The browser is too old for this page."));
      this.worker.onmessage = ({ data }) => {
        if (data.progress !== undefined) onProgress(data.progress);
        else if (data.labels) resolve(data.labels);
        else if (data.id === undefined) reject(new Error(data.error));
        else this.#settle(data);
      };
    });
    this.worker.postMessage({ space });
  }

  #settle({ id, answer, error }) {
    const { resolve, reject } = this.waiting.get(id);
    this.waiting.delete(id);
    if (error === undefined) resolve(answer);
    else reject(new Error(error));
  }

  classify(text) {
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, text });
    });
  }
}

// ------------------------------------------------------------------------------------------------------- one text

function show(answer) {
  const byScore = [...answer.emotions].sort((left, right) => right.score - left.score);
  const predicted = byScore.filter((emotion) => emotion.isPredicted);
  const others = byScore.filter((emotion) => !emotion.isPredicted);
  const numOthers = Math.max(NUM_SHOWN - predicted.length, 0);
  const names = predicted.flatMap(({ label }, index) => [index ? ", " : "", make("b", "", label)]);
  verdict("", ...(names.length ? names : ["No emotion reaches its threshold."]));
  const barOf = (emotion) => bar(emotion, () => showWords(answer, emotion));
  element("bars").replaceChildren(...[...predicted, ...others.slice(0, numOthers)].map(barOf));
  element("rest").replaceChildren(...others.slice(numOthers).map(barOf));
  element("more").textContent = `${others.length - numOthers} more labels`;
  element("more").parentElement.hidden = others.length <= numOthers;
  element("script").hidden = !answer.unfamiliarScript;
  element("script").textContent =
    `This model was not trained on the script of this text (${answer.unfamiliarScript}): do not rely on its answer.`;
  showWords(answer, byScore[0]);
  element("details").hidden = false;
}

function verdict(className, ...content) {
  element("verdict").className = className;
  element("verdict").replaceChildren(...content);
}

function clear() {
  verdict("empty", "The emotions of your text appear here.");
  element("details").hidden = true;
  element("script").hidden = true;
}

/** A bar that shows the words of its emotion when it is chosen. */
function bar({ label, score, threshold, isPredicted }, choose) {
  const name = make("span", "", label);
  name.dir = "auto";
  const [fill, limit] = [make("span", "fill"), make("span", "limit")];
  fill.style.width = `${100 * score}%`;
  limit.style.left = `${100 * threshold}%`;
  const track = make("span", "track", fill, limit);
  track.title = `probability ${score.toFixed(3)}, threshold ${threshold.toFixed(3)}`;
  const spoken = `, threshold ${percent(threshold)}${isPredicted ? ", predicted" : ""}`;
  const button = make("button", "", name, track, make("span", "", percent(score), make("span", "hidden", spoken)));
  button.type = "button";
  button.dataset.label = label;
  button.addEventListener("click", choose);
  return make("li", isPredicted ? "over" : "", button);
}

/** The words that speak for an emotion; where a model has no parts of words, those that got the attention. */
function showWords({ chars, words, isCut }, { label, index }) {
  const hasParts = words.some(({ parts }) => parts);
  const values = words.map(({ parts, share }) => (hasParts ? parts[index] : share));
  // Each word knows the others, so that all have a part: the least one has no colour. A single word has all of it.
  const lowest = words.length > 1 ? Math.min(...values) : 0;
  const range = Math.max(...values) - lowest;
  const pieces = [];
  let end = 0;
  words.forEach((word, place) => {
    const value = values[place];
    pieces.push(chars.slice(end, word.start).join(""));
    const mark = make("mark", "", chars.slice(word.start, word.end).join(""));
    mark.style.setProperty("--share", (range < 1e-6 ? 0 : (value - lowest) / range).toFixed(3));
    mark.title = hasParts ? `${value < 0 ? "" : "+"}${value.toFixed(2)}` : `${percent(value)} of the attention`;
    pieces.push(mark);
    end = word.end;
  });
  element("words").replaceChildren(...pieces, chars.slice(end).join(""));
  for (const button of document.querySelectorAll(".bars button")) {
    button.setAttribute("aria-pressed", button.dataset.label === label);
  }
  element("words-title").replaceChildren(...(hasParts ? ["Words for ", make("bdi", "", label)] : ["Words by attention"]));
  element("about-words").textContent =
    (hasParts
      ? "The stronger the colour, the more the word adds to the emotion."
      : "The stronger the colour, the more attention the word got.") +
    (isCut ? " The end of the text is too long for this model and was not read." : "");
}

// ---------------------------------------------------------------------------------------------------- a whole file

function setUpFiles(model, labels) {
  const [input, classify, stop, download] = ["file", "classify", "stop", "download"].map(element);
  const progress = element("file-progress");
  let isStopped = false;
  const say = (message) => {
    element("file-message").textContent = message;
  };
  const update = () => {
    classify.disabled = !input.files.length;
  };
  input.addEventListener("change", () => {
    download.hidden = true;
    say("");
    update();
  });
  update();
  stop.addEventListener("click", () => {
    isStopped = true;
  });
  classify.addEventListener("click", async () => {
    const [file] = input.files;
    [isStopped, classify.disabled, download.hidden] = [false, true, true];
    say("");
    try {
      const texts = await readTexts(file);
      [stop.hidden, progress.hidden] = [false, false];
      const answers = [];
      for (const text of texts) {
        if (isStopped) break;
        answers.push(text ? await model.classify(text) : null);
        progress.value = answers.length / texts.length;
      }
      if (isStopped) say("Stopped.");
      else {
        const url = URL.createObjectURL(new Blob([resultsCsv(texts, answers, labels)], { type: "text/csv" }));
        URL.revokeObjectURL(download.href);
        [download.href, download.hidden] = [url, false];
        download.download = `${file.name.replace(/\.[^.]*$/, "")}_emotions.csv`;
        const read = answers.filter((answer) => answer);
        const withAny = read.filter(({ emotions }) => emotions.some((emotion) => emotion.isPredicted)).length;
        const blank = texts.length - read.length;
        say(
          `${texts.length} texts${blank ? `, ${blank} blank` : ""}; ${withAny} of ${read.length} have at least one ` +
            "emotion that reaches its threshold.",
        );
      }
    } catch (error) {
      say(error.message);
    }
    [stop.hidden, progress.hidden] = [true, true];
    update();
  });
}

// ------------------------------------------------------------------------------------------------------- the whole

async function main() {
  const space = await (await fetch("space.json")).json();
  const link = element("model");
  link.textContent = space.model_id;
  link.href = `https://huggingface.co/${space.model_id}`;
  link.target = "_blank";

  const text = element("text");
  const model = new Model(space, (progress) => {
    element("progress").value = progress;
    if (progress === 1) element("stage").textContent = "Starting the model";
  });
  let isBusy = true;
  // The newest text alone: while one is read, others may be typed.
  const update = async () => {
    if (isBusy) return;
    isBusy = true;
    const asked = text.value;
    try {
      if (asked.trim()) show(await model.classify(asked));
      else clear();
    } catch (error) {
      verdict("message", error.message);
    }
    isBusy = false;
    if (text.value !== asked) update();
  };
  let pause;
  text.addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(update, PAUSE);
  });
  element("example-list").replaceChildren(
    ...space.examples.map((example) => {
      const button = make("button", "", example);
      button.type = "button";
      button.dir = "auto";
      button.addEventListener("click", () => {
        text.value = example;
        update();
      });
      return make("li", "", button);
    }),
  );
  element("examples").hidden = !space.examples.length;

  const labels = await model.ready;
  element("loading").hidden = true;
  isBusy = false;
  setUpFiles(model, labels);
  update();
}

main().catch((error) => {
  element("loading").hidden = true;
  verdict("message", `The model cannot be loaded: ${error.message}`);
});
