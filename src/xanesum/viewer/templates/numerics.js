// What the page computes from the images and spectra it holds.  Names are those of docs/explore.md.
"use strict";
window.xanesum = (() => {
const header = JSON.parse(document.getElementById("header").textContent);
const [nE, nY, nX] = header.shape;
const nP = nY * nX;
const K = header.rank;
const images = {};

// Undo packing.py: text -> compressed planes of bytes -> differences -> values.
async function unpack(text, how, Kind = Float32Array) {
  const raw = atob(text.trim());
  const bytes = new Uint8Array(raw.length);
  for (let n = 0; n < raw.length; n++) bytes[n] = raw.charCodeAt(n);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const block = how.block, rows = Math.ceil(nY / block), columns = Math.ceil(nX / block), size = rows * columns;
  const codes = new Uint16Array(size);
  for (let y = 0, p = 0; y < rows; y++) {
    let left = 0;
    for (let x = 0; x < columns; x++, p++) {
      const folded = planes[p] | planes[size + p] << 8;
      const above = y ? codes[p - columns] : 0;
      left = codes[p] = ((folded >> 1) ^ -(folded & 1)) + ((left + above) >> 1) & 65535;
    }
  }
  const small = new Kind(size), values = block > 1 ? new Kind(nP) : small;
  if (how.log) {
    const table = new Float64Array(65536);
    const top = codes.reduce((most, code) => code > most ? code : most, 0);
    for (let code = 1; code <= top; code++) table[code] = Math.exp(how.first + how.step * (code - 1));
    for (let p = 0; p < size; p++) small[p] = table[codes[p]];
  } else {
    for (let p = 0; p < size; p++) small[p] = codes[p] ? how.first + how.step * (codes[p] - 1) : NaN;
  }
  if (block > 1)
    for (let y = 0, p = 0; y < nY; y++) {
      const row = Math.floor(y / block) * columns;
      for (let x = 0; x < nX; x++, p++) values[p] = small[row + Math.floor(x / block)];
    }
  return values;
}

async function load(name, Kind = Float32Array) {
  const element = document.getElementById(`data-${name}`);
  if (element) {
    images[name] = await unpack(element.textContent, header.images[name], Kind);
    element.remove();
  }
  return images[name];
}

// Sum of images with weights; every `stride`-th pixel of every `stride`-th row.
function combine(weights, names, stride = 1) {
  const rows = Math.ceil(nY / stride), columns = Math.ceil(nX / stride);
  const out = new Float32Array(rows * columns);
  names.forEach((name, k) => {
    const weight = weights[k], image = images[name];
    if (!weight) return;
    if (stride === 1) {
      for (let p = 0; p < nP; p++) out[p] += weight * image[p];
      return;
    }
    for (let y = 0, n = 0; y < nY; y += stride)
      for (let x = 0; x < nX; x += stride, n++) out[n] += weight * image[y * nX + x];
  });
  return { values: out, rows, columns };
}

const imageNames = Array.from({ length: K }, (_, k) => `image${k}`);

function frame(e, on, stride) {
  return combine(header.spectra.map((row, k) => on[k] ? row[e] : 0), imageNames, stride);
}

function spectrumOf(means, on) {
  const out = new Float64Array(nE);
  for (let k = 0; k < K; k++)
    if (on[k]) for (let e = 0; e < nE; e++) out[e] += means[k] * header.spectra[k][e];
  return out;
}

function meansOf(pixels) {
  return imageNames.map((name) => {
    let sum = 0;
    for (const p of pixels) sum += images[name][p];
    return sum / pixels.length;
  });
}

// Variance of the mean of errors that neighbours share: at most that of one error for all pixels, and at
// most that of the noise that they come from.  For one pixel it is exact.
function fieldVariance(pixels, sizeOf, noiseOf) {
  let same = 0, alone = 0;
  const { lost_detail: detail, most_alike: most } = header.alike;
  for (const p of pixels) {
    const size = sizeOf(p);
    let ratio = size > 0 ? noiseOf(p) / size : 1;
    const removed = 1 - Math.min(1 / (ratio * ratio), 1);
    ratio = Math.min(Math.max(ratio * Math.sqrt(1 + detail * removed * removed), 1), most);
    same += size;
    alone += (size * ratio) ** 2;
  }
  const n = pixels.length;
  return Math.min((same / n) ** 2, alone / (n * n));
}

function slope(p, along) {
  const image = images.image0, inside = images.mask;
  if (!(inside[p] > 0.5)) return 0;
  const [step, here, count] = along === "slope_y" ? [nX, Math.floor(p / nX), nY] : [1, p % nX, nX];
  if (count < 2) return 0;
  if (here === 0) return image[p + step] - image[p];
  if (here === count - 1) return image[p] - image[p - step];
  return (image[p + step] - image[p - step]) / 2;
}

function sourceAt(s, p) {
  let sum = 0;
  for (let k = 0; k < K; k++) sum += header.sources.unmixing[s][k] * images[`image${k}`][p];
  return sum;
}

// Standard error of the mean spectrum of some pixels; NaN at energies that were not used.
function errorOf(pixels) {
  const variance = new Float64Array(nE);
  const level = images.pixel ? (p) => images.pixel[p] : () => 1;
  const { n, basis, lost, most_lost: mostLost, noise } = header.sources;
  const total = new Array(n).fill(0);
  for (let s = 0; s < n; s++) {
    const error = images[`error${s}`];
    const lostAt = (p) => {
      const most = mostLost * error[p];
      return Math.min(Math.max(sourceAt(s, p) * lost[s], -most), most);
    };
    let lostSum = 0;
    for (const p of pixels) { lostSum += lostAt(p); total[s] += sourceAt(s, p); }
    const field = fieldVariance(pixels, (p) => Math.sqrt(Math.max(error[p] ** 2 - lostAt(p) ** 2, 0)),
      (p) => noise[s] * level(p));
    const ofMean = field + (lostSum / pixels.length) ** 2;
    for (let e = 0; e < nE; e++) variance[e] += ofMean * basis[s][e] ** 2;
  }
  for (const part of header.common) {
    let square;
    if (part.noise !== undefined) {
      square = fieldVariance(pixels, (p) => images[part.size][p], (p) => part.noise * level(p));
    } else {
      let sum = 0;
      if (part.size.startsWith("source")) sum = total[Number(part.size.slice(6))];
      else if (part.size.startsWith("slope")) for (const p of pixels) sum += slope(p, part.size);
      else for (const p of pixels) sum += images[part.size][p];
      square = (sum / pixels.length) ** 2;
    }
    for (let e = 0; e < nE; e++) variance[e] += square * part.variance[e];
  }
  return Float64Array.from(variance, (value, e) => header.used[e] ? Math.sqrt(value) : NaN);
}

// Usable pixels whose middle lies within a polygon.
function pixelsWithin(xs, ys) {
  const found = [];
  const first = Math.max(0, Math.ceil(Math.min(...ys))), last = Math.min(nY - 1, Math.floor(Math.max(...ys)));
  for (let y = first; y <= last; y++) {
    const cuts = [];
    for (let i = 0, j = xs.length - 1; i < xs.length; j = i++)
      if ((ys[i] > y) !== (ys[j] > y)) cuts.push(xs[i] + (y - ys[i]) / (ys[j] - ys[i]) * (xs[j] - xs[i]));
    cuts.sort((a, b) => a - b);
    for (let c = 0; c + 1 < cuts.length; c += 2) {
      const end = Math.min(nX - 1, Math.floor(cuts[c + 1]));
      for (let x = Math.max(0, Math.ceil(cuts[c])); x <= end; x++)
        if (images.mask[y * nX + x] > 0.5) found.push(y * nX + x);
    }
  }
  return Uint32Array.from(found);
}

// Some values in order, at most about 200 000 of them, for percentiles.
function ordered(values) {
  const stride = Math.max(1, Math.floor(values.length / 2e5)) | 1, some = [];
  for (let n = 0; n < values.length; n += stride) if (Number.isFinite(values[n])) some.push(values[n]);
  return Float64Array.from(some).sort();
}

function percentiles(values, low, high) {
  const some = ordered(values);
  if (!some.length) return [0, 1];
  const at = (share) => some[Math.min(some.length - 1, Math.floor(share / 100 * some.length))];
  const limits = [at(low), at(high)];
  return limits[1] > limits[0] ? limits : [limits[0] - 0.5, limits[0] + 0.5];
}

function histogram(values, low, high, n) {
  const top = new Array(n).fill(0);
  for (const value of values)
    if (value >= low && value <= high) top[Math.min(n - 1, Math.floor((value - low) / (high - low) * n))]++;
  const left = top.map((_, i) => low + (high - low) * i / n);
  return { left, right: left.map((value) => value + (high - low) / n), top };
}

return { header, images, nE, nY, nX, nP, K, unpack, load, frame, spectrumOf, meansOf, errorOf, pixelsWithin,
  percentiles, ordered, histogram };
})();
