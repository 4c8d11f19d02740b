"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tip = document.getElementById("tip");
  const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`)?.value;

  // ---- small tools ----

  function svg(tag, attributes = {}, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  const trim = (text) => text.replace("-", "−");
  const number = (v) => { // whole numbers and thousands in full, the rest with three significant digits
    if (!Number.isInteger(v) && Math.abs(v) < 1000) return trim(String(+v.toPrecision(3)));
    return trim(String(Math.round(v)).replace(/\B(?=(\d{3})+$)/g, "\u202f"));
  };
  const tickPercent = (v) => `${trim(String(+(100 * v).toFixed(2)))}\u00a0%`;
  const percent = (v) => `${trim((100 * v).toFixed(1))}\u00a0%`;
  function short(v) {
    for (const [scale, unit] of [[1e9, " G"], [1e6, " M"], [1e3, " k"]]) {
      if (Math.abs(v) >= scale) return +(v / scale).toPrecision(3) + unit;
    }
    return String(+v.toPrecision(3));
  }
  function time(v) {
    if (v >= 120) return `${+(v / 60).toPrecision(3)} min`;
    if (v >= 1 || v === 0) return `${+v.toPrecision(3)} s`;
    return v >= 1e-3 ? `${+(v * 1e3).toPrecision(3)} ms` : `${+(v * 1e6).toPrecision(3)} µs`;
  }

  /** Round values from `low` to `high`, about `wanted` of them. */
  function ticks(low, high, wanted) {
    const span = high - low || Math.abs(high) || 1;
    const power = 10 ** Math.floor(Math.log10(span / wanted));
    const step = power * [1, 2, 5, 10].find((s) => span / (power * s) <= wanted + 0.5);
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(+(i * step).toPrecision(12));
    return found;
  }

  /** 1, 2, 5 in every decade, or only powers of ten if that would crowd. */
  function logTicks(low, high) {
    const found = [];
    const few = Math.log10(high / low) > 2.2 ? [1] : [1, 2, 5];
    for (let p = Math.floor(Math.log10(low)); p <= Math.log10(high); p++) {
      for (const d of few) if (d * 10 ** p >= low * 0.999 && d * 10 ** p <= high * 1.001) found.push(d * 10 ** p);
    }
    return found;
  }

  function showTip(text, x, y) {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, x + 14), document.documentElement.clientWidth - box.width - 8);
    tip.style.transform = `translate(${left}px, ${y - box.height - 12 < 8 ? y + 18 : y - box.height - 12}px)`;
  }
  const hideTip = () => { tip.hidden = true; };

  // ---- a plot: axes, a cursor that pointer and arrow keys move, and the drawing of `paint` ----

  /** spec: {x: [low, high], y: [low, high], log, xLabel, yLabel, xText, yText, right, stops: [{x, text, at}], paint} */
  function plot(box, spec) {
    const width = Math.max(200, box.clientWidth), height = box.clientHeight || 250;
    const area = { left: spec.left ?? 46, right: width - (spec.right ?? 16), top: spec.yLabel ? 26 : 8, bottom: height - (spec.xLabel ? 40 : 22) };
    const [x0, x1] = spec.x, [y0, y1] = spec.y;
    const along = spec.log ? (v) => Math.log(v / x0) / (Math.log(x1 / x0) || 1) : (v) => (v - x0) / (x1 - x0 || 1);
    const px = (v) => area.left + along(v) * (area.right - area.left);
    const py = (v) => area.bottom - ((v - y0) / (y1 - y0 || 1)) * (area.bottom - area.top);
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    for (const v of ticks(y0, y1, spec.yTicks ?? 5)) {
      root.append(svg("line", { class: v === 0 ? "base" : "grid", x1: area.left, x2: area.right, y1: py(v), y2: py(v) }),
        svg("text", { x: area.left - 8, y: py(v) + 4, "text-anchor": "end" }, (spec.yTick ?? spec.yText)(v)));
    }
    const room = (area.right - area.left) / 70;
    for (const v of spec.log ? logTicks(x0, x1) : ticks(x0, x1, Math.max(2, room)).filter((v) => !spec.whole || Number.isInteger(v))) {
      root.append(svg("text", { x: px(v), y: area.bottom + 17, "text-anchor": "middle" }, spec.xText(v)));
    }
    root.append(svg("line", { class: "base", x1: area.left, x2: area.right, y1: area.bottom, y2: area.bottom }));
    if (spec.xLabel) root.append(svg("text", { x: area.right, y: height - 4, "text-anchor": "end" }, spec.xLabel));
    if (spec.yLabel) root.append(svg("text", { x: 0, y: 12 }, spec.yLabel));
    const cursor = svg("g");
    spec.paint(root, px, py, area);
    root.append(cursor);
    box.replaceChildren(root);

    let place = -1;
    function light(i) {
      place = Math.min(Math.max(i, 0), spec.stops.length - 1);
      const stop = spec.stops[place];
      if (!stop) return;
      const rect = root.getBoundingClientRect(), scale = rect.width / width;
      cursor.replaceChildren(...(stop.at ?? []).length && !spec.free
        ? [svg("line", { class: "cursor", x1: px(stop.x), x2: px(stop.x), y1: area.top, y2: area.bottom })] : []);
      for (const [network, v] of stop.at ?? []) cursor.append(mark(network, px(stop.x), py(v), 4.6));
      for (const [index, bar] of root.querySelectorAll("[data-stop]").entries()) bar.classList.toggle("lit", +bar.dataset.stop === place && index >= 0);
      const top = stop.at?.length ? Math.min(...stop.at.map(([, v]) => py(v))) : area.top + 20;
      showTip(stop.text, rect.left + px(stop.x) * scale, rect.top + top * scale);
    }
    function clear() {
      place = -1;
      cursor.replaceChildren();
      for (const bar of root.querySelectorAll(".lit")) bar.classList.remove("lit");
      hideTip();
    }
    box.onpointermove = box.onpointerdown = (event) => {
      const rect = root.getBoundingClientRect();
      const x = (event.clientX - rect.left) * (width / rect.width), y = (event.clientY - rect.top) * (width / rect.width);
      const gap = (stop) => Math.hypot(px(stop.x) - x, spec.free ? py(stop.at[0][1]) - y : 0);
      let best = 0;
      spec.stops.forEach((stop, i) => { if (gap(stop) < gap(spec.stops[best])) best = i; });
      light(best);
    };
    box.onpointerleave = box.onblur = clear;
    box.onkeydown = (event) => {
      const last = spec.stops.length - 1;
      const next = { ArrowLeft: place < 0 ? last : place - 1, ArrowRight: place + 1, Home: 0, End: last }[event.key];
      if (event.key === "Escape") clear();
      if (next === undefined) return;
      event.preventDefault();
      light(next);
    };
  }

  /** Sparse is a disc, dense a square: distinct without colour. */
  function mark(network, x, y, r) {
    const shape = network === "sparse" ? svg("circle", { class: "mark", cx: x, cy: y, r })
      : svg("rect", { class: "mark", x: x - r * 0.9, y: y - r * 0.9, width: r * 1.8, height: r * 1.8 });
    return svg("g", { class: network }, shape);
  }

  function path(xs, ys, px, py) {
    let d = "", pen = "M";
    xs.forEach((x, i) => {
      if (x === null || ys[i] === null) { pen = "M"; return; }
      d += `${pen}${px(x).toFixed(1)} ${py(ys[i]).toFixed(1)}`;
      pen = "L";
    });
    return d;
  }

  /** Both networks' lines: every seed thin, the mean thick, the name at the end. */
  function lines(box, source, xKey, yKey, spec) {
    const networks = ["sparse", "dense"].filter((name) => source[name].mean[xKey]?.length);
    const all = networks.flatMap((name) => [source[name].mean, ...source[name].seeds]);
    const xs = all.flatMap((line) => line[xKey]).filter((v) => v !== null);
    const ys = all.flatMap((line) => line[yKey]).filter((v) => v !== null);
    if (!ys.length) { box.textContent = "Nothing finite to draw."; return; }
    let low = Math.min(...ys), high = Math.max(...ys);
    const pad = (high - low || Math.abs(high) || 1) * 0.06;
    low = Math.max(low >= 0 ? 0 : -Infinity, low - pad);
    high = Math.min(spec.ceiling ?? Infinity, high + pad);
    const single = new Set(xs).size === 1;
    const stops = [...new Set(networks.flatMap((name) => source[name].mean[xKey]))].filter((x) => x !== null).sort((a, b) => a - b).map((x) => {
      const at = [], text = [spec.stopText(x)];
      for (const name of networks) {
        const i = source[name].mean[xKey].indexOf(x);
        const value = i < 0 ? null : source[name].mean[yKey][i];
        if (value === null || value === undefined) continue;
        const over = source[name].seeds.map((line) => line[yKey][i]).filter((v) => v !== null && v !== undefined);
        at.push([name, value]);
        text.push(`${name} ${spec.yText(value)}` + (over.length ? ` (${spec.yText(Math.min(...over))} to ${spec.yText(Math.max(...over))})` : ""));
      }
      return { x, at, text: text.join("\n") };
    });
    plot(box, {
      ...spec, stops, right: 58, x: [spec.zero ? 0 : Math.min(...xs), Math.max(...xs) + (single ? 1 : 0)], y: [low, high],
      paint(root, px, py, area) {
        const ends = [];
        for (const name of [...networks].reverse()) {
          const group = svg("g", { class: name });
          for (const line of source[name].seeds) group.append(svg("path", { class: "seed", d: path(line[xKey], line[yKey], px, py) }));
          const mean = source[name].mean;
          group.append(svg("path", { class: "mean", d: path(mean[xKey], mean[yKey], px, py) }));
          root.append(group);
          let last = mean[yKey].length - 1;
          while (last > 0 && mean[yKey][last] === null) last--;
          if (mean[yKey][last] === null) continue;
          if (spec.marks || last === 0) mean[yKey].forEach((v, i) => { if (v !== null) root.append(mark(name, px(mean[xKey][i]), py(v), 4)); });
          ends.push({ name, x: px(mean[xKey][last]), y: py(mean[yKey][last]) });
        }
        ends.sort((a, b) => a.y - b.y);
        if (ends.length === 2 && ends[1].y - ends[0].y < 15 && Math.abs(ends[0].x - ends[1].x) < 60) {
          const middle = (ends[0].y + ends[1].y) / 2;
          ends[0].y = middle - 7.5;
          ends[1].y = middle + 7.5;
        }
        for (const end of ends) root.append(svg("g", { class: end.name }, svg("text", { class: "end", x: end.x + 9, y: Math.min(end.y + 4, area.bottom - 2) }, end.name)));
      },
    });
  }

  // ---- the charts by name ----

  const painters = {
    curves(box) {
      const quantity = chosen("quantity"), split = chosen("split"), axis = chosen("axis");
      lines(box, data.curves, axis, `${split}_${quantity}`, {
        yLabel: `${split === "train" ? "training" : split} ${quantity}`, yText: quantity === "accuracy" ? percent : number, yTick: quantity === "accuracy" ? tickPercent : number,
        ceiling: quantity === "accuracy" ? 1 : undefined, xLabel: axis === "epoch" ? "epoch" : "training time",
        xText: axis === "epoch" ? number : time, stopText: axis === "epoch" ? (x) => `epoch ${x}` : time,
        whole: axis === "epoch", zero: axis === "time",
      });
    },
    noise(box) {
      lines(box, data.noise, "sigma", "accuracy", {
        yLabel: "test accuracy", yText: percent, yTick: tickPercent, ceiling: 1, xLabel: "noise σ", xText: number, stopText: (x) => `σ = ${x}`, marks: true,
      });
    },
    robustness(box, index) {
      const { axis, lines: drawn } = data.robustness[+index];
      const values = drawn.flatMap((line) => [...line.low, ...line.high]), pad = 0.04 * (Math.max(...values) - Math.min(...values) || 1);
      const xs = [...new Set(drawn.flatMap((line) => line.strength))].sort((a, b) => a - b);
      const longest = Math.max(...drawn.map((line) => line.label.length)), room = Math.min(box.clientWidth * 0.42, 22 + 7 * longest);
      plot(box, {
        x: [Math.min(0, xs[0]), xs.at(-1)], y: [Math.max(0, Math.min(...values) - pad), Math.min(1, Math.max(...values) + pad)],
        right: room, yLabel: "test accuracy", xLabel: axis, xText: number, yText: percent, yTick: tickPercent, whole: axis === "severity",
        stops: xs.map((x) => {
          const found = drawn.map((line) => [line, line.strength.indexOf(x)]).filter(([, i]) => i >= 0);
          const range = (line, i) => `${(100 * line.low[i]).toFixed(1)} to ${percent(line.high[i])}`;
          return { x, at: found.map(([line, i]) => [line.network, line.accuracy[i]]),
            text: [`${axis} ${number(x)}`, ...found.map(([line, i]) => `${line.label} ${percent(line.accuracy[i])} (${range(line, i)})`)].join("\n") };
        }),
        paint(root, px, py, area) {
          const ends = [];
          drawn.forEach((line, k) => {
            const group = svg("g", { class: line.network }), shift = (k - (drawn.length - 1) / 2) * 3; // side by side
            group.append(svg("path", { class: "mean", d: path(line.strength, line.accuracy, px, py) }));
            line.strength.forEach((x, i) => group.append(svg("line", { class: "whisker", x1: px(x) + shift, x2: px(x) + shift, y1: py(line.low[i]), y2: py(line.high[i]) })));
            root.append(group);
            line.strength.forEach((x, i) => root.append(mark(line.network, px(x), py(line.accuracy[i]), 3.6)));
            ends.push({ line, x: px(line.strength.at(-1)), y: py(line.accuracy.at(-1)) });
          });
          ends.sort((a, b) => a.y - b.y);
          ends.forEach((end, i) => { if (i) end.y = Math.max(end.y, ends[i - 1].y + 14); });
          let low = area.bottom - 2;
          for (const end of ends.reverse()) { end.y = Math.min(end.y, low); low = end.y - 14; }
          const most = Math.floor((room - 14) / 7), fitting = (label) => label.length > most ? `${label.slice(0, Math.max(3, most - 9))}…${label.slice(label.lastIndexOf(","))}` : label;
          for (const end of ends) root.append(svg("g", { class: end.line.network }, svg("text", { class: "end", x: end.x + 9, y: end.y + 4 }, fitting(end.line.label))));
        },
      });
    },
    rewired(box) {
      const { epoch, grown, dropped, connections } = data.rewired;
      const top = Math.max(...grown, 0) * 1.08, bottom = Math.max(...dropped, 0) * 1.08;
      bars(box, {
        x: [epoch[0] - 0.5, epoch.at(-1) + 0.5], y: [-bottom, top], whole: true, xLabel: "after epoch", xText: number,
        yLabel: "connections", yText: (v) => short(Math.abs(v)),
        bars: epoch.map((e, i) => ({ from: e - 0.5, to: e + 0.5, up: grown[i], down: dropped[i],
          text: `epoch ${e}\ngrown ${number(grown[i])}, dropped ${number(dropped[i])}\n${percent(grown[i] / (connections[i] || 1))} of all ${number(connections[i])} connections` })),
      });
    },
    moved(box, index) {
      const { epoch, layers } = data.rewired;
      const share = (layer, values) => values.map((v) => v / (layer.connections || 1));
      const top = (which) => Math.max(...layers.flatMap((layer) => share(layer, layer[which])), 1e-9) * 1.08;
      const layer = layers[+index], grown = share(layer, layer.grown), dropped = share(layer, layer.dropped);
      bars(box, {
        x: [epoch[0] - 0.5, epoch.at(-1) + 0.5], y: [-top("dropped"), top("grown")], whole: true, xText: number, yText: (v) => tickPercent(Math.abs(v)),
        bars: epoch.map((e, i) => ({ from: e - 0.5, to: e + 0.5, up: grown[i], down: dropped[i],
          text: `epoch ${e}\ngrown ${number(layer.grown[i])}, dropped ${number(layer.dropped[i])}\n${percent(grown[i])} of the layer's connections` })),
      });
    },
    fans(box, layer, way) {
      const { counts, edges } = data.fans[+layer][way];
      if (!counts.length) { box.textContent = "No connections."; return; }
      const connections = (from, to, last) => { // the whole numbers in [from, to), and in [from, to] of the last bin
        const low = Math.ceil(from), high = Math.max(low, last ? Math.floor(to) : Math.ceil(to) - 1);
        return low === high ? `${number(low)} connection${low === 1 ? "" : "s"}` : `${number(low)} to ${number(high)} connections`;
      };
      bars(box, {
        whole: true, x: [edges[0], edges.at(-1)], y: [0, Math.max(...counts, 1) * 1.05], xText: number, yText: short, yTicks: 2,
        bars: counts.map((count, i) => ({ from: edges[i], to: edges[i + 1], up: count, down: 0,
          text: `${count} unit${count === 1 ? "" : "s"} with\n${connections(edges[i], edges[i + 1], i === counts.length - 1)}` })),
      });
    },
    tradeoff(box) {
      const cost = chosen("cost");
      const points = data.points.filter((p) => p[cost] > 0);
      if (!points.length) { box.textContent = "Not measured in these runs."; return; }
      const costs = points.map((p) => p[cost]);
      const low = Math.min(...points.map((p) => p.low)), high = Math.max(...points.map((p) => p.high)), pad = (high - low || 0.1) * 0.08;
      const say = cost === "time" || cost === "latency" ? time : cost === "memory" ? (v) => `${short(v)}B`.replace(/(\d)B$/, "$1 B") : short;
      plot(box, {
        x: [Math.min(...costs) / 1.4, Math.max(...costs) * 1.4], y: [Math.max(0, low - pad), Math.min(1, high + pad)], log: true, free: true,
        xText: say, yText: percent, yTick: tickPercent, yLabel: "test accuracy", right: 30,
        xLabel: { connections: "connections", memory: "memory to train", macs: "multiply-adds per sample", time: "training time", latency: "latency of one sample" }[cost],
        stops: points.map((p) => ({ x: p[cost], at: [[p.network, p.accuracy]],
          text: `${p.name}, ${p.network}\n${percent(p.accuracy)} (${percent(p.low)} to ${percent(p.high)})\n${say(p[cost])}` })),
        paint(root, px, py, area) {
          for (const p of points) {
            const twin = points.find((q) => q.run === p.run && q.network === "dense");
            if (p.network === "sparse" && twin) root.append(svg("line", { class: "twin", x1: px(p[cost]), y1: py(p.accuracy), x2: px(twin[cost]), y2: py(twin.accuracy) }));
          }
          const taken = [];
          for (const p of points) {
            const x = px(p[cost]);
            root.append(svg("g", { class: p.network }, svg("line", { class: "whisker", x1: x, x2: x, y1: py(p.low), y2: py(p.high) })), mark(p.network, x, py(p.accuracy), 5.5));
            if (p.network !== "sparse") continue;
            const right = x > (area.left + area.right) / 2, name = p.name.length > 18 ? `${p.name.slice(0, 17)}…` : p.name;
            const start = right ? x - 10 - 7 * name.length : x + 10;
            const free = (y) => taken.every((t) => Math.abs(t.y - y) > 14 || t.start > start + 7 * name.length || t.end < start);
            const y = [-8, 18, -24, 34, -40, 50].map((d) => py(p.accuracy) + d).find(free) ?? py(p.accuracy) - 8;
            taken.push({ y, start, end: start + 7 * name.length });
            root.append(svg("text", { x: x + (right ? -10 : 10), y, "text-anchor": right ? "end" : "start" }, name));
          }
        },
      });
    },
  };

  /** Bars between `from` and `to`: solid upwards, hollow downwards. */
  function bars(box, spec) {
    plot(box, {
      ...spec, stops: spec.bars.map((bar) => ({ x: (bar.from + bar.to) / 2, text: bar.text })),
      paint(root, px, py) {
        const group = svg("g", { class: "sparse" });
        spec.bars.forEach((bar, i) => {
          const x = px(bar.from), width = Math.max(0.5, px(bar.to) - x - Math.min(3, (px(bar.to) - x) * 0.2));
          if (bar.up > 0) group.append(svg("rect", { class: "bar", "data-stop": i, x, width, y: py(bar.up), height: py(0) - py(bar.up) }));
          if (bar.down > 0) group.append(svg("rect", { class: "bar hollow", "data-stop": i, x: x + 0.5, width: Math.max(0.5, width - 1), y: py(0), height: py(-bar.down) - py(0) }));
        });
        root.append(group);
      },
    });
  }

  const charts = [...document.querySelectorAll("[data-chart]")];
  const paint = (box) => { const [name, ...rest] = box.dataset.chart.split(":"); painters[name](box, ...rest); };
  const widths = new Map();
  const observer = new ResizeObserver((entries) => {
    if (matchMedia("print").matches) return; // the drawing scales as a whole on paper
    for (const { target } of entries) {
      if (widths.get(target) === target.clientWidth) continue;
      widths.set(target, target.clientWidth);
      paint(target);
    }
  });
  for (const box of charts) {
    widths.set(box, box.clientWidth);
    paint(box);
    observer.observe(box);
  }
  document.addEventListener("change", (event) => {
    const affected = { quantity: "curves", split: "curves", axis: "curves", cost: "tradeoff" }[event.target.name];
    for (const box of charts) if (box.dataset.chart === affected) paint(box);
  });
  document.addEventListener("scroll", hideTip, { passive: true });

  // ---- the connectivity: a map of pixels or ranked bars, one snapshot at a time ----

  if (data.connectivity) {
    const connectivity = data.connectivity, { cells, epochs } = connectivity;
    const unpack = ({ values, max }) => {
      const bytes = Uint8Array.from(atob(values), (c) => c.charCodeAt(0)), view = new DataView(bytes.buffer);
      return Float64Array.from({ length: bytes.length / 2 }, (_, i) => (view.getUint16(2 * i, true) / 65535) * max);
    };
    const metrics = { degree: unpack(connectivity.degree), strength: unpack(connectivity.strength) };
    const slider = document.getElementById("epoch"), play = document.getElementById("play");
    const canvas = document.getElementById("map"), ranked = document.getElementById("ranked");
    const say = (metric, v) => metric === "degree" ? number(Math.round(v)) : number(v);

    /** The colours of --map-0 to --map-3 as 256 RGB triples. */
    function ramp() {
      const style = getComputedStyle(document.documentElement);
      const stops = [0, 1, 2, 3].map((i) => style.getPropertyValue(`--map-${i}`).trim().match(/[0-9a-f]{2}/gi).map((h) => parseInt(h, 16)));
      return Array.from({ length: 256 }, (_, i) => {
        const t = (i / 255) * 3, k = Math.min(2, Math.floor(t));
        return stops[k].map((c, j) => c + (stops[k + 1][j] - c) * (t - k));
      });
    }

    function drawMap(values, metric) {
      const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
      const colours = ramp(), max = connectivity[metric].max || 1;
      values.forEach((v, i) => image.data.set([...colours[Math.round((v / max) * 255)], 255], 4 * i));
      context.putImageData(image, 0, 0);
      document.getElementById("ramp-top").textContent = say(metric, connectivity[metric].max);
    }

    const items = ranked ? connectivity.labels.map((label) => {
      const item = document.createElement("li"), [name, track, value] = ["span", "span", "span"].map((tag) => document.createElement(tag));
      name.className = "name";
      name.textContent = name.title = label;
      value.className = "value";
      track.append(document.createElement("i"));
      item.append(name, track, value);
      ranked.append(item);
      return { item, value, bar: track.firstChild };
    }) : [];

    function drawRanked(values, metric) {
      const order = [...values.keys()].sort((a, b) => values[b] - values[a] || a - b);
      order.forEach((cell, rank) => {
        const { item, value, bar } = items[cell], shown = rank < connectivity.ranked;
        item.style.transform = `translateY(${1.55 * Math.min(rank, connectivity.ranked)}rem)`;
        item.style.opacity = shown ? 1 : 0;
        item.setAttribute("aria-hidden", String(!shown));
        bar.style.transform = `scaleX(${values[cell] / (connectivity[metric].max || 1)})`;
        value.textContent = say(metric, values[cell]);
      });
    }

    function draw() {
      const metric = chosen("metric"), snapshot = +slider.value, epoch = epochs[snapshot];
      const values = metrics[metric].subarray(snapshot * cells, (snapshot + 1) * cells);
      const half = connectivity[metric].half[snapshot], what = metric === "degree" ? "connections leave" : "strength leaves";
      const place = epoch === 0 ? "Before training" : `After epoch ${epoch}`;
      const text = `${place}, half of all ${what} ${number(half)} of ${number(connectivity.features)} inputs (${percent(half / connectivity.features)}).`;
      if (canvas) {
        drawMap(values, metric);
        canvas.setAttribute("aria-label", `How strongly each input pixel is connected. ${text}`);
      } else drawRanked(values, metric);
      document.getElementById("connectivity-text").textContent = text;
      document.getElementById("epoch-text").textContent = `epoch ${epoch}`;
      slider.setAttribute("aria-valuetext", `epoch ${epoch}`);
    }

    let timer = 0;
    function stop() {
      clearInterval(timer);
      timer = 0;
      play.setAttribute("aria-pressed", "false");
      play.setAttribute("aria-label", "Play the epochs");
    }
    play.addEventListener("click", () => {
      if (timer) { stop(); return; }
      if (+slider.value === epochs.length - 1) slider.value = 0;
      play.setAttribute("aria-pressed", "true");
      play.setAttribute("aria-label", "Pause");
      draw();
      timer = setInterval(() => {
        slider.value = +slider.value + 1;
        draw();
        if (+slider.value >= epochs.length - 1) stop();
      }, Math.max(60, Math.min(450, 9000 / epochs.length)));
    });
    slider.addEventListener("input", () => { stop(); draw(); });
    for (const radio of document.querySelectorAll('input[name="metric"]')) radio.addEventListener("change", draw);
    for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", draw);
    if (canvas) {
      canvas.onpointermove = (event) => {
        const rect = canvas.getBoundingClientRect(), metric = chosen("metric");
        const column = Math.min(canvas.width - 1, Math.floor(((event.clientX - rect.left) / rect.width) * canvas.width));
        const row = Math.min(canvas.height - 1, Math.floor(((event.clientY - rect.top) / rect.height) * canvas.height));
        const value = metrics[metric][+slider.value * cells + row * canvas.width + column];
        showTip(`row ${row + 1}, column ${column + 1}\n${metric === "degree" ? "connections" : "strength"} ${say(metric, value)}`, event.clientX, event.clientY);
      };
      canvas.onpointerleave = hideTip;
    }
    draw();
  }
})();
