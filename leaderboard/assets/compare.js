// Paired differences of chosen mappings, from the same bootstrap samples as the ranks.
(function () {
  "use strict";
  const el = lrt.element;
  const data = lrt.get("index");
  const names = data.lists.name;
  const form = document.getElementById("pick");
  const chosenList = document.getElementById("chosen");
  const status = document.getElementById("status");
  const target = document.getElementById("comparison");
  const MOST_PAIRS = 60, MOST_MAPPINGS = 8;
  const KIND = 2, PAIR = 0, NAME = 1;

  // {suite: {pair: {label, page, folder, mappings: Set(name)}}}, controls too: a floor is worth comparing with
  const suites = {};
  for (const table of data.tables) {
    const pairs = suites[table.suite] = suites[table.suite] || {};
    table.columns[PAIR].forEach(function (pair, at) {
      const slug = table.pairs[pair];
      const found = pairs[slug] = pairs[slug] || { label: data.lists.pair[pair], page: table.folder + "--" + slug,
        folder: table.folder + "/" + slug, mappings: new Set() };
      found.mappings.add(table.columns[NAME][at]);
    });
  }

  const parameters = lrt.address();
  const chosen = [];
  for (const suite of Object.keys(suites)) form.elements.suite.append(el("option", { value: suite }, suite));
  if (suites[parameters.get("suite")]) form.elements.suite.value = parameters.get("suite");
  const list = document.getElementById("names");
  for (const name of names) list.append(el("option", { value: name }));
  for (const name of parameters.getAll("m")) add(name);

  function add(name) {
    const at = names.indexOf(name);
    if (at < 0) { status.textContent = "There is no mapping " + name + "."; return false; }
    if (chosen.includes(at)) return true;
    if (chosen.length >= MOST_MAPPINGS) { status.textContent = "At most " + MOST_MAPPINGS + " at a time."; return false; }
    chosen.push(at);
    return true;
  }

  function slug(name) { return data.slugs[name] || names[name]; }

  function unpack(text) {
    const bytes = Uint8Array.from(atob(text), function (letter) { return letter.charCodeAt(0); });
    const view = new DataView(bytes.buffer);
    return Float64Array.from({ length: bytes.length / 2 }, function (unused, at) { return view.getInt16(2 * at, true) / 100; });
  }

  // the p-quantile, interpolated linearly, as the ranks are computed
  function quantile(sorted, p) {
    const at = p * (sorted.length - 1), low = Math.floor(at);
    return sorted[low] + (at - low) * ((sorted[low + 1] === undefined ? sorted[low] : sorted[low + 1]) - sorted[low]);
  }

  function interval(samples) {
    const sorted = samples.slice().sort(function (a, b) { return a - b; });
    return [quantile(sorted, 0.025), quantile(sorted, 0.975)];
  }

  function minus(a, b) { return a.map(function (value, at) { return value - b[at]; }); }

  // bold: a difference whose interval is clear of 0
  function difference(value, range) {
    const made = cell(value, range);
    if (range && (range[0] > 0 || range[1] < 0)) made.firstChild.replaceWith(el("b", {}, made.firstChild.textContent));
    return made;
  }

  function cell(value, range) {
    if (value === null) return el("td", { class: "num" }, "–");
    const shown = lrt.number(value, 1);
    return el("td", { class: "num" }, shown, " ",
      range ? el("span", { class: "range" }, "[" + lrt.number(range[0], 1) + ", " + lrt.number(range[1], 1) + "]") : null);
  }

  function heads(first, results) {
    const row = el("tr", {}, el("th", { scope: "col" }, "Pair"));
    for (const at of chosen) row.append(el("th", { scope: "col", class: "num" }, el("bdi", {}, names[at])));
    for (const at of chosen.slice(1)) {
      row.append(el("th", { scope: "col", class: "num" }, el("bdi", {}, names[at]), " − ", el("bdi", {}, names[first])));
    }
    return el("thead", {}, row);
  }

  function row(label, results) {
    const line = el("tr", {}, el("th", { scope: "row" }, label));
    for (const result of results) line.append(cell(result.score, result.ci95));
    for (const result of results.slice(1)) {
      const first = results[0];
      const both = result.samples && first.samples;
      line.append(both ? difference(result.score - first.score, interval(minus(result.samples, first.samples))) : cell(null));
    }
    return line;
  }

  function mean(perPair) {
    const count = perPair.length;
    return perPair[0].map(function (unused, at) {
      const each = perPair.map(function (results) { return results[at]; });
      if (each.some(function (result) { return !result.samples; })) return { score: null, ci95: null, samples: null };
      const samples = each[0].samples.map(function (value, replicate) {
        return each.reduce(function (sum, result) { return sum + result.samples[replicate]; }, 0) / count;
      });
      const score = each.reduce(function (sum, result) { return sum + result.score; }, 0) / count;
      return { score: score, ci95: interval(samples), samples: samples };
    });
  }

  function show(pairs, perPair) {
    const body = el("tbody");
    pairs.forEach(function (pair, at) {
      const link = el("a", { href: "pairs/" + pair.page + ".html" }, el("bdi", {}, pair.label));
      body.append(row(link, perPair[at]));
    });
    if (pairs.length > 1) {
      const line = row("mean of " + pairs.length + " pairs", mean(perPair));
      line.className = "total";
      body.append(line);
    }
    const table = el("table", { class: "overview" },
      el("caption", {}, "Transfer Scores and paired differences with 95% intervals. Bold differences are clear of 0."),
      heads(chosen[0]), body);
    const scroll = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Comparison" }, table);
    target.replaceChildren(scroll);
    pairs.slice(0, 12).forEach(function (pair, at) {
      const figure = el("figure", { class: "chart" }, el("figcaption", {}, "Steering R² of each steerable task (worse than −1 is drawn at −1)."));
      target.append(el("h2", {}, pair.label), figure);
      const rows = perPair[at].flatMap(function (result) {
        return result.tasks.filter(function (task) { return task.steerable && task.share !== null; })
          .map(function (task) { return { task: task.task, mapping: result.name, share: task.share }; });
      });
      if (rows.length) lrt.charts.perTask(figure, rows);
    });
  }

  function shared() {
    return Object.values(suites[form.elements.suite.value] || {}).filter(function (pair) {
      return chosen.every(function (name) { return pair.mappings.has(name); });
    });
  }

  function update() {
    const kept = new URLSearchParams();
    kept.set("suite", form.elements.suite.value);
    for (const at of chosen) kept.append("m", names[at]);
    lrt.setAddress(kept);
    chosenList.replaceChildren(...chosen.map(function (at) {
      const button = el("button", { type: "button", "aria-label": "remove " + names[at] }, "×");
      button.addEventListener("click", function () { chosen.splice(chosen.indexOf(at), 1); update(); });
      return el("li", {}, el("bdi", {}, names[at]), button);
    }));
    if (chosen.length < 2) { status.textContent = "Choose two mappings or more."; target.replaceChildren(); return; }
    const pairs = shared();
    const shown = pairs.slice(0, MOST_PAIRS);
    status.textContent = pairs.length === 0 ? "They share no pair of this suite."
      : pairs.length > shown.length ? "The first " + shown.length + " of " + pairs.length + " shared pairs." : "";
    if (!pairs.length) { target.replaceChildren(); return; }
    const asked = chosen.slice();
    Promise.all(shown.map(function (pair) {
      return Promise.all(asked.map(function (name) { return lrt.load(pair.folder + "/" + slug(name)); }));
    })).then(function (perPair) {
      if (asked.join() !== chosen.join()) return;
      show(shown, perPair.map(function (results) {
        return results.map(function (result) {
          return Object.assign({}, result, { samples: result.samples && unpack(result.samples) });
        });
      }));
    }).catch(function (error) { status.textContent = error.message; });
  }

  form.addEventListener("submit", function (event) {
    event.preventDefault();
    if (add(form.elements.mapping.value.trim())) { form.elements.mapping.value = ""; update(); }
  });
  form.elements.suite.addEventListener("change", update);
  update();
})();
