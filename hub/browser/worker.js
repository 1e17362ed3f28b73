// SPDX-License-Identifier: Apache-2.0
// The model, beside the page, so that the page stays quick. It is told the Space's settings, then texts one by one.
import { TextEncoder } from "./encoding.js";
import * as ort from "./vendor/ort.wasm.bundle.min.mjs";
import { unfamiliarScript } from "./words.js";

let answer;

self.onmessage = async ({ data }) => {
  try {
    if (data.space) answer = await load(data.space);
    else self.postMessage({ id: data.id, answer: await answer(data.text) });
  } catch (error) {
    self.postMessage({ id: data.id, error: error.message });
  }
};

async function load(space) {
  const total = Object.values(space.files).reduce((sum, size) => sum + size, 0);
  let loaded = 0;
  const read = async (name) => {
    const response = await fetch(new URL(name, self.location));
    if (!response.ok) throw new Error(`${name} is not there (${response.status}).`);
    const bytes = new Uint8Array(space.files[name]);
    let position = 0;
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      bytes.set(value, position);
      position += value.length;
      loaded += value.length;
      self.postMessage({ progress: loaded / total });
    }
    if (position !== bytes.length) throw new Error(`${name} has ${position} bytes, expected ${bytes.length}.`);
    return bytes;
  };
  const readJson = async (name) => JSON.parse(new globalThis.TextDecoder().decode(await read(name)));

  const [wasm, graph, weights, config, settings, tables] = await Promise.all([
    read("vendor/ort-wasm-simd-threaded.wasm"),
    read("model/model.onnx"),
    read("model/model.safetensors"),
    readJson("model/config.json"),
    readJson("model/tokenizer_config.json"),
    readJson("tables.json"),
  ]);
  const tokenizers = await Promise.all(
    settings.encoders.map(async (name) => [name, await readJson(`model/${name}_tokenizer/tokenizer.json`)]),
  );
  const encoder = new TextEncoder(settings, Object.fromEntries(tokenizers), tables);
  // A page without further headers has one thread.
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = wasm;
  const session = await ort.InferenceSession.create(graph, {
    executionProviders: ["wasm"],
    externalData: [{ path: "model.safetensors", data: weights }],
  });
  const labels = Object.keys(config.id2label).map((index) => config.id2label[index]);
  const thresholds = config.thresholds ?? labels.map(() => 0.5);
  self.postMessage({ labels });

  return async (text) => {
    const { chars, words, isCut, rows } = encoder.encode(text);
    const { logits, word_attention: attention, word_parts: parts } = await session.run(inputs(rows));
    return {
      emotions: labels.map((label, index) => {
        const score = 1 / (1 + Math.exp(-logits.data[index]));
        return { label, index, score, threshold: thresholds[index], isPredicted: score >= thresholds[index] };
      }),
      chars,
      words: words.map(([start, end], index) => ({
        start,
        end,
        share: attention?.data[index] ?? 0,
        // What it adds to each logit; the last words, if no encoder has a token for them, add nothing.
        parts: parts && labels.map((_, label) => parts.data[index * labels.length + label] ?? 0),
      })),
      isCut,
      unfamiliarScript: unfamiliarScript(chars, config.scripts, tables.scripts),
    };
  };
}

function inputs(rows) {
  const tensor = (values) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
  return Object.fromEntries(
    Object.entries(rows).flatMap(([name, { ids, wordIds }]) => {
      // A row without tokens is one of padding, which the mask hides.
      const isEmpty = ids.length === 0;
      return [
        [`${name}_input_ids`, tensor(isEmpty ? [0] : ids)],
        [`${name}_attention_mask`, tensor(isEmpty ? [0] : ids.map(() => 1))],
        [`${name}_word_ids`, tensor(isEmpty ? [0] : wordIds)],
      ];
    }),
  );
}
