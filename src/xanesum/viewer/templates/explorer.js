// The page: its controls, and how they change the plots.
"use strict";
window.explorer = (() => {
const x = window.xanesum, { header, images, nE, nY, nX, nP, K } = x;
const el = (id) => document.getElementById(id);
const FINE = 300000; // pixels that are drawn while the slider moves; all of them when it stops
const BINS = 100;
const state = { energy: 0, view: "frame", on: new Array(K).fill(true), pixel: null, region: null, shown: null,
  limits: {}, spectrum: {}, mask: null, isReady: false, timings: {} };
let doc = null;
const model = (name) => doc.get_model_by_name(name);
const number = (value, digits = 5) => Number.isFinite(value) ? String(Number(value.toPrecision(digits))) : "not known";
// a value with its error, as many decimals as the error has meaning
function measured(value, error) {
  if (!Number.isFinite(value)) return "no value";
  if (!(error > 0) || !Number.isFinite(error)) return `${number(value, 7)} (error not known)`;
  const decimals = Math.min(12, Math.max(0, 1 - Math.floor(Math.log10(error))));
  return `${value.toFixed(decimals)} ± ${error.toFixed(decimals)}`;
}
const unit = (text) => text ? ` ${text}` : "";
const mapUnit = header.map ? unit(header.map.unit) : "";

// --- drawing

function drawImage(plot, { values, rows, columns }, limits) {
  const source = model(`${plot}_source`), Shaped = source.data.image[0].constructor;
  source.data = { image: [new Shaped(values.buffer, [rows, columns])] };
  const colours = model(`${plot}_colours`);
  if (colours.low !== limits[0] || colours.high !== limits[1]) colours.setv({ low: limits[0], high: limits[1] });
}

function viewed(stride) {
  if (state.view === "frame") return x.frame(state.energy, state.on, stride);
  const [kind, n] = state.view.split(" ");
  const whole = (values) => ({ values: Float32Array.from(values), rows: nY, columns: nX });
  if (kind === "component") return whole(images[`image${n}`]);
  if (kind === "error") return whole(images[`error${n}`]);
  if (kind === "step") return whole(images.step);
  if (kind === "mapped") return whole(state.mask ? images.map_sigma.map((v, p) => state.mask[p] ? v : NaN) : images.map_sigma);
  return null; // of the server
}

function limitsOf(view, values) {
  const key = view === "frame" ? `frame ${state.on}` : view;
  if (view === "frame" && allOn() && !state.limits[key]) state.limits[key] = header.limits;
  if (!state.limits[key]) {
    let some = values;
    if (view === "frame") { // the same at all energies
      some = [];
      const stride = Math.max(1, Math.floor(Math.sqrt(nP / 20000)));
      for (let n = 0; n < 12; n++) some.push(...x.frame(Math.round(n * (nE - 1) / 11), state.on, stride).values);
    }
    let limits = x.percentiles(some, 0.3, 99.7);
    if (view === "residual") { const most = Math.max(...limits.map(Math.abs)); limits = [-most, most]; }
    state.limits[key] = limits;
  }
  return state.limits[key];
}

const FAST = Math.max(1, Math.ceil(Math.sqrt(nP / FINE)));
let later = null, mapLater = null, asked = 0;
function showImage(isMoving = false) {
  const started = performance.now();
  const stride = isMoving ? FAST : 1;
  const image = viewed(stride);
  el("energy-text").textContent = `${header.energy[state.energy].toFixed(2)} eV (${state.energy + 1} of ${nE})`;
  const line = model("spectra_energy");
  line.setv({ location: header.energy[state.energy], visible: true });
  if (image) finishImage(image); else if (!isMoving) askFrame();
  clearTimeout(later);
  if (isMoving && stride > 1 || isMoving && !image) later = setTimeout(() => showImage(), 150);
  state.timings.frame = performance.now() - started;
}
function finishImage(image) {
  const limits = limitsOf(state.view, image.values);
  drawImage("image", image, limits);
  state.shown = image;
  if (document.activeElement !== el("image-low")) el("image-low").value = number(limits[0], 4);
  if (document.activeElement !== el("image-high")) el("image-high").value = number(limits[1], 4);
  const bar = state.view === "residual" ? "residual / noise" : state.view === "mapped" ? `error${mapUnit}` : header.quantity;
  if (model("image_bar").title !== bar) model("image_bar").title = bar;
  el("panel-image").dataset.view = state.view;
}
async function askFrame() {
  const turn = ++asked, kind = state.view;
  const answer = await ask(`frame?kind=${kind}&energy=${state.energy}`);
  if (!answer || turn !== asked || kind !== state.view) return;
  const values = await x.unpack(answer.text, answer);
  finishImage({ values, rows: nY, columns: nX });
}

function showMap(isMoving = false) {
  if (!header.map) return;
  const started = performance.now();
  const { map, step, map_sigma: sigma } = images;
  const atLeast = fromSlider("least-step"), atMost = fromSlider("most-error");
  state.mask = new Uint8Array(nP);
  const out = new Float32Array(nP), kept = new Float64Array(nP), hasError = header.map.has_error;
  let n = 0;
  for (let p = 0; p < nP; p++) {
    const isIn = !Number.isNaN(map[p]) && step[p] >= atLeast && (!hasError || sigma[p] <= atMost);
    state.mask[p] = isIn ? 1 : 0;
    out[p] = isIn ? map[p] : NaN;
    if (isIn) kept[n++] = map[p];
  }
  state.kept = kept.subarray(0, n);
  if (state.region && state.region.mask !== `${atLeast} ${atMost}`) delete state.region.exactState;
  if (state.region) state.region.mask = `${atLeast} ${atMost}`;
  if (!state.limits.map) state.limits.map = x.percentiles(state.kept, 1, 99);
  const [low, high] = state.limits.map, stride = isMoving ? FAST : 1;
  drawImage("map", stride > 1 ? x.coarse(out, stride) : { values: out, rows: nY, columns: nX }, state.limits.map);
  clearTimeout(mapLater);
  if (stride > 1) mapLater = setTimeout(() => showMap(), 200);
  if (document.activeElement !== el("map-low")) el("map-low").value = number(low, 7);
  if (document.activeElement !== el("map-high")) el("map-high").value = number(high, 7);
  el("mask-text").textContent = `${state.kept.length} of ${nP} pixels have a value`;
  showHistogram();
  showFound();
  state.timings.map = performance.now() - started;
}

function showHistogram() {
  const [low, high] = state.wide ??= widened(x.percentiles(state.kept, 0.2, 99.8));
  state.histogram = x.histogram(state.kept, low, high, BINS);
  model("histogram_source").data = state.histogram;
  const inRegion = state.region ? Array.from(state.region.pixels).filter((p) => state.mask[p]).map((p) => images.map[p]) : [];
  model("histogram_region").data = x.histogram(inRegion, low, high, BINS);
  model("histogram_low").setv({ location: state.limits.map[0], visible: true });
  model("histogram_high").setv({ location: state.limits.map[1], visible: true });
}
const widened = ([low, high]) => [low - 0.15 * (high - low), high + 0.15 * (high - low)];

// --- spectra

function band(values, sigma) {
  const known = (n) => sigma && Number.isFinite(sigma[n]) ? sigma[n] : 0;
  return { x: header.energy, y: Array.from(values), low: Array.from(values, (v, n) => v - known(n)),
    high: Array.from(values, (v, n) => v + known(n)) };
}
const nothing = { x: [], y: [], low: [], high: [] };
const allOn = () => state.on.every(Boolean);

// Compute a spectrum in the page; the server, if there is one, then gives the exact errors.
function spectrumFor(name, pixels) {
  const means = x.meansOf(pixels);
  const sigma = allOn() && images.errors ? x.errorOf(pixels) : null;
  state.spectrum[name] = { values: x.spectrumOf(means, state.on), sigma, isExact: pixels.length === 1 };
  model(`${name}_spectrum`).data = band(state.spectrum[name].values, sigma);
}
function drawSpectra() {
  const started = performance.now();
  const { pixel, region } = state;
  if (pixel) spectrumFor("pixel", [pixel.p]); else { model("pixel_spectrum").data = nothing; delete state.spectrum.pixel; }
  if (region) spectrumFor("region", region.pixels); else { model("region_spectrum").data = nothing; delete state.spectrum.region; }
  drawReferences();
  showFound();
  if (header.served) askSpectra();
  state.timings.spectra = performance.now() - started;
}
function drawReferences() {
  const shown = state.spectrum.region || state.spectrum.pixel;
  const edge = header.map && header.map.e0_ev;
  Object.values(header.references).forEach((curve, n) => {
    if (!shown || edge === null) { model(`reference${n}`).data = { x: [], y: [] }; return; }
    const before = [], beyond = [];
    header.energy.forEach((e, i) => { if (e < edge - 10) before.push(shown.values[i]); else if (e > edge + 15) beyond.push(shown.values[i]); });
    const mean = (list) => list.length ? list.reduce((a, b) => a + b) / list.length : 0;
    const low = before.length ? mean(before) : shown.values[0], step = (beyond.length ? mean(beyond) : shown.values[nE - 1]) - low;
    const inside = curve.energy.map((e, i) => [e, curve.values[i]]).filter(([e]) => e >= header.energy[0] && e <= header.energy[nE - 1]);
    model(`reference${n}`).data = { x: inside.map((c) => c[0]), y: inside.map((c) => low + step * c[1]) };
  });
}

function showFound() {
  const { pixel, region, spectrum } = state;
  const place = (name, value) => model(`spectra_${name}`)?.setv({ location: Number.isFinite(value) ? value : 0,
    visible: Boolean(header.map && header.map.is_energy && Number.isFinite(value)) });
  let ofPixel = NaN, ofRegion = NaN;
  el("pixel-text").textContent = pixel ? textOfPixel(pixel) : "none chosen";
  if (pixel && header.map && images.map) ofPixel = images.map[pixel.p];
  if (region && header.map && state.mask) {
    region.state = stateOf(region);
    ofRegion = region.state.mean;
  }
  el("region-text").textContent = region ? textOfRegion(region, spectrum.region) : "none drawn";
  el("exact-state").hidden = !(header.served && region && header.map && header.map.has_error);
  place("state", ofPixel);
  place("state_region", ofRegion);
}
function textOfPixel({ p, px, py }) {
  const lines = [`y = ${py}, x = ${px}`];
  if (header.map && images.map)
    lines.push(Number.isFinite(images.map[p])
      ? `${header.map.label}: ${measured(images.map[p], images.map_sigma[p])}${mapUnit}` + (state.mask && !state.mask[p] ? " (outside the mask)" : "")
      : `${header.map.label}: no value`);
  lines.push(`at ${header.energy[state.energy].toFixed(2)} eV: ${textAt("pixel")}`);
  return lines.join("\n");
}
function textAt(name) {
  const { values, sigma, isExact } = state.spectrum[name];
  const text = sigma ? measured(values[state.energy], sigma[state.energy]) : `${number(values[state.energy])} (chosen components)`;
  return text + (sigma && !isExact ? " (at most)" : "");
}
function stateOf(region) {
  let sum = 0, error = 0, squares = 0, n = 0;
  for (const p of region.pixels) if (state.mask[p]) { sum += images.map[p]; error += images.map_sigma[p]; n++; }
  for (const p of region.pixels) if (state.mask[p]) squares += (images.map[p] - sum / n) ** 2;
  return { n, mean: n ? sum / n : NaN, most: n && header.map.has_error ? error / n : NaN, spread: n ? Math.sqrt(squares / n) : NaN };
}
function textOfRegion(region, spectrum) {
  const lines = [`${region.pixels.length} pixels`];
  if (region.state && region.state.n) {
    const { n, mean, most, spread } = region.state, exact = region.exactState;
    const text = exact ? `${measured(exact.mean, exact.sigma)}${mapUnit} (exact, ${exact.n} pixels)` : `${measured(mean, most)}${mapUnit}` + (most > 0 ? " (error at most)" : "");
    lines.push(`mean ${header.map.label}: ${text}`, `${n} pixels with a value; standard deviation between them ${number(spread, 3)}${mapUnit}`);
  }
  if (spectrum) lines.push(`at ${header.energy[state.energy].toFixed(2)} eV: ${textAt("region")}`);
  return lines.join("\n");
}

// --- pixels and regions

function pixelAt(event) {
  const px = Math.round(event.x), py = Math.round(event.y);
  if (!(px >= 0 && px < nX && py >= 0 && py < nY)) return null;
  return { px, py, p: py * nX + px };
}
function choosePixel(pixel) {
  if (!pixel) return;
  if (!(images.mask[pixel.p] > 0.5)) { tell(`pixel y = ${pixel.py}, x = ${pixel.px} is masked: it has no spectrum`); return; }
  tell("");
  state.pixel = pixel;
  for (const plot of ["image", "map"]) { const mark = model(`${plot}_mark`); if (mark) mark.data = { x: [pixel.px], y: [pixel.py] }; }
  model("hover_spectrum").data = { x: [], y: [] };
  delete state.measured;
  model("measured_spectrum").data = { x: [], y: [] };
  drawSpectra();
}
function chooseRegion(xs, ys) {
  const pixels = x.pixelsWithin(xs, ys);
  if (!pixels.length) { tell("no usable pixel lies within the region"); return; }
  tell("");
  state.region = { xs, ys, pixels, mask: header.map && state.kept ? `${fromSlider("least-step")} ${fromSlider("most-error")}` : "" };
  for (const plot of ["image", "map"]) { const outline = model(`${plot}_outline`); if (outline) outline.data = { x: xs, y: ys }; }
  drawSpectra();
  if (header.map && state.kept) showHistogram();
}
function clear() {
  Object.assign(state, { pixel: null, region: null });
  for (const plot of ["image", "map"]) for (const kind of ["mark", "outline"]) { const source = model(`${plot}_${kind}`); if (source) source.data = { x: [], y: [] }; }
  model("measured_spectrum").data = { x: [], y: [] };
  delete state.measured;
  tell("");
  drawSpectra();
  if (header.map) showHistogram();
}
function tell(text) { el("problem").textContent = text; el("problem").hidden = !text; }

let waiting = null;
function hovered(event) {
  const isQueued = waiting !== null;
  waiting = event;
  if (!isQueued) requestAnimationFrame(() => {
    const pixel = waiting && state.isReady ? pixelAt(waiting) : null;
    waiting = null;
    if (pixel && images.mask[pixel.p] > 0.5)
      model("hover_spectrum").data = { x: header.energy, y: Array.from(x.spectrumOf(x.meansOf([pixel.p]), state.on)) };
  });
}
function drawn(event) {
  if (!event.final) return;
  const { type, x0, x1, y0, y1, x: xs, y: ys } = event.geometry;
  if (type === "rect") chooseRegion([x0, x1, x1, x0], [y0, y0, y1, y1]);
  else if (type === "poly" && xs.length > 2) chooseRegion(Array.from(xs), Array.from(ys));
}
function limited(event) {
  if (!event.final || event.geometry.type !== "rect") return;
  setLimits("map", Math.min(event.geometry.x0, event.geometry.x1), Math.max(event.geometry.x0, event.geometry.x1));
}
function setLimits(plot, low, high) {
  if (!(low < high)) { tell("the lower limit must be below the upper one"); return; }
  tell("");
  state.limits[plot === "map" ? "map" : state.view === "frame" ? `frame ${state.on}` : state.view] = [low, high];
  if (plot === "map") showMap(); else showImage();
}

// --- the server

async function ask(path, body) {
  try {
    const answer = await fetch(path, body ? { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } } : {});
    const content = await answer.json();
    if (!answer.ok) { tell(content.error); return null; }
    return content;
  } catch (problem) { tell(`the server does not answer (${problem.message}); was it ended?`); return null; }
}
let turn = 0;
async function askSpectra() {
  const mine = ++turn, { pixel, region } = state;
  if (!allOn()) return;
  if (pixel) {
    const { p, px, py } = pixel;
    const exact = await ask(`spectrum?y=${py}&x=${px}`);
    if (mine !== turn || !exact) return;
    takeExact("pixel", exact);
    if (header.served.raw && state.measured?.p !== p) {
      const raw = await ask(`measured?y=${py}&x=${px}`);
      if (mine !== turn || !raw) return;
      state.measured = { p, values: raw.values };
      model("measured_spectrum").data = { x: header.energy, y: raw.values.map((v) => v ?? NaN) };
    }
  }
  if (region) {
    const exact = await ask("region", { corners: region.ys.map((y, n) => [y, region.xs[n]]) });
    if (mine !== turn || !exact) return;
    takeExact("region", exact);
  }
}
function takeExact(name, { spectrum, sigma }) {
  const values = Float64Array.from(spectrum), errors = Float64Array.from(sigma, (v) => v ?? NaN);
  state.spectrum[name] = { values, sigma: errors, isExact: true };
  model(`${name}_spectrum`).data = band(values, errors);
  showFound();
}
async function askState() {
  const { region } = state, asOf = region.mask;
  el("exact-state").disabled = true;
  el("exact-state").textContent = "computing";
  const finite = (value) => Number.isFinite(value) ? value : null;
  const exact = await ask("state", { corners: region.ys.map((y, n) => [y, region.xs[n]]),
    least_step: finite(fromSlider("least-step")), most_error: finite(fromSlider("most-error")) });
  el("exact-state").disabled = false;
  el("exact-state").textContent = "compute the error of the mean state exactly";
  if (exact && region === state.region && asOf === region.mask) { region.exactState = exact; showFound(); }
}

// --- exports

function csvOf(plot) {
  const head = [`# ${header.title}`, `# quantity: ${header.quantity}`];
  const cell = (value) => value === undefined || value === null || !Number.isFinite(value) ? "" : String(Number(value.toPrecision(9)));
  const table = (titles, columns) => [...head, titles.join(","), ...columns[0].map((_, n) => columns.map((c) => cell(c[n])).join(","))].join("\n") + "\n";
  const grid = (values, columns) => [...head, ...Array.from({ length: values.length / columns }, (_, y) => Array.from(values.subarray(y * columns, (y + 1) * columns), cell).join(","))].join("\n") + "\n";
  if (plot === "spectra") {
    const titles = ["energy_ev"], columns = [header.energy];
    const add = (title, values) => { titles.push(title); columns.push(Array.from(values)); };
    for (const [name, { values, sigma, isExact }] of Object.entries(state.spectrum)) {
      if (name === "pixel") head.push(`# pixel: y = ${state.pixel.py}, x = ${state.pixel.px}`);
      else head.push(`# region: ${state.region.pixels.length} pixels; corners (y x): ${state.region.ys.map((y, n) => `${number(y, 8)} ${number(state.region.xs[n], 8)}`).join("; ")}`);
      if (name === "region" && state.region.state) head.push(`# region: mean ${header.map.label} ${textOfRegion(state.region).split("\n")[1].split(": ").pop()}, ${state.region.state.n} pixels with a value`);
      if (!isExact && sigma) head.push(`# ${name}_error: at most this large; xanesum view gives it exactly`);
      if (!allOn()) head.push(`# components: ${state.on.map((isOn, k) => isOn ? k + 1 : 0).filter(Boolean).join(" ") || "none"}`);
      add(name, values);
      if (sigma) add(`${name}_error`, sigma);
    }
    if (state.measured && state.pixel) add("pixel_measured", state.measured.values);
    return table(titles, columns);
  }
  if (plot === "components") return table(["energy_ev", ...header.spectra.map((_, k) => `component_${k + 1}`)], [header.energy, ...header.spectra]);
  if (plot === "histogram") return table(["from", "to", "pixels"], [state.histogram.left, state.histogram.right, state.histogram.top]);
  if (plot === "map") {
    head.push(`# ${header.map.label}${mapUnit ? ` in${mapUnit}` : ""}; a line for each y`);
    return grid(images.map.map((v, p) => state.mask[p] ? v : NaN), nX);
  }
  head.push(`# ${state.view} at ${header.energy[state.energy]} eV; a line for each y`);
  return grid(state.shown.values, state.shown.columns);
}
function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
async function exportPlot(plot, kind) {
  const name = `${plot}.${kind}`;
  if (kind === "csv") { save(new Blob([csvOf(plot)], { type: "text/csv" }), name); return; }
  const isVector = model(plot).output_backend === "svg";
  const drawn = await viewOf(plot).export(isVector ? "svg" : "png").to_blob();
  save(isVector && kind === "png" ? await rastered(drawn) : drawn, name);
}
async function rastered(drawing) { // three pixels per pixel of the screen: enough for print
  const image = new Image(), address = URL.createObjectURL(drawing);
  await new Promise((done, failed) => Object.assign(image, { onload: done, onerror: failed, src: address }));
  const canvas = Object.assign(document.createElement("canvas"), { width: 3 * image.width, height: 3 * image.height });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(address);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}
const viewOf = (plot) => window.Bokeh.index.find_one(model(plot));

// --- controls

const sliders = {};
function fromSlider(id) {
  const { low, high } = sliders[id], at = Number(el(id).value) / 1000;
  if (id === "most-error" && at === 1) return Infinity;
  if (id === "least-step" && at === 0) return -Infinity;
  return sliders[id].isLog ? low * (high / low) ** at : low + at * (high - low);
}
function setSlider(id, values, isLog) {
  const sorted = x.ordered(values);
  const low = sorted[Math.floor(0.001 * sorted.length)] ?? 0, high = sorted[sorted.length - 1] ?? 1;
  sliders[id] = { low: isLog ? Math.max(low, 1e-9 * high) : low, high, isLog };
}
function sliderText(id) {
  const value = fromSlider(id);
  el(`${id}-text`).textContent = Number.isFinite(value) ? number(value, 3) + (id === "most-error" ? mapUnit : "") : "any";
}
function theme(isDark) {
  document.documentElement.classList.toggle("dark", isDark);
  const [text, soft, page] = isDark ? ["#e8e8e8", "#565b64", "#1e2126"] : ["#1a1a1a", "#dcdcdc", "#ffffff"];
  for (const name of ["image", "map", "histogram", "spectra", "components"]) {
    const plot = model(name);
    if (!plot) continue;
    plot.setv({ background_fill_color: page, border_fill_color: page, outline_line_color: soft });
    for (const side of [...plot.below, ...plot.left, ...plot.right, ...plot.center]) {
      const can = (key, value) => { if (key in side.properties) side[key] = value; };
      for (const key of ["axis_label_text_color", "major_label_text_color", "axis_line_color", "major_tick_line_color",
        "minor_tick_line_color", "title_text_color", "label_text_color", "bar_line_color"]) can(key, text);
      can("grid_line_color", plot.name === "image" || plot.name === "map" ? null : soft);
      can("background_fill_color", page);
      can("border_line_color", soft);
    }
  }
}
function connect() {
  const views = [["frame", "frame, denoised"]];
  if (header.served?.raw) views.push(["measured", "frame, measured"], ["residual", "residual, in units of its noise"]);
  for (let k = 0; k < K; k++) views.push([`component ${k}`, `image of component ${k + 1}`]);
  for (let s = 0; s < header.sources.n; s++) views.push([`error ${s}`, header.sources.n === K ? `error of image ${s + 1}` : `source of error ${s + 1}`]);
  if (header.map) views.push(["step", "edge step"]);
  if (header.map?.has_error) views.push(["mapped", "error of the map"]);
  el("view").replaceChildren(...views.map(([value, text]) => new Option(text, value)));
  el("view").onchange = () => { state.view = el("view").value; showImage(); };
  el("energy").oninput = () => { state.energy = Number(el("energy").value); showImage(true); showFound(); };
  for (let k = 0; k < K; k++) {
    const label = document.createElement("label"), box = document.createElement("input");
    Object.assign(box, { type: "checkbox", checked: true, id: `part-${k}` });
    box.onchange = () => { state.on[k] = box.checked; model(`component_line${k}`).glyph.line_alpha = box.checked ? 1 : 0.15; showImage(); drawSpectra(); };
    label.style.borderBottom = `3px solid ${header.colours[k % header.colours.length]}`;
    label.append(box, String(k + 1));
    el("parts").append(label);
  }
  for (const plot of ["image", "map"]) {
    if (!el(`${plot}-low`)) continue;
    for (const end of ["low", "high"]) el(`${plot}-${end}`).onchange = () => setLimits(plot, Number(el(`${plot}-low`).value), Number(el(`${plot}-high`).value));
    el(`${plot}-auto`).onclick = () => { if (plot === "map") { delete state.limits.map; showMap(); } else { state.limits = { map: state.limits.map }; showImage(); } };
  }
  if (header.map) {
    for (const id of ["least-step", "most-error"]) el(id).oninput = () => { sliderText(id); showMap(true); };
    if (!header.map.has_error) el("most-error").parentElement.hidden = true;
    el("palette").replaceChildren(...Object.keys(header.palettes).map((name) => new Option(name, name)));
    el("palette").onchange = () => { model("map_colours").palette = header.palettes[el("palette").value]; };
  }
  el("clear").onclick = clear;
  el("exact-state").onclick = askState;
  for (const button of document.querySelectorAll("[data-plot]")) button.onclick = () => exportPlot(button.dataset.plot, button.dataset.as);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  el("theme").onclick = () => theme(!document.documentElement.classList.contains("dark"));
  dark.onchange = () => theme(dark.matches);
  theme(dark.matches);
}

async function start() {
  const loaded = Promise.all(["mask", ...Array.from({ length: K }, (_, k) => `image${k}`)].map((name) => x.load(name)));
  while (!(window.Bokeh?.documents.length && window.Bokeh.documents[0].get_model_by_name("spectra") && window.Bokeh.index.find_one(window.Bokeh.documents[0].get_model_by_name("spectra"))))
    await new Promise((done) => setTimeout(done, 5));
  doc = window.Bokeh.documents[0];
  connect();
  await loaded;
  const edge = header.map?.e0_ev;
  if (Number.isFinite(edge)) model("spectra_edge").setv({ location: edge, visible: true });
  state.energy = Number.isFinite(edge) ? Math.max(0, header.energy.findIndex((e) => e > edge + 5)) : Math.floor(nE / 2);
  el("energy").value = state.energy;
  showImage(true);
  state.timings.picture = performance.now();
  if (header.map) {
    await Promise.all([x.load("map", Float64Array), x.load("map_sigma"), x.load("step")]);
    setSlider("least-step", images.step, false);
    setSlider("most-error", images.map_sigma.filter((v, p) => Number.isFinite(images.map[p])), true);
    sliderText("least-step");
    sliderText("most-error");
    showMap(true);
  }
  state.timings.map_picture = performance.now();
  await Promise.all(Object.keys(header.images).map((name) => x.load(name)));
  images.errors = true;
  state.isReady = true;
  state.timings.ready = performance.now();
  drawSpectra();
  document.documentElement.dataset.ready = "yes";
}

start().catch((problem) => tell(`the page cannot be shown: ${problem.message}`));
return { state, tapped: (event) => choosePixel(state.isReady ? pixelAt(event) : null), hovered, drawn, limited,
  left: () => { if (doc && state.isReady) model("hover_spectrum").data = { x: [], y: [] }; },
  energy_tapped: (event) => {
    let best = 0;
    header.energy.forEach((e, n) => { if (Math.abs(e - event.x) < Math.abs(header.energy[best] - event.x)) best = n; });
    state.energy = best; el("energy").value = best; showImage(); showFound();
  }, csvOf, choosePixel, chooseRegion };
})();
