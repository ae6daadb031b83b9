// Draws the table of implementations and clauses, and a report that somebody drops on the page. What comes from a file
// is shown as text alone and is never sent anywhere.
"use strict";
(() => {
  const STATES = { unsupported: ["·", "not asked"], holds: ["✓", "holds"], known: ["k", "known"],
                   should: ["!", "lenient"], must: ["✗", "broken"] };
  const ORDER = Object.keys(STATES), MOST_BYTES = 5e6, MOST_RESULTS = 5000, MOST_ROWS = 8, MOST_SHOWN = 20;
  const root = document.getElementById("conformance");
  const data = JSON.parse(document.getElementById("conformance-data").textContent);
  const clauses = new Map(data.clauses.map(clause => [clause.id, clause]));
  const has = (cells, id) => Object.hasOwn(cells, id);
  const worst = states => states.reduce((one, other) => ORDER.indexOf(other) > ORDER.indexOf(one) ? other : one, "unsupported");

  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes))
      key === "onclick" || key === "onchange" || key === "oninput" ? node[key] = value : node.setAttribute(key, value);
    node.append(...children.filter(child => child !== null && child !== undefined));
    return node;
  }

  // Details of a cell ------------------------------------------------------------------------------------------------
  function timeline(label, segments, names) {
    const begin = Math.min(...segments.map(s => s.start)), end = Math.max(...segments.map(s => s.stop));
    const at = tick => `${100 * (tick - begin) / (end - begin)}%`;
    const box = make("div", { class: "timeline", role: "img", "aria-label": `${label}: what is frozen when` });
    for (const name of names) {
      const bars = make("span");
      for (const s of segments.filter(s => s.frozen.includes(name))) {
        const bar = make("i");
        bar.style.left = at(s.start);
        bar.style.width = `${100 * (s.stop - s.start) / (end - begin)}%`;
        bars.append(bar);
      }
      box.append(make("span", {}, name), bars);
    }
    const axis = make("span");
    for (const tick of [begin, end]) {
      const mark = make("b", {}, String(tick));
      mark.style.left = at(tick);
      axis.append(mark);
    }
    box.append(make("span"), axis, make("small", {}, make("i"), `frozen: ${label}`));
    return box;
  }

  const isSegment = s => s && Number.isFinite(s.start) && Number.isFinite(s.stop) && s.start < s.stop &&
    Array.isArray(s.frozen) && s.frozen.every(name => typeof name === "string");

  function pictures(lines) {
    if (!Array.isArray(lines) || lines.length !== 2) return [];
    if (!lines.every(side => Array.isArray(side) && side.length && side.length < 500 && side.every(isSegment))) return [];
    const names = [...new Set(lines.flat().flatMap(s => s.frozen))].sort().slice(0, MOST_ROWS);
    return [["what it does", lines[0]], ["what it should be", lines[1]]].map(([label, side]) => timeline(label, side, names));
  }

  function asked(request) {
    if (!request || typeof request !== "object") return "";
    try { return said(request); } catch { return "(what cannot be shown)"; }  // of a file that somebody has made up
  }

  function said(request) {
    const names = Array.isArray(request.names) ? `names ${request.names.join(" ")}` : "names not known";
    const parts = [JSON.stringify(request.config), names];
    for (const key of ["total", "start", "tick"]) if (request[key]) parts.push(`${key} ${request[key]}`);
    if (request.steps_per_epoch > 1) parts.push(`${request.steps_per_epoch} steps an epoch`);
    return parts.join("; ").slice(0, 2000);
  }

  function failure(found) {
    const other = found.case && found.case.other;
    return make("div", { class: "failure" },
      make("p", {}, make("b", {}, STATES[found.state][1]), ` ${found.dialect}: ${found.law}`),
      found.reason ? make("p", {}, found.reason) : null,
      make("p", {}, "asked ", make("code", {}, asked(found.case && found.case.request)),
           ...(other ? [" and ", make("code", {}, asked(other))] : [])),
      make("p", {}, `${found.what} is ${found.got}`), make("p", {}, `should be ${found.should_be}`),
      ...pictures(found.timelines), make("pre", {}, found.replay));
  }

  function detail(row, version, id) {
    const clause = clauses.get(id), cell = has(version.cells, id) ? version.cells[id] : null;
    const title = make("a", {}, `${id} ${clause.title}`);
    if (data.pages[id]) title.setAttribute("href", data.pages[id]);
    const dialects = cell ? Object.entries(cell.dialects).map(([name, state]) => `${name} ${STATES[state][1]}`) : [];
    const failures = cell ? cell.failures : [];
    return [make("h3", {}, title, `: ${row.title} ${version.version}`),
      make("p", {}, make("i", {}, clause.requirement), ` ${clause.text}`),
      make("p", {}, cell ? `${cell.cases} cases; ${dialects.join(", ")}` : "not asked"),
      ...failures.slice(0, MOST_SHOWN).map(failure)];
  }

  // The matrix -------------------------------------------------------------------------------------------------------
  function stateOf(version, id, dialect) {
    if (!has(version.cells, id)) return "unsupported";
    return dialect ? version.cells[id].dialects[dialect] || "unsupported" : version.cells[id].state;
  }

  function matrix(shown, columns, dialect, panel) {
    const head = make("tr", {}, make("th", {}, "implementation"));
    columns.forEach((id, place) => {
      const changes = place && clauses.get(id).requirement !== clauses.get(columns[place - 1]).requirement;
      head.append(make("th", { title: clauses.get(id).title, class: changes ? "first-should" : "" }, make("span", {}, id)));
    });
    const body = make("tbody");
    for (const [row, version] of shown) {
      const line = make("tr", {}, make("th", { scope: "row" }, `${row.title} `, make("small", {}, version.version)));
      for (const id of columns) {
        const state = stateOf(version, id, dialect), [sign, words] = STATES[state];
        const about = `${id} ${words}: ${row.title} ${version.version}`;
        const show = () => { panel.replaceChildren(...detail(row, version, id)); panel.scrollIntoView({ block: "nearest" }); };
        line.append(make("td", { class: state },
          state === "unsupported" ? sign : make("button", { type: "button", title: about, "aria-label": about, onclick: show }, sign)));
      }
      body.append(line);
    }
    return make("div", { class: "scroll" }, make("table", { class: "conformance" }, make("thead", {}, head), body));
  }

  function count(version, dialect) {
    const counts = {};
    for (const id of Object.keys(version.cells)) {
      const state = stateOf(version, id, dialect);
      counts[state] = (counts[state] || 0) + 1;
    }
    return counts;
  }

  function trend(rows, dialect) {
    const body = make("tbody");
    for (const row of rows.filter(row => row.versions.length > 1))
      row.versions.forEach((version, place) => {
        const before = place ? row.versions[place - 1] : null, counts = count(version, dialect);
        const changed = before && !version.fault && !before.fault ? Object.keys({ ...before.cells, ...version.cells })
          .filter(id => clauses.has(id) && stateOf(version, id) !== stateOf(before, id))
          .map(id => `${id} ${STATES[stateOf(before, id)][1]} → ${STATES[stateOf(version, id)][1]}`) : [];
        const bar = make("div", { class: "bar", "aria-hidden": "true" });
        for (const state of [...ORDER].reverse()) if (counts[state] && state !== "unsupported") {
          const part = make("i", { class: state });
          part.style.flexGrow = counts[state];
          bar.append(part);
        }
        const said = [...ORDER].reverse().filter(state => counts[state] && state !== "unsupported");
        const words = version.fault ? `could not be asked: ${version.fault}` : said.map(s => `${counts[s]} ${STATES[s][1]}`).join(", ");
        body.append(make("tr", {}, make("th", { scope: "row" }, place ? "" : row.title), make("td", {}, version.version),
          make("td", {}, bar, words, changed.length ? make("p", {}, changed.join("; ")) : null)));
      });
    if (!body.childElementCount) return [];
    const head = make("tr", {}, ...["implementation", "version", "clauses"].map(text => make("th", {}, text)));
    return [make("h2", {}, "Over versions"), make("div", { class: "scroll" },
      make("table", { class: "conformance-trend" }, make("thead", {}, head), body))];
  }

  function choice(label, options, act) {
    const select = make("select", { onchange: act }, ...options.map(([value, text]) => make("option", { value }, text)));
    return [make("label", {}, `${label} `, select), select];
  }

  function draw(rows, where) {
    const dialects = [...new Set(rows.flatMap(r => r.versions.flatMap(v => Object.values(v.cells).flatMap(c => Object.keys(c.dialects)))))];
    const panel = make("div", { class: "conformance-detail", "aria-live": "polite" });
    const place = make("div"), below = make("div");
    const [dialectLabel, dialect] = choice("dialect", [["", "all"], ...dialects.sort().map(name => [name, name])], refresh);
    const [clauseLabel, which] = choice("clauses", [["all", "all"], ["must", "musts"], ["should", "shoulds"],
      ["failing", "that somebody breaks"]], refresh);
    const [versionLabel, versions] = choice("versions", [["newest", "newest"], ["all", "all"]], refresh);
    const search = make("input", { type: "search", "aria-label": "implementation", placeholder: "implementation", oninput: refresh });
    function refresh() {
      const words = search.value.toLowerCase(), name = dialect.value;
      const speaks = version => !name || Object.values(version.cells).some(cell => Object.hasOwn(cell.dialects, name));
      const wanted = rows.filter(row => row.title.toLowerCase().includes(words) && row.versions.some(speaks));
      const shown = wanted.flatMap(row => (versions.value === "all" ? row.versions : row.versions.slice(-1)).map(v => [row, v]));
      const columns = [...clauses.values()].filter(clause => {
        const states = shown.map(([, version]) => stateOf(version, clause.id, name));
        if (which.value === "failing") return ["known", "should", "must"].includes(worst(states));
        return ["all", clause.requirement].includes(which.value) && shown.some(([, version]) => has(version.cells, clause.id)) &&
          (!name || worst(states) !== "unsupported");
      }).sort((one, other) => (one.requirement === "should") - (other.requirement === "should")).map(clause => clause.id);
      panel.replaceChildren(make("p", {}, "Choose a cell."));
      place.replaceChildren(matrix(shown, columns, name, panel));
      below.replaceChildren(...trend(wanted, name));
    }
    where.replaceChildren(make("div", { class: "conformance-filters" }, dialectLabel, clauseLabel,
      ...(rows.some(row => row.versions.length > 1) ? [versionLabel] : []), ...(rows.length > 1 ? [search] : [])), place, panel, below);
    refresh();
  }

  // A report from a file ---------------------------------------------------------------------------------------------
  class Wrong extends Error {}
  function need(right, where, allowed) {
    if (!right) throw new Wrong(`${where} must be ${allowed}`);
  }

  function read(text) {
    let report;
    try { report = JSON.parse(text); } catch { throw new Wrong("The file must be JSON, as refreeze verify --report writes it"); }
    const known = Array.isArray(report && report.results);
    need(known && typeof report.adapter === "string", "The file", "a report of refreeze verify: an object with adapter and results");
    need(report.results.length <= MOST_RESULTS, "results", `at most ${MOST_RESULTS}`);
    const cells = {}, verdicts = { holds: "holds", known: "known", unsupported: "unsupported" };
    let unknown = 0;
    report.results.forEach((result, place) => {
      const where = `results[${place}]`, text = (value, key) => need(typeof value === "string", `${where}.${key}`, "a text");
      need(result && typeof result === "object", where, "an object");
      for (const key of ["law", "clause", "dialect"]) text(result[key], key);
      need(["must", "should"].includes(result.requirement), `${where}.requirement`, "must or should");
      need(["holds", "broken", "crashed", "known", "unsupported"].includes(result.verdict), `${where}.verdict`, "a verdict");
      for (const key of ["cases", "unsupported"]) need(Number.isInteger(result[key]), `${where}.${key}`, "a whole number");
      if (!clauses.has(result.clause)) return void unknown++;
      const state = verdicts[result.verdict] || result.requirement, failed = result.failure;
      if (!has(cells, result.clause)) cells[result.clause] = { state: "unsupported", dialects: Object.create(null), cases: 0, failures: [] };
      const cell = cells[result.clause];
      cell.state = worst([cell.state, state]);
      cell.dialects[result.dialect] = worst([cell.dialects[result.dialect] || state, state]);
      cell.cases += result.cases - result.unsupported;
      if (failed === null || failed === undefined) return;
      need(typeof failed === "object", `${where}.failure`, "an object");
      for (const key of ["what", "got", "should_be", "replay"]) text(failed[key], `failure.${key}`);
      const told = { law: result.law, dialect: result.dialect, state, timelines: failed.timelines, case: failed.case };
      for (const key of ["what", "got", "should_be", "replay"]) told[key] = failed[key].slice(0, 2000);
      if (typeof result.reason === "string") told.reason = result.reason.slice(0, 2000);
      cell.failures.push(told);
    });
    const version = report.asked && typeof report.asked.version === "string" ? report.asked.version.slice(0, 50) : "";
    const kit = typeof report.refreeze === "string" ? `, asked by refreeze ${report.refreeze.slice(0, 50)}` : "";
    const fault = report.fault && typeof report.fault.detail === "string" ? ` The run ended early: ${report.fault.detail.slice(0, 300)}.` : "";
    const skipped = unknown ? ` ${unknown} results are about clauses that this page does not know.` : "";
    return [{ title: report.adapter.slice(0, 200), versions: [{ version, cells }] }, `${report.results.length} results${kit}.${fault}${skipped}`];
  }

  function reportPage() {
    const said = make("p", { role: "status" }), shown = make("div");
    const show = async file => {
      shown.replaceChildren();
      try {
        need(file && file.size <= MOST_BYTES, "The file", `one of at most ${MOST_BYTES / 1e6} MB`);
        const [row, words] = read(await file.text());
        draw([row], shown);
        said.textContent = words;
      } catch (error) {
        shown.replaceChildren();
        said.textContent = error instanceof Wrong ? `${error.message}.` : "The file cannot be read as a report.";
      }
    };
    const input = make("input", { type: "file", accept: ".json,application/json", onchange: () => show(input.files[0]) });
    const zone = make("div", { class: "conformance-drop" }, make("label", {}, "Drop a report here, or choose one: ", input));
    document.addEventListener("dragover", event => event.preventDefault());
    document.addEventListener("drop", event => { event.preventDefault(); show(event.dataTransfer.files[0]); });
    root.replaceChildren(zone, said, shown);
  }

  root.dataset.of === "report" ? reportPage() : draw(data.implementations, root);
})();
