"use strict";
// What all views share: the data, elements, links.
const PureLens = {
  _data: new Map(),
  _files: new Map(),
  _waiting: new Map(),
  _nonce: document.currentScript.nonce, // the page's content policy lets no other script run

  /** Called by the scripts that hold data. */
  add(key, values) {
    this._data.set(key, values);
    for (const resolve of this._waiting.get(key) || []) resolve(values);
    this._waiting.delete(key);
  },

  /** Called by the explorer in one file for each picture. */
  add_file(path, url) {
    this._files.set(path, url);
  },

  /** Whether everything is in this file. */
  get inOneFile() {
    return this._files.size > 0;
  },

  /** Address of a picture; null if this file does not have it. */
  url(path) {
    if (this.inOneFile) return this._files.get(path) || null;
    return path.split("/").map(encodeURIComponent).join("/");
  },

  /** The data of a key, loaded at the first request. */
  load(key) {
    if (this._data.has(key)) return Promise.resolve(this._data.get(key));
    if (this.inOneFile) return Promise.resolve(null);
    return new Promise((resolve) => {
      if (this._waiting.has(key)) return void this._waiting.get(key).push(resolve);
      this._waiting.set(key, [resolve]);
      const failed = () => {
        for (const missing of this._waiting.get(key) || []) missing(null);
        this._waiting.delete(key);
      };
      const loaded = () => {
        if (this._waiting.has(key)) failed(); // it holds the data of another key
      };
      this.script(this.url(key + ".js"), loaded, failed);
    });
  },

  /** Run a script beside the page. */
  script(url, loaded, failed) {
    const script = document.createElement("script");
    script.nonce = this._nonce;
    script.onload = () => {
      script.remove();
      loaded();
    };
    if (failed) script.onerror = failed;
    script.src = url;
    document.head.append(script);
  },

  /** Make an element. Texts are never read as HTML. */
  h(name, attributes, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else if (key === "style") for (const [name, text] of Object.entries(value)) element.style.setProperty(name, text);
      else element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return element;
  },

  /** A patch cut out of the strip of a neuron. */
  patch(layer, number, n, i, attributes) {
    const url = this.url(`${layer.facts.key}/neurons/${number}.jpg`);
    const style = { "--n": n, "--i": i, "background-image": `url("${url}")` };
    const { class: extra, ...others } = attributes || {};
    return this.h(others.onclick ? "button" : "span", { class: `patch ${extra || ""}`, style, ...others });
  },

  /** Draw a heatmap over an image, from the bytes of its cells. */
  heatmap(bytes, width, height) {
    const canvas = this.h("canvas", { width, height });
    const context = canvas.getContext("2d"), pixels = context.createImageData(width, height);
    [...atob(bytes)].forEach((letter, i) => pixels.data.set([255, 60, 0, 0.75 * letter.charCodeAt(0)], 4 * i));
    context.putImageData(pixels, 0, 0);
    return canvas;
  },

  number(value, digits = 3) {
    return value === null || value === undefined ? "–" : String(Number(value.toPrecision(digits)));
  },

  percent(value) {
    return `${Math.round(100 * value)} %`;
  },

  /** A name, isolated: its direction does not change the text around it. */
  name(text, ...after) {
    return this.h("span", { class: "named" }, this.h("bdi", {}, text), ...after);
  },

  className(facts, number) {
    return number >= 0 && number < facts.class_names.length ? facts.class_names[number] : "";
  },

  /** The displayed name of a clustering. */
  methodName(method) {
    const [kind, name] = [method.split(":")[0], method.split(":").slice(1).join(":")];
    return { pure: `PURE, ${name}`, embedder: name, dictionary: name.toUpperCase(), random: "random split", none: "no split" }[kind] || kind;
  },

  /** The displayed name of a method of explanation. */
  wordsName(method) {
    const [kind, name] = [method.split(":")[0], method.split(":").slice(1).join(":")];
    const known = { le: "linear explanation", clip_dissect: "CLIP-Dissect", imported: "imported", network_dissection: "Network Dissection" };
    return `${known[kind] || kind}${name ? `, ${name}` : ""}`;
  },

  /** The view that an address names: layer, neuron and settings. */
  parse(hash) {
    const [path, query] = hash.replace(/^#/, "").split("?");
    const settings = Object.fromEntries(new URLSearchParams(query || ""));
    let name = path;
    try {
      name = decodeURIComponent(path);
    } catch { /* a damaged link leads to the overview */ }
    const lens = this.lens.parse(name);
    if (lens) return { layer: null, neuron: null, lens, known: true, settings };
    const layers = this.facts.layers.filter((layer) => name === layer.route || name.startsWith(layer.route + "/"));
    const layer = layers.sort((a, b) => b.route.length - a.route.length)[0] || null;
    const rest = layer ? name.slice(layer.route.length) : "";
    const neuron = /^\/neuron\/(\d+)$/.exec(rest);
    return { layer, neuron: neuron ? Number(neuron[1]) : null, known: !name || (layer && (!rest || neuron)), settings };
  },

  /** The address of a view. */
  link(layer, neuron, settings) {
    const query = new URLSearchParams(Object.entries(settings || {}).filter(([, value]) => value)).toString();
    const path = layer.route + (neuron === null || neuron === undefined ? "" : `/neuron/${neuron}`);
    return `#${path}${query ? "?" + query : ""}`;
  },

  facts: JSON.parse(document.getElementById("data").textContent),
};
