"use strict";
// All neurons of a layer: search, sort, filter, and a wall of cards of which only those near the screen exist.
PureLens.grid = {
  ROW: 138,
  WIDTH: 300,
  SORTS: {
    separation: "separation of its virtual neurons",
    silhouette: "silhouette",
    virtual_neurons: "number of virtual neurons",
    agreement: "agreement with the embedder",
    number: "number",
  },
  FILTERS: {
    "": "all neurons",
    split: "whose virtual neurons are apart",
    one: "whose virtual neurons are not",
    dead: "dead",
    few: "with too few references",
  },
  order: new Map(),

  async show(layer, settings, late) {
    const { h } = PureLens;
    const view = document.getElementById("grid");
    const data = await PureLens.load(`${layer.facts.key}/layer`);
    if (late()) return;
    if (!data) return view.replaceChildren(h("p", { class: "lead" }, "The data of this layer are not there."));
    const chosen = { q: settings.q || "", sort: settings.sort || "separation", show: settings.show || "" };
    this.layer = layer;
    this.data = data;
    this.names = data.lines.map((line, row) => this.haystack(layer, data, line, row));
    this.input = h("input", { type: "search", placeholder: "number, class or concept", "aria-label": "search", value: chosen.q });
    this.sort = this.select(this.SORTS, chosen.sort, "sort by");
    this.filter = this.select(this.FILTERS, chosen.show, "show");
    this.count = h("span", { class: "count", role: "status" });
    this.wall = h("div", { class: "wall", role: "list" });
    for (const element of [this.input, this.sort, this.filter]) element.addEventListener("input", () => this.changed());
    const note = data.left_out ? h("p", { class: "note" }, `This file holds the ${data.lines.length} neurons that separate best; ` +
      `${data.left_out} more are in the folder of the report (index.html).`) : null;
    view.replaceChildren(
      h("h1", {}, `${layer.facts.model} `, h("b", {}, layer.facts.layer), h("small", {}, ` ${layer.facts.dataset}`)),
      h("div", { class: "tools" }, this.input, h("label", {}, "sorted by ", this.sort), h("label", {}, "show ", this.filter), this.count),
      ...(note ? [note] : []), this.wall
    );
    this.update();
  },

  select(options, value, label) {
    const { h } = PureLens;
    const known = value in options ? value : Object.keys(options)[0];
    return h("select", { "aria-label": label }, Object.entries(options).map(([key, text]) =>
      h("option", { value: key, selected: key === known }, text)));
  },

  haystack(layer, data, line, row) {
    const classes = line.classes.map(([number]) => PureLens.className(layer.facts, number));
    const concepts = line.concepts.map((number) => layer.facts.concept_names[number]);
    return [String(data.table.neurons[row]), ...classes, ...concepts].map((name) => name.toLowerCase());
  },

  /** Keep the state in the address. */
  changed() {
    const sort = this.sort.value === "separation" ? "" : this.sort.value;
    const settings = { q: this.input.value.trim(), sort, show: this.filter.value };
    history.replaceState(null, "", PureLens.link(this.layer, null, settings));
    this.update();
  },

  column(name) {
    const { table } = this.data;
    if (name === "number") return table.neurons.map((number) => -number);
    const values = table[name];
    return Array.isArray(values) ? values : values[String(this.layer.facts.k)];
  },

  passes(row) {
    const line = this.data.lines[row];
    const gap = this.data.table.separation[String(this.layer.facts.k)][row];
    const text = this.input.value.trim().toLowerCase();
    const shown = { "": true, split: gap > 0, one: gap !== null && gap <= 0, dead: !line.n, few: line.n < this.layer.facts.n_references };
    if (!shown[this.filter.value]) return false;
    if (/^\d+$/.test(text)) return this.names[row][0] === text || this.names[row].slice(1).some((name) => name.includes(text));
    return !text || this.names[row].some((name) => name.includes(text));
  },

  update() {
    const values = this.column(this.sort.value);
    const worth = (row) => (values[row] === null || values[row] === undefined ? -Infinity : values[row]);
    this.rows = this.data.lines.map((_, row) => row).filter((row) => this.passes(row));
    this.rows.sort((a, b) => worth(b) - worth(a) || a - b);
    this.order.set(this.layer.route, this.rows.map((row) => this.data.table.neurons[row]));
    this.count.textContent = `${this.rows.length} of ${this.data.lines.length} neurons`;
    this.cards = new Map();
    this.wall.replaceChildren();
    this.place();
  },

  /** Make the cards near the screen, drop the others. */
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
    for (let place = first; place < last; place++) {
      if (!this.cards.has(place)) this.cards.set(place, this.wall.appendChild(this.card(place)));
      const style = this.cards.get(place).style;
      style.left = `${(100 * (place % this.columns)) / this.columns}%`;
      style.top = `${Math.floor(place / this.columns) * this.ROW}px`;
      style.width = `calc(${100 / this.columns}% - 10px)`;
    }
  },

  card(place) {
    const { h } = PureLens;
    const row = this.rows[place], line = this.data.lines[row], number = this.data.table.neurons[row];
    const gap = this.column("separation")[row], facts = this.layer.facts;
    const url = line.n ? PureLens.url(`${facts.key}/neurons/${number}.jpg`) : null;
    const classes = line.classes.map(([name, n]) => `${PureLens.className(facts, name)} ${n}`).join(" · ");
    const concepts = line.concepts.map((name) => facts.concept_names[name]).join(" · ");
    return h("a", { class: "neuron", role: "listitem", href: PureLens.link(this.layer, number), "data-place": place },
      h("span", { class: "head" }, h("b", {}, String(number)), h("span", {}, line.n ? `apart ${PureLens.number(gap, 2)}` : "dead")),
      url ? h("img", { src: url, alt: "", decoding: "sync" }) : h("span", { class: "none" }, "no image activates it"),
      h("span", { class: "shares" }, (line.parts || []).map((part, i) => h("i", { class: `c${i % 8}`, style: { "flex-grow": part.n } }))),
      h("span", { class: "classes", dir: "auto" }, concepts || classes || " "));
  },

  /** Arrow keys go from card to card. */
  key(event) {
    const focused = document.activeElement;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns }[event.key];
    if (step === undefined || focused === this.input || focused.tagName === "SELECT") return;
    const here = focused.dataset && focused.dataset.place !== undefined ? Number(focused.dataset.place) : -step;
    const next = Math.min(Math.max(here + step, 0), this.rows.length - 1);
    event.preventDefault();
    const high = Math.floor(next / this.columns) * this.ROW + this.wall.getBoundingClientRect().top;
    if (high < 60 || high + this.ROW > window.innerHeight) window.scrollBy(0, high - window.innerHeight / 2);
    this.place();
    if (this.cards.has(next)) this.cards.get(next).focus({ preventScroll: true });
  },
};
