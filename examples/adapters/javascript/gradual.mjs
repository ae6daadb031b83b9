// ULMFiT's gradual unfreezing without groups: `refreeze verify --command 'node gradual.mjs' --dialect gradual --strict`.
// One request per line on stdin, one answer per line on stdout. Nothing is installed; Node.js 18 or newer.
import { createInterface } from "node:readline";

class Rejected extends Error {} // its message is the error id of the protocol
const need = (holds, id = "invalid-spec") => { if (!holds) throw new Rejected(id); };

const others = ["groups", "learning_rate", "factor"]; // what the dialect has besides, and this program does not

// GRD-1: in epoch e the last floor(e / every) + 1 layers train, and the others are frozen.
function segments({ names, config, total, start }) {
  need(typeof config === "object" && config !== null && !Array.isArray(config));
  need(Object.keys(config).every((key) => key === "every" || others.includes(key)));
  const { every = 1 } = config;
  need(Number.isInteger(every) && every >= 1);
  need(names !== null, "needs-model");
  need(names.length > 0, "empty-selection");
  const found = [];
  for (let epoch = start; epoch < total; epoch++) {
    const frozen = names.slice(0, Math.max(0, names.length - Math.floor(epoch / every) - 1));
    found.push({ start: epoch, stop: epoch + 1, frozen });
  }
  return found;
}

function respond(request) {
  const { id, op, dialect, config } = request;
  const more = others.some((key) => (config?.[key] ?? null) !== null);
  if (op !== "segments" || dialect !== "gradual" || more) return { id, unsupported: true };
  try {
    return { id, segments: segments(request) };
  } catch (error) {
    if (error instanceof Rejected) return { id, error: error.message };
    throw error;
  }
}

// JSON.parse takes 3.0 for an integer. So such a number is put into a list; texts are matched too, to leave them alone.
const parse = (line) => JSON.parse(line.replace(/"(?:[^"\\]|\\.)*"|-?\d+\.\d+(?:[eE][+-]?\d+)?/g,
  (text) => text[0] === '"' ? text : `[${text}]`));

for await (const line of createInterface({ input: process.stdin })) console.log(JSON.stringify(respond(parse(line))));
