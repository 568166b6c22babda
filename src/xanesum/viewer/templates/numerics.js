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

// Every `stride`-th pixel of every `stride`-th row of an image.
function coarse(values, stride) {
  const rows = Math.ceil(nY / stride), columns = Math.ceil(nX / stride), out = new Float32Array(rows * columns);
  for (let y = 0, n = 0; y < nY; y += stride) for (let x = 0; x < nX; x += stride, n++) out[n] = values[y * nX + x];
  return { values: out, rows, columns };
}

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
    const image = images[name];
    let sum = 0;
    for (let i = 0; i < pixels.length; i++) sum += image[pixels[i]];
    return sum / pixels.length;
  });
}

// Variance of the mean of errors that neighbours share: at most that of one error for all pixels, and at
// most that of the noise that they come from.  For one pixel it is exact.
function fieldVariance(sizes, level, noise) {
  let same = 0, alone = 0;
  const { lost_detail: detail, most_alike: most } = header.alike, n = sizes.length;
  for (let i = 0; i < n; i++) {
    const size = sizes[i];
    let ratio = size > 0 ? noise * level[i] / size : 1;
    const removed = 1 - Math.min(1 / (ratio * ratio), 1);
    ratio = Math.min(Math.max(ratio * Math.sqrt(1 + detail * removed * removed), 1), most);
    same += size;
    alone += (size * ratio) ** 2;
  }
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

// Images of the independent sources of error, at some pixels.
function sourcesAt(pixels) {
  return header.sources.unmixing.map((row) => {
    const sum = new Float64Array(pixels.length);
    row.forEach((factor, k) => {
      const image = images[imageNames[k]];
      for (let i = 0; i < pixels.length; i++) sum[i] += factor * image[pixels[i]];
    });
    return sum;
  });
}
const sumOf = (values) => { let sum = 0; for (let i = 0; i < values.length; i++) sum += values[i]; return sum; };
const gathered = (image, pixels) => Float64Array.from(pixels, (p) => image[p]);

// Standard error of the mean spectrum of some pixels; NaN at energies that were not used.
function errorOf(pixels) {
  const count = pixels.length, variance = new Float64Array(nE);
  const level = images.pixel ? gathered(images.pixel, pixels) : new Float64Array(count).fill(1);
  const { n, basis, lost: lostShare, most_lost: mostLost, noise } = header.sources;
  const sources = sourcesAt(pixels);
  for (let s = 0; s < n; s++) {
    const size = gathered(images[`error${s}`], pixels);
    let lostSum = 0;
    for (let i = 0; i < count; i++) {
      const most = mostLost * size[i], lost = Math.min(Math.max(sources[s][i] * lostShare[s], -most), most);
      lostSum += lost;
      size[i] = Math.sqrt(Math.max(size[i] * size[i] - lost * lost, 0));
    }
    const ofMean = fieldVariance(size, level, noise[s]) + (lostSum / count) ** 2;
    for (let e = 0; e < nE; e++) variance[e] += ofMean * basis[s][e] ** 2;
  }
  for (const part of header.common) {
    let square;
    if (part.noise !== undefined) {
      square = fieldVariance(gathered(images[part.size], pixels), level, part.noise);
    } else {
      const values = part.size.startsWith("source") ? sources[Number(part.size.slice(6))]
        : part.size.startsWith("slope") ? Float64Array.from(pixels, (p) => slope(p, part.size)) : gathered(images[part.size], pixels);
      square = (sumOf(values) / count) ** 2;
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
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value >= low && value <= high) top[Math.min(n - 1, Math.floor((value - low) / (high - low) * n))]++;
  }
  const left = top.map((_, i) => low + (high - low) * i / n);
  return { left, right: left.map((value) => value + (high - low) / n), top };
}

return { header, images, nE, nY, nX, nP, K, unpack, load, frame, coarse, spectrumOf, meansOf, errorOf, pixelsWithin,
  percentiles, ordered, histogram };
})();
