"use strict";
// All neurons of a layer: search, sort, filter, and a grid of cards, of which only those near the screen exist.
PureLens.grid = {
  ROW: 138,
  WIDTH: 300,
  SORTS: {
    gap: "gap, split by circuits alone",
    silhouette: "silhouette, split by circuits alone",
    separation: "how surely it is polysemantic",
    parts: "number of virtual neurons by the test",
    virtual_neurons: "number with the largest silhouette",
    monosemanticity_gain: "gain in MonoSemanticity score",
    selectivity: "causal selectivity, split by circuits alone",
    alignment: "alignment with the embedding model",
    number: "number",
  },
  FILTERS: {
    "": "all neurons",
    several: "polysemantic",
    single: "not polysemantic",
    split: "with a gap above zero",
    one: "with no gap",
    dead: "dead",
    few: "with too few references",
  },

  async show(layer, settings, late) {
    const { h } = PureLens;
    const view = document.getElementById("grid");
    const data = await PureLens.load(`${layer.facts.key}/layer`);
    if (late()) return;
    Object.assign(this, { layer, data, rows: [], cards: new Map(), input: null, wall: null });
    if (!data) return view.replaceChildren(h("p", { class: "lead" }, "The data of this layer are missing."));
    const chosen = this.settingsOf(settings);
    this.input = h("input", { type: "search", placeholder: "number, class or concept", "aria-label": "search", value: chosen.q });
    this.sort = this.select(this.SORTS, chosen.sort, "sort by");
    this.filter = this.select(this.FILTERS, chosen.show, "show");
    this.count = h("span", { class: "count", role: "status" });
    this.wall = h("div", { class: "wall", role: "list" });
    for (const element of [this.input, this.sort, this.filter]) element.addEventListener("input", () => this.changed());
    const note = data.left_out ? h("p", { class: "note" }, `This file holds the ${data.lines.length} neurons with the largest gaps; ` +
      `${data.left_out} more are in the folder of the report (index.html).`) : null;
    view.replaceChildren(
      h("h1", {}, `${layer.facts.model} `, h("b", {}, layer.facts.layer), h("small", {}, ` ${layer.facts.dataset}`)),
      h("div", { class: "tools" }, this.input, h("label", {}, "sorted by ", this.sort), h("label", {}, "show ", this.filter), this.count),
      ...(note ? [note] : []), this.wall
    );
    this.update();
  },

  /** Read the settings of the grid from a link. */
  settingsOf(settings) {
    return {
      q: settings.q || "",
      sort: settings.sort in this.SORTS ? settings.sort : "gap",
      show: settings.show in this.FILTERS ? settings.show : "",
    };
  },

  /** Write them for a link; defaults are left out. */
  asLink({ q, sort, show }) {
    return { q, sort: sort === "gap" ? "" : sort, show };
  },

  select(options, value, label) {
    const { h } = PureLens;
    const known = value in options ? value : Object.keys(options)[0];
    return h("select", { "aria-label": label }, Object.entries(options).map(([key, text]) =>
      h("option", { value: key, selected: key === known }, text)));
  },

  /** Texts that the search looks through: number, classes, concepts and words of a neuron. */
  haystack(layer, data, row) {
    const line = data.lines[row];
    const classes = line.classes.map(([number]) => PureLens.className(layer.facts, number));
    const concepts = line.concepts.map((number) => layer.facts.concept_names[number]);
    return [String(data.table.neurons[row]), ...classes, ...concepts, ...line.words].map((name) => name.toLowerCase());
  },

  current() {
    return { q: this.input.value.trim(), sort: this.sort.value, show: this.filter.value };
  },

  /** Keep the state in the address. */
  changed() {
    history.replaceState(null, "", PureLens.link(this.layer, null, this.asLink(this.current())));
    this.update();
  },

  column(layer, data, name) {
    if (name === "number") return data.table.neurons.map((number) => -number);
    const values = data.table[name] || []; // neurons were not tested
    return Array.isArray(values) ? values : values[String(layer.facts.k)];
  },

  passes(layer, data, row, { q, show }) {
    const line = data.lines[row], text = q.toLowerCase();
    const gap = data.table.gap[String(layer.facts.k)][row];
    const several = data.table.polysemantic ? data.table.polysemantic[row] : null;
    const shown = { "": true, several: several === true, single: several === false, split: gap > 0, one: gap !== null && gap <= 0, dead: !line.n, few: line.n < layer.facts.n_references };
    if (!shown[show] || !text) return shown[show];
    const [number, ...names] = this.haystack(layer, data, row);
    if (/^\d+$/.test(text)) return number === text || names.some((name) => name.includes(text));
    return names.some((name) => name.includes(text)) || number.includes(text);
  },

  /** Filter and sort the neurons; returns their rows. */
  choose(layer, data, settings) {
    const values = this.column(layer, data, settings.sort);
    const worth = (row) => (values[row] === null || values[row] === undefined ? -Infinity : values[row]);
    const rows = data.lines.map((_, row) => row).filter((row) => this.passes(layer, data, row, settings));
    return rows.sort((a, b) => worth(b) - worth(a) || a - b);
  },

  update() {
    this.rows = this.choose(this.layer, this.data, this.current());
    this.count.textContent = `${this.rows.length} of ${this.data.lines.length} neurons`;
    this.cards = new Map();
    this.wall.replaceChildren();
    this.place();
  },

  /** Add the cards near the screen, remove the others. */
  place() {
    if (!this.wall || document.getElementById("grid").hidden) return;
    this.columns = Math.max(1, Math.floor(this.wall.clientWidth / this.WIDTH));
    this.wall.style.height = `${Math.ceil(this.rows.length / this.columns) * this.ROW}px`;
    const top = -this.wall.getBoundingClientRect().top, high = window.innerHeight;
    const first = Math.max(0, Math.floor((top - 2 * high) / this.ROW)) * this.columns;
    const last = Math.min(this.rows.length, Math.ceil((top + 3 * high) / this.ROW) * this.columns);
    for (const [place, card] of this.cards) {
      if (place < first || place >= last) {
        card.remove();
        this.cards.delete(place);
      }
    }
    let before = null; // cards stay in order in the document, for the tab key and for screen readers
    for (let place = last - 1; place >= first; place--) {
      if (!this.cards.has(place)) this.cards.set(place, this.wall.insertBefore(this.card(place), before));
      before = this.cards.get(place);
      const style = before.style;
      style.left = `${(100 * (place % this.columns)) / this.columns}%`;
      style.top = `${Math.floor(place / this.columns) * this.ROW}px`;
      style.width = `calc(${100 / this.columns}% - 10px)`;
    }
  },

  card(place) {
    const { h } = PureLens;
    const row = this.rows[place], line = this.data.lines[row], number = this.data.table.neurons[row];
    const gap = this.column(this.layer, this.data, "gap")[row], facts = this.layer.facts;
    const url = line.n ? PureLens.url(`${facts.key}/neurons/${number}.jpg`) : null;
    const classes = line.classes.slice(0, 3).map(([name, n]) => PureLens.name(PureLens.className(facts, name), ` ${n}`));
    const concepts = line.words.length ? line.words.slice(0, 3).map((name) => PureLens.name(name))
      : line.concepts.map((name) => PureLens.name(facts.concept_names[name]));
    const href = PureLens.link(this.layer, number, this.asLink(this.current()));
    return h("div", { class: "cell", role: "listitem" }, h("a", { class: "neuron", href, "data-place": place },
      h("span", { class: "head" }, h("b", {}, String(number)), h("span", {}, line.n ? `${this.parts(row)}gap ${PureLens.number(gap, 2)}` : "dead")),
      url ? h("span", { class: "strip" }, h("img", { src: url, alt: "", decoding: "sync" })) : h("span", { class: "none" }, "no image activates it"),
      h("span", { class: "shares" }, (line.virtual_neurons || []).map(({ n }, i) => h("i", { class: `c${i % 8}`, style: { "flex-grow": n } }))),
      h("span", { class: "classes" }, concepts.length ? concepts : classes)));
  },

  /** The number of virtual neurons of a polysemantic neuron, for its card. */
  parts(row) {
    const { polysemantic, parts } = this.data.table;
    return polysemantic && polysemantic[row] ? `${parts[row]} virtual neurons, ` : "";
  },

  /** Arrow keys move the focus from card to card, beginning with the first visible one. */
  key(event) {
    const focused = document.activeElement;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns }[event.key];
    if (step === undefined || !this.wall || focused === this.input || focused.tagName === "SELECT") return;
    event.preventDefault();
    const visible = Math.max(0, Math.ceil((60 - this.wall.getBoundingClientRect().top) / this.ROW)) * this.columns;
    this.focus(focused.dataset.place === undefined ? visible : Number(focused.dataset.place) + step);
  },

  focus(place) {
    const next = Math.min(Math.max(place, 0), this.rows.length - 1);
    const high = Math.floor(next / this.columns) * this.ROW + this.wall.getBoundingClientRect().top;
    if (high < 60 || high + this.ROW > window.innerHeight) window.scrollBy(0, high - window.innerHeight / 2);
    this.place();
    if (this.cards.has(next)) this.cards.get(next).firstChild.focus({ preventScroll: true });
  },

  /** Focus the card of a neuron, when somebody comes back from its page. */
  focusNeuron(number) {
    const place = this.rows.findIndex((row) => this.data.table.neurons[row] === number);
    if (place >= 0) this.focus(place);
  },
};
