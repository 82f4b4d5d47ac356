// Charts by Observable Plot, drawn when they come into view, in the page's own colours.
lrt.charts = (function () {
  "use strict";
  const GRID = { stroke: "currentColor", strokeOpacity: 0.12 };
  const MOST_PANELS = 24;
  const MOST_LINES = 9;  // of maps; with a control as many as there are colours
  const COLOURS = { native: "var(--native)", random: "var(--random)", own: "var(--own)" };

  function base(width, options) {
    return Plot.plot(Object.assign({
      width: width, style: { background: "transparent", color: "inherit", fontSize: "11px", overflow: "visible" },
    }, options));
  }

  // one picture with one name: what is inside has none of its own
  function named(svg, label) {
    for (const inner of svg.querySelectorAll("[aria-label]")) inner.removeAttribute("aria-label");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
  }

  // lines: [{label, colour, dash, points: [[alpha, m]]}]
  function curve(title, lines, width) {
    const points = lines.flatMap(function (line) {
      return line.points.map(function (point) {
        return { label: line.label, colour: line.colour, dash: line.dash, alpha: point[0], m: point[1] };
      });
    });
    const marks = [Plot.gridX(GRID), Plot.gridY(GRID), Plot.ruleX([0], GRID)];
    for (const line of lines) {
      marks.push(Plot.line(line.points, { x: "0", y: "1", stroke: line.colour, strokeWidth: 2, strokeDasharray: line.dash }));
    }
    marks.push(Plot.tip(points, Plot.pointer({ x: "alpha", y: "m", title: function (p) {
      return p.label + "\nalpha " + p.alpha + "\nm " + p.m.toFixed(2);
    } })));
    const svg = base(width, {
      height: 150, marginLeft: 34, marginBottom: 26, marginTop: 12, marginRight: 8, marks: marks,
      x: { label: null, ticks: 5 }, y: { label: null, ticks: 4 },
    });
    const labels = lines.map(function (line) { return line.label; }).join(", ");
    named(svg, "Propensity over alpha on " + title + ": " + labels + ". The figures stand in the table.");
    return lrt.element("div", { class: "small" }, lrt.element("p", {}, title), svg);
  }

  function grid(figure, panels) {
    const holder = lrt.element("div", { class: "panels" });
    holder.append(...panels);
    figure.prepend(holder);
  }

  function panelWidth(figure) { return figure.clientWidth < 520 ? Math.max(150, (figure.clientWidth - 16) / 2) : 210; }

  function curves(figure, results) {
    const own = results[results.length - 1];
    grid(figure, own.tasks.map(function (task) {
      const lines = results.map(function (result) {
        const found = result.tasks.find(function (other) { return other.task === task.task; });
        const role = result === own ? "own" : result.name;
        return { label: result.name, colour: COLOURS[role] || COLOURS.own, dash: role === "own" ? null : "4 3",
          points: found ? found.curve : [] };
      });
      return curve(task.task + (task.steerable ? "" : " (not steerable)"), lines, panelWidth(figure));
    }));
  }

  function native(figure, results, keys) {
    const name = figure.dataset.task;
    const panels = results.flatMap(function (result, at) {
      const task = result.tasks.find(function (one) { return one.task === name; });
      if (!task) return [];
      const pair = keys[at].split("/").slice(0, 2).join(" / ");
      return [curve(pair, [{ label: "native", colour: COLOURS.native, dash: null, points: task.curve }], panelWidth(figure))];
    });
    grid(figure, panels);
  }

  // points whose names would overprint get them one below the other
  function apart(points) {
    const placed = [];
    for (const point of points) {
      const near = placed.filter(function (other) {
        return Math.abs(other.fidelity - point.fidelity) < 0.12 && Math.abs(other.score - point.score) < 5;
      });
      placed.push(Object.assign({}, point, { shift: 12 * near.length }));
    }
    return placed;
  }

  function fidelity(figure, results) {
    const points = results.filter(function (result) { return result.fidelity !== null && result.score !== null; });
    if (!points.length) return;
    const svg = base(Math.min(figure.clientWidth, 680), {
      height: 340, marginLeft: 44, marginRight: 90, marginBottom: 38, x: { label: "R² of states →" }, y: { label: "↑ Transfer Score" },
      marks: [
        Plot.gridX(GRID), Plot.gridY(GRID), Plot.ruleY([0, 100], { stroke: "currentColor", strokeOpacity: 0.4 }),
        Plot.ruleX(points, { x: "fidelity", y1: function (p) { return p.ci95[0]; }, y2: function (p) { return p.ci95[1]; },
          stroke: function (p) { return p.control ? COLOURS.random : COLOURS.own; } }),
        Plot.dot(points, { x: "fidelity", y: "score", r: 4, fill: function (p) { return p.control ? COLOURS.random : COLOURS.own; } }),
        ...apart(points).map(function (p) {
          return Plot.text([p], { x: "fidelity", y: "score", text: "name", dx: 8, dy: p.shift, textAnchor: "start", fill: "currentColor" });
        }),
      ],
    });
    finish(figure, svg, "State fidelity against Transfer Score");
  }

  // one panel a mapping, the same axes in all: points of one pair lie at one ratio and have its name
  function scaling(figure) {
    const points = lrt.get("scaling");
    if (!points.length) return;
    const byMapping = d3.groups(points, function (p) { return p.mapping; }).slice(0, MOST_PANELS);
    const ratios = points.map(function (p) { return p.ratio; }).concat([0.5, 2]);
    const lowest = Math.max(-100, Math.min(0, ...points.map(function (p) { return p.low === null ? p.score : p.low; })));
    const width = figure.clientWidth < 760 ? figure.clientWidth : (figure.clientWidth - 16) / 2;
    const panels = byMapping.map(function (entry) {
      const own = entry[1];
      const svg = base(width, {
        height: 260, marginLeft: 44, marginBottom: 38, marginTop: 22, marginRight: 24,
        x: { type: "log", label: "target / source parameters (log) →", ticks: 4, tickFormat: "~g",
          domain: [Math.min(...ratios) * 0.6, Math.max(...ratios) * 2] },
        y: { label: "↑ Transfer Score", ticks: 4, domain: [lowest, 112] },
        marks: [
          Plot.gridX(GRID), Plot.gridY(GRID), Plot.ruleX([1], { stroke: "currentColor", strokeOpacity: 0.6, strokeDasharray: "4 3" }),
          Plot.ruleY([0, 100], { stroke: "currentColor", strokeOpacity: 0.6 }),
          Plot.ruleX(own.filter(function (p) { return p.low !== null; }), { x: "ratio", y1: "low", y2: "high", stroke: COLOURS.own, strokeWidth: 1.5 }),
          Plot.dot(own, { x: "ratio", y: "score", stroke: COLOURS.own, r: 4, fill: function (p) { return p.output_level ? "var(--page)" : COLOURS.own; } }),
          ...stacked(own).map(function (p) {
            return Plot.text([p], { x: "ratio", y: "score", text: "pair", dx: 8, dy: p.shift, textAnchor: "start", fill: "currentColor" });
          }),
          Plot.tip(own, Plot.pointer({ x: "ratio", y: "score", title: function (p) {
            return p.suite + " / " + p.pair + "\n" + p.score.toFixed(1);
          } })),
        ],
      });
      named(svg, "Transfer Score of " + entry[0] + " against the ratio of sizes. The figures stand in the table.");
      return lrt.element("div", { class: "small" }, lrt.element("p", {}, entry[0]), svg);
    });
    const holder = lrt.element("div", { class: "panels two" });
    holder.append(...panels);
    figure.prepend(holder);
  }

  // points of nearly one ratio and score get their names one below the other
  function stacked(points) {
    const placed = [];
    for (const point of points) {
      const near = placed.filter(function (other) {
        return Math.abs(Math.log(other.ratio / point.ratio)) < 0.7 && Math.abs(other.score - point.score) < 8;
      });
      placed.push(Object.assign({}, point, { shift: 12 * near.length }));
    }
    return placed;
  }

  // a line a map over the logarithm of its tokens; maps of one number of tokens are moved apart, not laid over each other
  function ladder(figure) {
    const all = lrt.get("ladders")[Number(figure.dataset.ladder)].rows;
    const rows = all.filter(function (row) { return !row.control; }).slice(0, MOST_LINES)
      .concat(all.filter(function (row) { return row.control; }).slice(0, 1));
    const names = rows.map(function (row) { return row.mapping; });
    const points = rows.flatMap(function (row, place) {
      return row.points.map(function (point) {
        return { mapping: row.mapping, control: row.control, tokens: point[0], score: point[1], low: point[2], high: point[3],
          at: point[0] * Math.pow(1.035, place - (rows.length - 1) / 2) };
      });
    });
    const tokens = [...new Set(points.map(function (p) { return p.tokens; }))];
    const width = Math.min(figure.clientWidth, 860);
    const marks = [Plot.gridY(GRID), Plot.ruleY([0, 100], { stroke: "currentColor", strokeOpacity: 0.5 })];
    for (const row of rows) {
      const own = points.filter(function (p) { return p.mapping === row.mapping; });
      marks.push(Plot.line(own, { x: "at", y: "score", stroke: "mapping", strokeWidth: 1.8, strokeDasharray: row.control ? "4 3" : null }));
    }
    marks.push(
      Plot.ruleX(points, { x: "at", y1: "low", y2: "high", stroke: "mapping", strokeOpacity: 0.55 }),
      Plot.dot(points, { x: "at", y: "score", stroke: "mapping", symbol: "mapping", fill: "var(--page)", strokeWidth: 1.8, r: 4 }),
      Plot.tip(points, Plot.pointer({ x: "at", y: "score", title: function (p) {
        return p.mapping + "\n" + p.tokens + " tokens\n" + p.score.toFixed(1) + " [" + p.low.toFixed(1) + ", " + p.high.toFixed(1) + "]";
      } })));
    const drawn = base(width, {
      height: 380, marginLeft: 44, marginBottom: 40, marginTop: 18, marginRight: 16,
      color: { domain: names, scheme: "observable10" }, symbol: { legend: true, domain: names },
      x: { type: "log", label: "fit tokens (log) →", ticks: tokens, tickFormat: ",d",
        domain: [Math.min(...tokens) * 0.82, Math.max(...tokens) * 1.22] },
      y: { label: "↑ Transfer Score", ticks: 6, domain: [Math.min(0, ...points.map(function (p) { return p.low; })) - 4, 104] },
      marks: marks,
    });
    finish(figure, drawn, "Transfer Score of every map over fit tokens");
  }

  // rows: [{task, mapping, r2, where}]
  function perTask(figure, rows) {
    const names = [...new Set(rows.map(function (row) { return row.mapping; }))];
    const svg = base(Math.min(figure.clientWidth, 760), {
      height: 60 + 26 * new Set(rows.map(function (row) { return row.task; })).size, marginLeft: 130, marginBottom: 36,
      color: { domain: names, scheme: "observable10" }, symbol: { legend: true, domain: names }, x: { label: "share →", domain: [Math.min(-0.1, ...rows.map(function (row) { return Math.max(row.share, -1); })), 1] },
      y: { label: null },
      marks: [Plot.gridX(GRID), Plot.ruleX([0, 1], { stroke: "currentColor", strokeOpacity: 0.4 }),
        Plot.dot(rows, { x: function (row) { return Math.max(row.share, -1); }, y: "task", stroke: "mapping", symbol: "mapping", strokeWidth: 2, r: 5, tip: true })],
    });
    finish(figure, svg, "Steering R² of each task");
  }

  function finish(figure, drawn, label) {
    const svg = drawn.tagName === "svg" ? drawn : [...drawn.querySelectorAll("svg")].pop();
    named(svg, label + ". The figures stand in the table.");
    for (const swatch of drawn.querySelectorAll("[class*=swatch] svg")) swatch.setAttribute("aria-hidden", "true");
    figure.prepend(drawn);
  }

  const KINDS = { curves: curves, native: native, fidelity: fidelity, scaling: scaling, ladder: ladder };

  function draw(figure) {
    const keys = (figure.dataset.sources || "").split(" ").filter(Boolean);
    Promise.all(keys.map(lrt.load)).then(function (results) {
      KINDS[figure.dataset.chart](figure, results, keys);
    }).catch(function (error) {
      figure.prepend(lrt.element("p", { class: "note" }, "No chart: " + error.message));
    });
  }

  const seen = new IntersectionObserver(function (entries) {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "300px" });
  for (const figure of document.querySelectorAll("figure[data-chart]")) seen.observe(figure);

  return { perTask: perTask };
})();
