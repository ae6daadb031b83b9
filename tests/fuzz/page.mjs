// The page for reports, without a browser: reads reports as JSON texts, one a line; drops each, and clicks every cell.
import fs from "node:fs";
import readline from "node:readline";

const TAGS = new Set(("a b button code div h2 h3 i input label option p pre select small span table tbody td th thead tr").split(" "));
const listeners = {};
let tags = [];
class Node {
  constructor(tag) { Object.assign(this, { tag, children: [], style: {}, dataset: {} }); }
  get value() { return this.chosen ?? this.children[0]?.chosen ?? ""; }  // of a select the first option
  set value(text) { this.chosen = text; }
  append(...more) { this.children.push(...more.map(child => child instanceof Node ? child : String(child))); }
  replaceChildren(...more) { this.children = []; this.append(...more); }
  setAttribute(name, value) { this[name] = String(value); }
  get childElementCount() { return this.children.filter(child => child instanceof Node).length; }
  get all() { return this.children.flatMap(child => child instanceof Node ? [child, ...child.all] : []); }
  scrollIntoView() {}
  set innerHTML(text) { tags.push(text); }
}
const root = new Node("div"), data = new Node("script");
root.dataset.of = "report";
const clauses = ["SCH-1", "SCH-2"].map(id => ({ id, title: id, text: id, requirement: "must" }));
data.textContent = JSON.stringify({ clauses, pages: {}, implementations: [] });
globalThis.document = {
  getElementById: id => id === "conformance" ? root : data,
  createElement: tag => { if (!TAGS.has(tag)) tags.push(tag); return new Node(tag); },
  addEventListener: (name, act) => { listeners[name] = act; },
};
(0, eval)(fs.readFileSync(process.argv[2], "utf8"));

for await (const line of readline.createInterface({ input: process.stdin })) {
  const text = JSON.parse(line), raised = [];
  tags = [];
  const status = root.children[1];
  status.textContent = "";
  listeners.drop({ preventDefault() {}, dataTransfer: { files: [{ size: text.length, text: async () => text }] } });
  await new Promise(resolve => setImmediate(resolve));
  for (const node of root.all.filter(node => node.onclick))
    try { node.onclick(); } catch (error) { raised.push(String(error)); }
  process.stdout.write(JSON.stringify({ said: status.textContent, raised, tags }) + "\n");
}
