"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = new Map(data.candidates.map((c) => [c.id, c]));
  const pickId = data.pick.id;
  const $ = (id) => document.getElementById(id);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // --- Text -----------------------------------------------------------------------------------
  const el = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "class") node.className = value;
      else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value);
    }
    node.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
    return node;
  };
  const missing = "–";
  const isNumber = (v) => typeof v === "number" && Number.isFinite(v);
  const fixed = (v, digits = 4) => (isNumber(v) ? v.toFixed(digits).replace(/^-/, "−") : missing);
  const signed = (v, digits = 4) => (isNumber(v) ? (v > 0 ? "+" : "") + fixed(v, digits) : missing);
  const count = (v) => {
    if (!isNumber(v)) return missing;
    for (const [size, unit] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
      if (Math.abs(v) >= size) {
        const scaled = v / size;
        return scaled.toFixed(scaled >= 100 ? 0 : scaled >= 10 ? 1 : 2) + unit;
      }
    }
    return String(v);
  };
  const bytes = (v) => {
    if (!isNumber(v)) return missing;
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let at = 0;
    while (v >= 1024 && at < 4) { v /= 1024; at++; }
    return v.toFixed(at === 0 ? 0 : v >= 100 ? 0 : 1) + " " + units[at];
  };
  const percent = (v) => (isNumber(v) ? (v > 0.995 && v < 1 ? ">99" : v < 0.005 && v > 0 ? "<1" : (100 * v).toFixed(0)) + " %" : missing);
  const duration = (s) => {
    if (!isNumber(s)) return missing;
    if (s < 60) return s.toFixed(s < 10 ? 1 : 0) + " s";
    const m = Math.round(s / 60);
    return m < 60 ? m + " min" : Math.floor(m / 60) + " h " + (m % 60) + " min";
  };
  const interval = (m, digits = 4) => {
    if (!m || !isNumber(m.value)) return [missing];
    const parts = [fixed(m.value, digits)];
    if (isNumber(m.low) && isNumber(m.high)) parts.push(el("span", { class: "pm" }, " [" + fixed(m.low, digits) + ", " + fixed(m.high, digits) + "]"));
    return parts;
  };
  const stageName = (s) => (s === 0 ? "pruned" : "rung " + s);
  const stageTokens = (s) => (s === 0 ? "no training" : count(data.stages[s] && data.stages[s].tokens) + " tokens");
  const tag = (text, kind = "") => el("span", { class: "tag " + kind }, text);

  const resources = [
    { key: "params", name: "parameters", show: count },
    { key: "params_non_embedding", name: "parameters without embeddings", show: count },
    { key: "memory_bytes", name: "memory", show: bytes },
    { key: "flops_per_token", name: "FLOPs per token", show: count },
  ];
  const finishedStages = data.stages.filter((s) => s.finished > 0).map((s) => s.stage);
  const state = {
    stage: finishedStages.length ? finishedStages[finishedStages.length - 1] : -1,
    resource: (data.objectives.map((o) => resources.find((r) => r.key === o.name)).find((r) => r)) || resources[0],
    sort: { key: "rank", up: true }, filter: "", logCurves: false,
  };
  const at = (c, stage) => c.stages.find((s) => s.stage === stage);
  const lossOf = (c, stage) => { const s = at(c, stage); return s && s.metrics ? s.metrics.loss : null; };
  const lossName = data.objectives.length && /KL/.test((data.objectives.find((o) => o.name === "loss") || {}).definition || "") ? "KL to the teacher" : "loss";

  // --- Tables ---------------------------------------------------------------------------------
  const table = (columns, rows, options = {}) => {
    const head = el("tr", {}, columns.map((c) => {
      const sortable = options.onsort && c.sort;
      const mark = sortable && state.sort.key === c.key ? (state.sort.up ? " ▲" : " ▼") : "";
      return el("th", {
        class: c.left ? "l" : "", title: c.help, "data-sort": sortable ? c.key : null, tabindex: sortable ? 0 : null,
        "aria-sort": mark ? (state.sort.up ? "ascending" : "descending") : null,
        onclick: () => sortable && options.onsort(c),
        onkeydown: (e) => { if (sortable && (e.key === "Enter" || e.key === " ")) { e.preventDefault(); options.onsort(c); } },
      }, c.title + mark);
    }));
    const body = rows.map((row) => el("tr", { class: options.rowClass ? options.rowClass(row) : "" },
      columns.map((c) => el("td", { class: (c.left ? "l " : "") + (c.wrap ? "wrap" : "") }, c.cell(row)))));
    return el("div", { class: "scroll " + (options.long ? "long" : "") }, el("table", {}, el("thead", {}, head), el("tbody", {}, body)));
  };
  const blocksOf = (c) => c.blocks.map((b, i) => "layer " + (i + 1) + ": heads " + b.heads + "/" + b.kv_heads + ", ffn " + b.ffn).join("\n");
  const archColumns = [
    { key: "layers", title: "layers", sort: (c) => c.layers, cell: (c) => c.layers },
    { key: "hidden", title: "hidden", sort: (c) => c.hidden, cell: (c) => c.hidden },
    { key: "heads", title: "heads", sort: (c) => c.heads, cell: (c) => c.heads + "/" + c.kv_heads, help: "query heads / key-value heads" },
    { key: "ffn", title: "ffn", sort: (c) => c.ffn, cell: (c) => (c.blocks ? el("span", { title: blocksOf(c) }, "~" + c.ffn) : c.ffn), help: "~: the mean over layers that differ" },
    { key: "params", title: "params", sort: (c) => c.params, cell: (c) => count(c.params) },
  ];
  const rowClass = (c) => (c.id === pickId ? "is-pick " : "") + (c.on_front ? "is-front" : "");
  const empty = (text) => el("p", { class: "empty" }, text);

  // --- Head -----------------------------------------------------------------------------------
  const drawHead = () => {
    const goals = data.objectives.map((o) => o.name + " (" + o.unit + ")").join(" and ");
    $("lead").textContent = "Minimises " + goals + (data.study.held_out.sequences ? "; judged on " + count(data.study.held_out.tokens) + " held-out tokens in " + data.study.held_out.sequences + " sequences" : "") + ".";
    const pick = byId.get(pickId);
    const box = $("pick");
    if (!pick) {
      box.replaceChildren(el("h2", {}, "Recommended"), el("p", {}, "Nothing yet: " + data.pick.reason + "."));
    } else {
      const chips = [["layers", pick.layers], ["hidden", pick.hidden], ["heads", pick.heads], ["kv heads", pick.kv_heads], ["head size", pick.head_dim], ["ffn", pick.ffn],
        ["params", count(pick.params)], ["memory", bytes(pick.memory_bytes)], ["FLOPs/token", count(pick.flops_per_token)]];
      if (data.study.teacher_params) chips.push(["of the teacher", percent(pick.params / data.study.teacher_params)]);
      const stage = at(pick, data.pick.stage);
      const runner = byId.get(data.pick.runner_up);
      box.replaceChildren(...[
        el("h2", {}, "Recommended" + (data.pick.is_tie ? " (among ties)" : "")),
        el("div", { class: "id" }, pick.id),
        el("div", { class: "chips" }, chips.map(([k, v]) => el("span", { class: "chip" }, k + " ", el("b", {}, String(v))))),
        el("p", {}, el("b", {}, "Why: "), data.pick.reason + "."),
        runner && el("p", {}, el("b", {}, "Runner-up: "), runner.id + " (" + count(runner.params) + "), " + "loss " + signed(data.pick.difference.value) + " [" + signed(data.pick.difference.low) + ", " + signed(data.pick.difference.high) + "] nats per token above it."),
        data.pick.change && el("p", {}, el("b", {}, "What would change it: "), data.pick.change),
        stage && el("p", { class: "note" }, "Lowest loss in " + percent(data.pick.lowest_share) + " of the resamples of the held-out text; argmax agreement with the teacher " + percent(stage.metrics.agreement.value) + "."),
        el("pre", {}, "coppice pick " + quote(data.provenance.directory) + " -o " + pick.id),
      ].filter((node) => node));
    }
    const space = data.study.space || {};
    const tiles = [
      ["candidates", data.study.candidates + (isNumber(space.size) ? " of " + count(space.size) : "")],
      ["on the front", data.front.length],
      ["evaluations", data.evaluations],
      ["tokens trained", count(data.tokens)],
      ["stages", finishedStages.length + " of " + data.study.stages],
      ["failed", data.study.failures],
    ];
    if (data.study.hypervolume) tiles.push(["hypervolume", fixed(data.study.hypervolume.value)]);
    if (data.study.teacher_params) tiles.push(["teacher", count(data.study.teacher_params)]);
    if (data.study.held_out.teacher_cross_entropy) tiles.push(["teacher's cross-entropy", fixed(data.study.held_out.teacher_cross_entropy, 3)]);
    $("tiles").replaceChildren(...tiles.map(([k, v]) => el("div", { class: "tile" }, el("div", { class: "v" }, String(v)), el("div", { class: "k" }, k))));
  };
  const quote = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : "'" + text.replace(/'/g, "'\\''") + "'");

  const segments = (items, current, choose) => el("span", { class: "seg", role: "group" }, items.map((i) =>
    el("button", { type: "button", "aria-pressed": String(i.value === current), title: i.title, disabled: i.disabled ? "" : null, onclick: () => choose(i.value) }, i.name)));

  const drawControls = () => {
    const stages = data.stages.map((s) => ({ value: s.stage, name: stageName(s.stage), title: s.finished + " candidates, " + stageTokens(s.stage), disabled: s.finished === 0 }));
    $("controls").replaceChildren(el("span", { class: "label" }, "stage"), segments(stages, state.stage, (v) => { state.stage = v; drawStage(); }),
      el("select", { "aria-label": "Resource", onchange: (e) => { state.resource = resources[e.target.selectedIndex]; drawStage(); } },
        resources.map((r) => el("option", { selected: r === state.resource ? "" : null }, r.name))));
  };

  // --- Charts ---------------------------------------------------------------------------------
  const charts = {};
  const canvasIn = (figure) => {
    const canvas = el("canvas", { role: "img", "aria-label": figure.id });
    figure.classList.remove("static");
    figure.replaceChildren(canvas);
    return canvas;
  };
  const describe = (c, stage) => {
    const s = at(c, stage);
    const lines = [c.layers + " layers, hidden " + c.hidden + ", heads " + c.heads + "/" + c.kv_heads + ", ffn " + c.ffn,
      count(c.params) + " parameters, " + bytes(c.memory_bytes)];
    if (s && s.metrics) {
      const m = s.metrics;
      lines.push("loss " + fixed(m.loss.value) + " [" + fixed(m.loss.low) + ", " + fixed(m.loss.high) + "] after " + stageTokens(stage));
      lines.push("cross-entropy " + fixed(m.cross_entropy.value, 3) + ", agreement " + percent(m.agreement.value));
      lines.push("rank " + s.rank + (sharesRank(c, stage) ? " (tied)" : "") + ", on the front in " + percent(s.front_probability) + ", the best in " + percent(s.best_probability));
    }
    if (s && s.decision) lines.push(s.decision);
    const mass = c.importance_mass;
    if (mass) lines.push("importance kept: layers " + percent(mass.layers) + ", channels " + percent(mass.channels) + ", heads " + percent(mass.heads) + ", kv " + percent(mass.kv_groups) + ", neurons " + percent(mass.neurons));
    if (isNumber(c.batch)) lines.push("proposed in batch " + (c.batch + 1));
    return lines;
  };
  const whiskers = {
    id: "whiskers",
    beforeDatasetsDraw(chart) {
      const { ctx, scales: { x, y } } = chart;
      ctx.save();
      for (const set of chart.data.datasets) {
        if (!set.whiskers) continue;
        ctx.strokeStyle = set.whiskers;
        ctx.lineWidth = 1.25;
        for (const p of set.data) {
          if (!isNumber(p.low) || !isNumber(p.high)) continue;
          const at = x.getPixelForValue(p.x), low = y.getPixelForValue(p.low), high = y.getPixelForValue(p.high);
          ctx.beginPath();
          ctx.moveTo(at, low); ctx.lineTo(at, high);
          ctx.moveTo(at - 4, low); ctx.lineTo(at + 4, low);
          ctx.moveTo(at - 4, high); ctx.lineTo(at + 4, high);
          ctx.stroke();
        }
      }
      ctx.restore();
    },
  };
  const axis = (title, show, extra = {}) => ({
    title: { display: true, text: title, color: css("--soft") }, grid: { color: css("--grid"), drawBorder: false },
    ticks: { color: css("--soft"), maxRotation: 0, includeBounds: false, autoSkipPadding: 16, callback: (v) => show(v) }, ...extra,
  });
  const tooltip = (lines) => ({
    backgroundColor: css("--ink"), titleColor: css("--bg"), bodyColor: css("--bg"), displayColors: false, padding: 10, boxPadding: 4,
    callbacks: { title: (items) => items.length ? items[0].raw.id : "", label: (item) => lines(item) },
  });

  const drawFront = () => {
    if (!window.Chart && data.study.deepest_stage !== null) { // the picture that came with the page
      $("front-chart").classList.add("static");
      $("front-note").textContent = "Stage: " + stageName(data.study.deepest_stage) + ", " + stageTokens(data.study.deepest_stage) + ". Bars are 95 % intervals. The stage and resource chosen here apply to the tables below.";
      return;
    }
    const stage = state.stage, resource = state.resource;
    const all = data.candidates.map((c) => ({ c, s: at(c, stage) })).filter((e) => e.s && e.s.metrics && isNumber(e.s.metrics.loss.value));
    const figure = $("front-chart");
    if (!all.length) { figure.classList.add("static"); figure.replaceChildren(empty(data.evaluations ? "No candidate has a finite loss at this stage." : "No candidate has a finished stage yet.")); return; }
    const point = (e) => ({ x: e.c[resource.key], y: e.s.metrics.loss.value, low: e.s.metrics.loss.low, high: e.s.metrics.loss.high, id: e.c.id });
    // Domination is shown as the chosen resource sees it.
    const sorted = [...all].sort((a, b) => a.c[resource.key] - b.c[resource.key] || a.s.metrics.loss.value - b.s.metrics.loss.value);
    let best = Infinity;
    const front = new Set();
    for (const e of sorted) if (e.s.metrics.loss.value < best) { best = e.s.metrics.loss.value; front.add(e); }
    const pick = all.filter((e) => e.c.id === pickId);
    const frontSet = sorted.filter((e) => front.has(e));
    const rest = all.filter((e) => !front.has(e));
    $("front-note").textContent = "Stage: " + stageName(stage) + ", " + stageTokens(stage) + ", " + all.length + (all.length === 1 ? " candidate" : " candidates") + ". Bars are 95 % intervals; because comparisons are paired, candidates can differ although bars overlap.";
    $("front-legend").replaceChildren(
      ...[["--accent", "front (not dominated)"], ["--dim", "dominated"], ["--pick", "recommended"]].map(([v, text]) => el("span", {}, el("i", { style: "background:var(" + v + ")" }), text)));
    const accent = css("--accent"), dim = css("--dim"), orange = css("--pick");
    const values = all.flatMap((e) => [e.s.metrics.loss.value, e.s.metrics.loss.low, e.s.metrics.loss.high]).filter(isNumber);
    const xs = all.map((e) => e.c[resource.key]);
    const room = 0.06 * (Math.max(...xs) - Math.min(...xs)) || 0.05 * Math.max(...xs) || 1;
    const yRoom = 0.06 * (Math.max(...values) - Math.min(...values)) || 0.05;
    if (charts.front) charts.front.destroy();
    charts.front = new Chart(canvasIn(figure), {
      type: "scatter",
      data: { datasets: [
        { label: "recommended", data: pick.map(point), pointStyle: "circle", radius: 11, hoverRadius: 12, borderWidth: 3, borderColor: orange, backgroundColor: "transparent", order: 0 },
        { label: "front", data: frontSet.map(point), showLine: true, stepped: "before", borderColor: accent, borderWidth: 1.5, backgroundColor: accent, radius: 5.5, hoverRadius: 7.5, whiskers: accent, order: 1 },
        { label: "dominated", data: rest.map(point), borderColor: dim, backgroundColor: dim, radius: 4, hoverRadius: 6, whiskers: dim, order: 2 },
      ] },
      options: {
        responsive: true, maintainAspectRatio: false, animation: false,
        interaction: { mode: "nearest", intersect: true },
        scales: {
          x: axis(resource.name, resource.show, { min: Math.min(...xs) - room, max: Math.max(...xs) + room }),
          y: axis(lossName + ", nats per token", (v) => Number(v.toPrecision(6)), { min: Math.min(...values) - yRoom, max: Math.max(...values) + yRoom }),
        },
        plugins: { legend: { display: false }, tooltip: { ...tooltip((item) => describe(byId.get(item.raw.id), stage)), filter: (item, i, items) => items.findIndex((o) => o.raw.id === item.raw.id) === i || i === 0 } },
      },
      plugins: [whiskers],
    });
  };

  const drawCurves = () => {
    const figure = $("curve-chart");
    const probes = data.candidates.filter((c) => c.curve.some((p) => isNumber(p[1])));
    if (!probes.length) { figure.classList.add("static"); figure.replaceChildren(empty("No probe has been trained yet.")); return; }
    const controls = [segments([{ value: false, name: "linear" }, { value: true, name: "log" }], state.logCurves, (v) => { state.logCurves = v; drawCurves(); })];
    $("curve-controls").replaceChildren(...(window.Chart ? controls : []));
    if (!window.Chart) { figure.classList.add("static"); return; }
    const accent = css("--accent"), orange = css("--pick"), dim = css("--dim");
    const style = (c) => c.id === pickId ? { color: orange, width: 2.75, order: 0 } : c.on_front ? { color: accent, width: 1.75, order: 1 }
      : c.status === "eliminated" || c.status === "failed" ? { color: dim + "c0", width: 1, order: 3 } : { color: dim, width: 1.5, order: 2 };
    let marked = -1;
    const repaint = (chart, index) => {
      if (index === marked) return;
      marked = index;
      chart.data.datasets.forEach((set, i) => {
        set.borderWidth = i === index ? 3.5 : set.base.width;
        set.borderColor = i === index ? css("--ink") : set.base.color;
        set.order = i === index ? -1 : set.base.order;
      });
      chart.update("none");
    };
    if (charts.curves) charts.curves.destroy();
    charts.curves = new Chart(canvasIn(figure), {
      type: "line",
      data: { datasets: probes.map((c) => {
        const s = style(c);
        return { label: c.id, data: c.curve.filter((p) => isNumber(p[1])).map((p) => ({ x: p[0], y: p[1], id: c.id })), base: s, borderColor: s.color, borderWidth: s.width, order: s.order, pointRadius: 0, pointHoverRadius: 4, backgroundColor: s.color, tension: 0 };
      }) },
      options: {
        responsive: true, maintainAspectRatio: false, animation: false, parsing: true,
        interaction: { mode: "nearest", intersect: false, axis: "xy" },
        onHover: (event, items, chart) => repaint(chart, items.length ? items[0].datasetIndex : -1),
        scales: { x: axis("tokens trained", count, { type: "linear", min: 0 }), y: axis("training loss", (v) => Number(v.toPrecision(4)), { type: state.logCurves ? "logarithmic" : "linear" }) },
        plugins: { legend: { display: false }, tooltip: tooltip((item) => {
          const c = byId.get(item.raw.id);
          return ["loss " + fixed(item.raw.y) + " at " + count(item.raw.x) + " tokens", count(c.params) + " parameters, " + c.layers + " layers, hidden " + c.hidden + ", ffn " + c.ffn, c.status];
        }) },
      },
    });
  };

  // --- Parallel coordinates: plain SVG ----------------------------------------------------------
  const tip = $("tip");
  const showTip = (event, title, lines) => {
    tip.replaceChildren(el("b", {}, title), ...lines.map((l) => el("div", {}, l)));
    tip.hidden = false;
    const width = tip.offsetWidth, height = tip.offsetHeight;
    tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8)) + "px";
    tip.style.top = Math.max(4, Math.min(event.clientY + 14, innerHeight - height - 8)) + "px";
  };
  const svg = (tag, attributes, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const drawParallel = () => {
    const figure = $("parallel"), stage = state.stage;
    const all = data.candidates.filter((c) => isNumber((lossOf(c, stage) || {}).value));
    $("parallel-card").hidden = all.length === 0;
    if (!all.length) return;
    const axes = [["layers", (c) => c.layers, String], ["heads", (c) => c.heads, String], ["kv heads", (c) => c.kv_heads, String], ["ffn", (c) => c.ffn, String], ["hidden", (c) => c.hidden, String],
      ["params", (c) => c.params, count], ["loss", (c) => lossOf(c, stage).value, (v) => fixed(v, 3)]]
      .filter(([name, get]) => name === "loss" || new Set(all.map(get)).size > 1);
    const width = Math.max(figure.clientWidth, 300), height = figure.clientHeight || 300;
    const left = 36, right = 40, top = 34, bottom = 22;
    const step = axes.length > 1 ? (width - left - right) / (axes.length - 1) : 0;
    const ranges = axes.map(([, get]) => { const v = all.map(get); return [Math.min(...v), Math.max(...v)]; });
    const y = (value, [low, high]) => top + (height - top - bottom) * (high > low ? 1 - (value - low) / (high - low) : 0.5);
    const [lossLow, lossHigh] = ranges[ranges.length - 1];
    const root = svg("svg", { viewBox: "0 0 " + width + " " + height, role: "img", "aria-label": "parallel coordinates" });
    const lines = svg("g", { fill: "none" });
    const paint = (line, c, isOn) => {
      const share = lossHigh > lossLow ? (lossOf(c, stage).value - lossLow) / (lossHigh - lossLow) : 0;
      line.setAttribute("stroke", isOn ? css("--ink") : c.id === pickId ? css("--pick") : css("--accent"));
      line.setAttribute("stroke-width", isOn ? 3.5 : c.id === pickId ? 3 : 1.5);
      line.setAttribute("stroke-opacity", isOn || c.id === pickId ? 1 : 0.85 - 0.7 * share);
    };
    for (const c of [...all].sort((a, b) => (a.id === pickId) - (b.id === pickId))) {
      const points = axes.map(([, get], i) => (left + i * step) + "," + y(get(c), ranges[i])).join(" ");
      const line = svg("polyline", { points });
      const hit = svg("polyline", { points, stroke: "transparent", "stroke-width": 9 });
      paint(line, c, false);
      hit.addEventListener("pointermove", (e) => { paint(line, c, true); lines.append(line, hit); showTip(e, c.id, describe(c, stage)); });
      hit.addEventListener("pointerleave", () => { paint(line, c, false); tip.hidden = true; });
      lines.append(line, hit);
    }
    root.append(lines);
    axes.forEach(([name, , show], i) => {
      const x = left + i * step;
      const text = (value, yAt, weight) => { const t = svg("text", { x, y: yAt, "text-anchor": "middle", "font-size": 11.5, "font-weight": weight, fill: css(weight === 600 ? "--ink" : "--soft") }); t.textContent = value; return t; };
      root.append(svg("line", { x1: x, x2: x, y1: top, y2: height - bottom, stroke: css("--faint") }), text(name, 12, 600), text(show(ranges[i][1]), 27, 400), text(show(ranges[i][0]), height - 6, 400));
    });
    figure.replaceChildren(root);
  };

  // --- Tables of the page ------------------------------------------------------------------------
  const sharesRank = (c, stage) => { const s = at(c, stage); return s && s.rank && data.candidates.some((o) => { const t = at(o, stage); return o !== c && t && t.rank === s.rank; }); };
  const flagsOf = (c, s) => [
    c.id === pickId && tag("pick", "pick"),
    data.knee.by_distance === c.id && tag(data.knee.agree ? "knee" : "knee (distance)", "good"),
    data.knee.by_ideal === c.id && !data.knee.agree && tag("knee (ideal)", "good"),
    s && sharesRank(c, s.stage) && el("span", { class: "tag", title: "shares its rank: the paired interval of the difference to the first of that rank holds 0" }, "tie " + s.rank),
    s && s.on_front && s.front_probability < 0.95 && tag("possibly dominated"),
  ];
  const drawFrontTable = () => {
    const box = $("front-table");
    if (!data.front.length) { box.replaceChildren(empty("Empty until a stage is finished.")); return; }
    const stage = data.study.deepest_stage;
    const steps = new Map(data.front_steps.map((s) => [s.from, s]));
    const rows = data.front.map((id) => byId.get(id));
    const knee = data.knee.by_distance === null ? "A knee needs at least three points on the front."
      : data.knee.agree ? "Both rules (distance from the line of the ends; nearest to the ideal) put the knee at " + data.knee.by_distance + "."
        : "The knee is not clear: " + data.knee.by_distance + " by distance from the line of the ends, " + (data.knee.by_ideal || missing) + " by distance to the ideal.";
    box.replaceChildren(
      el("p", { class: "note" }, "Measured at " + stageName(stage) + ", " + stageTokens(stage) + ", smallest first. " + knee),
      table([
        { title: "candidate", left: true, cell: (c) => [c.id, el("div", { class: "flags" }, ...flagsOf(c, at(c, stage)))] },
        ...archColumns,
        { title: lossName, cell: (c) => interval(lossOf(c, stage)) },
        { title: "agreement", cell: (c) => percent(at(c, stage).metrics.agreement.value), help: "positions where the argmax is the teacher's" },
        { title: "on the front", cell: (c) => percent(at(c, stage).front_probability), help: "share of resamples in which nothing dominates it" },
        { title: "to the next", cell: (c) => { const s = steps.get(c.id); return s ? [signed(-s.gain.value), el("span", { class: "pm" }, " " + (isNumber(s.gain_per_percent) ? signed(-s.gain_per_percent, 5) + " per 1 %" : "")), s.is_flat && tag("flat")] : missing; }, help: "change of the loss, and for each 1 % more of the resource; flat: within noise" },
      ], rows, { rowClass }));
  };
  const drawSearch = () => {
    const study = data.study, volume = study.hypervolume, sizes = study.proposals.map((b) => b.candidates);
    const lines = [];
    if (sizes.length) {
      const shown = sizes.length > 12 ? sizes.slice(0, 12).join(", ") + ", …" : sizes.join(", ");
      lines.push(el("p", {}, study.strategy + " proposed " + sizes.reduce((a, b) => a + b, 0) + " candidates in " + sizes.length + (sizes.length === 1 ? " batch" : " batches") + " (" + shown + "), seed " + study.seed + "."));
    }
    for (const [name, c] of Object.entries(study.surrogate || {})) {
      if (c.is_exact || !c.n) continue;
      lines.push(el("p", {}, "The surrogate's " + name + ", before each was measured: " + c.n + " predictions, tau-b " + fixed(c.tau, 2) + "; its 50 % intervals hold " + percent(c.coverage50) + " of the outcomes, its 90 % intervals " + percent(c.coverage90) + "; off by " + fixed(c.rmse) + " (root mean square)."));
    }
    if (volume && volume.history.length > 1) {
      const all = volume.history, last = all[all.length - 1];
      const near = all.find((p) => p[1] >= 0.99 * last[1]);
      lines.push(el("p", {}, "Hypervolume of the front " + fixed(volume.value) + " at " + stageName(volume.stage) + ". By " + (volume.history_stage === 0 ? "the pruned loss" : "the figures of " + stageName(volume.history_stage)) + " it grew to " + fixed(last[1]) + " with the candidates proposed, within 1 % of that after " + near[0] + " of " + last[0] + " candidates."));
      lines.push(historyOf(all));
    }
    $("search-card").hidden = !sizes.length;
    $("search").replaceChildren(...lines);
  };
  const historyOf = (points) => {
    const width = 640, height = 90, left = 48, most = points[points.length - 1][0];
    const values = points.map((p) => p[1]), low = Math.min(...values), high = Math.max(...values);
    const x = (n) => left + (width - left - 8) * n / most, y = (v) => height - 8 - (height - 16) * (high > low ? (v - low) / (high - low) : 1);
    const text = (value, at) => { const t = svg("text", { x: 2, y: at, "font-size": 11, fill: css("--soft") }); t.textContent = fixed(value, 3); return t; };
    return svg("svg", { viewBox: "0 0 " + width + " " + height, width: "100%", role: "img", "aria-label": "hypervolume by candidates proposed" },
      text(high, 12), text(low, height - 5),
      svg("polyline", { points: points.map((p) => x(p[0]).toFixed(1) + "," + y(p[1]).toFixed(1)).join(" "), fill: "none", stroke: css("--accent"), "stroke-width": 2 }));
  };
  const drawRungs = () => {
    const within = (s) => {
      const strata = s.tau_within_size.strata.map((k) => fixed(k.tau, 2) + " of " + k.shared + " with " + count(k.params_min) + " to " + count(k.params_max)).join("\n");
      return strata ? el("span", { title: strata }, interval(s.tau_within_size, 2)) : missing;
    };
    $("rungs").replaceChildren(
      el("p", { class: "note" }, "Kendall's tau-b compares the order of the candidates that two stages share: 1 = the same order, 0 = unrelated. Larger models lose less at every stage, which alone makes it high: the figure within sizes is the mean over thirds by parameters and tells whether shapes of one size keep their order. Survivors are chosen by probability of belonging in the top; rescued ones by lot."),
      table([
        { title: "stage", left: true, cell: (s) => stageName(s.stage) },
        { title: "tokens each", cell: (s) => (s.stage === 0 ? "0" : count(s.tokens)) },
        { title: "in", cell: (s) => s.entered },
        { title: "promoted", cell: (s) => s.promoted },
        { title: "rescued", cell: (s) => s.rescued },
        { title: "eliminated", cell: (s) => s.eliminated },
        { title: "failed", cell: (s) => s.failed },
        { title: "running", cell: (s) => s.running },
        { title: "tau to the stage before", cell: (s) => interval(s.tau_with_previous, 2) },
        { title: "within sizes", cell: within, help: "mean of tau-b inside thirds by parameters" },
        { title: "tokens spent", cell: (s) => count(s.tokens_spent) },
      ], data.stages));
  };
  const massOf = (c) => (c.importance_mass ? c.importance_mass.layers * c.importance_mass.channels * c.importance_mass.heads * c.importance_mass.neurons : null);
  const allColumns = () => {
    const s = (c) => at(c, state.stage);
    const m = (c, name) => (s(c) && s(c).metrics ? s(c).metrics[name] : null);
    return [
      { key: "rank", title: "rank", sort: (c) => (s(c) ? s(c).rank : Infinity), cell: (c) => (s(c) && s(c).rank ? s(c).rank + (sharesRank(c, state.stage) ? " =" : "") : missing), help: "at the chosen stage; = tied" },
      { key: "id", title: "candidate", left: true, sort: (c) => c.id, cell: (c) => [c.id, c.id === pickId && tag("pick", "pick"), s(c) && s(c).on_front && tag("front", "good")] },
      ...archColumns,
      { key: "memory", title: "memory", sort: (c) => c.memory_bytes, cell: (c) => bytes(c.memory_bytes) },
      { key: "loss", title: "loss", sort: (c) => (m(c, "loss") || {}).value, cell: (c) => interval(m(c, "loss")) },
      { key: "above", title: "above best", sort: (c) => (m(c, "loss_above_best") || {}).value, cell: (c) => interval(m(c, "loss_above_best")), help: "paired difference to the best of the stage" },
      { key: "ce", title: "cross-entropy", sort: (c) => (m(c, "cross_entropy") || {}).value, cell: (c) => fixed((m(c, "cross_entropy") || {}).value, 3) },
      { key: "agreement", title: "agreement", sort: (c) => (m(c, "agreement") || {}).value, cell: (c) => percent((m(c, "agreement") || {}).value) },
      { key: "front", title: "P(front)", sort: (c) => (s(c) || {}).front_probability, cell: (c) => percent((s(c) || {}).front_probability) },
      { key: "best", title: "P(best)", sort: (c) => (s(c) || {}).best_probability, cell: (c) => percent((s(c) || {}).best_probability), help: "of having the lowest loss" },
      { key: "top", title: "P(top)", sort: (c) => (s(c) || {}).top_probability, cell: (c) => percent((s(c) || {}).top_probability), help: "of belonging in the top at this stage's promotion" },
      ...(data.study.proposals.length ? [{ key: "batch", title: "batch", sort: (c) => c.batch, cell: (c) => (isNumber(c.batch) ? c.batch + 1 : missing), help: "in which it was proposed" }] : []),
      ...(data.candidates.some((c) => c.importance_mass) ? [{ key: "mass", title: "importance", sort: massOf, cell: (c) => percent(massOf(c)), help: "of the teacher's that stays: product over layers, channels, heads and neurons" }] : []),
      { key: "decision", title: "decision", left: true, sort: (c) => (s(c) || {}).decision || "", cell: (c) => (s(c) || {}).decision || missing },
      { key: "status", title: "status", left: true, wrap: true, sort: (c) => c.status, cell: (c) => [c.status === "failed" ? tag("failed", "bad") : c.status, c.reason ? " " + c.reason : "", c.running ? " running: " + count(c.running.tokens) + " tokens" : ""] },
    ];
  };
  const drawAll = () => {
    const m = (c, name) => { const s = at(c, state.stage); return s && s.metrics ? s.metrics[name] : null; };
    const columns = allColumns();
    const column = columns.find((c) => c.key === state.sort.key) || columns[0];
    const needle = state.filter.toLowerCase();
    const key = (c) => { const v = column.sort(c); return v === undefined || v === null ? Infinity : v; };
    const rows = data.candidates.filter((c) => (c.id + " " + c.status + " " + (c.reason || "")).toLowerCase().includes(needle))
      .sort((a, b) => { const u = key(a), v = key(b); 
        if (u !== v) return (u < v ? -1 : 1) * (state.sort.up ? 1 : -1);
        return ((m(a, "loss") || {}).value ?? Infinity) < ((m(b, "loss") || {}).value ?? Infinity) ? -1 : 1; });
    $("all").replaceChildren(
      el("p", { class: "note" }, "Figures of " + (state.stage < 0 ? "no stage yet" : stageName(state.stage) + ", " + stageTokens(state.stage)) + ". Candidates that did not reach it have none. " + rows.length + " of " + data.candidates.length + " shown."),
      rows.length ? table(columns, rows, { long: true, rowClass, onsort: (c) => { state.sort = { key: c.key, up: state.sort.key === c.key ? !state.sort.up : true }; drawAll(); } }) : empty("Nothing matches."));
  };
  const drawSpace = () => {
    const space = data.study.space;
    const goals = table([
      { title: "objective", left: true, cell: (o) => o.name }, { title: "unit", left: true, cell: (o) => o.unit }, { title: "direction", left: true, cell: (o) => o.direction }, { title: "definition", left: true, wrap: true, cell: (o) => o.definition },
    ], data.objectives);
    if (!space) { $("space").replaceChildren(goals); return; }
    const parts = [el("p", { class: "note" }, (isNumber(space.size) ? count(space.size) + " grid points, " : "") + (isNumber(space.feasible) ? count(space.feasible) + " candidates meet all bounds." : "too many to count those that meet all bounds.") + " A point may violate several.")];
    if ((space.bounds || []).length) {
      parts.push(table([
        { title: "bound", left: true, cell: (b) => b.text }, { title: "grid points excluded", cell: (b) => b.excluded },
      ], space.bounds), el("p", {}, ""));
    }
    $("space").replaceChildren(...parts, goals);
  };
  const drawProvenance = () => {
    const p = data.provenance;
    const rows = Object.entries(p.facts).filter(([k]) => k !== "command");
    rows.push(["evaluation time", duration(p.seconds)], ["report made by", "coppice " + p.report_version], ["bootstrap resamples", String(p.resamples)], ["study directory", p.directory]);
    const retries = Object.entries(p.retries);
    if (retries.length) rows.push(["repeated attempts", retries.map(([id, n]) => id + ": " + n).join(", ")]);
    $("provenance").replaceChildren(p.command ? el("pre", {}, String(p.command)) : "", el("dl", {}, rows.flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, String(v))])));
  };

  const drawStage = () => { drawControls(); drawFront(); drawParallel(); drawAll(); };
  const draw = () => { drawHead(); drawStage(); drawFrontTable(); drawCurves(); drawSearch(); drawRungs(); drawSpace(); drawProvenance(); };
  $("filter").addEventListener("input", (e) => { state.filter = e.target.value; drawAll(); });
  let timer = 0;
  addEventListener("resize", () => { clearTimeout(timer); timer = setTimeout(drawParallel, 120); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
})();
