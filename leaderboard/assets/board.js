// The index: tables from data/index.js, sorted, searched and filtered; the choice is kept in the address.
(function () {
  "use strict";
  const el = lrt.element;
  const data = lrt.get("index");
  const lists = data.lists;
  const form = document.getElementById("filters");
  const compare = document.getElementById("compare");
  const picked = new Set();
  // places in a row of the data
  const PAIR = 0, NAME = 1, KIND = 2, STATE = 3, DATE = 4, WHY = 5, RANK = 6, TIED = 7, SCORE = 8, LOW = 9,
    HIGH = 10, R2 = 11, RD = 12, FVU = 13, FIT = 14, FRESH = 15, GAP = 16, GAP_LOW = 17, GAP_HIGH = 18;
  const UNSEEN = data.unseen ? ["fresh", "gap"] : [];  // only where a row has a score on what nobody had seen
  const HEADS = ["pair", "rank", "mapping", "score", ...UNSEEN, "r2", "rd", "fvu", "fit", "state", "date"];

  DataTable.ext.errMode = "throw";

  function slug(name) { return data.slugs[name] || lists.name[name]; }

  function place(table, row) { return table.folder + "--" + table.pairs[row[PAIR]]; }

  function html(node) { return node.outerHTML; }

  function isControl(row) { return lists.kind[row[KIND]] === "control"; }

  function bar(row) {
    const style = "--at:" + row[SCORE] + ";--lo:" + row[LOW] + ";--hi:" + row[HIGH];
    return el("span", { class: "bar", "aria-hidden": "true", style: style }, el("b"), el("i"));
  }

  function score(row) {
    if (row[SCORE] === null) return "–";
    const value = html(el("span", { class: "value" }, lrt.number(row[SCORE], 1)));
    if (row[LOW] === null) return value;
    const range = "[" + lrt.number(row[LOW], 1) + ", " + lrt.number(row[HIGH], 1) + "]";
    return value + " " + html(el("span", { class: "range" }, range)) + html(bar(row));
  }

  function gap(row) {
    if (row[GAP] === null) return /private/.test(lists.why[row[WHY]]) ? html(el("span", { class: "quiet" }, "not scored")) : "–";
    const range = "[" + lrt.number(row[GAP_LOW], 1) + ", " + lrt.number(row[GAP_HIGH], 1) + "]";
    return lrt.number(row[GAP], 1) + " " + html(el("span", { class: "range" }, range));
  }

  function rank(row) {
    if (row[RANK]) {
      const tie = el("span", { title: "another mapping has the same rank" }, "=");
      return row[RANK] + (row[TIED] ? html(tie) : "");
    }
    if (row[WHY]) return html(el("abbr", { title: lists.why[row[WHY]] }, "not ranked"));
    return html(el("span", { class: "quiet" }, "control"));
  }

  function seconds(value) { return value >= 10 ? value.toFixed(0) + " s" : Number(value.toPrecision(2)) + " s"; }

  // a column: what is shown, what it sorts by, what a search finds
  function column(name, show, sort, more) {
    return Object.assign({
      name: name, data: null, searchable: false,
      render: function (unused, type, row) {
        if (type === "display") return show(row);
        return type === "sort" || type === "type" ? sort(row) : "";
      },
    }, more);
  }

  // the first click puts the best first: the highest, or of an error the lowest
  function figure(name, place, digits, more) {
    return column(name, function (row) { return lrt.number(row[place], digits); },
      function (row) { return row[place] === null ? -Infinity : row[place]; },
      Object.assign({ className: "num wide", orderSequence: ["desc", "asc"], type: "figure" }, more));
  }

  function searched(list, place, show) {
    return function (unused, type, row) {
      if (type === "display") return show(row);
      return list[row[place]];
    };
  }

  function columns(table) {
    return [
      { name: "pair", data: null, className: "pair", render: searched(lists.pair, PAIR, function (row) {
        return html(el("a", { href: "pairs/" + place(table, row) + ".html" }, el("bdi", {}, lists.pair[row[PAIR]])));
      }) },
      column("rank", rank, function (row) { return row[RANK] || 1e9; }, { type: "num" }),
      { name: "mapping", data: null, cellType: "th", render: searched(lists.name, NAME, function (row) {
        const name = lists.name[row[NAME]];
        const href = "mappings/" + slug(row[NAME]) + ".html#" + place(table, row);
        const link = html(el("a", { href: href }, el("bdi", {}, name)));
        if (isControl(row)) return link;
        const box = el("input", { type: "checkbox", value: row[NAME], "aria-label": "compare " + name, title: "compare",
          checked: picked.has(row[NAME]) ? "" : null });
        return html(box) + link;
      }) },
      column("score", score, function (row) { return row[SCORE] === null ? -Infinity : row[SCORE]; },
        { className: "num ranks", orderSequence: ["desc", "asc"], type: "figure" }),
      ...(data.unseen ? [figure("fresh", FRESH, 1), column("gap", gap, function (row) {
        return row[GAP] === null ? -Infinity : row[GAP];
      }, { className: "num wide", type: "figure" })] : []),
      figure("r2", R2, 3), figure("rd", RD, 3, { className: "num wider" }),
      figure("fvu", FVU, 3, { orderSequence: ["asc", "desc"] }),
      column("fit", function (row) { return row[FVU] === null ? "–" : seconds(row[FIT]); },
        function (row) { return row[FVU] === null ? -Infinity : row[FIT]; }, { className: "num wide", orderSequence: ["asc", "desc"], type: "figure" }),
      column("state", function (row) {
        const state = lists.state[row[STATE]];
        return html(el("span", { class: state === "control" ? "quiet" : "state " + state }, state));
      }, function (row) { return lists.state[row[STATE]]; }, { className: "wider" }),
      column("date", function (row) { return lists.date[row[DATE]]; },
        function (row) { return lists.date[row[DATE]]; }, { className: "wider date" }),
    ];
  }

  function rowsOf(table) {
    return table.columns[0].map(function (unused, at) {
      return table.columns.map(function (values) { return values[at]; });
    });
  }

  function make(table) {
    const node = document.getElementById(table.id);
    const long = table.columns[0].length > 100;
    const made = new DataTable(node, {
      data: rowsOf(table), columns: columns(table), order: [], autoWidth: false, deferRender: true,
      orderMulti: false, paging: long, pageLength: 100, lengthChange: false,
      language: { emptyTable: "no result", zeroRecords: "no result under these filters" },
      layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: long ? "paging" : null },
      createdRow: function (line, row) {
        if (isControl(row)) line.classList.add("control");
        else if (!row[RANK]) line.classList.add("unranked");
        line.cells[2].setAttribute("scope", "row");
      },
    });
    const kept = { pair: PAIR, kind: KIND, state: STATE };
    for (const [field, place] of Object.entries(kept)) {
      made.search.fixed(field, function (text, row) {
        const wanted = form.elements[field].value;
        if (!wanted) return true;
        // controls stay beside the rows that a kind or a state leaves, as their floor and ceiling
        if (field !== "pair" && isControl(row) && wanted !== "control") return true;
        return lists[field][row[place]] === wanted;
      });
    }
    made.on("order", function () { write(); });
    made.on("draw", function () { divide(made); });
    return { id: table.id, track: table.track, api: made, section: node.closest("section") };
  }

  // in the order of the page a line stands where another pair begins
  function divide(made) {
    const sorted = made.order().some(function (one) { return one && one[1]; });
    let before = null;
    made.rows({ page: "current" }).every(function () {
      const pair = this.data()[PAIR];
      this.node().classList.toggle("begins", !sorted && before !== null && before !== pair);
      before = pair;
    });
  }

  function fill(field, values) {
    const select = form.elements[field];
    for (const value of values) select.append(el("option", { value: value }, value));
  }

  let reading = true;  // while the address is being read, it is not written

  function apply() {
    let shown = 0, total = 0;
    for (const table of tables) {
      const hidden = form.elements.track.value !== "" && table.track !== form.elements.track.value;
      table.api.search(form.elements.q.value).draw();
      const found = hidden ? 0 : table.api.rows({ search: "applied" }).count();
      table.section.hidden = !found;  // a suite without a match is not shown
      if (hidden) continue;
      shown += found;
      total += table.api.rows().count();
    }
    document.getElementById("found").textContent = shown === total ? total + " results" : shown + " of " + total + " results";
    write();
  }

  function write() {
    if (reading) return;
    const parameters = new URLSearchParams();
    for (const field of ["q", "pair", "track", "kind", "state"]) {
      if (form.elements[field].value) parameters.set(field, form.elements[field].value);
    }
    const order = tables.map(function (table) { return table.api.order()[0]; }).find(function (one) { return one && one[1]; });
    if (order) parameters.set("sort", HEADS[order[0]] + "." + order[1]);
    lrt.setAddress(parameters);
  }

  function read() {
    reading = true;
    const parameters = lrt.address();
    for (const field of ["q", "pair", "track", "kind", "state"]) form.elements[field].value = parameters.get(field) || "";
    const sort = (parameters.get("sort") || "").split(".");
    const at = HEADS.indexOf(sort[0]);
    for (const table of tables) table.api.order(at >= 0 ? [[at, sort[1] === "asc" ? "asc" : "desc"]] : []);
    apply();
    reading = false;
  }

  function offer() {
    const parameters = new URLSearchParams();
    for (const name of picked) parameters.append("m", lists.name[name]);
    compare.hidden = picked.size === 0;
    compare.href = "compare.html#" + parameters;
    compare.textContent = "Compare " + picked.size + (picked.size === 1 ? " mapping" : " mappings");
  }

  const tables = data.tables.map(make);
  fill("pair", lists.pair);
  fill("track", [...new Set(data.tables.map(function (table) { return table.track; }))]);
  fill("kind", lists.kind);
  fill("state", lists.state);
  form.addEventListener("input", apply);
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  form.addEventListener("reset", function () {
    setTimeout(function () {
      reading = true;
      for (const table of tables) table.api.order([]);
      reading = false;
      apply();
    });
  });
  document.addEventListener("change", function (event) {
    if (!event.target.matches("td input[type=checkbox], th input[type=checkbox]")) return;
    const name = Number(event.target.value);
    if (event.target.checked) picked.add(name); else picked.delete(name);
    for (const box of document.querySelectorAll("th input[type=checkbox]")) {
      if (Number(box.value) === name) box.checked = event.target.checked;
    }
    offer();
  });
  addEventListener("hashchange", read);
  read();
})();
