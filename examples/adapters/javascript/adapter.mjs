// VL3D freeze-training in plain JavaScript: an adapter for `refreeze verify --command 'node adapter.mjs' --dialect vl3d`.
// One request per line on stdin, one answer per line on stdout. Nothing is installed; Node.js 18 or newer.
import { createInterface } from "node:readline";

class Rejected extends Error {} // its message is the error id of the protocol
const need = (holds, id = "invalid-spec") => { if (!holds) throw new Rejected(id); };
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isInt = (value, least = 0) => Number.isInteger(value) && value >= least;
const hasOnly = (value, required, optional = []) =>
  isObject(value) && required.every((key) => key in value) &&
  Object.keys(value).every((key) => required.includes(key) || optional.includes(key));

// Philox4x64-10 with the key (seed, stream): a block of four 64-bit words for each counter.
const MASK = (1n << 64n) - 1n;
function philox(counter, seed, stream) {
  let [a, b, c, d] = counter, [k, m] = [seed, stream];
  for (let round = 0; round < 10; round++) {
    const left = a * 0xd2e7470ee14c6c93n, right = c * 0xca5a826395121157n;
    [a, b, c, d] = [(right >> 64n) ^ b ^ k, right & MASK, (left >> 64n) ^ d ^ m, left & MASK];
    k = (k + 0x9e3779b97f4a7c15n) & MASK;
    m = (m + 0xbb67ae8584caa73bn) & MASK;
  }
  return [a, b, c, d];
}

// RND-1: the words for span k, of the blocks at (1, k, 0, 0), (2, k, 0, 0), …
function* words(seed, stream, k) {
  for (let block = 1n; ; block++) yield* philox([block, k, 0n, 0n], seed, stream);
}

// RND-2: a partial Fisher-Yates shuffle; words that would favour some positions are rejected.
function drawn(n, window, seed, stream, k) {
  const places = Array.from({ length: n }, (_, place) => place), source = words(seed, stream, k);
  for (let j = 0; j < window; j++) {
    const m = BigInt(n - j);
    let word = source.next().value;
    while (word >= (1n << 64n) - ((1n << 64n) % m)) word = source.next().value;
    const other = j + Number(word % m);
    [places[j], places[other]] = [places[other], places[j]];
  }
  return places.slice(0, window);
}

const isIn = (name, entry) => name === entry || name.startsWith(entry + "/");

// NAM-5: VL3D itself has no patterns, so requests with one are answered with `unsupported`.
const isPattern = (entry, names) => isObject(entry) ? "each" in entry
  : typeof entry === "string" && /[*?[]/.test(entry) && !(names ?? []).some((name) => isIn(name, entry));
const hasPatterns = ({ config, names }) => Array.isArray(config) &&
  config.some((spec) => [spec?.layers ?? []].flat().some((entry) => isPattern(entry, names)));

// NAM-1 to NAM-4: the units that "all", "all_reverse" or a list of layers and containers means.
function resolve(layers, names) {
  if (layers === "all" || layers === "all_reverse") {
    need(names !== null, "needs-model");
    need(names.length > 0, "empty-selection");
    return (layers === "all" ? names : [...names].reverse()).map((name) => [name]);
  }
  need(Array.isArray(layers) && layers.length > 0 && layers.every((layer) => typeof layer === "string"));
  need(new Set(layers).size === layers.length);
  if (names === null) return layers.map((layer) => [layer]);
  const units = layers.map((layer) => names.filter((name) => isIn(name, layer)));
  need(units.every((unit) => unit.length > 0), "unknown-name");
  need(new Set(units.flat()).size === units.flat().length);
  return units;
}

// A specification, checked: its units of layers, interval, strategy and rate.
function read(spec, names) {
  need(hasOnly(spec, ["layers", "training_interval"], ["strategy", "initial_learning_rate"]));
  const { training_interval: interval, strategy = null, initial_learning_rate: given = null } = spec;
  need(Array.isArray(interval) && interval.length === 2 && interval.every((end) => isInt(end)));
  need(interval[0] < interval[1]);
  const rate = typeof given === "object" && given !== null && "float" in given ? given.float : given; // see `parse` below
  need(rate === null || (typeof rate === "number" && rate > 0));
  const units = resolve(spec.layers, names);
  let seed = 0n;
  if (strategy !== null) {
    need(isObject(strategy) && ["round_robin", "random"].includes(strategy.type));
    need(hasOnly(strategy, ["type", "window_size", "iterative_span"], strategy.type === "random" ? ["seed"] : []));
    need(isInt(strategy.window_size, 1) && strategy.window_size <= units.length);
    need(isInt(strategy.iterative_span, 1));
    if ("seed" in strategy) {
      need(Number.isInteger(strategy.seed) || (isObject(strategy.seed) && "integer" in strategy.seed));
      seed = BigInt(strategy.seed.integer ?? strategy.seed);
      need(seed >= 0n && seed <= MASK);
    }
  }
  return { units, interval, strategy, rate, seed };
}

// What specification number i freezes at an epoch of its interval, and whether a window begins there.
function at({ units, interval: [start], strategy, seed }, i, epoch) {
  if (strategy === null) return [units.flat(), epoch === start];
  const { type, window_size: window, iterative_span: span } = strategy;
  const k = Math.floor((epoch - start) / span);
  const places = type === "random"
    ? drawn(units.length, window, seed, BigInt(i), BigInt(k))
    : Array.from({ length: window }, (_, j) => (k * window + j) % units.length); // RR-1
  return [places.flatMap((place) => units[place]), (epoch - start) % span === 0];
}

function segments({ config, names = null, total, start = 0 }) {
  need(Array.isArray(config));
  const specs = config.map((spec) => read(spec, names));
  const given = specs.flatMap((spec) => spec.units.flat()); // without names a layer and its container are too little to go by
  need(names !== null || !given.some((one) => given.some((other) => one.startsWith(other + "/"))), "needs-model");
  const found = [];
  for (let epoch = 0; epoch < total; epoch++) {
    const frozen = new Set(), rates = new Set();
    specs.forEach((spec, i) => {
      if (epoch < spec.interval[0] || epoch >= spec.interval[1]) return; // RR-2
      const [layers, begins] = at(spec, i, epoch);
      layers.forEach((layer) => frozen.add(layer));
      if (begins && spec.rate !== null) rates.add(spec.rate);
    });
    need(rates.size < 2, "conflict"); // SCH-6
    const rate = rates.size ? [...rates][0] : null;
    // A segment for each epoch is an encoding like any other: the kit makes it canonical.
    found.push({ start: epoch, stop: epoch + 1, frozen: [...frozen], learning_rate: rate, bn_frozen: [] });
  }
  return found.slice(start);
}

function respond(request) {
  if (request.op !== "segments" || request.dialect !== "vl3d" || hasPatterns(request)) {
    return { id: request.id, unsupported: true };
  }
  try {
    return { id: request.id, segments: segments(request) };
  } catch (error) {
    if (error instanceof Rejected) return { id: request.id, error: error.message };
    throw error;
  }
}

// JSON.parse would round seeds above 2^53 and take 3.0 for an integer. So numbers of these two kinds are put into objects
// that nothing else is; strings are matched too, as what looks like a number in them is none.
const parse = (line) => JSON.parse(line.replace(/"(?:[^"\\]|\\.)*"|-?\d+(\.\d+)?([eE][+-]?\d+)?/g, (text) => {
  if (text[0] === '"') return text;
  const asInteger = /^-?\d+$/.test(text), value = Number(text);
  if (asInteger && !Number.isSafeInteger(value)) return `{"integer":"${text}"}`;
  return Number.isInteger(value) && !asInteger ? `{"float":${text}}` : text;
}));

for await (const line of createInterface({ input: process.stdin })) console.log(JSON.stringify(respond(parse(line))));
